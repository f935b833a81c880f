"""The service loop: one epoll for all clients of a service, and handlers that run where their call was read.

`ServiceLoop.pump` is a plain function which polls, reads, parses, steps handlers and answers. A handler runs inside it
until it first waits; only then does it become a task's business (`trio_service`). The laws:

* a handler which never waits costs no task switch; pump returns to trio after a turn of 1 ms at the latest, or after a
  doze (`polling`) that ended it in vain and is as long;
* at most 32 frames of one client a round, or 0.1 ms, be it in the middle of calls that came together; and who has more
  waits behind those who come meanwhile, so that none holds up the others;
* each call has a context of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import Context
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final

from .. import lowlevel
from .._errors import InvalidMessage, IPCError, LimitReached, NoServer, NotAllowed, ProtocolError
from .._faults import DEADLINE, Fault, fault_of
from .._marks import rules_of
from .._methods import Method
from .._protocol.frames import (
    CALL,
    CALLS,
    CANCEL,
    END,
    ITEM,
    JSON_FLAG,
    ONE_WAY_FLAG,
    Frame,
)
from .._protocol.hello import SERVICE, UNASKED_BYTES, Hello
from .._protocol.session import ASKED, GOING_ON, ServerSession
from .._schema import Schema
from .._statistics import ServiceStatistics
from .._values import Allow, Limits, Peer
from .calls_together import CallsTogether, split_flags
from .compiled import compiled
from .latency import GATHERED
from .outcomes import IDLE, TURN, UNTIMED
from .polling import DOZE_SECONDS, Dozer, Spinner
from .reserved import ReservedAnswers
from .service_answers import Answers, too_large_fault
from .service_clients import Clients, Connection, call_now, permits
from .suspended import (
    ActiveCall,
    CallStreams,
    Handler,
    Suspended,
    active_call,
    begin_in_context,
    is_coroutine_function,
    twin_of,
)

if TYPE_CHECKING:
    from .served_alone import ServedAlone, ShortWay

log = logging.getLogger(__name__)

_short_way: type[ServedAlone] | None = compiled("served_alone", "ServedAlone")

TURN_SECONDS: Final = 0.001
FRAMES_A_ROUND: Final = 32
ROUND_SECONDS: Final = 0.0001
EVENTS_A_POLL: Final = 64
"""Of a thousand clients that have sent something: what is asked about them, and them, fits the core's own cache."""


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
        step_of_run: The same where the handler's context knows its call already.
        prepare: Makes of a handler the one which is run; the trio shell has it let KeyboardInterrupt through by itself.
        open_streams: Makes the streams of a call.
        call_soon: Has something called where the loop runs, from any thread and at any line.
        wrap: Puts something around every handler, such as a tracer.

    Attributes:
        interface: What the interface is called.
        longest_bytes: The longest body that is taken.
        methods: By their index: what they are, the handler, who may call it, and whether only its frame is needed.
        limits: The bounds.
        wrap: As it was given.
        clients: Who is connected.
        answers: What they are answered with.
        alone: The short way; None without.
        spinner: Decides how long to poll; None without polling.
        dozer: Decides on sleeping for a moment where that sits out.
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
        step_of_run: Callable[..., tuple[Any, object]] = begin_in_context,
        prepare: Callable[[Handler], Handler] = twin_of,
        open_streams: Callable[..., CallStreams],
        wrap: Callable[[Handler], Handler] | None = None,
        call_soon: Callable[[Callable[[], object]], object] = call_now,
    ) -> None:
        schema.check_implementation(implementation)
        self._schema = schema
        self.methods: Final[list[tuple[Method, Handler, tuple[Allow, ...], bool]]] = [
            (method, prepare(handler), rules_of(handler), method.is_plain)
            for method in schema.methods
            for handler in [getattr(implementation, method.name)]
        ]
        self.interface: str = schema.name
        self.longest_bytes: int = max(limits.message_bytes, UNASKED_BYTES)
        self._hello = Hello(
            SERVICE,
            limits.message_bytes,
            schema.fingerprint,
            limits.stream_items,
            limits.stream_bytes,
            limits.calls_in_flight,
            limits.payload_bytes if schema.carries_payloads else 0,
        )
        self._open_streams = open_streams
        self.wrap: Callable[[Handler], Handler] | None = wrap
        self._where = where
        self.limits: Limits = limits
        self._step = step
        self._reserved = ReservedAnswers(schema, self.statistics)
        self.spinner: Spinner | None = Spinner() if spin else None
        self.dozer: Dozer = Dozer()
        self.clients: Clients = Clients(
            listener,
            self._session,
            where=where,
            allow=allow,
            limits=limits,
            carries_attachments=schema.carries_attachments,
            call_soon=call_soon,
        )
        self.answers: Answers = Answers(self.clients, where=where)
        self._together = CallsTogether(self, step_of_run)
        self._poll = self._poll_now
        self._doze = self.clients.epoll.poll
        self._take: Callable[[Connection], Suspended | int | None] = self.take_unread
        self.alone: ServedAlone | None = None
        if _short_way is not None:
            self.alone = _short_way(self, self._short_ways(), step)
            self._take = self.alone.take
            self.clients.when_roused = self.alone.rouse

    def _short_ways(self) -> list[ShortWay | None]:
        """What `ServedAlone` needs of each method; None for those which are none of its business."""

        def short_way(method: Method, handler: Handler) -> ShortWay:
            arguments, result = method.arguments, method.result
            takes, gives = (arguments.decode, arguments.direct), (result.encode, result.exact, result.encode_wire)
            return method, handler, is_coroutine_function(handler), *takes, *gives

        return [
            short_way(method, handler)
            if is_plain and not rules and not method.result.carries_attachments and self.wrap is None
            else None
            for method, handler, rules, is_plain in self.methods
        ]

    def _session(self) -> ServerSession:
        return ServerSession(
            self._hello,
            self._schema.text,
            methods=len(self.methods),
            held_frames=self.limits.calls_in_flight,
            held_bytes=max(self.limits.message_bytes, self.limits.outbound_bytes),
            carries_attachments=self._schema.carries_attachments,
        )

    # ------------------------------------------------------------ the turn

    def pump(self) -> Suspended | int:
        """Serve for a turn.

        Returns:
            A call whose handler waits: the caller awaits it, and lets another task pump meanwhile. TURN: the time is
            up, and there is more to do. IDLE: nothing to do until `epoll` is readable.
        """
        clients = self.clients
        clients.is_pumped = True
        try:
            return self._pump()
        finally:
            clients.is_pumped = False
            clients.tell_noted()

    def _pump(self) -> Suspended | int:
        end = perf_counter() + TURN_SECONDS
        if len(self.answers.latencies.gathered) >= GATHERED:
            self.answers.latencies.count_gathered()
        clients = self.clients
        ready = clients.ready
        record = self.answers.latencies.record
        while True:
            # Not while some are left of whom epoll has told: a turn has ended among them, and it would tell once more.
            outcome = None if ready else self._look(end)
            if outcome is not None:
                clients.is_idle = clients.is_idle or outcome == IDLE
                return outcome
            now = perf_counter()
            while ready:
                connection = ready.popleft()
                connection.queued = False
                if connection.closed or (connection.outbound and connection.congested):
                    continue  # a congested one comes round again once it has read
                began = now
                outcome = self._take(connection) if connection.unread else self._round(connection)
                now = perf_counter()
                if outcome is None:
                    record(now - began)
                elif isinstance(outcome, Suspended):
                    outcome.began = outcome.began or began
                    return outcome
                if now > end:
                    return TURN
            if clients.accept_due:
                # After what the clients there have said: one of them may have left, and its place is free.
                clients.accept()
            if perf_counter() > end:
                return TURN

    def _look(self, end: float) -> Suspended | int | None:
        """See who has sent something, and who is next of those which have more.

        Returns:
            None if something has happened. Otherwise what `pump` returns then: IDLE, as a rule; but the short way has
            served who needs no more than that.
        """
        clients = self.clients
        ready, more, connections = clients.ready, clients.more, clients.connections
        if self.alone is not None and not more:
            return self.alone.serve(end)
        events = clients.epoll.poll(0, EVENTS_A_POLL)
        if not events and not more:
            events = self._wait_a_moment()
        for fd, mask in events:
            connection = connections.get(fd)
            if mask != lowlevel.EPOLLIN or connection is None:
                clients.happened(fd, mask)
            elif not connection.queued:  # what it has sent before is taken first
                connection.queued = connection.unread = True
                ready.append(connection)
        if more:
            ready.append(more.popleft())  # one a round, so that who comes meanwhile does not wait for them all
            return None
        return None if events else IDLE

    def moment_seconds(self) -> float:
        """For how long to poll for the next call, as there is none; below 0: for how long to sleep for it; 0: neither.

        Who polls or sleeps tells the spinner or the dozer what has become of it. As `_wait_a_moment` does.
        """
        spinner = self.spinner
        if spinner is None or self.answers.counts.in_flight or not self.clients.connections:
            return 0.0
        return spinner.begin() or (-DOZE_SECONDS if self.dozer.begin() else 0.0)

    def _wait_a_moment(self) -> list[tuple[int, int]]:
        """Wait for the next call, where it comes sooner than a trip through trio takes; poll first, if that pays."""
        spinner = self.spinner
        if spinner is None or self.answers.counts.in_flight or not self.clients.connections:
            return []
        if spinner.sits_out:
            spinner.wait(self._poll)  # counts as one that it sits out
            return self.dozer.wait(self._doze) or []
        return spinner.wait(self._poll) or []

    def _poll_now(self) -> list[tuple[int, int]]:
        return self.clients.epoll.poll(0)

    def take_unread(self, connection: Connection) -> Suspended | int | None:
        """Read a client that has sent something, and take it.

        Returns:
            As `_begin`.
        """
        data = self.clients.receive(connection)
        return self.take_data(connection, data) if data else UNTIMED

    def take_data(self, connection: Connection, data: bytes) -> Suspended | int | None:
        """Take what a client has sent. As `take_unread`, once it has been read."""
        self.clients.rouse(connection)
        session = connection.session
        is_quiet = connection.greeted and connection.slow is None and not connection.postponed
        frame = session.only_call(data) if is_quiet else None
        if frame is None:
            session.feed(data)
            return self._round(connection)
        try:
            outcome = self.begin(connection, frame)
        except IPCError as error:
            self.clients.refuse(connection, fault_of(error))
            return UNTIMED
        self.clients.flush(connection)
        self._find_rest(connection)
        return outcome

    def _find_rest(self, connection: Connection) -> None:
        """Note whether a connection is at rest, for the short way. It is not read, and its answers have been sent."""
        if self.alone is None or connection.is_at_rest or not connection.greeted:
            return
        session = connection.session
        waits = connection.calls or connection.outbound or connection.postponed or connection.queued or session.held
        closes = connection.closed or session.said_goodbye
        owes = connection.slow is not None or not session.reader.is_empty
        is_quiet = not waits and not closes and not owes and not self.clients.draining
        if session.is_direct and is_quiet:
            self.alone.rest(connection)
            connection.is_at_rest = True

    def _round(self, connection: Connection) -> Suspended | int:
        """Take up to 32 frames of one client, for 0.1 ms, and send what they were answered with."""
        try:
            outcome = self._take_frames(connection)
        except IPCError as error:
            self.clients.refuse(connection, fault_of(error))
            return UNTIMED
        if outcome != UNTIMED:
            self.clients.queue(connection)
        self.clients.flush(connection)
        if isinstance(outcome, Suspended):
            return outcome
        session = connection.session
        if connection.slow is not None or session.unfinished:
            self.clients.watch(connection)
        if session.said_goodbye:
            self.clients.drop_if_finished(connection)
        self._find_rest(connection)
        return UNTIMED

    def _take_frames(self, connection: Connection) -> Suspended | int:
        """Take what is there, as far as a round goes.

        Returns:
            The call whose handler waits; TURN if the round has ended before what is there; UNTIMED if nothing is left.
        """
        now = perf_counter()
        end = now + ROUND_SECONDS
        left = FRAMES_A_ROUND
        if self.alone is not None and self._has_plain_calls(connection):
            taken, outcome = self.alone.take_calls(connection, left, end)
            if taken and connection.slow is not None:
                connection.progress()
            if outcome is not None:
                return outcome
            left -= taken
            now = perf_counter()
        session = connection.session
        record = self.answers.latencies.record
        for _ in range(left):
            is_held = connection.postponed or connection.paused
            frame = self._next_frame(connection) if is_held else session.next_event()
            if not connection.greeted and session.outgoing:
                # Before a call is run: a client that has not seen the hello knows that none of its calls was.
                connection.greeted = True
                self.clients.flush(connection)
            if frame is None:
                return UNTIMED
            if connection.slow is not None:
                connection.progress()
            outcome = self.begin(connection, frame) if frame[0] == CALL else self._take_other(connection, frame, end)
            if outcome is None:
                began, now = now, perf_counter()
                record(now - began)
            elif isinstance(outcome, Suspended):
                outcome.began = now
                return outcome
            else:
                now = perf_counter()
            if now > end:
                break
        return TURN

    def _has_plain_calls(self, connection: Connection) -> bool:
        """Whether what has come is calls, as a rule, and nothing that the client has sent waits before them."""
        session = connection.session
        waits = connection.postponed or connection.paused or session.held
        ends = session.said_goodbye or self.clients.draining or connection.closed
        return session.is_direct and connection.greeted and not waits and not ends

    def _next_frame(self, connection: Connection) -> Frame | None:
        if connection.postponed:
            most = self.limits.calls_in_flight
            if len(connection.calls) < most:
                return connection.postponed.popleft()
            if len(connection.postponed) >= most:
                self.clients.pause(connection)
                return None
        if connection.paused:
            self.clients.resume(connection)
        return connection.session.next_event()

    # ------------------------------------------------------------ calls

    def begin(self, connection: Connection, frame: Frame) -> Suspended | int | None:
        """Run the handler of a call.

        Returns:
            None if it has ended, and was answered. The call, if the handler waits. UNTIMED where no handler was run,
            or one that makes a stream.
        """
        _kind, flags, index, id_, body = frame
        method, handler, rules, is_plain = self.methods[index]
        known = None if flags else connection.contexts.get(index) or self.known(connection, index)
        deadline = None
        active: ActiveCall | None = None
        if flags:
            flagged = self._read_flags(connection, frame, method)
            if flagged is None:
                return UNTIMED
            method, id_, deadline, headers, body = flagged
            active = ActiveCall(method.name, connection.peer, deadline, headers, self.interface)
        self.answers.counts.calls += 1
        if flags or rules or not id_ or connection.calls or self.clients.draining:
            refusal = self._refusal(connection, id_, deadline, method, rules)
            if refusal is not None:
                self.answers.add_fault(connection, id_, refusal, is_json=method.is_json)
                return UNTIMED
        streams = None
        try:
            if is_plain and type(body) is bytes:
                args, kwargs = method.arguments.decode(body)
            else:
                streams = self._streams_of(connection, id_, method, is_plain=is_plain)
                args, kwargs = streams.arguments(body)
                handler = streams.around(handler)
        except InvalidMessage as error:
            self.answers.add_fault(connection, id_, fault_of(error), is_json=method.is_json)
            return UNTIMED
        if self.wrap is not None:
            handler = self.wrap(handler)
        context = (known or connection.context).copy()
        try:
            coroutine, first = context.run(self._step, handler, args, kwargs, active)
        except Exception as error:  # whatever a handler raises is its caller's
            self.answers.add_error(connection, id_, method, error)
            return UNTIMED if method.is_stream else None
        if coroutine is None:
            self.answers.add_result(connection, id_, method, first)
            return UNTIMED if method.is_stream else None
        suspended = Suspended(
            connection, id_, method, deadline, context, coroutine, first, flags=flags, streams=streams
        )
        self.answers.enter(suspended)
        return suspended

    def _streams_of(
        self,
        connection: Connection,
        id: int,  # noqa: A002
        method: Method,
        *,
        is_plain: bool,
    ) -> CallStreams:
        if is_plain:
            raise InvalidMessage(f"{method.where}: descriptors have come, and it takes none")
        return self._open_streams(connection, id, method, self.limits, self.clients.flush)

    def known(self, connection: Connection, index: int) -> Context:
        """Make the context which is copied for each call of a method that brings nothing along."""
        active = ActiveCall(self.methods[index][0].name, connection.peer, None, {}, self.interface, is_shared=True)
        context = connection.contexts[index] = connection.context.copy()
        context.run(active_call.set, active)
        return context

    def _read_flags(
        self, connection: Connection, frame: Frame, method: Method
    ) -> tuple[Method, int, float | None, dict[str, str], bytes] | None:
        """Split off what flags announce; None if the call does not begin now, or is refused, which has been answered.

        Returns:
            The method, as the call speaks to it; its id; its deadline; its headers; its arguments.
        """
        _kind, flags, _index, id_, body = frame
        if flags & ONE_WAY_FLAG:
            if self._postpone(connection, frame):
                return None
            id_ = connection.one_way_id()
        deadline, headers, body = split_flags(flags, body)
        if flags & JSON_FLAG:
            in_json = self._in_json(connection, id_, method)
            if in_json is None:
                return None
            method = in_json
        return method, id_, deadline, headers, body

    def _in_json(self, connection: Connection, id: int, method: Method) -> Method | None:  # noqa: A002
        """The method for a caller that speaks JSON; None if it cannot be had in JSON, which has been answered."""
        self._check_id(connection, id)
        try:
            return method.in_json
        except InvalidMessage as error:
            self.answers.counts.calls += 1
            fault = fault_of(InvalidMessage(f"{method.where} cannot be called in JSON: {error}"))
            self.answers.add_fault(connection, id, fault, is_json=True)
            return None

    def _answer_reserved(self, connection: Connection, frame: Frame) -> None:
        """Answer what every service does, also before BIND and while it drains."""
        _kind, flags, number, id_, _body = frame
        if flags & ONE_WAY_FLAG:
            return
        self._check_id(connection, id_)
        is_json = bool(flags & JSON_FLAG)
        body = self._reserved.body(number, is_json=is_json)
        if len(body) > connection.session.their_message_bytes:
            self.answers.add_fault(
                connection, id_, too_large_fault(connection, f"method {number}", body), is_json=is_json
            )
            return
        connection.session.reply(id_, body)

    def _check_id(self, connection: Connection, id: int) -> None:  # noqa: A002
        if id == 0 or id in connection.calls:
            raise ProtocolError(f"call id {id} is reserved or still in use")

    def _refusal(
        self,
        connection: Connection,
        id: int,  # noqa: A002
        deadline: float | None,
        method: Method,
        rules: tuple[Allow, ...],
    ) -> Fault | None:
        if self.clients.draining and id > 0:  # whoever has sent a one-way call believes it to be run
            return fault_of(NoServer("not run: the service is shutting down"))
        if deadline is not None and monotonic() >= deadline:
            return deadline_fault()
        if id == 0 or id in connection.calls:
            self._check_id(connection, id)
        if len(connection.calls) >= self.limits.calls_in_flight:
            return fault_of(
                LimitReached(f"{self.limits.calls_in_flight} calls of this connection are in flight already")
            )
        for rule in rules:
            if not permits(rule, connection.peer):
                return fault_of(NotAllowed(f"not for user {connection.peer.uid}"))
        return None

    def _postpone(self, connection: Connection, frame: Frame) -> bool:
        """Keep a one-way call until another has ended: it was accepted, and nobody could be told otherwise."""
        if len(connection.calls) < self.limits.calls_in_flight:
            return False
        connection.postponed.append(frame)
        return True

    def _take_other(self, connection: Connection, frame: Frame, end: float) -> Suspended | int:
        kind = frame[0]
        if kind == CALLS:
            connection.run = self._together.open(connection, frame)
            return self._together.go_on(connection, connection.run, end)
        if kind == GOING_ON:
            assert connection.run is not None
            return self._together.go_on(connection, connection.run, end)
        if kind == ASKED:
            self._answer_reserved(connection, frame)
        else:
            self._of_a_call(connection, frame)
        return UNTIMED

    def _of_a_call(self, connection: Connection, frame: Frame) -> None:
        """Hand what belongs to a call to it; one that is over needs it no more."""
        kind, _flags, number, id_, body = frame
        call = connection.calls.get(id_)
        if call is None:
            return
        if kind == CANCEL:
            call.request_cancel()
            return
        if call.streams is None:
            raise ProtocolError(f"{call.method.where} has no streams, and a frame of one came")
        if kind == ITEM:
            call.streams.arrived(number, body)
        elif kind == END:
            call.streams.ended(number)
        else:
            call.streams.credited(body)

    # ------------------------------------------------------------ what can be asked

    @property
    def busy(self) -> bool:
        """Whether a call has been sent and not ended, or an answer waits to be sent."""
        if self.answers.counts.in_flight or not self.clients.is_idle:
            return True
        return any(c.outbound or c.postponed for c in self.clients.connections.values())

    def catch_up(self) -> None:
        """Be busy until all has been taken that the clients have sent: one-way calls, which nobody sends again."""
        self.clients.wake()

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
        counts, clients, alone = self.answers.counts, self.clients, self.alone
        return ServiceStatistics(
            clients=len(clients.connections),
            calls=counts.calls + (alone.calls if alone else 0),
            errors=counts.errors,
            in_flight=counts.in_flight,
            bytes_received=clients.bytes_received + (alone.bytes_received if alone else 0),
            bytes_sent=clients.bytes_sent + (alone.bytes_sent if alone else 0),
            latency_p50_seconds=self.answers.latencies.quantile(0.5),
            latency_p99_seconds=self.answers.latencies.quantile(0.99),
            latency_max_seconds=self.answers.latencies.quantile(1.0),
        )


def deadline_fault() -> Fault:
    """The answer to a call whose deadline has passed."""
    return Fault(DEADLINE, "its deadline has passed")
