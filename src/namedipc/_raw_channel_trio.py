"""The open end of a raw channel in trio: a HalfCloseableStream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

import trio
import trio.abc

from . import lowlevel
from ._errors import Closed
from ._shells import trio_errors
from ._shells.byte_link import ByteLink, check_max_bytes
from ._values import Peer


@final
class RawConnection(trio.abc.HalfCloseableStream):
    """One connection of a raw channel: a byte stream both ways, with trio's contract for streams."""

    def __init__(self, socket: lowlevel.Socket, peer: Peer, where: str, closed: Callable[[], object] | None) -> None:
        self._link = ByteLink(socket, peer, where, closed)
        self._sending = False
        self._receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of the data.

        Raises:
            ConnectionLost: The peer has gone.
            Busy: Another task is sending.
            Closed: This end has been closed.

        Cancellation: a part may have been sent, and it is not known how much, as with any stream of trio.
        """
        with self._alone_in_sending():
            await trio.lowlevel.checkpoint()
            self._link.check_sendable()
            with memoryview(data) as view, view.cast("B") as rest:
                at = 0
                while at < len(rest):
                    sent = self._link.write(rest[at:])
                    at += sent
                    if not sent:
                        await self._writable()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the peer has read something, or has gone.

        Raises:
            Busy: Another task is sending.
            Closed: This end has been closed.

        Cancellation: nothing has happened.
        """
        with self._alone_in_sending():
            await trio.lowlevel.checkpoint()
            self._link.check_sendable()
            await self._writable()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte.

        Args:
            max_bytes: The most to return; a sensible amount if not given.

        Returns:
            b"" at the end of what the peer sent.

        Raises:
            ConnectionLost: The peer has closed without reading what this end had sent.
            Busy: Another task is receiving.
            Closed: This end has been closed.

        Cancellation: nothing is lost.
        """
        check_max_bytes(max_bytes)
        with self._alone_in_receiving():
            await trio.lowlevel.checkpoint()
            while (data := self._link.read(max_bytes)) is None:
                await self._readable()
            return data

    async def send_eof(self) -> None:
        """Let the peer see the end; it can still answer. Safe to call twice.

        Raises:
            Busy: Another task is sending.
            Closed: This end has been closed.
        """
        with self._alone_in_sending():
            await trio.lowlevel.checkpoint()
            self._link.half_close()

    async def aclose(self) -> None:
        """Close. Safe to call twice. Cancellation: it is closed all the same."""
        if not self._link.closed:
            trio.lowlevel.notify_closing(self._link.socket)
            self._link.close()
        await trio.lowlevel.checkpoint()

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for at the other end."""
        return self._link.peer

    async def _writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._link.socket)
        except (trio.ClosedResourceError, OSError, ValueError):
            raise self._closed() from None

    async def _readable(self) -> None:
        try:
            await trio.lowlevel.wait_readable(self._link.socket)
        except (trio.ClosedResourceError, OSError, ValueError):
            raise self._closed() from None

    def _closed(self) -> Closed:
        return Closed(f"{self._link.where}: this end has been closed")

    @contextmanager
    def _alone_in_sending(self) -> Iterator[None]:
        if self._sending:
            raise trio_errors.Busy(f"{self._link.where}: another task is sending")
        self._sending = True
        try:
            with trio_errors.translating():
                yield
        finally:
            self._sending = False

    @contextmanager
    def _alone_in_receiving(self) -> Iterator[None]:
        if self._receiving:
            raise trio_errors.Busy(f"{self._link.where}: another task is receiving")
        self._receiving = True
        try:
            with trio_errors.translating():
                yield
        finally:
            self._receiving = False
