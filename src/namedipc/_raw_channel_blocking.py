"""The open end of a raw channel in blocking code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, final

from . import lowlevel
from ._channel_blocking import settle, turn, wait_for
from ._errors import TimedOut
from ._shells.byte_link import ByteLink, check_max_bytes
from ._shells.waiting import Clock
from ._values import Peer


@final
class BlockingRawConnection:
    """One connection of a raw channel: a byte stream both ways. One thread may send while another receives."""

    def __init__(self, socket: lowlevel.Socket, peer: Peer, where: str, closed: Callable[[], object] | None) -> None:
        self._link = ByteLink(socket, peer, where, closed)
        self._sending = threading.Lock()
        self._receiving = threading.Lock()

    def send_all(self, data: bytes | bytearray | memoryview, /, *, timeout: float | None = None) -> None:
        """Send all of the data.

        Args:
            data: What to send.
            timeout: Seconds for all of it; None is for ever.

        Raises:
            TimedOut: A part may have been sent, and it is not known how much.
            ConnectionLost: The peer has gone.
            Closed: This end has been closed.
        """
        clock = Clock(timeout)
        late = TimedOut(f"{self._link.where}: not sent within {timeout} seconds")
        with turn(self._sending, clock, lambda: late), memoryview(data) as view, view.cast("B") as rest:
            self._link.check_sendable()
            at = 0
            while at < len(rest):
                sent = self._link.write(rest[at:])
                at += sent
                if sent:
                    continue
                if clock.expired():
                    raise late
                wait_for(self._link.socket, self._link.where, clock, write=True)

    def receive_some(self, max_bytes: int | None = None, /, *, timeout: float | None = None) -> bytes:
        """Receive at least one byte.

        Args:
            max_bytes: The most to return; a sensible amount if not given.
            timeout: Seconds to wait; None is for ever.

        Returns:
            b"" at the end of what the peer sent.

        Raises:
            TimedOut: Nothing has come in time. Nothing is lost.
            ConnectionLost: The peer has closed without reading what this end had sent.
            Closed: This end has been closed.
        """
        check_max_bytes(max_bytes)
        clock = Clock(timeout)
        late = TimedOut(f"{self._link.where}: nothing came within {timeout} seconds")
        with turn(self._receiving, clock, lambda: late):
            while (data := self._link.read(max_bytes)) is None:
                if clock.expired():
                    raise late
                wait_for(self._link.socket, self._link.where, clock, write=False)
            return data

    def send_eof(self) -> None:
        """Let the peer see the end; it can still answer. Safe to call twice."""
        with turn(self._sending, Clock(None), None):
            self._link.half_close()

    def close(self) -> None:
        """Close, and end what other threads wait for here. Safe to call twice."""
        self._link.end()
        settle(self._sending, self._receiving)
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for at the other end."""
        return self._link.peer
