"""Calls that came together in one frame: their handlers are run one after the other, and answered by as few frames.

The law: whatever speaks against it, such as streams, rules or a deadline that passes, has them run as if each had come
in a frame of its own. What they are, and what gathers their results, is in `service_runs`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from .._errors import ProtocolError
from .._faults import unpack_headers
from .._methods import Method
from .._protocol.attachments import replaced
from .._protocol.frames import Frame, split_deadline, split_headers
from .._protocol.session import ServerSession
from .outcomes import UNTIMED
from .service_clients import Connection
from .service_runs import Results, Run
from .suspended import ActiveCall, Handler, Suspended, active_call, is_coroutine_function

if TYPE_CHECKING:
    from .service_loop import ServiceLoop

Begun: TypeAlias = tuple[Context, Any, object]
"""A call whose handler waits: its context, the rest of its coroutine, and what it waits for."""


class CallsTogether:
    """The calls of one service which came together.

    Args:
        loop: Runs what goes the way of a call by itself.
        step: Runs the first step of a handler whose context knows its call already.
    """

    def __init__(self, loop: ServiceLoop, step: Callable[..., tuple[Any, object]]) -> None:
        self._loop = loop
        self._step = step

    def open(self, connection: Connection, frame: Frame) -> Run:
        """Take in a frame of them. ProtocolError if it is none."""
        _kind, flags, index, _first, body = frame
        deadline, headers, arguments = split_flags(flags, body)
        run = Run(frame, arguments, deadline, headers, most=self._loop.limits.calls_in_flight)
        if not connection.calls.keys().isdisjoint(run.ids):
            raise ProtocolError(f"calls came together whose ids from {run.first} on are still in use")
        method, _handler, rules, is_plain = self._loop.methods[index]
        if is_plain and not rules and not method.result.carries_attachments:
            run.decode(method.arguments)
        return run

    def go_on(self, connection: Connection, run: Run, end: float) -> Suspended | int:
        """Begin the calls of a run, until the time is up or a handler waits."""
        is_easy = run.rows and len(connection.calls) < self._loop.limits.calls_in_flight
        outcome = self._run_together(connection, run, end) if is_easy else self._run_each(connection, run, end)
        if run.is_over:
            connection.run = None
        else:
            connection.session.go_on()
        return outcome

    def _run_each(self, connection: Connection, run: Run, end: float) -> Suspended | int:
        """Begin them as if each had come in a frame of its own."""
        now = perf_counter()
        while not run.is_over:
            frame = run.next_frame()
            connection.session.last_id = frame[3]
            outcome = self._loop.begin(connection, frame)
            if isinstance(outcome, Suspended):
                return outcome
            began, now = now, perf_counter()
            if outcome is None:
                self._loop.answers.latencies.record(now - began)
            if now > end:
                break
        return UNTIMED

    def _run_together(self, connection: Connection, run: Run, end: float) -> Suspended | int:
        """Begin those whose arguments were decoded together; what ends at once is answered together."""
        method, handler, _rules, _is_plain = self._loop.methods[run.index]
        session, deadline = connection.session, run.deadline
        clients, answers = self._loop.clients, self._loop.answers
        alone = self._loop.alone if self._loop.wrap is None and is_coroutine_function(handler) else None
        begin_some = self._begin_some if alone is None else alone.begin_some
        results = Results(session, method.result, partial(answers.add_result, connection, method=method))
        active, context = self._context_of_run(connection, run, method)
        while not run.is_over:
            if clients.draining or (deadline is not None and monotonic() >= deadline):
                results.send(session.last_id)
                active.inline = False
                return self._run_each(connection, run, end)  # they are refused
            begun = begin_some(session, run, handler, context, active, results.values, results.most, end)
            id_ = session.last_id
            if begun is None:
                if len(results.values) >= results.most:
                    results.encode(id_)
            elif isinstance(begun, Exception):
                results.send(id_ - 1)
                answers.add_error(connection, id_, method, begun)
            else:
                results.send(id_ - 1)
                active.inline = False
                own_context, coroutine, waits_for = begun
                suspended = Suspended(connection, id_, method, deadline, own_context, coroutine, waits_for)
                answers.enter(suspended)
                return suspended
            if active.headers:  # they are this call's own
                active.inline = False
                active, context = self._context_of_run(connection, run, method)
            if perf_counter() > end:
                break
        active.inline = False
        results.send(session.last_id)
        return UNTIMED

    def _begin_some(
        self,
        session: ServerSession,
        run: Run,
        handler: Handler,
        context: Context,
        active: ActiveCall,
        values: list[object],
        most: int,
        end: float,
    ) -> Begun | Exception | None:
        """Begin calls of a run until there are `most` values, the time is up, or something is to be done about one.

        Args:
            session: Of the client.
            run: The calls, whose arguments were decoded together.
            handler: What answers each.
            context: Is copied for each.
            active: What can be asked of them; a handler that changes its headers is the last.
            values: Get what they return.
            most: How many values there may be, at least one more than there are.
            end: Of the turn.

        Returns:
            What the last one waits for, or has raised, if it has not returned; its id is the session's last.
        """
        clients, answers, wrap = self._loop.clients, self._loop.answers, self._loop.wrap
        counts, record, step = answers.counts, answers.latencies.record, self._step
        deadline = run.deadline
        now = perf_counter()
        for at in range(run.at, min(run.count, run.at + most - len(values))):
            session.last_id = run.first + at
            run.at = at + 1
            counts.calls += 1
            own_context = context.copy()
            try:
                coroutine, value = own_context.run(step, handler if wrap is None else wrap(handler), run.rows[at])
            except Exception as error:  # whatever a handler raises is its caller's
                record(perf_counter() - now + run.decoding_seconds)
                return error
            if coroutine is not None:
                return own_context, coroutine, value
            values.append(value)
            began, now = now, perf_counter()
            record(now - began + run.decoding_seconds)
            if now > end or active.headers or clients.draining or (deadline is not None and monotonic() >= deadline):
                break
        return None

    def _context_of_run(self, connection: Connection, run: Run, method: Method) -> tuple[ActiveCall, Context]:
        """What can be asked of calls that came together, and the context that is copied for each."""
        active = ActiveCall(method.name, connection.peer, run.deadline, run.headers.copy(), self._loop.interface)
        context = connection.context.copy()
        context.run(active_call.set, active)
        return active, context


def split_flags(flags: int, body: bytes) -> tuple[float | None, dict[str, str], bytes]:
    """Return the deadline and the headers which flags announce, and what is left of a body: the arguments."""
    deadline, rest = split_deadline(flags, body)
    packed, rest = split_headers(flags, rest)
    return deadline, unpack_headers(packed) if packed else {}, replaced(body, rest)
