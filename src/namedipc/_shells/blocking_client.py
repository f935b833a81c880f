"""The blocking client of a service: leader and followers, among threads.

One of the threads with a call in flight reads for all; the others wait for their bell. The laws are those of
`trio_client`: a call is entered, with its bell, before it is sent; one that is given up is cancelled at the server;
while the socket is full the leader both reads and writes, so that neither side waits for the other.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from .. import lowlevel
from .._errors import Closed, ConnectionLost, IPCError, LimitReached, TimedOut
from .._protocol.attachments import close_frame, close_parcel, has_descriptors, is_homeless, join_frames
from .._protocol.calls import LOST, WAITING, ClientSession, NotRun, Waiter
from .._protocol.frames import END, ITEM, REPLY
from .._protocol.series import Series
from .._values import Peer
from .client_link import EOF, OUTBOUND_BYTES, Called, ClientLink, Flight, OpenCall
from .compiled import compiled
from .departures import send_frame
from .in_child import forget_in_child
from .large_frames import bytes_to_read, keep_room
from .telling_lock import Lock, TellingLock
from .waiting import Clock

if TYPE_CHECKING:
    from .called_alone import CalledAlone

_short_way: type[CalledAlone] | None = compiled("called_alone", "CalledAlone")
_Waiter: TypeAlias = Waiter[threading.Lock]  # not to be called: that takes longer than all of `begin`


class BlockingCall(OpenCall["BlockingClientLink", threading.Lock]):
    """A call with streams that has begun."""

    __slots__ = ()


def _deadline(clock: Clock) -> float | None:
    return None if clock.timeout is None else clock.end


class BlockingClientLink(ClientLink[threading.Lock]):
    """One connection to a service, shared by any number of threads. Owns the socket."""

    def __init__(
        self,
        where: str,
        socket: lowlevel.Socket,
        peer: Peer,
        session: ClientSession[threading.Lock],
        *,
        spin: bool,
    ) -> None:
        super().__init__(where, socket, peer, session, spin=spin)
        self._fd = socket.fileno()
        self._poll = lowlevel.poll_readable(self._fd)
        self._pid = os.getpid()
        self._lock: Lock = threading.Lock()
        if self._payloads is not None:
            self._lock = TellingLock(self._say_due)
            self._payloads.windows.when_due = self._say_due
        self._outbound: deque[bytes | memoryview] = deque()
        self._writing: list[int] = []  # what wakes the threads which wait until they can write, beside the reader
        self._abandoned: deque[BlockingCall] = deque()
        self._alone: CalledAlone | None = None
        if _short_way is not None and session.arrivals is None:
            self._alone = _short_way(self._fd, session, self._lock, self._spinner)
        self._write(self._take_outgoing())  # the hello: a client that is silent at first has said who it is
        forget_in_child(self)

    def call(self, method: Called, body: bytes, clock: Clock, flags: int = 0) -> bytes:
        """Send one call and return the body of its reply.

        Args:
            method: What is called.
            body: Its arguments, and before them what the flags say.
            clock: How long this may take.
            flags: Of the frame.

        Raises:
            TimedOut: The time is up; the call is cancelled at the server.
            NotRun: The call was not run.
        """
        if self._alone is not None and not flags:
            answer = self._alone.call(self, method, body, clock)
            if answer is not None:
                return answer
        session = self._session
        if self._closed or self._abandoned or len(body) > session.their_message_bytes:
            self._prepare(method.where, body, clock)
        if type(body) is not bytes:
            body = self._placed(method.where, body, clock)
        waiter: _Waiter = Waiter(method.where)
        with self._lock:
            if self._closed or session.failure is not None or session.last_run is not None:
                self._check_open()
            id_, frame = session.begin(waiter, method.index, body, _deadline(clock), flags)
            self._calls += 1
            self._write(frame)
            leads = self._enlist(waiter)
        try:
            if not leads or self._outbound or not self._lead_alone(waiter, clock):
                self._until_resolved(waiter, clock, leads=leads)
        finally:
            if waiter.kind == WAITING:
                self._give_up(id_)
        return waiter.body if waiter.kind == REPLY else self._outcome(waiter, method)

    def conclude(self, waiter: _Waiter, method: Called, id: int, clock: Clock, data: bytes | None) -> bytes:  # noqa: A002
        """Go on as `call` does, for one that has begun as the reader's, and has gone the short way so far.

        Args:
            waiter: The call.
            method: What is called.
            id: Of the call.
            clock: How long this may take.
            data: What has been read since.
        """
        try:
            # Another thread's frame may wait for room since: what has been read is taken all the same.
            if (self._outbound and data is None) or not self._lead_alone(waiter, clock, data):
                self._until_resolved(waiter, clock, leads=True)
        finally:
            if waiter.kind == WAITING:
                self._give_up(id)
        return self._outcome(waiter, method)

    def leave(self, waiter: _Waiter, id: int) -> None:  # noqa: A002
        """Give up a call that has gone the short way so far: interrupted. Nothing happens where that is done."""
        with self._lock:
            if self._session.pending.get(id) is waiter:
                self._cancel(id)
            if self._reader is waiter:
                self._hand_on()

    def call_one_way(self, method: Called, body: bytes, clock: Clock, flags: int = 0) -> None:
        """Send a call that is not answered; return once the kernel has it.

        Raises:
            TimedOut: The time is up; the call is sent as the next ones are.
            NotRun: The service has ended, or is about to.
        """
        self._prepare(method.where, body, clock)
        if type(body) is not bytes:
            body = self._placed(method.where, body, clock)
        waiter: _Waiter = Waiter(method.where)
        self._look(waiter)  # nobody reads an idle connection: the service may have said goodbye
        with self._lock:
            self._check_open()
            self._calls += 1
            self._write(self._session.one_way(method.index, body, None, flags))
            end = self._sent + self._outbound_bytes
        if self._outbound:
            self._write_out(waiter, clock)
        if self._sent < end:
            self._until_lost(method.where, clock)
            raise NotRun(self._failure())

    def call_each(self, series: Series, clock: Clock) -> None:
        """Send many calls, as many at once as is their share, and take their results.

        The first call, in their order, that failed ends it: the others are cancelled, and its error is raised. Where
        that is NotRun none of those behind it was run either.
        """
        method = series.method
        self._prepare(method.where, b"", clock)
        self._until_greeted(method.where, clock)
        left = self._left(series)
        flight: Flight[threading.Lock] = deque()
        try:
            while True:
                with self._lock:
                    self._write(self._begin_some(series, left, flight, _deadline(clock)))
                if not flight:
                    return
                self._until_resolved_later(flight[0], clock)
                while flight and flight[0].kind != WAITING:
                    failed = series.take(flight[0])
                    if failed is not None:
                        raise self._error_of(failed, method)
                    flight.popleft()
        finally:
            if flight:
                self._give_up_runs(flight)

    # ------------------------------------------------------------ streams

    def open_call(self, method: Called, body: bytes, clock: Clock, flags: int = 0) -> BlockingCall:
        """Begin a call with streams."""
        self._prepare(method.where, body, clock)
        if type(body) is not bytes:
            body = self._placed(method.where, body, clock)
        call = self._new_streamed(method)
        with self._lock:
            self._check_open()
            # A stream outlives the time that one of its steps may take: only a call with one result has a deadline.
            deadline = None if method.is_stream else _deadline(clock)
            id_, frame = self._session.begin(call, method.index, body, deadline, flags)
            self._calls += 1
            self._write(frame)
        return BlockingCall(self, id_, call, method)

    def may_feed(self, call: BlockingCall, number: int) -> bool:
        """Whether an item of a stream of requests may be sent now."""
        feeding = call.waiter.feedings[number]
        return feeding.kind != LOST and feeding.outflow.is_open and self._outbound_bytes <= OUTBOUND_BYTES

    def feed(self, call: BlockingCall, number: int, body: bytes, clock: Clock) -> None:
        """Send an item of a stream of requests, for which there is leave; nothing happens once the call is over."""
        feeding = call.waiter.feedings[number]
        if len(body) > self._session.their_message_bytes:
            self._check_size(call.method.where, body, clock)
        if type(body) is not bytes:
            body = self._placed(call.method.where, body, clock)
        with self._lock:
            if feeding.kind != LOST:
                self._write(self._session.item(call.id, feeding, body))

    def end_feed(self, call: BlockingCall, number: int) -> None:
        """Say that a stream of requests has ended."""
        feeding = call.waiter.feedings[number]
        with self._lock:
            if feeding.kind != LOST and self._session.failure is None:
                self._write(self._session.end_stream(call.id, feeding))

    def look(self, call: BlockingCall) -> None:
        """Take what has arrived, unless another thread does; never waits."""
        self._look(call.waiter)

    def _look(self, waiter: _Waiter) -> None:
        with self._lock:
            if self._reader is not None:
                return
            self._reader = waiter
        try:
            data = self._receive_now()
            if data is not None:
                with self._lock:
                    self._take(data)
        finally:
            with self._lock:
                self._hand_on()

    def wait(self, call: BlockingCall, is_ready: Callable[[], bool], clock: Clock) -> None:
        """Wait until something has become of a call with streams: what is asked for, or that it is over.

        Args:
            call: Opened here.
            is_ready: What is waited for, of this call.
            clock: How long this may take.

        Raises:
            TimedOut: The time is up; the call goes on.
        """
        waiter = call.waiter
        try:
            while True:
                with self._lock:
                    if is_ready():
                        return
                    leads = self._reader is waiter or self._enlist(waiter)
                    for feeding in call.waiter.feedings:
                        feeding.sleeper = waiter.sleeper
                        feeding.kind = WAITING  # else leave to send more, which comes later, would wake nobody
                if leads:
                    self._lead(clock)
                elif self._outbound:
                    self._write_for_leader(waiter, clock)
                else:
                    self._sleep(waiter, clock)
        finally:
            with self._lock:
                for sleeper in (waiter, *call.waiter.feedings):
                    sleeper.sleeper = None
                if self._reader is waiter:
                    self._hand_on()

    def write_out(self, call: BlockingCall, clock: Clock) -> None:
        """Write what waits: between two steps nobody would, and the service waits for the rest of a frame."""
        if self._outbound:
            self._write_out(call.waiter, clock)

    def result(self, call: BlockingCall) -> bytes:
        """Return the body of the one result of a call which is over, or raise what it has ended with."""
        return self._outcome(call.waiter, call.method)

    def take_item(self, call: BlockingCall) -> bytes | None:
        """Return the next item of a stream of results, which must be there; None at its end."""
        waiter = call.waiter
        if waiter.kind == ITEM:
            with self._lock:
                body, credit = self._session.take_item(call.id, waiter)
                if credit is not None and self._session.failure is None and call.id in self._session.pending:
                    self._write(credit)
            return body
        return None if waiter.kind == END else self._outcome(waiter, call.method)

    def give_up(self, call: BlockingCall) -> None:
        """Leave a call with streams: it is cancelled at the server, unless it is over. May be called twice."""
        with self._lock:
            self._leave(call)

    def _leave(self, call: BlockingCall) -> None:
        """Under the lock."""
        if self._session.pending.get(call.id) is not call.waiter:
            return
        self._cancel(call.id)
        call.waiter.kind = END  # a leader that waits for it sees that with the next thing that comes: the answer
        for feeding in call.waiter.feedings:
            feeding.kind = LOST
        self._ring([call.waiter])

    def abandon(self, call: BlockingCall) -> None:
        """`give_up` for a finalizer, which may run anywhere, also in a thread that holds the lock."""
        self._abandoned.append(call)
        if self._lock.acquire(blocking=False):
            try:
                self._give_up_abandoned()
            finally:
                self._lock.release()

    def _give_up_abandoned(self) -> None:
        """Under the lock."""
        while self._abandoned:
            self._leave(self._abandoned.popleft())

    # ------------------------------------------------------------ large payloads

    def _placed(self, where: str, body: bytes, clock: Clock) -> bytes:
        """Find a place for large payloads, once the service has let go of others."""
        if not is_homeless(body):
            return body
        try:
            self._until_greeted(where, clock)
            placed = self._place(body, may_grow=False)
            if placed is None:
                self._look(Waiter(where))
            while placed is None:
                words = self._session.words
                placed = self._place(body)
                if placed is None:
                    self._until_said(where, clock, words)
                    self._check_open()
        except BaseException:
            close_parcel(body)
            raise
        return placed

    def _say_due(self) -> None:
        """Say that nobody looks at a buffer of the service any more, unless a thread has the lock: it does it then.

        The next call does it, if none is in flight for which the service may need it.

        Called from anywhere, also where garbage is collected.
        """
        assert isinstance(self._lock, TellingLock)
        assert self._payloads is not None
        while self._payloads.has_unsaid and self._session.pending and self._lock.acquire(blocking=False):
            try:
                self._write(b"")
            finally:
                self._lock.release_quietly()

    def _with_unsaid(self, frame: bytes) -> bytes:
        """Under the lock: put before a frame what the service has to be told of buffers first."""
        said = self._take_unsaid()
        if not any(map(has_descriptors, (*said, frame))):
            return join_frames([*said, frame])
        for piece in said:
            self._write(piece)
        return frame

    # ------------------------------------------------------------ before

    def check_process(self) -> None:
        """Raise Closed in a forked child."""
        if self._pid != os.getpid():
            raise Closed(
                f"{self.where}: this connection belongs to process {self._pid}, from which this one was forked; "
                "connect again in the child"
            )

    def _check_open(self) -> None:
        self.check_process()
        if self._closed:
            raise Closed(f"{self.where}: this client has been closed")
        self._check_session()

    def _prepare(self, where: str, body: bytes, clock: Clock) -> None:
        """What every call begins with: raise what forbids it."""
        self._check_open()
        if self._abandoned:
            with self._lock:
                self._give_up_abandoned()
        if len(body) > self._session.their_message_bytes:
            self._check_size(where, body, clock)

    def _check_size(self, where: str, body: bytes, clock: Clock) -> None:
        """The limit of the other side is known once it has said its hello; until then only a little may be sent."""
        self._until_greeted(where, clock)
        self._check_limit(where, body)

    def _until_greeted(self, where: str, clock: Clock) -> None:
        if not self._session.greeted:
            self._until_said(where, clock, words=0)  # another thread may have taken the hello since
        self._check_open()

    def _until_said(self, where: str, clock: Clock, words: int | None = None) -> None:
        """Until the service has said its hello, or its last word; or has said more of itself than so many words."""
        greeters = self._session.greeters
        greeter: _Waiter = Waiter(where)
        with self._lock:
            if self._session.failure is not None or words not in {None, self._session.words}:
                return
            greeters.append(greeter)
            leads = self._enlist(greeter)
        try:
            self._until_resolved(greeter, clock, leads=leads)
        finally:
            with self._lock:
                if greeter in greeters:
                    greeters.remove(greeter)

    def _enlist(self, waiter: _Waiter) -> bool:
        """Under the lock: become the reader, or get a bell; so that no answer can come in between."""
        if self._reader is None:
            self._reader = waiter
            return True
        bell = threading.Lock()
        bell.acquire()
        waiter.sleeper = bell
        return False

    # ------------------------------------------------------------ waiting

    def _until_resolved(self, waiter: _Waiter, clock: Clock, *, leads: bool) -> None:
        try:
            if self._outbound and not leads:
                self._write_for_leader(waiter, clock)
            while waiter.kind == WAITING:
                if leads or self._reader is waiter:
                    leads = True
                    self._lead(clock)
                else:
                    self._sleep(waiter, clock)
        finally:
            # In this order: whoever hands the reading on sets the reader first. A bell that was not rung goes, so that
            # nobody hands it to a thread which has left.
            if waiter.sleeper is not None or self._reader is waiter:
                with self._lock:
                    waiter.sleeper = None
                    if self._reader is waiter:
                        self._hand_on()

    def _lead_alone(self, waiter: _Waiter, clock: Clock, data: bytes | None = None) -> bool:
        """Read once as the leader, unless that is done, for a call which is alone, as a rule.

        Returns:
            Whether that was all and nobody is to lead.
        """
        session = self._session
        try:
            if data is None:
                data = self._receive_soon(clock)
            with self._lock:
                if data is not None:
                    self._take(data)
                if waiter.kind == WAITING or session.pending or session.greeters or self._closed or self._writing:
                    return False
                self._reader = None
                return True
        except BaseException:  # interrupted
            with self._lock:
                if self._reader is waiter:
                    self._hand_on()
            raise

    def _until_resolved_later(self, waiter: _Waiter, clock: Clock) -> None:
        """For a call that was begun without anybody waiting for it."""
        with self._lock:
            if waiter.kind != WAITING:
                return
            leads = self._enlist(waiter)
        self._until_resolved(waiter, clock, leads=leads)

    def _until_lost(self, where: str, clock: Clock) -> None:
        """What was written has gone nowhere: take what the service has said last, to its end."""
        while self._session.failure is None:
            self._until_said(where, clock)

    def _sleep(self, waiter: _Waiter, clock: Clock) -> None:
        bell = waiter.sleeper
        left = clock.left()
        if bell is not None and not bell.acquire(timeout=-1 if left is None else left):
            self._time_out(waiter, clock)

    def _write_for_leader(self, waiter: _Waiter, clock: Clock) -> None:
        """Write what waits beside the leader, who may sleep in recv, and not know of it; or become the leader.

        That is for the caller to look at. It has to lead where nobody else does: a service whose answers are not read
        does not read on.
        """
        bell = lowlevel.eventfd()
        try:
            with self._lock:
                self._writing.append(bell)
            while self._outbound and self._session.failure is None and not self._closed:
                with self._lock:
                    if self._reader is None:
                        self._reader = waiter
                if self._reader is waiter:
                    return
                left = clock.left()
                # The bell: the leader has left.
                ready = lowlevel.wait_ready(self._fd, read=False, write=True, timeout_seconds=left, bell=bell)
                if not ready and clock.expired():
                    raise TimedOut(f"{self.where}: the service does not read; {clock.timeout} seconds have passed")
                with suppress(BlockingIOError):
                    os.eventfd_read(bell)
                with self._lock:
                    self._write(b"")
        finally:
            with self._lock:
                if bell in self._writing:
                    self._writing.remove(bell)
                self._close_if_unused()
            os.close(bell)

    def _write_out(self, waiter: _Waiter, clock: Clock) -> None:
        """Write all that waits, and read meanwhile if nobody else does."""
        with self._lock:
            leads = self._reader is None
            if leads:
                self._reader = waiter
        try:
            if not leads:
                self._write_for_leader(waiter, clock)
            while self._reader is waiter and self._outbound and self._session.failure is None:
                self._lead(clock)
        finally:
            with self._lock:
                if self._reader is waiter:
                    self._hand_on()

    def _time_out(self, waiter: _Waiter, clock: Clock) -> None:
        with self._lock:
            if waiter.kind == WAITING and self._reader is not waiter:
                raise TimedOut(f"{self.where}: {waiter.where} was not answered within {clock.timeout} seconds")

    def _lead(self, clock: Clock) -> None:
        """Read once, and write what waits; resolve whoever's answers have come."""
        data = self._receive_now() if self._outbound else self._receive_soon(clock)
        if data is None:
            if (
                not lowlevel.wait_ready(self._fd, read=True, write=bool(self._outbound), timeout_seconds=clock.left())
                and clock.expired()
            ):
                raise TimedOut(f"{self.where}: no answer within {clock.timeout} seconds")
            if self._outbound:
                with self._lock:
                    self._write(b"")
            data = self._receive_now()
        if data is not None:
            with self._lock:
                self._take(data)

    def _receive_soon(self, clock: Clock) -> bytes | None:
        """Poll for a moment where that pays; then, without a timeout, sleep in recv itself: one system call."""
        reader = self._reader
        if self._spinner is not None and reader is not None and len(self._session.pending) == reader.unanswered:
            # What is there already is no success of polling: it is looked at first, and not counted.
            data = self._receive_if_ready() or self._spinner.wait(self._receive_if_ready)
            if data is not None:
                return data
        if clock.timeout is not None or self._session.arrivals is not None:
            return None
        try:
            return self._socket.recv(bytes_to_read(self._session.reader)) or EOF
        except OSError:
            return EOF

    def _receive_if_ready(self) -> bytes | None:
        # poll(2) with nothing there costs half of a recv that raises BlockingIOError.
        return self._receive_now() if self._poll.poll(0) else None

    def _receive_now(self) -> bytes | None:
        arrivals = self._session.arrivals
        most = bytes_to_read(self._session.reader)
        try:
            if arrivals is None:
                return lowlevel.receive_now(self._socket, most) or EOF
            data, numbers = lowlevel.receive_descriptors(self._socket, most)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                with self._lock:
                    self._fail(ConnectionLost(f"{self.where}: {error.strerror}"))
            return EOF
        arrivals.add(numbers)
        return data or EOF

    def _take(self, data: bytes) -> None:
        session = self._session
        if data is EOF:
            resolved = session.end()
        else:
            self._received += len(data)
            answered = session.only_answer(data)  # one call at a time: each read is one answer, as a rule
            if answered is None:
                resolved = session.feed(data)
            elif answered.sleeper is not None or self._abandoned or self._outbound:
                resolved = [answered]
            else:
                self._answers += 1
                return
        if self._abandoned:
            self._give_up_abandoned()
        if session.outgoing or self._outbound:
            self._write(self._take_outgoing())
        self._answers += len(resolved)
        self._ring(resolved)

    def _ring(self, waiters: list[_Waiter]) -> None:
        for waiter in waiters:
            bell, waiter.sleeper = waiter.sleeper, None
            if bell is not None and bell.locked():  # the streams of a call have its bell
                bell.release()

    def _hand_on(self) -> None:
        """Under the lock: let another thread read, if one waits."""
        for bell in self._writing:
            os.eventfd_write(bell, 1)
        for waiter in (*self._session.pending.values(), *self._session.greeters):
            if waiter.sleeper is not None:
                self._reader = waiter
                self._ring([waiter])
                return
        self._reader = None
        if self._closed:
            self._close_if_unused()

    # ------------------------------------------------------------ after

    def _give_up(self, id: int) -> None:  # noqa: A002
        with self._lock:
            self._cancel(id)

    def _give_up_runs(self, flight: Flight[threading.Lock]) -> None:
        with self._lock:
            cancels = b"".join(map(self._session.cancel_run, flight))
            if cancels and self._session.failure is None and not self._closed:
                self._write(cancels)

    def _cancel(self, id: int) -> None:  # noqa: A002
        cancel = self._session.cancel(id)
        if self._session.failure is None and not self._closed:
            self._write(cancel)

    def _outcome(self, waiter: _Waiter, method: Called) -> bytes:
        if waiter.kind == REPLY:
            return waiter.body
        raise self._error_of(waiter, method)

    # ------------------------------------------------------------ writing

    def _write(self, frame: bytes) -> None:
        """Under the lock: send, in order; what the socket does not take is written on by the leader."""
        if self._payloads is not None and self._payloads.has_unsaid:
            frame = self._with_unsaid(frame)
        outbound = self._outbound
        if frame and not outbound:
            sent = self._send(frame)
            if sent == len(frame):
                return
            keep_room(len(frame))
            outbound.append(memoryview(frame)[sent:] if sent else frame)
            self._outbound_bytes = len(frame) - sent
            return
        if frame:
            outbound.append(frame)
            self._outbound_bytes += len(frame)
        while outbound:
            first = outbound[0]
            sent = self._send(first)
            self._outbound_bytes -= sent
            if sent < len(first):
                outbound[0] = memoryview(first)[sent:] if sent else first
                return
            outbound.popleft()

    def _send(self, frame: bytes | memoryview) -> int:
        try:
            sent = lowlevel.send_now(self._socket, frame) if type(frame) is bytes else send_frame(self._socket, frame)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The peer is gone, or reads no more. What it has sent is still received; its EOF then ends the calls.
            close_frame(frame)
            if error.errno == errno.ETOOMANYREFS:
                self._fail(LimitReached(f"{self.where}: too many descriptors of this user are on their way"))
            return len(frame)
        self._sent += sent
        return sent

    def _fail(self, error: IPCError) -> None:
        """Under the lock: end the connection from this side."""
        self._ring(self._session.fail(error))
        lowlevel.shutdown(self._socket)

    def _drop_outbound(self) -> None:
        for frame in self._outbound:
            close_frame(frame)
        self._outbound.clear()
        self._outbound_bytes = 0

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Say goodbye and close. Calls in flight, in other threads, end with `Closed`. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._pid == os.getpid():
                if self._session.failure is None and not self._outbound:
                    self._write(self._session.goodbye())
                self._drop_outbound()
                self._ring(self._session.fail(Closed(f"{self.where}: this client has been closed")))
                if self._reader is not None or self._writing:
                    # Wakes the threads that sleep for the socket; they find their calls resolved.
                    lowlevel.shutdown(self._socket)
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        """Under the lock. Not while a thread waits for the descriptor: its number may soon be another file's."""
        if self._closed and self._reader is None and not self._writing:
            self._socket.close()
            self._let_go()

    def forget(self) -> None:
        """In a forked child: a copy of the socket would hide from the service that the parent has died."""
        self._closed = True
        self._let_go()
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._writing.clear()
        self._socket.close()
        self._drop_outbound()
        self._session.close()
