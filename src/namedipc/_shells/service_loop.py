"""The service loop: one epoll for all clients of a service, and handlers that run where their call was read.

`ServiceLoop.pump` is a plain function which polls, reads, parses, steps handlers and answers. A handler runs inside it
until it first waits; only then does it become a task's business (`trio_service`). The laws:

* a handler which never waits costs no task switch; pump returns to trio after a turn of 1 ms at the latest;
* at most 32 frames of one client a round, so that none holds up the others;
* each call has a context of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import Any, Final

import attrs

from .. import lowlevel
from .._errors import InvalidMessage, IPCError, LimitReached, NoServer, ProtocolError, TooLarge
from .._faults import DEADLINE, Fault, fault_of, fault_of_handler, pack_fault
from .._protocol.frames import CALL, Frame, split_deadline
from .._protocol.hello import SERVICE, Hello
from .._protocol.session import ServerSession
from .._schema import Method, Schema
from .._values import Allow, Limits, Peer, ServiceStatistics
from .polling import Spinner
from .service_clients import Clients, Connection
from .suspended import ActiveCall, Handler, Suspended

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 0.001
FRAMES_A_ROUND: Final = 32
IDLE: Final = 0
TURN: Final = 1


@attrs.define
class _Counts:
    calls: int = 0
    errors: int = 0
    in_flight: int = 0


class ServiceLoop:
    """The calls of one service.

    Args:
        schema: The interface.
        implementation: What answers; checked against the interface.
        listener: A listening, non-blocking socket; it belongs to the claim of the name.
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
        self._where = where
        self._limits = limits
        self._step = step
        self._counts = _Counts()
        self.spinner: Spinner | None = Spinner() if spin else None
        self.clients: Clients = Clients(listener, self._session, where=where, allow=allow, limits=limits)
        self._poll = self._poll_now

    def _session(self) -> ServerSession:
        return ServerSession(
            self._hello, self._schema.text, methods=len(self._methods), held_calls=self._limits.calls_in_flight
        )

    # ------------------------------------------------------------ the turn

    def pump(self) -> Suspended | int:
        """Serve for a turn.

        Returns:
            A call whose handler waits: the caller awaits it, and lets another task pump meanwhile. TURN: the time is
            up, and there is more to do. IDLE: nothing to do until `epoll` is readable.
        """
        end = perf_counter() + TURN_SECONDS
        clients = self.clients
        ready = clients.ready
        while True:
            if not ready:
                events = clients.epoll.poll(0) or self._spin()
                if not events:
                    return IDLE
                for fd, mask in events:
                    clients.happened(fd, mask)
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
            if clients.accept_due:
                # After what the clients there have said: one of them may have left, and its place is free.
                clients.accept()
            if perf_counter() > end:
                return TURN

    def _spin(self) -> list[tuple[int, int]] | None:
        if self.spinner is None or self._counts.in_flight or not self.clients.connections:
            return None
        return self.spinner.wait(self._poll)

    def _poll_now(self) -> list[tuple[int, int]]:
        return self.clients.epoll.poll(0)

    def _round(self, connection: Connection) -> Suspended | None:
        """Take up to 32 frames of one client, and send what they were answered with."""
        session = connection.session
        try:
            for _ in range(FRAMES_A_ROUND):
                frame = session.next_event()
                if frame is None:
                    break
                if connection.slow is not None:
                    connection.progress()
                if frame[0] != CALL:
                    self._cancel(connection, frame[3])
                    continue
                suspended = self._begin(connection, frame)
                if suspended is not None:
                    self.clients.queue(connection)
                    self.clients.flush(connection)
                    return suspended
            else:
                self.clients.queue(connection)
        except IPCError as error:
            self.clients.refuse(connection, fault_of(error))
            return None
        self.clients.flush(connection)
        if connection.slow is not None or session.unfinished:
            self.clients.watch(connection)
        if session.said_goodbye and not connection.calls and not connection.outbound and not connection.queued:
            self.clients.drop(connection)
        return None

    # ------------------------------------------------------------ calls

    def _begin(self, connection: Connection, frame: Frame) -> Suspended | None:
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
        if self.clients.draining:
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
        self.clients.flush(connection)
        if connection.session.said_goodbye and not connection.calls and not connection.outbound:
            self.clients.drop(connection)

    # ------------------------------------------------------------ what can be asked

    @property
    def busy(self) -> bool:
        """Whether a call is in flight, or an answer waits to be sent."""
        return bool(self._counts.in_flight) or any(c.outbound for c in self.clients.connections.values())

    def cancel_all(self) -> None:
        """Cancel every handler."""
        for connection in list(self.clients.connections.values()):
            for call in list(connection.calls.values()):
                call.request_cancel()

    def peers(self) -> Sequence[Peer]:
        """Who is connected."""
        return [connection.peer for connection in self.clients.connections.values()]

    def statistics(self) -> ServiceStatistics:
        """What the service has done so far."""
        counts = self._counts
        return ServiceStatistics(
            clients=len(self.clients.connections),
            calls=counts.calls,
            errors=counts.errors,
            in_flight=counts.in_flight,
            bytes_received=self.clients.bytes_received,
            bytes_sent=self.clients.bytes_sent,
        )


def deadline_fault() -> Fault:
    """The answer to a call whose deadline has passed."""
    return Fault(DEADLINE, "its deadline has passed")
