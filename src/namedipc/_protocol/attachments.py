"""Descriptors beside frames: how many a frame says are its own, and which of those that came they are.

The kernel hands descriptors over with the first byte of what they were sent with. The law: a frame with descriptors is
sent from its first byte on together with them, so that what has come is matched to frames by order and count alone; and
what matches no frame is closed. Numbers only: nothing here waits for a descriptor, or uses one.
"""

from __future__ import annotations

from typing import final

from .._descriptors import MOST_DESCRIPTORS, close_all
from .._errors import ProtocolError
from .frames import DESCRIPTORS_FLAG


def with_count(count: int, body: bytes) -> bytes:
    """Return the body of a frame with flag DESCRIPTORS: the count of its descriptors is before everything else."""
    return bytes((count,)) + body


def split_count(flags: int, body: bytes) -> tuple[int, bytes]:
    """Return how many descriptors a frame has, and the rest of its body.

    Raises:
        ProtocolError: It announces some and does not say how many, or more than a frame can have.
    """
    if not flags & DESCRIPTORS_FLAG:
        return 0, body
    if not body or not 1 <= body[0] <= MOST_DESCRIPTORS:
        raise ProtocolError(f"a frame with descriptors says that they are {body[0] if body else 'nothing'}")
    return body[0], body[1:]


@final
class Arrivals:
    """Descriptors that have come on a connection and wait for their frame. Owns them.

    `add` what a read brought, `take` those of each whole frame, and `settle` when there is no further whole frame: so
    it never holds more than one frame may have, and one read may bring.
    """

    __slots__ = ("_overflowed", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._overflowed = False

    def add(self, descriptors: list[int]) -> None:
        """Take over what came with a read."""
        self._waiting += descriptors
        if len(self._waiting) > 2 * MOST_DESCRIPTORS:
            self._overflowed = True
            self.close()

    def take(self, count: int) -> list[int]:
        """Return the descriptors of the next frame; they belong to the caller.

        Raises:
            ProtocolError: Fewer have come than it says. All are closed.
        """
        if count > len(self._waiting):
            there = len(self._waiting)
            self.close()
            raise ProtocolError(f"a frame says that it has {count} descriptors; {there} have come")
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def settle(self, *, unfinished: bool) -> None:
        """Say that no whole frame is left.

        Args:
            unfinished: Whether the beginning of one is there.

        Raises:
            ProtocolError: There are descriptors which no frame can have. All are closed.
        """
        if self._overflowed or len(self._waiting) > (MOST_DESCRIPTORS if unfinished else 0):
            self.close()
            raise ProtocolError("descriptors have come which belong to no frame")

    def close(self) -> None:
        """Close what waits."""
        waiting, self._waiting = self._waiting, []
        close_all(waiting)
