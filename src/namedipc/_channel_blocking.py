"""The open ends of a channel in blocking code. They only wait; `MessageLink` moves the bytes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import groupby
from math import inf
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, final

from . import lowlevel
from ._codec import Codec
from ._errors import Busy, Closed, ConnectionLost, EndOfChannel, IPCError, TimedOut, WouldBlock
from ._protocol.attachments import is_homeless
from ._shells.handover import handing_over
from ._shells.incoming import Incoming
from ._shells.message_link import MessageLink
from ._shells.payload_link import PayloadLink
from ._shells.reception import Reception
from ._shells.telling_lock import Lock, TellingLock
from ._shells.waiting import Clock
from ._statistics import ConnectionStatistics
from ._values import Peer

log = logging.getLogger(__name__)

T = TypeVar("T")

FINISH_SECONDS = 1.0
"""How long closing waits for a peer to take what was sent before."""


@final
class BlockingConnection(Generic[T]):
    """One connection of a channel: whole typed messages both ways. `for message in connection` ends with the peer's.

    One thread may send while another receives, and any number take turns.
    """

    def __init__(self, link: MessageLink, codec: Codec[T]) -> None:
        self._link = link
        self._codec = codec
        self._encode, _ = link.coders(codec)
        self._incoming = Incoming(link, codec)
        self._sending: Lock = threading.Lock()
        self._receiving: Lock = threading.Lock()
        self._closing = threading.RLock()
        if isinstance(link, PayloadLink):
            self._attend(link)

    def _attend(self, link: PayloadLink) -> None:
        """Have each who may have to do with large payloads told of what others do."""
        self._placing = threading.Lock()  # whoever waits until there is room
        self._sending = TellingLock(self._say_due)
        self._receiving = TellingLock(link.waker.ring)
        link.payloads.pool.when_released = link.waker.ring
        link.payloads.windows.when_due = self._say_due

    def send(self, value: T, *, timeout: float | None = None) -> None:
        """Send one message; it is in the kernel's hands, or the peer's, when this returns.

        Args:
            value: The message.
            timeout: Seconds to wait for a peer that has to read first, or to let go of large payloads; None is for
                ever.

        Raises:
            InvalidMessage: The value does not fit the declared type. Nothing has been sent.
            TooLarge: It is longer than the other side accepts. Nothing has been sent.
            TimedOut: If no byte had left the message is taken back; otherwise the rest goes before the next one.
            ConnectionLost: The peer has gone. What it had sent before can still be received.
            Closed: This end has been closed.
        """
        clock = Clock(timeout)
        body = self._checked(value)
        frame = self._link.pack(body)
        self._send_frames(self._pack_later(body, clock) if frame is None else frame, 1, clock)

    def send_many(self, values: Iterable[T], /, *, timeout: float | None = None) -> None:
        """Send several messages at one go; all are checked before the first leaves. See `send`."""
        clock = Clock(timeout)
        if not isinstance(self._link, PayloadLink):
            self._hear_hello()
            self._send_frames(*self._link.pack_all(self._codec, values, self._checked), clock)
            return
        for waits, bodies in groupby(list(map(self._checked, values)), key=is_homeless):
            if waits:
                for body in bodies:
                    self._send_frames(self._pack_later(body, clock), 1, clock)
            else:
                self._send_frames(*self._link.pack_many(bodies), clock)

    def send_nowait(self, value: T) -> None:
        """Send one message if that takes no waiting. See `send`.

        Raises:
            WouldBlock: The peer has to read first, or to let go of large payloads, or another thread is sending.
                Nothing has been sent.
        """
        link = self._link
        body = self._checked(value)
        frame = link.pack(body)
        if frame is None:
            frame = self._pack_now(body)
        try:
            with turn(self._sending, Clock(0), lambda: WouldBlock(f"{link.where}: another thread is sending")):
                if link.write():
                    link.enqueue(frame)
                    # What has begun goes on with the next send; the message is no longer this caller's concern.
                    if link.write() or not link.withdraw(frame):
                        return
        finally:
            link.drop(frame)
        raise WouldBlock(f"{link.where}: the peer has to read first")

    def receive(self, *, timeout: float | None = None) -> T:
        """Receive the next message.

        Args:
            timeout: Seconds to wait for it; None is for ever.

        Raises:
            EndOfChannel: The peer has closed its end, and everything it sent has been received.
            ConnectionLost: It went away without a goodbye, or in the middle of a line; or is too slow:
                `handshake_seconds`, `midframe_seconds`.
            InvalidMessage: What came does not fit the declared type. The next message can be received.
            SchemaMismatch: The other side declares another type.
            TimedOut: No message has come in time. Nothing is lost.
            Closed: This end has been closed.
        """
        clock = Clock(timeout)
        with turn(self._receiving, clock, lambda: self._timed_out("no message", clock)):
            return self._next(clock, 1)[0]

    def receive_many(self, *, max_messages: int = 1024, timeout: float | None = None) -> list[T]:
        """Receive what is there: at least one message, waiting for it, and as many more as need no waiting.

        Args:
            max_messages: The most to return.
            timeout: Seconds to wait for the first; None is for ever.

        Raises:
            IPCError: As `receive`; an error behind messages that arrived is raised by the next call.
        """
        if max_messages < 1:
            raise ValueError(f"max_messages={max_messages}: must be at least 1")
        clock = Clock(timeout)
        with turn(self._receiving, clock, lambda: self._timed_out("no message", clock)):
            messages = self._next(clock, max_messages)
            self._incoming.fill(messages, max_messages)
        return messages

    def receive_nowait(self) -> T:
        """Receive a message which is there already. See `receive`.

        Raises:
            WouldBlock: None is there, or another thread is receiving.
        """
        where = self._link.where
        with turn(self._receiving, Clock(0), lambda: WouldBlock(f"{where}: another thread is receiving")):
            messages = self._incoming.take_now(1)
        if not messages:
            raise WouldBlock(f"{where}: no message is there")
        return messages[0]

    def send_eof(self) -> None:
        """Say that this end sends no more: the peer's `receive` ends, and it can still send."""
        clock = Clock(None)
        with turn(self._sending, clock, None):
            self._link.check_open()
            self._link.say_goodbye()
            self._write_out(clock)
            self._link.half_close()

    def __iter__(self) -> Iterator[T]:
        """Receive messages until the peer has closed its end."""
        while True:
            try:
                message = self.receive()
            except EndOfChannel:
                return
            yield message

    def close(self) -> None:
        """Say goodbye and close. What was sent stays receivable. Safe to call twice, and from another thread.

        Waits up to a second for a peer that has to read first.
        """
        if self._link.closed:
            return
        # Who comes second would cut off the goodbye; a signal handler, above the very code that closes, does not wait.
        is_alone = self._closing.acquire(timeout=FINISH_SECONDS)
        try:
            if not self._link.closed:
                self._close()
        finally:
            if is_alone:
                self._closing.release()

    def _close(self) -> None:
        link = self._link
        try:
            with turn(self._sending, Clock(0), lambda: Busy(link.where)):
                link.check_open()
                link.say_goodbye()
                self._write_out(Clock(FINISH_SECONDS))
        except IPCError:
            pass  # the peer has gone, or does not read, or another thread is in the middle of sending
        link.end()
        if isinstance(link, PayloadLink):
            link.waker.ring()
            settle(self._placing)
        settle(self._sending, self._receiving)
        link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for at the other end."""
        return self._link.peer

    def statistics(self) -> ConnectionStatistics:
        """Return what has been carried so far."""
        return self._link.statistics()

    # ------------------------------------------------------------ large payloads

    def _pack_later(self, body: bytes, clock: Clock) -> bytes:
        """Pack a message once there is room for its payloads: while nobody receives, this thread listens."""
        link = self._link
        assert isinstance(link, PayloadLink)
        late = self._timed_out("the peer does not let go of payloads", clock)
        with turn(self._placing, clock, lambda: late):
            try:
                self._hear(link)
                while (frame := self._packed_or_heard(link, body, clock, late)) is None:
                    pass
                return frame
            finally:
                link.waker.disarm()

    def _packed_or_heard(self, link: PayloadLink, body: bytes, clock: Clock, late: IPCError) -> bytes | None:
        """Try to pack a message, or wait until trying again may help."""
        bell = link.waker.arm()  # before anything is looked at: what happens from here on rings
        link.check_open()
        frame = link.pack_at_last(body)
        if frame is not None:
            return frame
        listens = link.may_listen and self._receiving.acquire(blocking=False)
        if listens and self._listen(link):
            return None
        if clock.expired():
            raise late
        if listens:
            self._readable(clock, bell)
        elif bell is not None:
            with suppress(OSError):  # closed by another thread, as is seen then
                lowlevel.wait_ready(bell, timeout_seconds=clock.left())
        return None

    def _pack_now(self, body: bytes) -> bytes:
        """Pack a message if there is room for its payloads."""
        link = self._link
        assert isinstance(link, PayloadLink)
        self._hear(link)
        frame = link.pack_at_last(body)
        if frame is None:
            raise WouldBlock(f"{link.where}: there is no room for its payloads until the peer lets go of others")
        return frame

    def _hear(self, link: PayloadLink) -> None:
        """Listen to what is there, unless another thread receives."""
        if self._receiving.acquire(blocking=False):
            try:
                link.hear()
            finally:
                self._receiving.release()

    def _listen(self, link: PayloadLink) -> bool:
        assert isinstance(self._receiving, TellingLock)
        try:
            return link.listen()
        finally:
            self._receiving.release_quietly()

    def _say_due(self) -> bool:
        """Say what the peer waits for, unless another thread is sending, which does it then.

        Called from anywhere, also where garbage is collected. False if the peer has to read first.
        """
        link = self._link
        assert isinstance(link, PayloadLink)
        assert isinstance(self._sending, TellingLock)
        while link.owes and self._sending.acquire(blocking=False):
            try:
                done = link.say_due()
            finally:
                self._sending.release_quietly()
            if not done:
                return False
        return True

    # ------------------------------------------------------------ inside

    def _checked(self, value: T) -> bytes:
        body = self._encode(value)
        self._hear_hello()
        self._link.check_sendable(body)
        return body

    def _hear_hello(self) -> None:
        if not self._link.session.greeted and self._receiving.acquire(blocking=False):
            try:
                self._link.hear_hello()
            finally:
                self._receiving.release()

    def _send_frames(self, frames: bytes, messages: int, clock: Clock) -> None:
        link = self._link
        try:
            with turn(self._sending, clock, lambda: self._timed_out("not sent", clock)):
                link.check_open()
                self._write_out(clock)  # the rest of one that had timed out
                link.enqueue(frames, messages)
                try:
                    self._write_out(clock)
                except BaseException:
                    link.withdraw(frames, messages)
                    raise
        finally:
            link.drop(frames)

    def _write_out(self, clock: Clock) -> None:
        while not self._link.write():
            if clock.expired():
                raise self._timed_out("the peer does not read", clock)
            self._ready(clock, write=True)

    def _next(self, clock: Clock, most: int) -> list[T]:
        while not (messages := self._incoming.take(most)):
            if self._link.read():
                continue
            if clock.expired():
                raise self._timed_out("no message", clock)
            self._readable(clock)
        return messages

    def _readable(self, clock: Clock, bell: int | None = None) -> None:
        """Wait for the peer, or the bell; and for a peer that owes something no longer than it may take."""
        write = isinstance(self._link, PayloadLink) and self._link.owes and not self._say_due()
        seconds = self._link.seconds_left()
        if seconds is None:
            self._ready(clock, write=write, read=True, bell=bell)
            return
        if seconds == 0:
            raise self._give_up()
        left = clock.left()
        with self._link.patience.counting():
            self._ready(Clock(seconds if left is None else min(seconds, left)), write=write, read=True, bell=bell)

    def _give_up(self) -> IPCError:
        telling = self._sending.acquire(blocking=False)
        try:
            return self._link.give_up(telling=telling)
        finally:
            if telling:
                self._sending.release()

    def _ready(self, clock: Clock, *, write: bool, read: bool = False, bell: int | None = None) -> None:
        wait_for(self._link.socket, self._link.where, clock, write=write, read=read, bell=bell)

    def _timed_out(self, what: str, clock: Clock) -> TimedOut:
        return TimedOut(f"{self._link.where}: {what} within {clock.timeout} seconds")


def wait_for(
    socket: lowlevel.Socket, where: str, clock: Clock, *, write: bool, read: bool = False, bell: int | None = None
) -> None:
    """Wait until a socket can be read or written, or the clock has run out. Closed if another thread closed."""
    seconds = clock.left()
    try:
        lowlevel.wait_ready(socket.fileno(), read=read or not write, write=write, timeout_seconds=seconds, bell=bell)
    except OSError:
        raise Closed(f"{where}: this end has been closed") from None


@final
class turn:  # noqa: N801  # reads as a verb: with turn(...)
    """Hold a lock, or raise what is made then if the time is over first."""

    __slots__ = ("_clock", "_lock", "_otherwise")

    def __init__(self, lock: Lock, clock: Clock, otherwise: Callable[[], IPCError] | None) -> None:
        self._lock = lock
        self._clock = clock
        self._otherwise = otherwise

    def __enter__(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        left = self._clock.left()
        if not self._lock.acquire(timeout=-1 if left is None else left):
            assert self._otherwise is not None
            raise self._otherwise()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def settle(*locks: Lock) -> None:
    """Wait for the threads which have just been woken: the number of the descriptor may be another's once it is closed.

    Not for ever: this may be a signal handler, above the very code that holds the lock.
    """
    for lock in locks:
        if lock.acquire(timeout=FINISH_SECONDS):
            lock.release()


class _Closeable(Protocol):
    def close(self) -> None: ...


End_co = TypeVar("End_co", bound=_Closeable, covariant=True)


@final
class BlockingListener(Generic[End_co]):
    """The listening end: accepts connections while its `with` lasts, and owns the name."""

    def __init__(
        self,
        reception: Reception,
        make_end: Callable[[lowlevel.Socket, Peer, Callable[[], object]], End_co],
        refuse: Callable[[lowlevel.Socket, IPCError], object],
    ) -> None:
        self._reception = reception
        self._make_end = make_end
        self._refuse = refuse
        self._accepting = threading.Lock()
        self._bell = lowlevel.eventfd()  # wakes whoever waits here once the listener is closed
        self._successors = threading.Thread(target=self._hand_over, name="namedipc handover", daemon=True)

    def _hand_over(self) -> None:
        """Hand the name over to a process that asks for it. Who is accepted until then stays here."""
        with closing(handing_over(self._reception.claim)) as plan:
            try:
                while not self._reception.closed:
                    pause = next(plan)
                    seconds = None if pause.seconds == inf else pause.seconds
                    lowlevel.wait_ready(pause.fd or self._bell, timeout_seconds=seconds, bell=self._bell)
            except StopIteration as done:
                if done.value:
                    self.close()

    def accept(self, *, timeout: float | None = None) -> End_co:
        """Accept the next connection. Who is not allowed, or over a limit, is turned away meanwhile.

        Args:
            timeout: Seconds to wait; None is for ever.

        Returns:
            The connection, which the caller closes.

        Raises:
            TimedOut: Nobody has connected in time.
            Closed: The listener has been closed, by this thread or another, or another process has taken the name over.
        """
        clock = Clock(timeout)
        timed_out = TimedOut(f"{self.path}: nobody has connected within {timeout} seconds")
        with turn(self._accepting, clock, lambda: timed_out):
            while True:
                end = self._reception.accept_now(self._make_end, self._refuse)
                if end is not None:
                    return end
                if clock.expired():
                    raise timed_out
                self._wait(clock)

    def _wait(self, clock: Clock) -> None:
        left = clock.left()
        pause = self._reception.pause_until - monotonic()
        if pause > 0:
            self._reception.pausing.wait(pause if left is None else min(pause, left))
        try:
            listener = self._reception.claim.listener.fileno()
            lowlevel.wait_ready(listener, timeout_seconds=clock.left(), bell=self._bell)
        except OSError:
            raise Closed(f"{self.path}: this listener has been closed") from None

    def __iter__(self) -> Iterator[End_co]:
        """Accept one connection after the other, until the listener is closed."""
        while True:
            try:
                end = self.accept()
            except Closed:
                return
            yield end

    def serve(self, handler: Callable[[End_co], object], /, *, threads: int = 32) -> None:
        """Accept connections, a thread for each; each is closed when its handler ends.

        Returns once the listener has been closed, or another process has taken the name over, and the last handler has
        ended.

        A handler's exception ends its connection only: the peer receives it as `RemoteError`. A peer that went away,
        or closed, while the handler was receiving is no error.

        Args:
            handler: Called with each connection.
            threads: The most at once; further peers wait in the backlog.
        """
        if threads < 1:
            raise ValueError(f"threads={threads}: must be at least 1")
        free = threading.BoundedSemaphore(threads)
        running: dict[threading.Thread, End_co] = {}
        try:
            while True:
                free.acquire()
                try:
                    end = self.accept()
                except BaseException:
                    free.release()
                    raise
                thread = threading.Thread(
                    target=self._attend,
                    args=(handler, end, free, running),
                    name="namedipc handler",
                    daemon=True,
                )
                running[thread] = end
                thread.start()
        except Closed:
            pass
        except BaseException:  # such as Ctrl-C, and no thread left
            for end in list(running.values()):
                end.close()  # ends what its handler waits for
            raise
        finally:
            for thread in list(running):
                if thread.ident is not None:
                    thread.join()

    def _attend(
        self,
        handler: Callable[[End_co], object],
        end: object,
        free: threading.BoundedSemaphore,
        running: dict[threading.Thread, End_co],
    ) -> None:
        connection: End_co = end  # type: ignore[assignment]  # a covariant variable cannot be a parameter
        try:
            handler(connection)
        except (EndOfChannel, ConnectionLost):
            pass
        except Exception as error:  # told to the peer
            log.debug("%s: a handler failed", self.path, exc_info=True)
            if isinstance(connection, BlockingConnection):
                connection._link.tell_failure(error)
        finally:
            connection.close()
            running.pop(threading.current_thread(), None)
            free.release()

    def close(self) -> None:
        """Stop listening, remove the name, and end an `accept` or `serve` that runs in another thread.

        Connections that were accepted go on. Safe to call twice.
        """
        if self._reception.closed:
            self._await_successors()  # which may be closing at this moment
            return
        self._reception.closed = True
        self._reception.pausing.set()
        if not self._reception.claim.closed:  # as it is in a child made by fork, which shares the bell
            # Closing the listener alone would wake nobody, and to shut it down would do so for a successor as well.
            os.eventfd_write(self._bell, 1)
            settle(self._accepting)
            self._await_successors()
        self._reception.close()
        os.close(self._bell)

    def _await_successors(self) -> None:
        if self._successors.ident is not None and self._successors is not threading.current_thread():
            self._successors.join()  # it has been rung for, and uses the bell until it ends

    def __enter__(self) -> Self:
        try:
            self._successors.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The absolute path of the name."""
        return Path(self._reception.claim.path)
