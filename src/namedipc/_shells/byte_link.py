"""The descriptor work of a raw connection which both worlds share: bytes as they are, and it never waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .. import lowlevel
from .._errors import Closed, ConnectionLost
from .._values import Peer
from .large_frames import READ_BYTES
from .socket_end import SocketEnd


class ByteLink(SocketEnd):
    """One raw connection. Owns the socket, which is non-blocking.

    Args:
        socket: A connected socket.
        peer: Who is at the other end.
        where: How errors call the channel.
        closed: Called once, when the connection is closed.
    """

    def __init__(self, socket: lowlevel.Socket, peer: Peer, where: str, closed: Callable[[], object] | None) -> None:
        super().__init__(socket, peer, where, closed)
        self._sends_no_more = False

    def write(self, data: memoryview) -> int:
        """Send what fits now; 0 if nothing does.

        Raises:
            ConnectionLost: The peer has gone, or reads no more.
        """
        self.check_sendable()
        try:
            return lowlevel.send_now(self.socket, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.check_open()  # another thread may have closed it just now
            raise ConnectionLost(f"{self.where}: the peer has gone, or reads no more") from error

    def read(self, max_bytes: int | None) -> bytes | None:
        """Receive what is there; b"" at the end, None if nothing is there yet.

        Raises:
            ConnectionLost: The peer has closed without reading what this end had sent.
        """
        self.check_open()
        try:
            data = lowlevel.receive_now(self.socket, max_bytes or READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            self.check_open()
            raise ConnectionLost(f"{self.where}: the peer has closed without reading everything") from error
        if not data:
            self.check_open()  # an end which another thread has made here is not the peer's
        return data

    def half_close(self) -> None:
        """Let the peer see the end, and still answer."""
        self.check_open()
        self._sends_no_more = True
        with suppress(OSError):  # it has gone already
            lowlevel.shutdown_write(self.socket)

    def check_sendable(self) -> None:
        """Raise Closed if this end sends no more."""
        self.check_open()
        if self._sends_no_more:
            raise Closed(f"{self.where}: send_eof() has been called; this end sends no more")


def check_max_bytes(max_bytes: int | None) -> None:
    """Raise unless this can be asked for."""
    if max_bytes is not None and max_bytes < 1:
        raise ValueError(f"receive_some({max_bytes}): must be at least 1")
