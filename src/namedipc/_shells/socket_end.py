"""One end of a connection, as far as it is a socket of this process: open, ended, closed, or forked.

The law: a forked child only closes its copy; to shut down or to count would change what belongs to the parent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from .. import lowlevel
from .._errors import Closed
from .._values import Peer
from .in_child import forget_in_child


class SocketEnd:
    """Owns a connected, non-blocking socket.

    Args:
        socket: The socket.
        peer: Who is at the other end.
        where: How errors call the channel.
        closed: Called once, when the connection is closed.
    """

    def __init__(self, socket: lowlevel.Socket, peer: Peer, where: str, closed: Callable[[], object] | None) -> None:
        self.socket = socket
        self.peer = peer
        self.where = where
        self._when_closed = closed
        self._pid = os.getpid()
        self.closed: bool = False
        forget_in_child(self)

    def check_open(self) -> None:
        """Raise Closed if this side has closed, or was forked."""
        if self._pid != os.getpid():
            raise Closed(
                f"{self.where}: this connection belongs to process {self._pid}, from which this one was forked; "
                "connect again in the child"
            )
        if self.closed:
            raise Closed(f"{self.where}: this end has been closed")

    def end(self) -> None:
        """Let nothing more be sent or received, and wake the threads that wait for the socket. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        if self._pid == os.getpid():  # in a forked child this would end the parent's connection
            with suppress(OSError):
                lowlevel.shutdown(self.socket)

    def close(self) -> None:
        """Close, whatever waits. Where threads may wait for the socket `end` comes first. Safe to call twice."""
        self.end()
        self.socket.close()
        when_closed, self._when_closed = self._when_closed, None
        if when_closed is not None and self._pid == os.getpid():
            when_closed()

    def forget(self) -> None:
        """In a forked child: a copy of the socket would hide from the peer that the parent has died."""
        self.closed = True
        self.socket.close()
