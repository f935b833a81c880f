"""The trio client of a service: no background reader. Whoever waits for an answer reads for all.

One of the tasks with a call in flight is the reader; the others are parked, and it resolves them as their answers
arrive. When its own has come it hands the role to the next. The laws: a call is entered before it is sent; a call that
is given up is withdrawn while its first byte has not left, and cancelled at the server afterwards; what a full socket
does not take is written on by a flusher, never by a caller.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic, perf_counter
from typing import Final, TypeAlias

import trio

from .. import lowlevel
from .._errors import ConnectionLost, IPCError, LimitReached
from .._faults import DEADLINE, code_of
from .._protocol.attachments import close_frame, close_parcel, is_homeless
from .._protocol.calls import LOST, WAITING, ClientSession, NotRun, Waiter
from .._protocol.frames import CANCEL, END, ERROR, ITEM, REPLY, pack_frame
from .._protocol.series import Series
from .._values import Peer
from . import trio_errors
from .client_link import EOF, OUTBOUND_BYTES, Called, ClientLink, Flight, OpenCall
from .compiled import compiled
from .departures import send_frame
from .in_child import forget_in_child
from .large_frames import READ_BYTES, bytes_to_read, keep_room
from .polling import Dozer, Spinner
from .suspended import active_call
from .woken import WOKEN

CHECKPOINT_SECONDS: Final = 0.001
"""A task whose calls never have to wait still lets the others run this often."""
FEW_CALLS: Final = 4
"""To wait until others of the same turn have called, too, costs as much as so many sends."""

_receive: Final[Callable[[int], bytes | None] | None] = compiled("stream_poll", "receive_now")
_poll_stream: Final[Callable[[int, Spinner, Dozer | None], bytes | None] | None] = compiled(
    "stream_poll", "receive_soon"
)
_FOREVER: Final = float("inf")
_Waiter: TypeAlias = Waiter[trio.lowlevel.Task]  # not to be called: that takes longer than all of `begin`


def _unpark(waiter: _Waiter, _: object) -> trio.lowlevel.Abort:
    """The task is cancelled: nobody may reschedule it a second time."""
    waiter.sleeper = None
    return trio.lowlevel.Abort.SUCCEEDED


def _parked(waiter: _Waiter) -> Awaitable[object]:
    """Have this task woken once its waiter is resolved, or reads for all; to be awaited at once."""
    waiter.sleeper = trio.lowlevel.current_task()
    return trio.lowlevel.wait_task_rescheduled(partial(_unpark, waiter))


class TrioCall(OpenCall["TrioClientLink", trio.lowlevel.Task]):
    """A call with streams that has begun."""

    __slots__ = ()


class TrioClientLink(ClientLink[trio.lowlevel.Task]):
    """One connection to a service, shared by any number of tasks. Owns the socket."""

    def __init__(
        self,
        where: str,
        socket: lowlevel.Socket,
        peer: Peer,
        session: ClientSession[trio.lowlevel.Task],
        *,
        spin: bool,
    ) -> None:
        super().__init__(where, socket, peer, session, spin=spin)
        self._outbound: list[bytes | memoryview] = []
        self._begun = False  # whether the first of _outbound has been sent in part
        self._come_together = False  # whether the last read was the answer to more than a few calls
        self._gathers = False  # whether a task will write what is in _outbound
        self._flusher: trio.CancelScope | None = None
        self._drained = trio.Event()
        self._is_broken = False
        self._token = trio.lowlevel.current_trio_token()
        self._last_checkpoint = perf_counter()
        self._poll = lowlevel.poll_readable(socket.fileno())
        self._dozer = Dozer()
        # Under a MockClock a deadline says nothing that another process could use.
        self._real_time = type(trio.lowlevel.current_clock()).__name__ == "SystemClock"
        if self._payloads is not None:
            self._payloads.windows.when_due = self._note_due
            self._payloads.pool.when_released = partial(self.abandon, self._wake_greeters)
        self._write(self._take_outgoing())  # the hello: a client that is silent at first has said who it is
        forget_in_child(self)

    async def call(self, method: Called, body: bytes, flags: int = 0) -> bytes:
        """Send one call and return the body of its reply.

        Args:
            method: What is called.
            body: Its arguments, and before them what the flags say.
            flags: Of the frame.

        Cancellation: a call of which no byte has left is withdrawn; any other is cancelled at the server. The
        connection stays as it is for everybody else.
        """
        session = self._session
        if (
            not self._come_together  # else this task is sure to wait, and that is a checkpoint
            or self._closed
            or session.failure is not None
            or session.last_run is not None
            or len(body) > session.their_message_bytes
            or self._outbound_bytes > OUTBOUND_BYTES
        ):
            await self._prepare(method.where, body)
        deadline = self._wire_deadline()
        if deadline == -_FOREVER:
            await trio.lowlevel.checkpoint_if_cancelled()
        if type(body) is not bytes:
            body = await self._placed(method.where, body)
        waiter: _Waiter = Waiter(method.where)
        id_, frame = session.begin(waiter, method.index, body, deadline, flags)
        self._calls += 1
        try:
            if not self._come_together:
                self._write(frame)
            elif self._joins(frame):
                await self._gather()
            if self._reader is not None and waiter.kind == WAITING:  # `_until_resolved` would be one coroutine more
                await _parked(waiter)
            if waiter.kind == WAITING:
                await self._until_resolved(waiter)
        finally:
            if self._reader is waiter:
                self._hand_on()
            if waiter.kind == WAITING:
                self._give_up(id_, frame)
        if waiter.kind != REPLY or perf_counter() - self._last_checkpoint > CHECKPOINT_SECONDS:
            return await self._outcome(waiter, method)
        return waiter.body

    async def call_one_way(self, method: Called, body: bytes, flags: int = 0) -> None:
        """Send a call that is not answered; return once the kernel has it.

        Raises:
            NotRun: The service has ended, or is about to.

        Cancellation: it is withdrawn if no byte of it has left, and sent to its end otherwise.
        """
        await self._prepare(method.where, body)
        if type(body) is not bytes:
            body = await self._placed(method.where, body)
        self._look()
        self._check_open()
        frame = self._session.one_way(method.index, body, None, flags)
        self._calls += 1
        self._write(frame)
        end = self._sent + self._outbound_bytes
        try:
            while self._outbound and self._sent < end:
                await self._drained.wait()
        except BaseException:
            self._withdraw(frame)
            raise
        if self._sent < end and (self._is_broken or self._session.failure is not None):
            await self._until_lost(method.where)
            raise NotRun(self._failure())
        await self._checkpoint_sometimes()

    async def call_each(self, series: Series) -> None:
        """Send many calls, as many at once as is their share, and take their results.

        The first call, in their order, that failed ends it: the others are cancelled, and its error is raised. Where
        that is NotRun none of those behind it was run either.

        Cancellation: all of them are cancelled at the server.
        """
        method = series.method
        await self._prepare(method.where, b"")
        await self._until_greeted(method.where)
        left = self._left(series)
        flight: Flight[trio.lowlevel.Task] = deque()
        try:
            while True:
                frames = self._begin_some(series, left, flight, self._wire_deadline())
                if frames:
                    self._write(frames)
                if not flight:
                    return
                if flight[0].kind == WAITING:
                    await self._until_resolved(flight[0])
                while flight and flight[0].kind != WAITING:
                    failed = series.take(flight[0])
                    if failed is not None:
                        await self._outcome(failed, method)
                    flight.popleft()
                    await self._checkpoint_sometimes()
        finally:
            cancels = b"".join(map(self._session.cancel_run, flight))
            if cancels and self._session.failure is None:
                self._write(cancels)

    # ------------------------------------------------------------ streams

    async def open_call(self, method: Called, body: bytes, flags: int = 0) -> TrioCall:
        """Begin a call with streams. Cancellation: it has not begun."""
        await self._prepare(method.where, body)
        if type(body) is not bytes:
            body = await self._placed(method.where, body)
        call = self._new_streamed(method)
        # A stream outlives the scope around one of its steps: only a call with one result has a deadline.
        deadline = None if method.is_stream else self._wire_deadline()
        id_, frame = self._session.begin(call, method.index, body, deadline, flags)
        self._calls += 1
        self._write(frame)
        return TrioCall(self, id_, call, method)

    async def feed(self, call: TrioCall, number: int, body: bytes) -> bool:
        """Send an item of a stream of requests once there is leave for it; False if the call is over.

        Cancellation: the item has not been sent.
        """
        feeding = call.waiter.feedings[number]
        await trio.lowlevel.checkpoint_if_cancelled()
        if len(body) > self._session.their_message_bytes:
            await self._check_size(call.method.where, body)
        if type(body) is not bytes:
            body = await self._placed(call.method.where, body)
        while feeding.kind != LOST and (not feeding.outflow.is_open or self._outbound_bytes > OUTBOUND_BYTES):
            if feeding.outflow.is_open:
                await self._drained.wait()
                continue
            feeding.kind = WAITING
            await self._until_resolved(feeding)
        if feeding.kind == LOST:
            return False
        self._write(self._session.item(call.id, feeding, body))
        await self._checkpoint_sometimes()
        return True

    def end_feed(self, call: TrioCall, number: int) -> None:
        """Say that a stream of requests has ended."""
        feeding = call.waiter.feedings[number]
        if feeding.kind != LOST and self._session.failure is None:
            self._write(self._session.end_stream(call.id, feeding))

    async def result(self, call: TrioCall) -> bytes:
        """Wait for the one result of a call. Cancellation: the call goes on, until it is given up."""
        await self._until_resolved(call.waiter)
        return await self._outcome(call.waiter, call.method)

    async def next_item(self, call: TrioCall) -> bytes | None:
        """Return the next item of a stream of results; None at its end. Cancellation: no item is lost."""
        waiter = call.waiter
        await trio.lowlevel.checkpoint_if_cancelled()  # a stream which is never silent can be left, too
        if waiter.kind == WAITING:
            await self._until_resolved(waiter)
        if waiter.kind == ITEM:
            body, credit = self._session.take_item(call.id, waiter)
            if credit is not None and self._session.failure is None and call.id in self._session.pending:
                self._write(credit)
            await self._checkpoint_sometimes()
            return body
        if waiter.kind == END:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return None
        return await self._outcome(waiter, call.method)

    def give_up(self, call: TrioCall) -> None:
        """Leave a call with streams: it is cancelled at the server, unless it is over. May be called twice."""
        if self._session.pending.get(call.id) is not call.waiter:
            return
        self._give_up(call.id, None)
        call.waiter.kind = END  # a reader that waits for it sees that with the next thing that comes: the answer
        self._wake(call.waiter)
        for feeding in call.waiter.feedings:
            feeding.kind = LOST
            self._wake(feeding)

    def ask_to_cancel(self, call: TrioCall) -> None:
        """Have a call with streams cancelled at the server; its caller gets the answer to that."""
        if self._session.pending.get(call.id) is call.waiter:
            self._write(pack_frame(CANCEL, id=call.id))

    def abandon(self, leave: Callable[[], object]) -> None:
        """Leave a call from a finalizer. That may run in any thread, and at any line: so in a turn of its own."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(leave, idempotent=True)

    # ------------------------------------------------------------ large payloads

    async def _placed(self, where: str, body: bytes) -> bytes:
        """Find a place for large payloads, once the service has let go of others. Cancellation: none is taken."""
        if not is_homeless(body):
            return body
        try:
            await self._until_greeted(where)
            placed = self._place(body, may_grow=False)
            if placed is None:
                self._look()
            while placed is None and (placed := self._place(body)) is None:
                await self._until_said(where)
                self._check_open()
        except BaseException:
            close_parcel(body)
            raise
        return placed

    def _wake_greeters(self) -> None:
        """There may be room: a call was taken back."""
        for waiter in self._session.answer_greeters():
            self._wake(waiter)

    def _note_due(self) -> None:
        """Nobody looks at a buffer of the service any more: from any thread, and at any line.

        The next call says so, if none is in flight for which the service may need it.
        """
        if self._session.pending:
            self.abandon(self._say_due)

    def _say_due(self) -> None:
        """Tell the service which of its buffers nobody looks at, and of those in which what comes next will be."""
        if self._payloads is None or not self._payloads.has_unsaid:
            return
        if not self._closed and self._session.failure is None:
            for frame in self._take_unsaid():
                self._write(frame)

    # ------------------------------------------------------------ before

    async def _prepare(self, where: str, body: bytes) -> None:
        """What every call begins with: raise what forbids it, and wait while too much waits to be sent."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if len(body) > self._session.their_message_bytes:
            await self._check_size(where, body)
        while self._outbound_bytes > OUTBOUND_BYTES:
            await self._drained.wait()
            self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise trio_errors.Closed(f"{self.where}: this client has been closed")
        self._check_session()

    async def _check_size(self, where: str, body: bytes) -> None:
        """The limit of the other side is known once it has said its hello; until then only a little may be sent."""
        await self._until_greeted(where)
        self._check_limit(where, body)

    async def _until_greeted(self, where: str) -> None:
        session = self._session
        if session.greeted:
            return
        await self._until_said(where)
        self._check_open()

    async def _until_said(self, where: str) -> None:
        """Until the service has said its hello, or its last word."""
        greeters = self._session.greeters
        greeter: _Waiter = Waiter(where)
        greeters.append(greeter)
        try:
            await self._until_resolved(greeter)
        finally:
            if greeter in greeters:
                greeters.remove(greeter)

    def _look(self) -> None:
        """Nobody reads an idle connection: see whether the service has said goodbye."""
        if self._reader is None:
            data = self._receive_now()
            if data is not None:
                self._take(data)

    async def _until_lost(self, where: str) -> None:
        """What was written has gone nowhere: take what the service has said last, to its end."""
        while self._session.failure is None:
            await self._until_said(where)

    def _wire_deadline(self) -> float | None:
        """The deadline as CLOCK_MONOTONIC has it, for the server; None without one, or where time is virtual.

        That of a task which has been cancelled is minus infinity.
        """
        deadline = trio.current_effective_deadline()
        handled = active_call.get(None)
        # A handler that has not waited yet runs outside of its call's cancel scope: its deadline is looked up.
        outer = handled.deadline if handled is not None and handled.inline else None
        if deadline == _FOREVER or not self._real_time:
            return outer if deadline != -_FOREVER else deadline
        mine = monotonic() + (deadline - trio.current_time())
        return mine if outer is None else min(mine, outer)

    # ------------------------------------------------------------ waiting

    async def _until_resolved(self, waiter: _Waiter) -> None:
        if self._reader is None:
            self._reader = waiter
        try:
            while waiter.kind == WAITING:
                if self._reader is waiter:
                    await self._lead(waiter)
                else:
                    await _parked(waiter)
        finally:
            if self._reader is waiter:
                self._hand_on()

    async def _lead(self, waiter: _Waiter) -> None:
        """Read once; resolve whoever's answers have come."""
        data = self._receive_now()
        if data is None and self._spinner is not None and len(self._session.pending) == waiter.unanswered:
            data = self._receive_soon(self._spinner)
        if data is None:
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except trio.ClosedResourceError:
                return  # closed by another task, which has resolved this call as well
            if self._closed:
                return  # the same, in the turn in which something had come
            self._last_checkpoint = perf_counter()
            data = self._receive_now()
            if data is None:
                return
        self._take(data)

    def _receive_soon(self, spinner: Spinner) -> bytes | None:
        """Wait for the answer where it comes sooner than a trip through trio takes; poll first, if that pays."""
        if _poll_stream is not None and self._session.arrivals is None and not self._session.reader.missing:
            quick = _poll_stream(self._socket.fileno(), spinner, self._dozer if self._real_time else None)
            return self._receive_now() if quick == b"" else quick
        if not spinner.sits_out:
            return spinner.wait(self._receive_if_ready)
        spinner.wait(self._receive_if_ready)  # counts as one that it sits out
        return self._receive_now() if self._real_time and self._dozer.wait(self._doze) else None

    def _doze(self, seconds: float) -> bool:
        return bool(self._poll.poll(1000 * seconds))

    def _receive_if_ready(self) -> bytes | None:
        # poll(2) with nothing there costs a third of a recv that raises BlockingIOError.
        return self._receive_now() if self._poll.poll(0) else None

    def _receive_now(self) -> bytes | None:
        """What is there; None if nothing is; b"" cannot be told from nothing by the spinner, so EOF is `EOF`."""
        arrivals = self._session.arrivals
        most = bytes_to_read(self._session.reader)
        if _receive is not None and arrivals is None and most == READ_BYTES:
            quick = _receive(self._socket.fileno())
            if quick != b"":
                return quick
        try:
            if arrivals is None:
                data = self._socket.recv(most)
            else:
                data, numbers = lowlevel.receive_descriptors(self._socket, most)
                arrivals.add(numbers)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._fail(ConnectionLost(f"{self.where}: {error.strerror}"))
            return EOF
        return data or EOF

    def _take(self, data: bytes) -> None:
        session = self._session
        if data is EOF:
            resolved = session.end()
        else:
            self._received += len(data)
            answered = session.only_answer(data)  # one call at a time: each read is one answer, as a rule
            resolved = session.feed(data) if answered is None else [answered]
        if session.outgoing:
            self._write(self._take_outgoing())
        self._answers += len(resolved)
        self._come_together = len(resolved) > FEW_CALLS
        for other in resolved:
            if other.sleeper is not None:  # as `_wake` does, without a function for each
                trio.lowlevel.reschedule(other.sleeper, WOKEN)
                other.sleeper = None
        if session.failure is not None:
            self._stop_writing()

    def _wake(self, waiter: _Waiter) -> None:
        task, waiter.sleeper = waiter.sleeper, None
        if task is not None:
            trio.lowlevel.reschedule(task, WOKEN)

    def _hand_on(self) -> None:
        for waiter in self._session.sleepers():
            if waiter.sleeper is not None:
                self._reader = waiter
                self._wake(waiter)
                return
        self._reader = None

    # ------------------------------------------------------------ after

    def _give_up(self, id: int, frame: bytes | None) -> None:  # noqa: A002
        cancel = self._session.cancel(id)
        if self._session.failure is None and (frame is None or not self._withdraw(frame)):
            self._write(cancel)

    def _withdraw(self, frame: bytes) -> bool:
        """Take a frame back of which no byte has been sent."""
        for index, waiting in enumerate(self._outbound):
            if waiting is frame and not (index == 0 and self._begun):
                del self._outbound[index]
                self._outbound_bytes -= len(frame)
                close_frame(frame)
                return True
        return False

    async def _outcome(self, waiter: _Waiter, method: Called) -> bytes:
        if waiter.kind == REPLY:
            await self._checkpoint_sometimes()
            return waiter.body
        await trio.lowlevel.cancel_shielded_checkpoint()
        deadline = trio.current_effective_deadline()
        if waiter.kind == ERROR and deadline != _FOREVER and code_of(waiter.body) == DEADLINE:
            # The server's clock was a little ahead of this scope's; its own deadline cancels this task now.
            await trio.sleep_until(deadline)
        raise self._error_of(waiter, method)

    async def _checkpoint_sometimes(self) -> None:
        """A task whose calls never have to wait still lets the others run."""
        if perf_counter() - self._last_checkpoint > CHECKPOINT_SECONDS:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._last_checkpoint = perf_counter()

    def _failure(self) -> IPCError:
        failure = self._session.failure
        assert failure is not None
        return trio_errors.translate(failure)

    # ------------------------------------------------------------ writing

    def _write(self, frame: bytes) -> None:
        """Send a frame, or leave it to the flusher; whole, and in order."""
        self._say_due()
        if self._outbound:
            self._outbound.append(frame)
            self._outbound_bytes += len(frame)
            self._write_on()
            return
        sent = self._send(frame)
        if sent < len(frame):
            keep_room(len(frame))
            self._begun = sent > 0
            self._outbound.append(memoryview(frame)[sent:] if sent else frame)
            self._outbound_bytes += len(frame) - sent
            self._start_flusher()

    def _joins(self, frame: bytes) -> bool:
        """Leave the frame of a call to be sent with those of other tasks in this turn.

        Returns:
            Whether this is the first of them, which has to `_gather` the others.
        """
        if self._payloads is not None:
            self._say_due()
        self._outbound.append(frame)
        self._outbound_bytes += len(frame)
        if not self._gathers and self._flusher is None:
            return True
        if self._outbound_bytes > READ_BYTES:
            self._write_on()
        return False

    async def _gather(self) -> None:
        """Let the other tasks of this turn call, and send for all of them.

        Cancellation: never here; what has not left can still be withdrawn.
        """
        self._gathers = True
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()
            if len(self._outbound) == 1:  # trio runs the tasks of a turn in any order: the others come behind
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._gathers = False
            self._write_on()

    def _write_on(self) -> None:
        """Send what waits, unless the flusher does that."""
        if self._flusher is None:
            while self._outbound and self._send_some():
                pass
            if self._outbound:
                self._start_flusher()
            else:
                self._tell_drained()

    def _start_flusher(self) -> None:
        if self._flusher is None:  # else it still waits for the socket, for a frame that was withdrawn
            self._flusher = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._flush, self._flusher)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            sent = lowlevel.send(self._socket, data) if type(data) is bytes else send_frame(self._socket, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The peer is gone, or reads no more. What it has sent is still received; then its EOF ends the calls.
            self._is_broken = True
            close_frame(data)
            if error.errno == errno.ETOOMANYREFS:
                self._fail(LimitReached(f"{self.where}: too many descriptors of this user are on their way"))
            return len(data)
        self._sent += sent
        return sent

    def _fail(self, error: IPCError) -> None:
        """End the connection from this side."""
        for waiter in self._session.fail(error):
            self._wake(waiter)
        lowlevel.shutdown(self._socket)

    async def _flush(self, scope: trio.CancelScope) -> None:
        with scope:
            while self._outbound:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                except (OSError, trio.ClosedResourceError):
                    break
                if not self._outbound:
                    break  # withdrawn meanwhile
                self._send_some()
                self._tell_drained()
        self._flusher = None
        self._tell_drained()

    def _send_some(self) -> bool:
        """Send of what waits, as much as can leave in one piece; False if the socket is full."""
        frames = self._first_frames()
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        sent = self._send(data)
        self._outbound_bytes -= sent
        if sent == len(data):
            del self._outbound[: len(frames)]
            self._begun = False
            return True
        while sent >= len(self._outbound[0]):
            sent -= len(self._outbound.pop(0))
            self._begun = False
        if sent:  # else it is still whole: it may be withdrawn, and has its descriptors
            self._outbound[0] = memoryview(self._outbound[0])[sent:]
            self._begun = True
        return False

    def _first_frames(self) -> list[bytes | memoryview]:
        """Those which can leave in one piece: some 64 KiB, or one with descriptors."""
        count = size = 0
        for frame in self._outbound:
            if type(frame) is not bytes or size > READ_BYTES:
                break
            count += 1
            size += len(frame)
        return self._outbound[: max(1, count)]

    def _tell_drained(self) -> None:
        if self._outbound_bytes <= OUTBOUND_BYTES:
            self._drained.set()
            self._drained = trio.Event()

    def _stop_writing(self) -> None:
        for frame in self._outbound:
            close_frame(frame)
        self._outbound.clear()
        self._outbound_bytes = 0
        if self._flusher is not None:
            self._flusher.cancel()

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Say goodbye and close. Calls in flight end with `Closed`. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._session.failure is None:
            self._write_on()
            if not self._outbound:
                self._send(self._session.goodbye())
        self._stop_writing()
        for waiter in self._session.fail(trio_errors.Closed(f"{self.where}: this client has been closed")):
            self._wake(waiter)
        self._let_go()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def forget(self) -> None:
        """In a forked child: a copy of the socket would hide from the service that the parent has died."""
        self._closed = True
        self._socket.close()
        for frame in self._outbound:
            close_frame(frame)
        self._session.close()
        self._let_go()
