"""When descriptors leave: each with the first byte of its own frame, and with no other.

The law: a position counts the bytes that the connection has sent; descriptors whose frame will not leave are closed.
"""

from __future__ import annotations

from collections import deque
from typing import final

from .. import lowlevel
from .._descriptors import Descriptors
from .._protocol.attachments import Shipment, has_descriptors


@final
class Departures:
    """What leaves with which byte, in order. Owns the descriptors."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[tuple[int, Descriptors]] = deque()

    def add(self, position: int, frames: bytes) -> None:
        """Take over what is attached to frames whose first byte will have this position."""
        if isinstance(frames, Shipment):
            self._queue += [(position + at, descriptors) for at, descriptors in frames.release()]

    def send(self, sock: lowlevel.Socket, position: int, data: bytes | bytearray | memoryview) -> int:
        """Send some of what waits, whose first byte has this position; return how many bytes.

        Raises:
            OSError: As `lowlevel.send_descriptors`; nothing has left.
        """
        if not self._queue:
            return lowlevel.send_now(sock, data)
        at, descriptors = self._queue[0]
        if at > position:
            return lowlevel.send_now(sock, memoryview(data)[: at - position])
        end = self._queue[1][0] - position if len(self._queue) > 1 else None
        sent = lowlevel.send_descriptors(sock, memoryview(data)[:end], descriptors.numbers)
        self._queue.popleft()
        descriptors.sent()
        return sent

    def withdraw(self, position: int) -> None:
        """Close what would have left from this position on."""
        while self._queue and self._queue[-1][0] >= position:
            self._queue.pop()[1].close()

    def close(self) -> None:
        """Close all."""
        self.withdraw(0)


def send_frame(sock: lowlevel.Socket, frame: bytes | memoryview) -> int:
    """Send some of one frame, with its descriptors if it still has them, never waiting; return how many bytes.

    Args:
        sock: Where to.
        frame: Or several in one piece, if none of them has descriptors.

    Raises:
        OSError: As `lowlevel.send_descriptors`; nothing has left.
    """
    if has_descriptors(frame):
        assert isinstance(frame, Shipment)
        ((_, descriptors),) = frame.attached
        sent = lowlevel.send_descriptors(sock, frame, descriptors.numbers)
    else:
        sent = lowlevel.send_now(sock, frame)
    if isinstance(frame, Shipment):
        for _, gone in frame.release():
            gone.sent()
    return sent
