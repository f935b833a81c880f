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
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from .. import lowlevel
from .._errors import IPCError, LimitReached, NoServer, NotAllowed, TimedOut
from .._faults import Fault, fault_of, pack_fault
from .._protocol.attachments import Parcel, join_frames
from .._protocol.frames import LONG_BYTES, Frame
from .._protocol.session import ServerSession, State
from .._values import Allow, Limits, Peer
from .connecting import peer_of
from .departures import Departures
from .in_child import forget_in_child
from .large_frames import bytes_to_read, keep_room
from .outbound import MOST_PIECES, Outbound, Piece
from .payloads import Payloads

if TYPE_CHECKING:
    from .service_runs import Run
    from .suspended import Suspended

log = logging.getLogger(__name__)

ACCEPT_PAUSE_SECONDS: Final = 0.05
"""How long no connection is accepted after the process ran out of descriptors: a loop without it burns a core."""
ACCEPTS_A_ROUND: Final = 4
"""How many connections are taken in before those which are there are looked at again: a flood must not hold them up."""
_NEVER: Final = float("inf")

_NO_HELLO: Final = "no whole hello"
_UNREAD: Final = "answers are not read"
_MIDFRAME: Final = "a frame that has begun does not end"

_READ: Final = lowlevel.EPOLLIN | lowlevel.EPOLLRDHUP
_LOST: Final = lowlevel.EPOLLHUP | lowlevel.EPOLLERR


def permits(rule: Allow, peer: Peer) -> bool:
    """Return what a rule says; one that fails refuses."""
    try:
        return rule(peer)
    except Exception:
        log.debug("the rule %r failed on %r, which is refused", rule, peer, exc_info=True)
        return False


def _together(frames: list[bytes]) -> list[bytes]:
    """Put frames together; but those which are long are not copied, if they can leave in one go."""
    if len(frames) == 1:
        return frames.copy()
    if len(frames) <= MOST_PIECES and max(map(len, frames)) >= LONG_BYTES:
        return frames.copy()
    return [b"".join(frames)]


def call_now(function: Callable[[], object]) -> None:
    """Call it: where there is one thread only."""
    function()


class Connection:
    """One client, as the loop keeps it: its socket, its session, its calls that wait for something.

    Attributes:
        contexts: Copies of its context, by the index of a method, in which calls of that are made known.
        outbound: What waits for the client because its socket is full.
        departures: Descriptors which leave with it; None where none do.
        sent_bytes: How many bytes have left, where descriptors may.
        postponed: One-way calls which begin once others have ended.
        run: Calls that came together, of which some have not begun.
        queued: Whether it is among those which wait to be looked at.
        unread: Whether it is there because it has sent something, which has not been read.
        is_at_rest: Whether nothing of it waits, or is owed: what it sends next is one call, as a rule. Found out by the
            loop where there is a short way for that, and taken back by `Clients.rouse`, by whoever changes it.
        paused: Nothing is taken of it, for as many one-way calls are postponed as may be.
        polled: Whether it is in the epoll; not while its client has gone, and one-way calls of it still wait.
        payloads: Its large payloads; None where no method carries any.
        when_released: Is called, once, when the client has let go of large payloads.
        when_drained: Is called, once, when a congested client has read on, or has gone; added to only while congested.
    """

    __slots__ = (
        "_one_way_id",
        "calls",
        "closed",
        "context",
        "contexts",
        "departures",
        "expires",
        "fd",
        "greeted",
        "interest",
        "is_at_rest",
        "outbound",
        "outbound_limit",
        "paused",
        "payloads",
        "peer",
        "polled",
        "postponed",
        "queued",
        "reading",
        "run",
        "sent_bytes",
        "session",
        "slow",
        "socket",
        "unread",
        "when_drained",
        "when_released",
    )

    def __init__(
        self, socket: lowlevel.Socket, peer: Peer, session: ServerSession, context: Context, *, outbound_limit: int
    ) -> None:
        self.socket: lowlevel.Socket = socket
        self.fd: int = socket.fileno()
        self.peer: Peer = peer
        self.session: ServerSession = session
        self.context: Context = context
        self.contexts: dict[int, Context] = {}
        self.calls: dict[int, Suspended] = {}
        self.greeted: bool = False
        self.outbound: Outbound = Outbound()
        self.outbound_limit: int = outbound_limit
        self.sent_bytes: int = 0
        self.departures: Departures | None = None if session.arrivals is None else Departures()
        self.payloads: Payloads | None = None
        if session.payload_bytes:
            self.payloads = session.payloads = Payloads("this answer", session.payload_bytes)
            self.payloads.trust(peer)
        self.when_released: list[Callable[[], object]] = []
        self.when_drained: list[Callable[[], object]] = []
        self.interest: int = _READ
        self.polled: bool = True
        self.reading: bool = True
        self.queued: bool = False
        self.unread: bool = False
        self.is_at_rest: bool = False
        self.paused: bool = False
        self.closed: bool = False
        self.slow: str | None = None
        self.expires: float = _NEVER
        self.postponed: deque[Frame] = deque()
        self.run: Run | None = None
        self._one_way_id = 0

    def one_way_id(self) -> int:
        """Return the key of another one-way call: below 0, as the client has none for it."""
        self._one_way_id -= 1
        return self._one_way_id

    @property
    def congested(self) -> bool:
        """Whether more waits for the client than may: nothing is taken from it, and its streams had better pause."""
        return len(self.outbound) > self.outbound_limit

    @property
    def finished(self) -> bool:
        """Whether it has said that no more calls come, and every one has been answered."""
        if not self.session.said_goodbye or self.queued:
            return False
        return not self.calls and not self.outbound and not self.postponed

    def tell_released(self) -> None:
        """Have those go on who wait until there is room."""
        callbacks, self.when_released = self.when_released, []
        for callback in callbacks:
            callback()

    def place(self, parcel: Parcel, *, may_grow: bool = True) -> Parcel | None:
        """Find a place for the large payloads of an answer; None while there is no room. See `PayloadPool.place`."""
        assert self.payloads is not None
        placed = self.payloads.pool.place(parcel, self.session.their_message_bytes, may_grow=may_grow)
        self.session.outgoing += self.payloads.pool.unsaid()  # it says where the answer is
        return placed

    def let_go(self) -> None:
        """Close what has come and what would have left beside frames; also in a forked child."""
        self.session.close()
        if self.departures is not None:
            self.departures.close()
        if self.payloads is not None:
            self.payloads.close()

    def progress(self) -> None:
        """A frame of it has become whole: the next one has a time of its own."""
        if self.slow == _MIDFRAME:
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
        carries_attachments: Whether descriptors may come from them.
        call_soon: Has something called where the loop runs, from any thread and at any line.

    Attributes:
        connections: By descriptor.
        ready: Those which have sent something.
        more: Those which have sent more than was taken in one round.
        watched: Those which owe something.
        accept_again: When connections are accepted again, after the descriptors had run out.
        accept_due: Whether somebody waits to be accepted.
        when_roused: Is told of a connection that is not at rest any more.
        is_idle: Whether whoever pumps has found nothing to do since it was last woken.
        is_pumped: Whether the loop is at work, and calls `tell_noted` in the end.
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
        carries_attachments: bool = False,
        call_soon: Callable[[Callable[[], object]], object] = call_now,
    ) -> None:
        self._carries_attachments = carries_attachments
        self._call_soon = call_soon
        self._listener = listener
        self._make_session = make_session
        self._where = where
        self._allow = allow
        self._limits = limits
        self._context = copy_context()
        self._of_uid: Counter[int] = Counter()
        self.connections: dict[int, Connection] = {}
        self.ready: deque[Connection] = deque()
        self.more: deque[Connection] = deque()
        self.watched: set[Connection] = set()
        self.accept_again: float = _NEVER
        self.accept_due: bool = False
        self.when_roused: Callable[[Connection], object] | None = None
        self.is_idle: bool = True
        self.is_pumped: bool = False
        self.draining: bool = False
        self._accepting = True
        self._noted: deque[Connection] = deque()
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self._spare: int | None = lowlevel.eventfd()
        self._alarm: int | None = lowlevel.eventfd()
        self.epoll: lowlevel.Epoll = lowlevel.Epoll()
        self.epoll.register(listener.fileno(), lowlevel.EPOLLIN)
        self.epoll.register(self._alarm, lowlevel.EPOLLIN)
        forget_in_child(self)

    # ------------------------------------------------------------ reading

    def happened(self, fd: int, mask: int) -> None:
        """Act on what epoll has said of a descriptor."""
        connection = self.connections.get(fd)
        if fd == self._alarm:  # "look_again"
            os.eventfd_read(fd)
            return
        if connection is None:
            self.accept_due = self.accept_due or fd == self._listener.fileno()
            return
        if mask & lowlevel.EPOLLOUT:
            self._send_on(connection)
            self.drop_if_finished(connection)
        if connection.closed:
            return
        if mask & lowlevel.EPOLLIN or (mask & _LOST and connection.reading):
            # Also of a client that has gone: its one-way calls are run.
            if not connection.queued:  # what it has sent before is taken first
                self._read(connection)
        elif mask & _LOST:
            if not connection.queued:
                self._lost(connection)
        elif mask & lowlevel.EPOLLRDHUP:
            self._half_closed(connection)

    def _read(self, connection: Connection) -> None:
        data = self.receive(connection)
        if data:
            self.rouse(connection)
            connection.session.feed(data)
            connection.queued = True
            self.ready.append(connection)

    def receive(self, connection: Connection) -> bytes:
        """Return what a client has sent; nothing where that is nothing, or its end, which has been acted on."""
        connection.unread = False
        arrivals = connection.session.arrivals
        most = bytes_to_read(connection.session.reader)
        try:
            if arrivals is None:
                data = connection.socket.recv(most)
            else:
                data, numbers = lowlevel.receive_descriptors(connection.socket, most)
                arrivals.add(numbers)
        except BlockingIOError:
            return b""
        except OSError:
            self._lost(connection)  # without reading its answers; what it had sent before has been read
            return b""
        if not data:
            self._half_closed(connection)
        self.bytes_received += len(data)
        return data

    def queue(self, connection: Connection) -> None:
        """Put a connection behind those which have more to be taken."""
        if not connection.queued and not connection.closed:
            connection.queued = True
            connection.unread = False  # what has been read is taken first; of what has not, epoll tells again
            self.more.append(connection)

    def pause(self, connection: Connection) -> None:
        """Take nothing more of a client until some of its one-way calls have ended; it is slowed down by that."""
        connection.paused = True
        self._set_interest(connection)

    def resume(self, connection: Connection) -> None:
        """Read a client again after `pause`."""
        connection.paused = False
        self._set_interest(connection)

    def look_again(self, connection: Connection) -> None:
        """Wake whoever pumps, for a connection which has more to be taken although nothing new has come from it."""
        self.queue(connection)
        self.wake()

    def wake(self) -> None:
        """Have `epoll` be readable once, and whoever pumps look for something to do until there is nothing."""
        if self._alarm is not None:
            self.is_idle = False
            os.eventfd_write(self._alarm, 1)

    def rouse(self, connection: Connection) -> None:
        """Take back that a connection is at rest: what it sends, or is sent, is not one call, or one answer."""
        if connection.is_at_rest:
            connection.is_at_rest = False
            if self.when_roused is not None:
                self.when_roused(connection)

    # ------------------------------------------------------------ writing

    def flush(self, connection: Connection) -> None:
        """Send the answers to a client; what the socket does not take waits for EPOLLOUT."""
        outgoing = connection.session.outgoing
        payloads = connection.payloads
        if payloads is not None and payloads.has_unsaid:
            outgoing += payloads.unsaid()  # an answer takes along which buffers are free again
        if not outgoing:
            return
        if connection.departures is not None:
            pieces = [join_frames(outgoing)]
            connection.departures.add(connection.sent_bytes + len(connection.outbound), pieces[0])
        else:
            pieces = _together(outgoing)
        outgoing.clear()
        if connection.outbound:
            connection.outbound.add(pieces)
        else:
            sent = self._send(connection, pieces)
            size = sum(map(len, pieces))
            if sent == size:
                return
            keep_room(size)
            connection.outbound.add(pieces, sent)
            self.rouse(connection)
        self._set_interest(connection)
        self.watch(connection)

    def _note(self, connection: Connection) -> None:
        """A buffer of large payloads is free again, of the client or of ours: from any thread, and at any line."""
        self._noted.append(connection)
        if not self.is_pumped:  # in this order: `tell_noted` is called after that has been taken back
            self._call_soon(self.tell_noted)

    def tell_noted(self) -> None:
        """Tell those who are concerned which buffers are free again: clients, and streams which wait for room."""
        while self._noted:
            connection = self._noted.popleft()
            connection.tell_released()
            if not connection.closed:
                self.flush(connection)

    def _send_on(self, connection: Connection) -> None:
        """Send of what has waited; who waits for that goes on."""
        was_congested = connection.congested
        connection.outbound.sent(self._send(connection, connection.outbound.first()))
        if was_congested and not connection.congested:
            self.queue(connection)  # with what it had sent before it was congested
        if connection.when_drained and 2 * len(connection.outbound) <= connection.outbound_limit:
            self._tell_drained(connection)
        self._set_interest(connection)
        self.watch(connection)

    def _tell_drained(self, connection: Connection) -> None:
        callbacks, connection.when_drained = connection.when_drained, []
        for callback in callbacks:
            callback()

    def _send(self, connection: Connection, pieces: Sequence[Piece]) -> int:
        """Return how many bytes need not be kept any more: those sent, or all where nobody is there to read them."""
        if connection.closed:
            return sum(map(len, pieces))
        try:
            if connection.departures is not None:
                sent = connection.departures.send(connection.socket, connection.sent_bytes, pieces[0])
                connection.sent_bytes += sent
            elif len(pieces) == 1:
                sent = lowlevel.send(connection.socket, pieces[0])
            else:
                sent = lowlevel.send_pieces(connection.socket, pieces)
        except BlockingIOError:
            return 0
        except OSError:
            # It has gone, and is dropped once what it had sent has been read: one-way calls among that are run.
            return sum(map(len, pieces))
        self.bytes_sent += sent
        if connection.slow == _UNREAD:
            connection.slow = ""  # it reads on, so its time begins anew
        return sent

    def _set_interest(self, connection: Connection) -> None:
        if connection.closed or not connection.polled:
            return
        interest = _READ if connection.reading and not connection.congested and not connection.paused else 0
        if connection.outbound:
            interest |= lowlevel.EPOLLOUT
        if interest != connection.interest:
            connection.interest = interest
            self.epoll.modify(connection.fd, interest)

    # ------------------------------------------------------------ connections come and go

    def accept(self) -> bool:
        """Take in some of those who wait; nothing is awaited in between. The others are there at the next round.

        Returns:
            Whether others may wait.
        """
        self.accept_due = False
        for _ in range(ACCEPTS_A_ROUND):
            try:
                socket = lowlevel.accept(self._listener)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    self._accept_later()
                    return False
                if error.errno in {errno.EBADF, errno.EINVAL}:
                    return False  # closed while draining
                continue  # the client has gone before it was accepted: ECONNABORTED and the like
            self._welcome(socket)
        return True

    def adopt(self, socket: lowlevel.Socket) -> None:
        """Take in a connection that nobody had to be waited for: one end of a pair, non-blocking, from now on ours."""
        self._welcome(socket)

    def _welcome(self, socket: lowlevel.Socket) -> None:
        try:
            if not self._carries_attachments:
                lowlevel.refuse_descriptors(socket)
            peer = peer_of(socket)
        except OSError:
            socket.close()
            return
        error = self._unwelcome(peer)
        if error is not None:
            self._turn_away(socket, error)
            return
        connection = Connection(
            socket, peer, self._make_session(), self._context.copy(), outbound_limit=self._limits.outbound_bytes
        )
        if connection.payloads is not None:
            connection.payloads.pool.when_released = partial(self._note, connection)
            connection.payloads.windows.when_due = partial(self._note, connection)
        self.connections[connection.fd] = connection
        self._of_uid[peer.uid] += 1
        self.epoll.register(connection.fd, _READ)
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
        if not permits(self._allow, peer):
            return NotAllowed(f"the service does not serve user {peer.uid}")
        if self.draining:
            return NoServer("the service is shutting down")
        if len(self.connections) >= self._limits.clients:
            return LimitReached(f"the service has {self._limits.clients} clients already")
        if self._of_uid[peer.uid] >= self._limits.clients_per_uid:
            return LimitReached(f"user {peer.uid} has {self._limits.clients_per_uid} connections already")
        return None

    def _turn_away(self, socket: lowlevel.Socket, error: IPCError) -> None:
        """Tell somebody who never becomes a client why."""
        session = self._make_session()
        session.fail(0, pack_fault(fault_of(error)))
        with socket, contextlib.suppress(OSError):
            lowlevel.send(socket, b"".join(session.outgoing))

    def _accept_later(self) -> None:
        """Out of descriptors: turn one client away with the spare descriptor, and accept no other for a moment."""
        log.debug("%s: out of descriptors; connections wait", self._where)
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            with contextlib.suppress(OSError):
                self._turn_away(lowlevel.accept(self._listener), LimitReached("the service has no descriptor left"))
            self._keep_spare()
        if not self.draining:
            self.epoll.modify(self._listener.fileno(), 0)
            self.accept_again = monotonic() + ACCEPT_PAUSE_SECONDS

    def _accept_again(self) -> None:
        self.accept_again = _NEVER
        self._keep_spare()
        if self._accepting:
            self.epoll.modify(self._listener.fileno(), lowlevel.EPOLLIN)

    def _keep_spare(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):  # another thread has been quicker; it is tried again at the next pause
                self._spare = lowlevel.eventfd()

    def _half_closed(self, connection: Connection) -> None:
        """No more calls will come. What was asked is still answered; reading on, epoll would spin."""
        self.rouse(connection)
        connection.session.said_goodbye = True
        connection.reading = False
        if connection.finished:
            self.drop(connection)
        else:
            self._set_interest(connection)

    def _lost(self, connection: Connection) -> None:
        """The client has gone. One-way calls of it which still wait are run before it is dropped."""
        if not connection.postponed:
            self.drop(connection)
            return
        self.rouse(connection)
        connection.session.said_goodbye = True
        connection.reading = False
        connection.outbound.clear()
        self._cancel_calls(connection)
        # That the other end has gone epoll would say again and again.
        connection.polled = False
        self.epoll.unregister(connection.fd)

    def _cancel_calls(self, connection: Connection) -> None:
        for call in list(connection.calls.values()):
            if not call.is_one_way:  # whoever has sent one has left it to the service
                call.request_cancel()

    def refuse(self, connection: Connection, fault: Fault) -> None:
        """Tell a client why it is turned away, as far as it reads, and close."""
        connection.session.fail(0, pack_fault(fault))
        self.flush(connection)
        self.drop(connection)

    def drop_if_finished(self, connection: Connection) -> None:
        """Drop who has said that no more calls come, once every one has been answered."""
        if connection.finished:
            self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection and cancel its handlers."""
        if connection.closed:
            return
        self.rouse(connection)
        self.flush(connection)  # an answer which was to leave with those of others
        connection.closed = True
        connection.outbound.clear()
        connection.let_go()
        del self.connections[connection.fd]
        self.watched.discard(connection)
        self._of_uid[connection.peer.uid] -= 1
        if not self._of_uid[connection.peer.uid]:
            del self._of_uid[connection.peer.uid]
        # Not left to close(): a child made by fork may hold the file too, and then it would stay in the epoll.
        if connection.polled:
            self.epoll.unregister(connection.fd)
        connection.socket.close()
        self._cancel_calls(connection)
        self._tell_drained(connection)

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
            self.rouse(connection)
            self.watched.add(connection)

    def _debt(self, connection: Connection) -> tuple[str | None, float]:
        if connection.session.state is State.HELLO:
            return _NO_HELLO, self._limits.handshake_seconds
        if connection.congested:
            return _UNREAD, self._limits.stalled_seconds
        if connection.session.unfinished and connection.reading and not connection.paused:
            return _MIDFRAME, self._limits.midframe_seconds
        return None, _NEVER

    def expire(self) -> float | None:
        """Drop whose time is up, and accept again; return the seconds until there is something to look at, if ever."""
        now = monotonic()
        if now >= self.accept_again:
            self._accept_again()
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
        if self._accepting:  # who has connected already is told, and its one-way calls are run
            for _ in range(self._limits.clients):
                if not self.accept():
                    break
        self.draining = True
        with contextlib.suppress(OSError):
            self.pause_accepting()
        for connection in list(self.connections.values()):
            self.rouse(connection)
            connection.session.goodbye()
            self.flush(connection)

    def forget(self) -> None:
        """In a forked child: copies of the sockets would hide from the clients that the service has died."""
        for connection in self.connections.values():
            self.rouse(connection)
            connection.closed = True
            connection.socket.close()
            connection.let_go()
        self.connections.clear()
        self._close_own()

    def close(self) -> None:
        """Close every connection and the epoll. Safe to call twice."""
        for connection in list(self.connections.values()):
            self.drop(connection)
        self._close_own()

    def _close_own(self) -> None:
        self.epoll.close()
        for fd in (self._spare, self._alarm):
            if fd is not None:
                os.close(fd)
        self._spare = self._alarm = None
