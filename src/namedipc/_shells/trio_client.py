"""The trio client of a service: no background reader. Whoever waits for an answer reads for all.

One of the tasks with a call in flight is the reader; the others are parked, and it resolves them as their answers
arrive. When its own has come it hands the role to the next. The laws: a call is entered before it is sent; a call that
is given up is withdrawn while its first byte has not left, and cancelled at the server afterwards; what a full socket
does not take is written on by a flusher, never by a caller.
"""

from __future__ import annotations

from time import monotonic, perf_counter
from typing import Final

import trio

from .. import lowlevel
from .._errors import IPCError, TooLarge
from .._faults import DEADLINE, code_of, error_of
from .._protocol.calls import LOST, WAITING, ClientSession, Waiter
from .._protocol.frames import REPLY
from .._values import ConnectionStatistics, Limits, Peer
from . import trio_errors
from .in_child import forget_in_child
from .polling import Spinner
from .suspended import active_call

READ_BYTES: Final = 65536
OUTBOUND_BYTES: Final = Limits().outbound_bytes
"""What may wait for a service that does not read; beyond it calls wait before they are entered."""
CHECKPOINT_SECONDS: Final = 0.001
"""A task whose calls never have to wait still lets the others run this often."""

_FOREVER: Final = float("inf")
_Waiter = Waiter[trio.lowlevel.Task]


class TrioClientLink:
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
        self.where = where
        self.peer = peer
        self._socket = socket
        self._session = session
        self._spinner = Spinner() if spin else None
        self._reader: _Waiter | None = None
        self._outbound: list[bytes] = []
        self._outbound_bytes = 0
        self._begun = False  # whether the first of _outbound has been sent in part
        self._flusher: trio.CancelScope | None = None
        self._drained = trio.Event()
        self._closed = False
        self._last_checkpoint = perf_counter()
        # Under a MockClock a deadline says nothing that another process could use.
        self._real_time = type(trio.lowlevel.current_clock()).__name__ == "SystemClock"
        self._calls = 0
        self._answers = 0
        self._sent = 0
        self._received = 0
        forget_in_child(self)

    async def call(self, method: int, where: str, body: bytes) -> bytes:
        """Send one call and return the body of its reply.

        Cancellation: a call of which no byte has left is withdrawn; any other is cancelled at the server. The
        connection stays as it is for everybody else.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        session = self._session
        self._check_open()
        if len(body) > session.their_message_bytes:
            await self._check_size(where, body)
        while self._outbound_bytes > OUTBOUND_BYTES:
            await self._drained.wait()
            self._check_open()
        waiter = _Waiter(where)
        id_, frame = session.begin(waiter, method, body, self._wire_deadline())
        self._calls += 1
        first = self._take_outgoing()
        self._write(first + frame if first else frame)
        try:
            await self._until_resolved(waiter)
        finally:
            if waiter.kind == WAITING:
                # What flies with the hello is not taken back: the hello would go with it.
                self._give_up(id_, None if first else frame)
        return await self._outcome(waiter)

    # ------------------------------------------------------------ before

    def _check_open(self) -> None:
        if self._closed:
            raise trio_errors.Closed(f"{self.where}: this client has been closed")
        if self._session.failure is not None:
            raise self._failure()

    async def _check_size(self, where: str, body: bytes) -> None:
        """The limit of the other side is known once it has said its hello; until then only a little may be sent."""
        session = self._session
        if not session.greeted:
            greeter = _Waiter(where)
            session.greeters.append(greeter)
            if session.outgoing:
                self._write(self._take_outgoing())
            try:
                await self._until_resolved(greeter)
            finally:
                if greeter in session.greeters:
                    session.greeters.remove(greeter)
            self._check_open()
        if len(body) > session.their_message_bytes:
            limit = session.their_message_bytes
            raise TooLarge(
                f"{self.where}: the arguments of {where} are {len(body)} bytes long; the service accepts {limit}. "
                "Send less at once, or let it serve with a larger Limits(message_bytes=...)"
            )

    def _wire_deadline(self) -> float | None:
        """The deadline as CLOCK_MONOTONIC has it, for the server; None without one, or where time is virtual."""
        deadline = trio.current_effective_deadline()
        handled = active_call.get(None)
        # A handler that has not waited yet runs outside of its call's cancel scope: its deadline is looked up.
        outer = handled.deadline if handled is not None and handled.inline else None
        if deadline == _FOREVER or not self._real_time:
            return outer
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
                    await self._park(waiter)
        finally:
            if self._reader is waiter:
                self._hand_on()

    async def _lead(self, waiter: _Waiter) -> None:
        """Read once; resolve whoever's answers have come."""
        data = self._receive_now()
        if data is None and self._spinner is not None and len(self._session.pending) == 1:
            data = self._spinner.wait(self._receive_now)
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

    def _receive_now(self) -> bytes | None:
        """What is there; None if nothing is; b"" cannot be told from nothing by the spinner, so EOF is `_EOF`."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except (ConnectionResetError, BrokenPipeError):
            return _EOF
        return data or _EOF

    def _take(self, data: bytes) -> None:
        session = self._session
        if data is _EOF:
            resolved = session.end()
        else:
            self._received += len(data)
            resolved = session.feed(data)
        if session.outgoing:
            self._write(self._take_outgoing())
        self._answers += len(resolved)
        for other in resolved:
            task, other.sleeper = other.sleeper, None
            if task is not None:
                trio.lowlevel.reschedule(task)
        if session.failure is not None:
            self._stop_writing()

    async def _park(self, waiter: _Waiter) -> None:
        waiter.sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            waiter.sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _hand_on(self) -> None:
        for waiter in (*self._session.pending.values(), *self._session.greeters):
            if waiter.sleeper is not None:
                self._reader = waiter
                task, waiter.sleeper = waiter.sleeper, None
                trio.lowlevel.reschedule(task)
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
                return True
        return False

    async def _outcome(self, waiter: _Waiter) -> bytes:
        kind = waiter.kind
        if kind == REPLY:
            if perf_counter() - self._last_checkpoint > CHECKPOINT_SECONDS:
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._last_checkpoint = perf_counter()
            return waiter.body
        await trio.lowlevel.cancel_shielded_checkpoint()
        if kind == LOST:
            raise self._failure()
        if code_of(waiter.body) == DEADLINE and trio.current_effective_deadline() != _FOREVER:
            # The server's clock was a little ahead of this scope's; its own deadline cancels this task now.
            await trio.sleep_until(trio.current_effective_deadline())
        raise error_of(waiter.body, where=f"{self.where}: {waiter.where}")

    def _failure(self) -> IPCError:
        """A fresh exception for each who asks: one object raised in several tasks would mix their tracebacks."""
        failure = self._session.failure
        assert failure is not None
        return trio_errors.translate(failure)

    # ------------------------------------------------------------ writing

    def _take_outgoing(self) -> bytes:
        outgoing = self._session.outgoing
        if not outgoing:
            return b""
        data = b"".join(outgoing)
        outgoing.clear()
        return data

    def _write(self, frame: bytes) -> None:
        """Send a frame, or leave it to the flusher; whole, and in order."""
        if not self._outbound:
            sent = self._send(frame)
            if sent == len(frame):
                return
            self._begun = sent > 0
            self._outbound_bytes += len(frame) - sent
            self._outbound.append(frame[sent:] if sent else frame)
        else:
            self._outbound_bytes += len(frame)
            self._outbound.append(frame)
        if self._flusher is None:
            self._flusher = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._flush, self._flusher)

    def _send(self, data: bytes) -> int:
        try:
            sent = lowlevel.send(self._socket, data)
        except BlockingIOError:
            return 0
        except OSError:
            # The peer is gone, or reads no more. What it has sent is still received; then its EOF ends the calls.
            return len(data)
        self._sent += sent
        return sent

    async def _flush(self, scope: trio.CancelScope) -> None:
        with scope:
            while self._outbound:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                except (OSError, trio.ClosedResourceError):
                    break
                if not self._outbound:
                    break  # withdrawn meanwhile
                frame = self._outbound[0]
                sent = self._send(frame)
                self._outbound_bytes -= sent
                self._begun = sent < len(frame)
                if self._begun:
                    self._outbound[0] = frame[sent:]
                else:
                    del self._outbound[0]
                self._tell_drained()
        self._flusher = None
        self._tell_drained()

    def _tell_drained(self) -> None:
        if self._outbound_bytes <= OUTBOUND_BYTES:
            self._drained.set()
            self._drained = trio.Event()

    def _stop_writing(self) -> None:
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
        if self._session.failure is None and not self._outbound:
            self._send(self._session.goodbye())
        self._stop_writing()
        for waiter in self._session.fail(trio_errors.Closed(f"{self.where}: this client has been closed")):
            task, waiter.sleeper = waiter.sleeper, None
            if task is not None:
                trio.lowlevel.reschedule(task)
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def forget(self) -> None:
        """In a forked child: a copy of the socket would hide from the service that the parent has died."""
        self._closed = True
        self._socket.close()

    def statistics(self) -> ConnectionStatistics:
        """What has been carried so far."""
        return ConnectionStatistics(
            messages_sent=self._calls,
            messages_received=self._answers,
            bytes_sent=self._sent,
            bytes_received=self._received,
        )


_EOF: Final = b"\x00EOF"
