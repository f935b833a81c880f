"""The blocking client of a service: leader and followers, among threads.

One of the threads with a call in flight reads for all; the others wait for their bell. The laws are those of
`trio_client`: a call is entered, with its bell, before it is sent; one that is given up is cancelled at the server;
while the socket is full the leader both reads and writes, so that neither side waits for the other.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from .. import lowlevel
from .._errors import Closed, IPCError, TimedOut, TooLarge, renewed
from .._faults import error_of
from .._protocol.calls import LOST, WAITING, ClientSession, Waiter
from .._protocol.frames import REPLY
from .._values import ConnectionStatistics, Peer
from .in_child import forget_in_child
from .polling import Spinner
from .waiting import Clock

READ_BYTES: Final = 65536
_EOF: Final = b"\x00EOF"

_Waiter = Waiter[threading.Lock]


class BlockingClientLink:
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
        self.where = where
        self.peer = peer
        self._socket = socket
        self._fd = socket.fileno()
        self._poll = lowlevel.poll_readable(self._fd)
        self._pid = os.getpid()
        self._session = session
        self._spinner = Spinner() if spin else None
        self._lock = threading.Lock()
        self._reader: _Waiter | None = None
        self._outbound = b""
        self._closed = False
        self._calls = 0
        self._answers = 0
        self._sent = 0
        self._received = 0
        forget_in_child(self)

    def call(self, method: int, where: str, body: bytes, timeout: float | None) -> bytes:
        """Send one call and return the body of its reply.

        Raises:
            TimedOut: `timeout` seconds have passed; the call is cancelled at the server.
        """
        clock = Clock(timeout)
        session = self._session
        self._check_open()
        if len(body) > session.their_message_bytes:
            self._check_size(where, body, clock)
        waiter = _Waiter(where)
        deadline = None if timeout is None else clock.end
        with self._lock:
            self._check_open()
            id_, frame = session.begin(waiter, method, body, deadline)
            self._calls += 1
            if session.outgoing:
                frame = self._take_outgoing() + frame
            self._write(frame)
            leads = self._enlist(waiter)
        try:
            self._until_resolved(waiter, clock, leads=leads)
        finally:
            if waiter.kind == WAITING:
                self._give_up(id_)
        return self._outcome(waiter)

    # ------------------------------------------------------------ before

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            raise Closed(
                f"{self.where}: this connection belongs to process {self._pid}, from which this one was forked; "
                "connect again in the child"
            )
        if self._closed:
            raise Closed(f"{self.where}: this client has been closed")
        if self._session.failure is not None:
            raise self._failure()

    def _check_size(self, where: str, body: bytes, clock: Clock) -> None:
        """The limit of the other side is known once it has said its hello; until then only a little may be sent."""
        session = self._session
        greeter = _Waiter(where)
        with self._lock:
            if not session.greeted:
                session.greeters.append(greeter)
                self._write(self._take_outgoing())
                leads = self._enlist(greeter)
        if not session.greeted:
            try:
                self._until_resolved(greeter, clock, leads=leads)
            finally:
                with self._lock:
                    if greeter in session.greeters:
                        session.greeters.remove(greeter)
        self._check_open()
        if len(body) > session.their_message_bytes:
            raise TooLarge(
                f"{self.where}: the arguments of {where} are {len(body)} bytes long; the service accepts "
                f"{session.their_message_bytes}. Send less at once, or let it serve with a larger "
                "Limits(message_bytes=...)"
            )

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
            while waiter.kind == WAITING:
                if leads or self._reader is waiter:
                    leads = True
                    self._lead(clock)
                else:
                    bell = waiter.sleeper
                    left = clock.left()
                    if bell is not None and not bell.acquire(timeout=-1 if left is None else left):
                        self._time_out(waiter, clock)
        finally:
            if self._reader is waiter:
                with self._lock:
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
        if self._spinner is not None and len(self._session.pending) == 1:
            # What is there already is no success of polling: it is looked at first, and not counted.
            data = self._receive_if_ready() or self._spinner.wait(self._receive_if_ready)
            if data is not None:
                return data
        if clock.timeout is not None:
            return None
        try:
            return self._socket.recv(READ_BYTES) or _EOF
        except OSError:
            return _EOF

    def _receive_if_ready(self) -> bytes | None:
        # poll(2) with nothing there costs half of a recv that raises BlockingIOError.
        return self._receive_now() if self._poll.poll(0) else None

    def _receive_now(self) -> bytes | None:
        try:
            return lowlevel.receive_now(self._socket, READ_BYTES) or _EOF
        except BlockingIOError:
            return None
        except OSError:
            return _EOF

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
        self._ring(resolved)

    def _ring(self, waiters: list[_Waiter]) -> None:
        for waiter in waiters:
            bell, waiter.sleeper = waiter.sleeper, None
            if bell is not None:
                bell.release()

    def _hand_on(self) -> None:
        for waiter in (*self._session.pending.values(), *self._session.greeters):
            if waiter.sleeper is not None:
                self._reader = waiter
                self._ring([waiter])
                return
        self._reader = None

    # ------------------------------------------------------------ after

    def _give_up(self, id: int) -> None:  # noqa: A002
        with self._lock:
            cancel = self._session.cancel(id)
            if self._session.failure is None and not self._closed:
                self._write(cancel)

    def _outcome(self, waiter: _Waiter) -> bytes:
        if waiter.kind == REPLY:
            return waiter.body
        if waiter.kind == LOST:
            raise self._failure()
        raise error_of(waiter.body, where=f"{self.where}: {waiter.where}")

    def _failure(self) -> IPCError:
        """A fresh exception for each who asks: one object raised in several threads would mix their tracebacks."""
        failure = self._session.failure
        assert failure is not None
        return renewed(failure)

    # ------------------------------------------------------------ writing

    def _take_outgoing(self) -> bytes:
        data = b"".join(self._session.outgoing)
        self._session.outgoing.clear()
        return data

    def _write(self, frame: bytes) -> None:
        """Under the lock: send, in order; what the socket does not take is written on by the leader."""
        data = self._outbound + frame if self._outbound else frame
        if not data:
            return
        try:
            sent = lowlevel.send_now(self._socket, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The peer is gone, or reads no more. What it has sent is still received; its EOF then ends the calls.
            sent = len(data)
        else:
            self._sent += sent
        self._outbound = data[sent:]

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
                self._ring(self._session.fail(Closed(f"{self.where}: this client has been closed")))
                if self._reader is not None:
                    # Wakes the thread that sleeps in recv; it finds its call resolved.
                    lowlevel.shutdown(self._socket)
        self._socket.close()

    def forget(self) -> None:
        """In a forked child: a copy of the socket would hide from the service that the parent has died."""
        self._closed = True
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._socket.close()

    def statistics(self) -> ConnectionStatistics:
        """What has been carried so far."""
        return ConnectionStatistics(
            messages_sent=self._calls,
            messages_received=self._answers,
            bytes_sent=self._sent,
            bytes_received=self._received,
        )
