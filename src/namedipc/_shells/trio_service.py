"""The tasks around the service loop: one holds the I/O role and pumps, the others finish handlers that wait.

A worker which meets a waiting handler hands the role to a parked worker (or a new one), becomes that handler's task,
answers, and parks. Only this module lets the service loop touch trio.
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final, cast, final

import trio

from .. import _names, lowlevel
from .._faults import CANCELLED, REMOTE, Fault
from .._statistics import ServiceStatistics
from .._values import Peer
from .handover import handing_over
from .outcomes import IDLE
from .service_loop import ServiceLoop, deadline_fault
from .suspended import Handler, Suspended, begin_handler, begin_in_context, twin_of
from .trio_errors import without_cancelled
from .trio_waiting import carry_out
from .unnamed import Ownership
from .woken import WOKEN

log = logging.getLogger(__name__)

MOST_PARKED: Final = 64
_FOREVER: Final = float("inf")
_STRAY: Final = Fault(
    REMOTE,
    "the handler was hit by the cancellation of a scope that is not around it; an async generator which yields inside "
    "of a cancel scope or a nursery does that: make it with trio.as_safe_channel",
    "Cancelled",
)
begin_unprotected: Final = trio.lowlevel.disable_ki_protection(begin_handler)
begin_in_context_unprotected: Final = trio.lowlevel.disable_ki_protection(begin_in_context)


def unprotected(handler: Handler) -> Handler:
    """Return a handler that lets KeyboardInterrupt through, whoever calls it; where it is no `async def`, itself."""
    twin = twin_of(handler)
    if twin is not handler:
        trio.lowlevel.disable_ki_protection(cast("Any", twin))
    return twin


@final
class Server:
    """A service that is being served, in trio. Leaving its `async with` drains it and removes the name."""

    def __init__(self, claim: Ownership, loop: ServiceLoop, drain_seconds: float) -> None:
        self._claim = claim
        self._loop = loop
        self._drain_seconds = drain_seconds
        self._tasks: trio.Nursery | None = None
        self._parked: deque[trio.lowlevel.Task] = deque()
        self._janitor: trio.lowlevel.Task | None = None
        self._next_look = _FOREVER
        self._closed = trio.Event()
        self._settled = trio.Event()
        self.failure: BaseException | None = None

    @property
    def path(self) -> Path:
        """The absolute path of the name."""
        return Path(self._claim.path)

    def peers(self) -> Sequence[Peer]:
        """Return who is connected now."""
        return self._loop.peers()

    def statistics(self) -> ServiceStatistics:
        """Return what the service has done since it began."""
        return self._loop.statistics()

    async def wait_closed(self) -> None:
        """Wait until the service has ended. Cancelling leaves it as it is."""
        await self._closed.wait()

    async def run_until_signal(self, *signals: signal.Signals) -> None:
        """Wait for one of these signals (SIGTERM and SIGINT if none is given), then drain.

        Must run in the main thread, as Python's signal handlers do. A second signal cuts the grace short.

        Cancellation: the signals keep their former meaning, and the service goes on.
        """
        with trio.open_signal_receiver(*(signals or (signal.SIGTERM, signal.SIGINT))) as received:
            await self._drain_upon(received)

    async def _drain_upon(self, received: AsyncIterator[int]) -> None:
        """Drain once a signal has been received; a second one cuts the grace short."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_waiting_once_closed, nursery.cancel_scope)
            async for _ in received:
                break
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hurry, received, nursery.cancel_scope)
            await self.drain()
            nursery.cancel_scope.cancel()

    async def _stop_waiting_once_closed(self, scope: trio.CancelScope) -> None:
        await self.wait_closed()  # another process has taken the name over
        scope.cancel()

    async def _hurry(self, received: AsyncIterator[int], scope: trio.CancelScope) -> None:
        async for _ in received:
            self._loop.cancel_all()
            scope.cancel()
            return

    async def drain(self, *, grace_seconds: float | None = None) -> None:
        """End the service in order: no new calls, those in flight finish, clients are told.

        The name is given up at once, so that a successor can take it. Calls that have not ended within the grace
        time are cancelled.

        Args:
            grace_seconds: For the calls in flight; the `drain_seconds` of `serve` if not given.

        Cancellation: the calls in flight are cancelled, and the service ends.
        """
        await trio.lowlevel.checkpoint()
        if self._closed.is_set():
            return
        self._loop.clients.stop_accepting()
        if isinstance(self._claim, _names.Claim) and not self._claim.closed:
            trio.lowlevel.notify_closing(self._claim.handover)
        self._claim.close()
        self._loop.catch_up()
        try:
            with trio.move_on_after(self._drain_seconds if grace_seconds is None else grace_seconds):
                await self._until_settled()
            self._loop.cancel_all()
            with trio.move_on_after(1):
                await self._until_settled()
        finally:
            self.stop()

    async def _until_settled(self) -> None:
        # A drain that was cut short has ended the tasks, and nobody settles their calls any more.
        while self._loop.busy and not self._closed.is_set():
            self._settled = trio.Event()
            with trio.move_on_after(0.05):  # answers that a client reads slowly leave without an event
                await self._settled.wait()

    def _adopt(self, socket: lowlevel.Socket) -> None:
        self._loop.clients.adopt(socket)

    # ------------------------------------------------------------ the tasks

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        """Run the tasks until `stop`. They have a nursery of their own, so that draining never cancels the body."""
        try:
            async with trio.open_nursery() as self._tasks:
                self._tasks.start_soon(self._work)
                self._tasks.start_soon(self._keep_time)
                self._tasks.start_soon(self._hand_over)
                task_status.started()
        finally:
            self._loop.clients.close()
            self._claim.close()
            self._closed.set()

    def stop(self) -> None:
        """End the tasks, and with them every connection."""
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _work(self) -> None:
        """Hold the I/O role; finish handlers that wait; park. One of these runs from the beginning."""
        try:
            while True:
                await self._lead_and_finish()
                if not await self._take_role():
                    return
        except trio.Cancelled:
            raise
        except BaseException as error:
            # Not a handler's Exception: those are answered. What is left (KeyboardInterrupt and SystemExit, also of a
            # handler) ends the service, and comes out of the `with`.
            self.failure = error
            raise

    async def _lead_and_finish(self) -> None:
        task = trio.lowlevel.current_task()
        own_context = task.context
        call: Suspended | None = None
        scope = trio.CancelScope()
        try:
            with scope:
                call = await self._lead()
                self._become(call, scope)
                task.context = call.context
                result = await call
                if self._loop.answers.settle(call):
                    self._loop.answers.answer(call, result)
        except trio.Cancelled:
            if call is None or scope.cancel_called or trio.current_effective_deadline() == -_FOREVER:
                raise
            # Of a cancel scope that nobody here is in: an async generator was left in the middle of one.
            if self._loop.answers.settle(call):
                self._loop.answers.answer_fault(call, _STRAY)
        except Exception as error:
            # Outside of the scope, so that a group of Cancelled and something else has become the something else.
            if call is None or not self._loop.answers.settle(call):
                raise
            self._loop.answers.answer_call_error(call, error)
        finally:
            task.context = own_context
        if call is not None and self._loop.answers.settle(call):
            self._loop.answers.answer_fault(call, self._why_stopped(call))
        if self._loop.clients.draining:
            self._settled.set()

    async def _lead(self) -> Suspended:
        """Pump until a handler waits."""
        loop = self._loop
        clients = loop.clients
        while True:
            step = loop.pump()
            if type(step) is Suspended:
                return step
            if clients.watched or clients.accept_again != _FOREVER:
                self._wake_janitor(clients.accept_again)
            if step == IDLE:
                if clients.draining:
                    self._settled.set()
                await trio.lowlevel.wait_readable(clients.epoll)
            else:
                await trio.lowlevel.checkpoint()

    def _become(self, call: Suspended, scope: trio.CancelScope) -> None:
        """Hand the role on: this task is the handler's from here."""
        call.cancel = scope.cancel
        if call.cancelled:
            scope.cancel()
        if call.deadline is not None:
            scope.deadline = trio.current_time() + (call.deadline - monotonic())
        if self._parked:
            trio.lowlevel.reschedule(self._parked.popleft(), WOKEN)
        else:
            assert self._tasks is not None
            self._tasks.start_soon(self._work)

    def _why_stopped(self, call: Suspended) -> Fault:
        if not call.cancelled and call.deadline is not None and monotonic() >= call.deadline:
            return deadline_fault()
        return Fault(CANCELLED, "the call was cancelled")

    async def _take_role(self) -> bool:
        """Park until the role comes round; False if enough are parked already."""
        if len(self._parked) >= MOST_PARKED:
            return False
        task = trio.lowlevel.current_task()
        self._parked.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        return True

    # ------------------------------------------------------------ the successor

    @trio.lowlevel.enable_ki_protection
    async def _hand_over(self) -> None:
        """Hand the name over to a process that asks for it, and end in order."""
        claim, clients = self._claim, self._loop.clients
        if not isinstance(claim, _names.Claim):
            return  # who has no name has nothing to hand over
        with suppress(trio.ClosedResourceError):  # drained meanwhile
            if await carry_out(handing_over(claim, clients.pause_accepting, clients.resume_accepting)):
                await self.drain()

    # ------------------------------------------------------------ time

    def _wake_janitor(self, accept_again: float) -> None:
        """Have it look, if it sleeps without a timer, or for longer than until connections are accepted again."""
        if self._janitor is not None and (self._next_look == _FOREVER or accept_again < self._next_look):
            task, self._janitor = self._janitor, None
            trio.lowlevel.reschedule(task, WOKEN)

    async def _keep_time(self) -> None:
        """Drop clients which are too slow. Sleeps without a timer while none owes anything."""
        while True:
            seconds = self._loop.clients.expire()
            if seconds is None:
                self._next_look = _FOREVER
                await self._until_woken()
                continue
            seconds = min(1.0, seconds)
            self._next_look = monotonic() + seconds
            with trio.move_on_after(seconds):
                await self._until_woken()

    async def _until_woken(self) -> None:
        self._janitor = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._janitor = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)


@asynccontextmanager
async def serving(claim: Ownership, loop: ServiceLoop, drain_seconds: float) -> AsyncIterator[Server]:
    """Serve while the body runs; then drain, and remove the name. No error of the body comes out in a group."""
    server = Server(claim, loop, drain_seconds)
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            try:
                yield server
            except BaseException as error:  # raised again below, outside of the nursery
                body_error = error
            else:
                await server.drain()
            server.stop()
            await server.wait_closed()
    except BaseException:
        if server.failure is None and body_error is None:
            raise
    finally:
        loop.clients.close()
        claim.close()
    if server.failure is not None and (body_error is None or without_cancelled(body_error) is None):
        raise server.failure
    if body_error is not None:
        raise body_error
