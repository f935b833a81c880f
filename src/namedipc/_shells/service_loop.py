"""The service loop: one epoll for all clients of a service, and handlers that run where their call was read.

`ServiceLoop.pump` is a plain function which polls, reads, parses, steps handlers and answers. A handler runs inside it
until it first waits; only then does it become a task's business (`trio_service`). The laws:

* a handler which never waits costs no task switch; pump returns to trio after a turn of 1 ms at the latest;
* answers are gathered, and leave when the connection changes;
* at most 32 frames of one client a round, so that none holds up the others;
* each call has a context of its own.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextvars import Context, ContextVar, copy_context
from time import monotonic, perf_counter
from typing import Any, Final, cast

import attrs

from .. import lowlevel
from .._errors import (
    InvalidMessage,
    IPCError,
    LimitReached,
    NoServer,
    NotAllowed,
    ProtocolError,
    TimedOut,
    TooLarge,
)
from .._faults import DEADLINE, Fault, fault_of, fault_of_handler, pack_fault
from .._protocol.frames import CALL, split_deadline
from .._protocol.hello import SERVICE, Hello
from .._protocol.session import ServerSession, State
from .._schema import Method, Schema
from .._values import Allow, Limits, Peer, ServiceStatistics
from .connecting import peer_of
from .polling import Spinner

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 0.001
FRAMES_A_ROUND: Final = 32
READ_BYTES: Final = 65536
ACCEPT_PAUSE_SECONDS: Final = 0.05
"""How long no connection is accepted after the process ran out of descriptors: a loop without it burns a core."""

_READ: Final = lowlevel.EPOLLIN | lowlevel.EPOLLRDHUP
_LOST: Final = lowlevel.EPOLLHUP | lowlevel.EPOLLERR

Handler = Callable[..., Awaitable[object]]


@attrs.define(eq=False)
class ActiveCall:
    """What a handler can ask about the call it answers.

    Attributes:
        method: Its name in the interface.
        peer: Who called.
        deadline: In seconds of CLOCK_MONOTONIC; None for a call without one.
        inline: Whether the handler has not waited yet, so that no cancel scope knows the deadline.
    """

    method: str
    peer: Peer
    deadline: float | None
    inline: bool = True


active_call: Final[ContextVar[ActiveCall]] = ContextVar("namedipc.active_call")


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
        self.socket = socket
        self.fd = socket.fileno()
        self.peer = peer
        self.session = session
        self.context = context
        self.calls: dict[int, Suspended] = {}
        self.outbound = b""
        self.interest = _READ
        self.reading = True
        self.queued = False
        self.closed = False
        self.slow: str | None = None
        self.expires = float("inf")


class Suspended:
    """A call whose handler waits for something: the rest of its coroutine, its context, and how to stop it.

    Awaiting it goes on where `pump` left the handler. It forwards what a coroutine has, so that a debugger and
    trio's own introspection see the handler's frames.
    """

    __slots__ = (
        "_coroutine",
        "_first",
        "cancel",
        "cancelled",
        "connection",
        "context",
        "deadline",
        "id",
        "method",
    )

    def __init__(
        self,
        connection: Connection,
        id: int,  # noqa: A002
        method: Method,
        deadline: float | None,
        context: Context,
        coroutine: Generator[object, object, object],
        first: object,
    ) -> None:
        self.connection = connection
        self.id = id
        self.method = method
        self.deadline = deadline
        self.context = context
        self._coroutine = coroutine
        self._first: object = first
        self.cancelled = False
        self.cancel: Callable[[], object] | None = None

    def request_cancel(self) -> None:
        """Cancel the handler now, or as soon as its task has a scope for it."""
        self.cancelled = True
        if self.cancel is not None:
            self.cancel()

    def __await__(self) -> Generator[object, object, object]:
        return cast("Generator[object, object, object]", self)

    def __iter__(self) -> Suspended:
        return self

    def __next__(self) -> object:
        return self.send(None)

    def send(self, value: object) -> object:
        """Hand on what the handler had asked for before, then whatever it asks for."""
        first, self._first = self._first, _HANDED_ON
        if first is not _HANDED_ON:
            return first
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> object:
        """Raise inside the handler."""
        self._first = _HANDED_ON
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End the handler where it stands."""
        self._coroutine.close()

    @property
    def cr_frame(self) -> object:
        """The handler's frame."""
        return getattr(self._coroutine, "cr_frame", None)

    @property
    def cr_await(self) -> object:
        """What the handler waits for."""
        return getattr(self._coroutine, "cr_await", None)


_HANDED_ON: Final = object()
IDLE: Final = 0
TURN: Final = 1


@attrs.define
class _Counts:
    calls: int = 0
    errors: int = 0
    in_flight: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0


class ServiceLoop:
    """All clients of one service.

    Owns the epoll descriptor and the clients' sockets; the listener belongs to the claim of the name.

    Args:
        schema: The interface.
        implementation: What answers; checked against the interface.
        listener: A listening, non-blocking socket.
        where: How messages call the service: its path.
        allow: Who may connect.
        limits: The bounds.
        spin: Whether to poll for a moment before sleeping.
        step: Runs a handler's first step; the trio shell gives one that lets KeyboardInterrupt through.
    """

    def __init__(
        self,
        schema: Schema[Any],
        implementation: object,
        listener: lowlevel.Socket,
        *,
        where: str,
        allow: Allow,
        limits: Limits,
        spin: bool,
        step: Callable[..., tuple[Any, object]],
    ) -> None:
        schema.check_implementation(implementation)
        self._schema = schema
        self._methods: list[tuple[Method, Handler]] = [
            (method, getattr(implementation, method.name)) for method in schema.methods
        ]
        self._hello = Hello(SERVICE, limits.message_bytes, schema.fingerprint)
        self._listener = listener
        self._where = where
        self._allow = allow
        self._limits = limits
        self._step = step
        self._context = copy_context()
        self._connections: dict[int, Connection] = {}
        self._clients_of: Counter[int] = Counter()
        self._ready: deque[Connection] = deque()
        self._counts = _Counts()
        self.spinner = Spinner() if spin else None
        self.watched: set[Connection] = set()
        self.accept_again = float("inf")
        self.draining = False
        self._accept_due = False
        self.epoll = lowlevel.Epoll()
        self._spare: int | None = lowlevel.eventfd()
        self._poll = self._poll_now
        self.epoll.register(listener.fileno(), lowlevel.EPOLLIN)

    # ------------------------------------------------------------ the turn

    def pump(self) -> Suspended | int:
        """Serve for a turn.

        Returns:
            A call whose handler waits: the caller awaits it, and lets another task pump meanwhile. TURN: the time is
            up, and there is more to do. IDLE: nothing to do until `epoll` is readable.
        """
        end = perf_counter() + TURN_SECONDS
        ready = self._ready
        while True:
            if not ready:
                events = self.epoll.poll(0) or self._spin()
                if not events:
                    return IDLE
                for fd, mask in events:
                    self._happened(fd, mask)
            while ready:
                connection = ready.popleft()
                connection.queued = False
                if connection.closed:
                    continue
                suspended = self._round(connection)
                if suspended is not None:
                    return suspended
                if perf_counter() > end:
                    return TURN
            if self._accept_due:
                # After what the clients there have said: one of them may have left, and its place is free.
                self._accept_due = False
                self._accept()
            if perf_counter() > end:
                return TURN

    def _spin(self) -> list[tuple[int, int]] | None:
        if self.spinner is None or self._counts.in_flight or not self._connections:
            return None
        return self.spinner.wait(self._poll)

    def _poll_now(self) -> list[tuple[int, int]]:
        return self.epoll.poll(0)

    def _happened(self, fd: int, mask: int) -> None:
        connection = self._connections.get(fd)
        if connection is None:
            self._accept_due = self._accept_due or fd == self._listener.fileno()
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
        self._counts.bytes_received += len(data)
        connection.session.feed(data)
        self._queue(connection)

    def _queue(self, connection: Connection) -> None:
        if not connection.queued and not connection.closed:
            connection.queued = True
            self._ready.append(connection)

    def _round(self, connection: Connection) -> Suspended | None:
        """Take up to 32 frames of one client, and send what they were answered with."""
        session = connection.session
        try:
            for _ in range(FRAMES_A_ROUND):
                frame = session.next_event()
                if frame is None:
                    break
                if frame[0] != CALL:
                    self._cancel(connection, frame[3])
                    continue
                suspended = self._begin(connection, frame)
                if suspended is not None:
                    self._queue(connection)
                    self.flush(connection)
                    return suspended
            else:
                self._queue(connection)
        except IPCError as error:
            self.refuse(connection, fault_of(error))
            return None
        self.flush(connection)
        if connection.slow is not None or session.unfinished:
            self._watch(connection)
        if session.said_goodbye and not connection.calls and not connection.outbound and not connection.queued:
            self.drop(connection)
        return None

    # ------------------------------------------------------------ calls

    def _begin(self, connection: Connection, frame: tuple[int, int, int, int, bytes]) -> Suspended | None:
        """Run the handler of a call until it ends, which is answered at once, or waits, which is returned."""
        _kind, flags, index, id_, body = frame
        deadline = None
        if flags:
            deadline, body = split_deadline(flags, body)
        method, handler = self._methods[index]
        self._counts.calls += 1
        refusal = self._refusal(connection, id_, deadline)
        if refusal is not None:
            self._fail(connection, id_, refusal)
            return None
        try:
            args, kwargs = method.arguments.decode(body)
        except InvalidMessage as error:
            self._fail(connection, id_, fault_of(error))
            return None
        context = connection.context.copy()
        active = ActiveCall(method.name, connection.peer, deadline)
        try:
            coroutine, first = context.run(self._step, handler, args, kwargs, active)
        except StopIteration as done:
            self._answer(connection, id_, method, done.value)
            return None
        except Exception as error:  # whatever a handler raises is its caller's
            self.answer_error(connection, id_, error)
            return None
        finally:
            active.inline = False
        suspended = Suspended(connection, id_, method, deadline, context, coroutine, first)
        connection.calls[id_] = suspended
        self._counts.in_flight += 1
        return suspended

    def _refusal(self, connection: Connection, id: int, deadline: float | None) -> Fault | None:  # noqa: A002
        if self.draining:
            return fault_of(NoServer("not run: the service is shutting down"))
        if deadline is not None and monotonic() >= deadline:
            return deadline_fault()
        if id == 0 or id in connection.calls:
            raise ProtocolError(f"call id {id} is reserved or still in use")
        if len(connection.calls) >= self._limits.calls_in_flight:
            return fault_of(
                LimitReached(f"{self._limits.calls_in_flight} calls of this connection are in flight already")
            )
        return None

    def _cancel(self, connection: Connection, id: int) -> None:  # noqa: A002
        suspended = connection.calls.get(id)
        if suspended is not None:
            suspended.request_cancel()

    def settle(self, call: Suspended) -> bool:
        """Take a call out of the books before it is answered; False if that has been done."""
        if call.connection.calls.get(call.id) is not call:
            return False
        del call.connection.calls[call.id]
        self._counts.in_flight -= 1
        return True

    def answer(self, call: Suspended, result: object) -> None:
        """Answer a settled call with its result, and send it."""
        self._answer(call.connection, call.id, call.method, result)
        self._sent(call.connection)

    def answer_fault(self, call: Suspended, fault: Fault) -> None:
        """Answer a settled call with an error, and send it."""
        self._fail(call.connection, call.id, fault)
        self._sent(call.connection)

    def answer_call_error(self, call: Suspended, error: Exception) -> None:
        """Answer a settled call with what its handler raised, and send it."""
        self.answer_error(call.connection, call.id, error)
        self._sent(call.connection)

    def answer_error(self, connection: Connection, id: int, error: Exception) -> None:  # noqa: A002
        """Answer with what a handler raised."""
        self._fail(connection, id, fault_of_handler(error, with_traceback=self._trusts(connection.peer)))

    def _trusts(self, peer: Peer) -> bool:
        # A traceback shows source lines and paths: for the same user, who could read them anyway, and for root.
        return peer.uid in {os.geteuid(), 0}

    def _answer(self, connection: Connection, id: int, method: Method, result: object) -> None:  # noqa: A002
        try:
            body = method.result.encode(result)
        except InvalidMessage as error:
            log.debug("%s: %s returned what its interface does not declare: %s", self._where, method.where, error)
            self._fail(connection, id, fault_of(InvalidMessage(f"the result of {method.where}: {error}")))
            return
        if len(body) > connection.session.their_message_bytes:
            limit = connection.session.their_message_bytes
            text = f"the result of {method.where} is {len(body)} bytes long; the caller accepts {limit}"
            self._fail(connection, id, fault_of(TooLarge(text)))
            return
        connection.session.reply(id, body)

    def _fail(self, connection: Connection, id: int, fault: Fault) -> None:  # noqa: A002
        self._counts.errors += 1
        connection.session.fail(id, pack_fault(fault))

    def _sent(self, connection: Connection) -> None:
        self.flush(connection)
        if connection.session.said_goodbye and not connection.calls and not connection.outbound:
            self.drop(connection)

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
        self._counts.bytes_sent += sent
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
            self._watch(connection)

    def _too_much(self, connection: Connection) -> bool:
        return len(connection.outbound) > self._limits.outbound_bytes

    # ------------------------------------------------------------ connections come and go

    def _accept(self) -> None:
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
        session = ServerSession(
            self._hello,
            self._schema.text,
            methods=len(self._methods),
            held_calls=self._limits.calls_in_flight,
        )
        connection = Connection(socket, peer, session, self._context.copy())
        self._connections[connection.fd] = connection
        self._clients_of[peer.uid] += 1
        self.epoll.register(connection.fd, _READ)
        error = self._unwelcome(peer)
        if error is not None:
            self.refuse(connection, fault_of(error))
            return
        self._watch(connection)
        self._read(connection)

    def _unwelcome(self, peer: Peer) -> IPCError | None:
        if not self._allow(peer):
            return NotAllowed(f"the service does not serve user {peer.uid}")
        if self.draining:
            return NoServer("the service is shutting down")
        if len(self._connections) > self._limits.clients:
            return LimitReached(f"the service has {self._limits.clients} clients already")
        if self._clients_of[peer.uid] > self._limits.clients_per_uid:
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
        del self._connections[connection.fd]
        self.watched.discard(connection)
        self._clients_of[connection.peer.uid] -= 1
        if not self._clients_of[connection.peer.uid]:
            del self._clients_of[connection.peer.uid]
        # Not left to close(): a child made by fork may hold the file too, and then it would stay in the epoll.
        self.epoll.unregister(connection.fd)
        connection.socket.close()
        for call in list(connection.calls.values()):
            call.request_cancel()

    # ------------------------------------------------------------ time

    def _watch(self, connection: Connection) -> None:
        """Give a client that owes us something a time for it; take it back once the debt is paid."""
        slow, seconds = self._debt(connection)
        if slow == connection.slow:
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
        return None, float("inf")

    def expire(self) -> float | None:
        """Drop whose time is up, and accept again; return the seconds until there is something to look at, if ever."""
        now = monotonic()
        if now >= self.accept_again:
            self.accept_again = float("inf")
            if not self.draining:
                self.epoll.modify(self._listener.fileno(), lowlevel.EPOLLIN)
        for connection in [c for c in self.watched if now >= c.expires]:
            log.debug("%s: process %d is too slow: %s", self._where, connection.peer.pid, connection.slow)
            self.refuse(connection, fault_of(TimedOut(f"too slow: {connection.slow}")))
        nearest = min([self.accept_again, *(c.expires for c in self.watched)])
        return None if nearest == float("inf") else max(0.0, nearest - monotonic())

    # ------------------------------------------------------------ the end

    def stop_accepting(self) -> None:
        """Take no more connections, and say to each client which of its calls was the last to be run."""
        if self.draining:
            return
        self.draining = True
        with contextlib.suppress(OSError):
            self.epoll.unregister(self._listener.fileno())
        for connection in list(self._connections.values()):
            connection.session.goodbye()
            self.flush(connection)

    @property
    def busy(self) -> bool:
        """Whether a call is in flight, or an answer waits to be sent."""
        return bool(self._counts.in_flight) or any(c.outbound for c in self._connections.values())

    def cancel_all(self) -> None:
        """Cancel every handler."""
        for connection in list(self._connections.values()):
            for call in list(connection.calls.values()):
                call.request_cancel()

    def close(self) -> None:
        """Close every connection and the epoll. Safe to call twice."""
        for connection in list(self._connections.values()):
            self.drop(connection)
        self.epoll.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    # ------------------------------------------------------------ what can be asked

    def peers(self) -> Sequence[Peer]:
        """Who is connected."""
        return [connection.peer for connection in self._connections.values()]

    def statistics(self) -> ServiceStatistics:
        """What the service has done so far."""
        counts = self._counts
        return ServiceStatistics(
            clients=len(self._connections),
            calls=counts.calls,
            errors=counts.errors,
            in_flight=counts.in_flight,
            bytes_received=counts.bytes_received,
            bytes_sent=counts.bytes_sent,
        )


def deadline_fault() -> Fault:
    """The answer to a call whose deadline has passed."""
    return Fault(DEADLINE, "its deadline has passed")


def begin_handler(
    handler: Handler, args: tuple[object, ...], kwargs: dict[str, object], call: ActiveCall
) -> tuple[Any, object]:
    """Run a handler until it first waits. StopIteration carries its result if it never does."""
    active_call.set(call)
    awaitable = handler(*args, **kwargs)
    coroutine: Any = awaitable if hasattr(awaitable, "send") else awaitable.__await__()
    return coroutine, coroutine.send(None)
