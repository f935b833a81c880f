"""The clients of a service, as far as no call is concerned: they come, are read from, written to, timed, and go.

The laws: answers are gathered and leave together; who does not read is not read either; who owes something (its hello,
the rest of a frame, reading on) has a time for it; who is refused is told why.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context, copy_context
from time import monotonic
from typing import TYPE_CHECKING, Final

from .. import lowlevel
from .._errors import IPCError, LimitReached, NoServer, NotAllowed, TimedOut
from .._faults import Fault, fault_of, pack_fault
from .._protocol.session import ServerSession, State
from .._values import Allow, Limits, Peer
from .connecting import peer_of
from .in_child import forget_in_child

if TYPE_CHECKING:
    from .suspended import Suspended

log = logging.getLogger(__name__)

READ_BYTES: Final = 65536
ACCEPT_PAUSE_SECONDS: Final = 0.05
"""How long no connection is accepted after the process ran out of descriptors: a loop without it burns a core."""
_NEVER: Final = float("inf")

_READ: Final = lowlevel.EPOLLIN | lowlevel.EPOLLRDHUP
_LOST: Final = lowlevel.EPOLLHUP | lowlevel.EPOLLERR


class Connection:
    """One client, as the loop keeps it: its socket, its session, its calls that wait for something."""

    __slots__ = (
        "calls",
        "closed",
        "context",
        "expires",
        "fd",
        "interest",
        "outbound",
        "peer",
        "queued",
        "reading",
        "session",
        "slow",
        "socket",
    )

    def __init__(self, socket: lowlevel.Socket, peer: Peer, session: ServerSession, context: Context) -> None:
        self.socket: lowlevel.Socket = socket
        self.fd: int = socket.fileno()
        self.peer: Peer = peer
        self.session: ServerSession = session
        self.context: Context = context
        self.calls: dict[int, Suspended] = {}
        self.outbound: bytes = b""
        self.interest: int = _READ
        self.reading: bool = True
        self.queued: bool = False
        self.closed: bool = False
        self.slow: str | None = None
        self.expires: float = _NEVER

    def progress(self) -> None:
        """It has paid a part of what it owed: its time begins anew."""
        if self.slow is not None and self.session.state is not State.HELLO:
            self.slow = ""


class Clients:
    """All connections of one service.

    Owns the epoll descriptor and the clients' sockets; the listener belongs to the claim of the name.

    Args:
        listener: A listening, non-blocking socket.
        make_session: Makes the protocol of a new connection.
        where: How messages call the service: its path.
        allow: Who may connect.
        limits: The bounds.

    Attributes:
        connections: By descriptor.
        ready: Those which have something to be taken.
        watched: Those which owe something.
        accept_again: When connections are accepted again, after the descriptors had run out.
        accept_due: Whether somebody waits to be accepted.
        draining: Whether no more are.
    """

    def __init__(
        self,
        listener: lowlevel.Socket,
        make_session: Callable[[], ServerSession],
        *,
        where: str,
        allow: Allow,
        limits: Limits,
    ) -> None:
        self._listener = listener
        self._make_session = make_session
        self._where = where
        self._allow = allow
        self._limits = limits
        self._context = copy_context()
        self._of_uid: Counter[int] = Counter()
        self.connections: dict[int, Connection] = {}
        self.ready: deque[Connection] = deque()
        self.watched: set[Connection] = set()
        self.accept_again: float = _NEVER
        self.accept_due: bool = False
        self.draining: bool = False
        self._accepting = True
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self._spare: int | None = lowlevel.eventfd()
        self.epoll: lowlevel.Epoll = lowlevel.Epoll()
        self.epoll.register(listener.fileno(), lowlevel.EPOLLIN)
        forget_in_child(self)

    # ------------------------------------------------------------ reading

    def happened(self, fd: int, mask: int) -> None:
        """Act on what epoll has said of a descriptor."""
        connection = self.connections.get(fd)
        if connection is None:
            self.accept_due = self.accept_due or fd == self._listener.fileno()
            return
        if mask & lowlevel.EPOLLOUT:
            self.flush(connection)
        if mask & lowlevel.EPOLLIN:
            self._read(connection)
        elif mask & _LOST:
            self.drop(connection)
        elif mask & lowlevel.EPOLLRDHUP:
            self._half_closed(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.drop(connection)
            return
        if not data:
            self._half_closed(connection)
            return
        self.bytes_received += len(data)
        connection.session.feed(data)
        self.queue(connection)

    def queue(self, connection: Connection) -> None:
        """Put a connection behind those which have something to be taken."""
        if not connection.queued and not connection.closed:
            connection.queued = True
            self.ready.append(connection)

    # ------------------------------------------------------------ writing

    def flush(self, connection: Connection) -> None:
        """Send what waits for a client; what the socket does not take waits for EPOLLOUT."""
        outgoing = connection.session.outgoing
        if outgoing:
            data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
            outgoing.clear()
            if connection.outbound:
                connection.outbound += data
            else:
                connection.outbound = self._send(connection, data)
        elif connection.outbound:
            connection.outbound = self._send(connection, connection.outbound)
        else:
            return
        if connection.outbound or connection.interest != _READ:
            self._set_interest(connection)
            self.watch(connection)

    def _send(self, connection: Connection, data: bytes) -> bytes:
        if connection.closed:
            return b""
        try:
            sent = lowlevel.send(connection.socket, data)
        except BlockingIOError:
            return data
        except OSError:
            self.drop(connection)
            return b""
        self.bytes_sent += sent
        connection.progress()
        return b"" if sent == len(data) else data[sent:]

    def _set_interest(self, connection: Connection) -> None:
        if connection.closed:
            return
        interest = _READ if connection.reading and not self._too_much(connection) else 0
        if connection.outbound:
            interest |= lowlevel.EPOLLOUT
        if interest != connection.interest:
            connection.interest = interest
            self.epoll.modify(connection.fd, interest)

    def _too_much(self, connection: Connection) -> bool:
        return len(connection.outbound) > self._limits.outbound_bytes

    # ------------------------------------------------------------ connections come and go

    def accept(self) -> None:
        """Take in everybody who waits; nothing is awaited in between."""
        self.accept_due = False
        while True:
            try:
                socket = lowlevel.accept(self._listener)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    self._accept_later()
                    return
                if error.errno in {errno.EBADF, errno.EINVAL}:
                    return  # closed while draining
                continue  # the client has gone before it was accepted: ECONNABORTED and the like
            self._welcome(socket)

    def _welcome(self, socket: lowlevel.Socket) -> None:
        try:
            lowlevel.refuse_descriptors(socket)
            peer = peer_of(socket)
        except OSError:
            socket.close()
            return
        connection = Connection(socket, peer, self._make_session(), self._context.copy())
        self.connections[connection.fd] = connection
        self._of_uid[peer.uid] += 1
        self.epoll.register(connection.fd, _READ)
        error = self._unwelcome(peer)
        if error is not None:
            self.refuse(connection, fault_of(error))
            return
        self.watch(connection)
        self._read(connection)

    def pause_accepting(self) -> None:
        """Leave those who wait in the listener's backlog to whoever has a copy of the listener."""
        if self._accepting:
            self._accepting = False
            self.accept_due = False
            # Not left to the claim's close(): a successor has the file too, and then it would stay in the epoll.
            self.epoll.unregister(self._listener.fileno())

    def resume_accepting(self) -> None:
        """Accept again after `pause_accepting`."""
        if not self._accepting and not self.draining:
            self._accepting = True
            self.epoll.register(self._listener.fileno(), lowlevel.EPOLLIN)

    def _unwelcome(self, peer: Peer) -> IPCError | None:
        if not self._allow(peer):
            return NotAllowed(f"the service does not serve user {peer.uid}")
        if self.draining:
            return NoServer("the service is shutting down")
        if len(self.connections) > self._limits.clients:
            return LimitReached(f"the service has {self._limits.clients} clients already")
        if self._of_uid[peer.uid] > self._limits.clients_per_uid:
            return LimitReached(f"user {peer.uid} has {self._limits.clients_per_uid} connections already")
        return None

    def _accept_later(self) -> None:
        """Out of descriptors: turn one client away with the spare descriptor, and accept no other for a moment."""
        log.debug("%s: out of descriptors; connections wait", self._where)
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            with contextlib.suppress(OSError):
                lowlevel.accept(self._listener).close()
            with contextlib.suppress(OSError):
                self._spare = lowlevel.eventfd()
        self.epoll.modify(self._listener.fileno(), 0)
        self.accept_again = monotonic() + ACCEPT_PAUSE_SECONDS

    def _half_closed(self, connection: Connection) -> None:
        """No more calls will come. What was asked is still answered; reading on, epoll would spin."""
        if not connection.calls and not connection.outbound and not connection.queued:
            self.drop(connection)
            return
        connection.session.said_goodbye = True
        connection.reading = False
        self._set_interest(connection)

    def refuse(self, connection: Connection, fault: Fault) -> None:
        """Tell a client why it is turned away, as far as it reads, and close."""
        connection.session.fail(0, pack_fault(fault))
        self.flush(connection)
        self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection and cancel its handlers."""
        if connection.closed:
            return
        connection.closed = True
        del self.connections[connection.fd]
        self.watched.discard(connection)
        self._of_uid[connection.peer.uid] -= 1
        if not self._of_uid[connection.peer.uid]:
            del self._of_uid[connection.peer.uid]
        # Not left to close(): a child made by fork may hold the file too, and then it would stay in the epoll.
        self.epoll.unregister(connection.fd)
        connection.socket.close()
        for call in list(connection.calls.values()):
            call.request_cancel()

    # ------------------------------------------------------------ time

    def watch(self, connection: Connection) -> None:
        """Give a client that owes us something a time for it; take it back once the debt is paid."""
        slow, seconds = self._debt(connection)
        if slow == connection.slow or connection.closed:
            return
        connection.slow = slow
        connection.expires = monotonic() + seconds
        if slow is None:
            self.watched.discard(connection)
        else:
            self.watched.add(connection)

    def _debt(self, connection: Connection) -> tuple[str | None, float]:
        if connection.session.state is State.HELLO:
            return "no whole hello", self._limits.handshake_seconds
        if self._too_much(connection):
            return "answers are not read", self._limits.stalled_seconds
        if connection.session.unfinished and connection.reading:
            return "a frame that has begun does not end", self._limits.midframe_seconds
        return None, _NEVER

    def expire(self) -> float | None:
        """Drop whose time is up, and accept again; return the seconds until there is something to look at, if ever."""
        now = monotonic()
        if now >= self.accept_again:
            self.accept_again = _NEVER
            if self._accepting:
                self.epoll.modify(self._listener.fileno(), lowlevel.EPOLLIN)
        for connection in [c for c in self.watched if now >= c.expires]:
            log.debug("%s: process %d is too slow: %s", self._where, connection.peer.pid, connection.slow)
            self.refuse(connection, fault_of(TimedOut(f"too slow: {connection.slow}")))
        nearest = min([self.accept_again, *(c.expires for c in self.watched)])
        return None if nearest == _NEVER else max(0.0, nearest - monotonic())

    # ------------------------------------------------------------ the end

    def stop_accepting(self) -> None:
        """Take no more connections, and say to each client which of its calls was the last to be run."""
        if self.draining:
            return
        self.draining = True
        with contextlib.suppress(OSError):
            self.pause_accepting()
        for connection in list(self.connections.values()):
            connection.session.goodbye()
            self.flush(connection)

    def forget(self) -> None:
        """In a forked child: copies of the sockets would hide from the clients that the service has died."""
        for connection in self.connections.values():
            connection.closed = True
            connection.socket.close()
        self.connections.clear()
        self.epoll.close()

    def close(self) -> None:
        """Close every connection and the epoll. Safe to call twice."""
        for connection in list(self.connections.values()):
            self.drop(connection)
        self.epoll.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
