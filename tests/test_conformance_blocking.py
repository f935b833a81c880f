"""The conformance checks of channels in blocking code: ours pass, and who breaks a law is told which."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Condition

import attrs
import pytest

from namedipc import (
    BlockingBroadcastReader,
    BlockingBroadcastWriter,
    BlockingConnection,
    BlockingFifoReader,
    BlockingFifoWriter,
    Broadcast,
    Busy,
    Channel,
    Closed,
    ConnectionLost,
    EndOfChannel,
    Fifo,
    TimedOut,
    WouldBlock,
)
from namedipc.testing import _conformance as laws
from namedipc.testing import (
    check_blocking_half_closeable_channel,
    check_blocking_one_way_channel,
    check_blocking_two_way_channel,
)

from .channel_support import Background, shrink

# ------------------------------------------------------------ ours


def long_message(number: int) -> bytes:
    """A message that is longer than what the small channels of these tests hold."""
    return b"%06d" % number * 2_000


@attrs.frozen
class Ours:
    """Makes pairs of our own ends, of messages which fit, and of messages that are longer than what an end holds."""

    directory: Path

    @contextmanager
    def connection(self) -> Iterator[tuple[BlockingConnection[int], BlockingConnection[int]]]:
        """Two ends of a connection over a socket with a name."""
        channel = Channel(self.directory / "channel", int)
        with channel.listen() as listener, channel.connect() as one, listener.accept(timeout=20) as other:
            yield one, other

    @contextmanager
    def small_connection(self) -> Iterator[tuple[BlockingConnection[bytes], BlockingConnection[bytes]]]:
        """The same over a socket that holds little."""
        channel = Channel(self.directory / "channel", bytes)
        with channel.listen() as listener, channel.connect() as one, listener.accept(timeout=20) as other:
            for end in (one, other):
                shrink(end._link.socket)
            yield one, other

    @contextmanager
    def pair(self) -> Iterator[tuple[BlockingConnection[int], BlockingConnection[int]]]:
        """Two ends without a name."""
        one_end, other_end = Channel("pair", int).pair()
        with one_end as one, other_end as other:
            yield one, other

    @contextmanager
    def fifo(self) -> Iterator[tuple[BlockingFifoWriter[int], BlockingFifoReader[int]]]:
        """A writer and a reader which ends with it."""
        fifo = Fifo(self.directory / "fifo", int)
        with fifo.reader(until_writers_gone=True, remove=True) as reader, fifo.writer() as writer:
            yield writer, reader

    @contextmanager
    def small_fifo(self) -> Iterator[tuple[BlockingFifoWriter[bytes], BlockingFifoReader[bytes]]]:
        """The same with room for one packet."""
        fifo = Fifo(self.directory / "fifo", bytes)
        with fifo.reader(until_writers_gone=True, remove=True) as reader, fifo.writer(capacity_bytes=4096) as writer:
            yield writer, reader

    @contextmanager
    def broadcast(self) -> Iterator[tuple[BlockingBroadcastWriter[int], BlockingBroadcastReader[int]]]:
        """A writer and a reader."""
        broadcast = Broadcast(self.directory / "broadcast", int)
        with broadcast.writer() as writer, broadcast.reader() as reader:
            yield writer, reader


@pytest.fixture
def ours(tmp_path: Path, no_leaks: None) -> Ours:
    """The makers, in a directory of their own."""
    return Ours(tmp_path)


def test_a_connection_conforms(ours: Ours) -> None:
    """Over a socket with a name: whole, and with its halves closed one by one."""
    check_blocking_half_closeable_channel(ours.connection)


def test_a_connection_conforms_in_the_middle_of_messages(ours: Ours) -> None:
    """With timeouts that pass while messages leave and arrive piece by piece."""
    check_blocking_half_closeable_channel(ours.small_connection, long_message)


def test_a_pair_conforms(ours: Ours) -> None:
    """So do joined ends without a name."""
    check_blocking_half_closeable_channel(ours.pair)


def test_a_fifo_conforms(ours: Ours) -> None:
    """One way, with a reader which ends with its writers."""
    check_blocking_one_way_channel(ours.fifo)


def test_a_fifo_conforms_in_the_middle_of_messages(ours: Ours) -> None:
    """With timeouts that pass between the packets of a message."""
    check_blocking_one_way_channel(ours.small_fifo, long_message)


def test_a_broadcast_conforms_but_for_its_purpose(ours: Ours) -> None:
    """Its writer never waits for a reader, and does not know whether there is one."""
    check_blocking_one_way_channel(ours.broadcast, sender_waits=False, lost_receiver_breaks=False)


# ------------------------------------------------------------ what breaks a law


class Queue:
    """What lies between two threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.items: deque[int] = deque()
        self.changed = Condition()
        self.sender_closed = False
        self.receiver_closed = False


class Sender:
    """A sending end without a fault, as those begin who have one."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def send(self, value: int, /, *, timeout: float | None = None) -> None:
        """Send."""
        queue = self.queue
        with queue.changed:
            room = queue.changed.wait_for(
                lambda: len(queue.items) < queue.size or queue.sender_closed or queue.receiver_closed, timeout
            )
            if queue.sender_closed:
                raise Closed
            if queue.receiver_closed:
                raise ConnectionLost
            if not room:
                raise TimedOut
            queue.items.append(value)
            queue.changed.notify_all()

    def send_nowait(self, value: int) -> None:
        """Send."""
        try:
            self.send(value, timeout=0)
        except TimedOut:
            raise WouldBlock from None

    def close(self) -> None:
        """Close."""
        with self.queue.changed:
            self.queue.sender_closed = True
            self.queue.changed.notify_all()


class Receiver:
    """A receiving end without a fault."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def receive(self, *, timeout: float | None = None) -> int:
        """Receive."""
        queue = self.queue
        with queue.changed:
            there = queue.changed.wait_for(lambda: queue.items or queue.sender_closed or queue.receiver_closed, timeout)
            if queue.receiver_closed:
                raise Closed
            if queue.items:
                queue.changed.notify_all()
                return queue.items.popleft()
            if there:
                raise EndOfChannel
            raise TimedOut

    def receive_nowait(self) -> int:
        """Receive."""
        try:
            return self.receive(timeout=0)
        except TimedOut:
            raise WouldBlock from None

    def __iter__(self) -> Iterator[int]:
        """Iterate."""
        with suppress(EndOfChannel):
            while True:
                yield self.receive()

    def close(self) -> None:
        """Close."""
        with self.queue.changed:
            self.queue.receiver_closed = True
            self.queue.changed.notify_all()


Pair = AbstractContextManager[tuple[Sender, Receiver]]


def joined(*kinds: type[Sender] | type[Receiver], size: int = 3) -> Callable[[], Pair]:
    """Return what makes joined ends, of the given classes, or without a fault; and lets go of whoever still waits."""
    sending = next((kind for kind in kinds if issubclass(kind, Sender)), Sender)
    receiving = next((kind for kind in kinds if issubclass(kind, Receiver)), Receiver)

    @contextmanager
    def ends() -> Iterator[tuple[Sender, Receiver]]:
        queue = Queue(size)
        try:
            yield sending(queue), receiving(queue)
        finally:
            Sender(queue).close()
            Receiver(queue).close()

    return ends


def test_a_sound_channel_conforms() -> None:
    """The one whose faults are looked for below, whatever it holds."""
    for size in (1, 5):
        check_blocking_one_way_channel(joined(size=size))


class Alone(Receiver):
    """Is for one thread, and has no method that does not wait."""

    receive_nowait = None  # type: ignore[assignment]  # it has none
    _is_used = False

    def receive(self, *, timeout: float | None = None) -> int:
        if self._is_used:
            raise Busy
        self._is_used = True
        try:
            return super().receive(timeout=timeout)
        finally:
            self._is_used = False


class Careless(Sender):
    """Sends to whom does not receive any more, and has no method that does not wait."""

    send_nowait = None  # type: ignore[assignment]  # it has none

    def send(self, value: int, /, *, timeout: float | None = None) -> None:
        with suppress(ConnectionLost):
            super().send(value, timeout=timeout)


def test_what_a_channel_does_not_have_is_not_checked() -> None:
    """Methods that do not wait, several threads at one end, a limit, a sign of the receiver's end: none is needed."""
    ends = joined(Alone, Careless, size=20_000)
    check_blocking_one_way_channel(ends, many_threads=False, sender_waits=False, lost_receiver_breaks=False)
    with pytest.raises(AssertionError, match=f"^{laws.BACK_PRESSURE}: 10000 messages were sent, none received"):
        check_blocking_one_way_channel(ends, many_threads=False, lost_receiver_breaks=False)


class Stutters(Receiver):
    """Gives every third message twice."""

    _last = 0

    def receive(self, *, timeout: float | None = None) -> int:
        if self._last % 3 == 2:
            last, self._last = self._last, 0
            return last
        self._last = super().receive(timeout=timeout)
        return self._last


class Skips(Receiver):
    """Loses every third message."""

    def receive(self, *, timeout: float | None = None) -> int:
        while (value := super().receive(timeout=timeout)) % 3 == 2:
            pass
        return value


class EndsOnce(Receiver):
    """Says something else after the end."""

    _has_ended = False

    def receive(self, *, timeout: float | None = None) -> int:
        try:
            return super().receive(timeout=timeout)
        except EndOfChannel:
            if self._has_ended:
                raise ConnectionLost from None
            self._has_ended = True
            raise


class NeverIterates(Receiver):
    """Does not know where to stop."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield self.receive()


class StaysOpen(Receiver):
    """Forgets to close."""

    def close(self) -> None:
        pass


class ClosesOnce(Sender):
    """Is angry when it is closed twice."""

    def close(self) -> None:
        if self.queue.sender_closed:
            raise Closed("twice")
        super().close()


class NoticesNothing(Sender):
    """Sends to nobody."""

    def send(self, value: int, /, *, timeout: float | None = None) -> None:
        with suppress(ConnectionLost):
            super().send(value, timeout=timeout)


class ForgetsInTime(Receiver):
    """Has taken a message when its time is over."""

    def receive(self, *, timeout: float | None = None) -> int:
        value = super().receive(timeout=timeout)
        if timeout is not None and value % 7 == 3:
            raise TimedOut
        return value


class SendsARest(Sender):
    """Leaves something behind when its time is over."""

    def send(self, value: int, /, *, timeout: float | None = None) -> None:
        try:
            super().send(value, timeout=timeout)
        except TimedOut:
            self.queue.items.append(-1)
            raise


class SaysTheEndTooEarly(Receiver):
    """Takes an empty channel for an ended one."""

    def receive_nowait(self) -> int:
        try:
            return super().receive_nowait()
        except WouldBlock:
            raise EndOfChannel from None


class SendsAlthoughItIsFull(Sender):
    """Says that it would block, and has sent."""

    def send_nowait(self, value: int) -> None:
        try:
            super().send_nowait(value)
        except WouldBlock:
            self.queue.items.append(value)
            raise


@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        (Stutters, f"{laws.ORDER}: a message came more than once: 2"),
        (Skips, f"{laws.ORDER}: a message was lost, or overtaken: 2"),
        (EndsOnce, f"{laws.END}: receive behind the last message raised ConnectionLost, not EndOfChannel"),
        (NeverIterates, f"{laws.ITERATION}: unexpected EndOfChannel"),
        (StaysOpen, f"{laws.CLOSED}: receive raised EndOfChannel, not Closed"),
        (ClosesOnce, f"{laws.CLOSED_TWICE}: unexpected Closed: twice"),
        (NoticesNothing, f"{laws.BROKEN}: send did not raise ConnectionLost"),
        (ForgetsInTime, f"{laws.GIVEN_UP_RECEIVE}: a message was lost, or overtaken: 3"),
        (SendsARest, f"{laws.BACK_PRESSURE}: a message came which had not been sent: -1"),
        (
            SaysTheEndTooEarly,
            f"{laws.NOWAIT}: receive_nowait from an empty channel raised EndOfChannel, not WouldBlock",
        ),
        (SendsAlthoughItIsFull, f"{laws.NOWAIT}: a message came which had not been sent: 3"),
    ],
)
def test_who_breaks_a_law_is_told_which(mutant: type[Sender] | type[Receiver], told: str) -> None:
    """One fault each, in an end that is sound otherwise."""
    with pytest.raises(AssertionError, match=f"^{told}"):
        check_blocking_one_way_channel(joined(mutant))


class HangsAtTheEnd(Receiver):
    """Waits for more when all has come."""

    def receive(self, *, timeout: float | None = None) -> int:
        try:
            return super().receive(timeout=timeout)
        except EndOfChannel:
            with self.queue.changed:
                self.queue.changed.wait_for(lambda: self.queue.receiver_closed)
            raise


class LeavesThemAsleep(Receiver):
    """Wakes nobody when it closes."""

    def close(self) -> None:
        self.queue.receiver_closed = True


def test_what_hangs_is_noticed() -> None:
    """The check ends after its patience, and its threads when the ends have been closed."""
    hanging = {HangsAtTheEnd: laws.END, LeavesThemAsleep: laws.CLOSED_MEANWHILE}

    def check(mutant: type[Receiver]) -> None:
        with pytest.raises(AssertionError, match=f"^{hanging[mutant]}: nothing more has happened within 2"):
            check_blocking_one_way_channel(joined(mutant), patience_seconds=2.0)

    for checking in [Background(partial(check, mutant)) for mutant in hanging]:
        checking.result()


# ------------------------------------------------------------ two ways


class Both:
    """Two sound channels in one."""

    def __init__(self, sending: Queue, receiving: Queue) -> None:
        self.sender = Sender(sending)
        self.receiver = Receiver(receiving)

    def send(self, value: int, /, *, timeout: float | None = None) -> None:
        """Send."""
        self.sender.send(value, timeout=timeout)

    def receive(self, *, timeout: float | None = None) -> int:
        """Receive."""
        return self.receiver.receive(timeout=timeout)

    def __iter__(self) -> Iterator[int]:
        """Iterate."""
        return iter(self.receiver)

    def send_eof(self) -> None:
        """End this direction."""
        if self.receiver.queue.receiver_closed:
            raise Closed
        self.sender.close()

    def close(self) -> None:
        """Close both directions."""
        self.sender.close()
        self.receiver.close()


def joined_both(kind: type[Both]) -> Callable[[], AbstractContextManager[tuple[Both, Both]]]:
    """Return what makes two joined ends of a class."""

    @contextmanager
    def ends() -> Iterator[tuple[Both, Both]]:
        forth, back = Queue(3), Queue(3)
        try:
            yield kind(forth, back), kind(back, forth)
        finally:
            Both(forth, back).close()
            Both(back, forth).close()

    return ends


def test_two_joined_channels_conform() -> None:
    """Those whose faults are looked for below, without a fault."""
    check_blocking_half_closeable_channel(joined_both(Both))


class ClosesHalf(Both):
    """Takes its own close for the other side's, where that one has not closed."""

    def receive(self, *, timeout: float | None = None) -> int:
        queue = self.receiver.queue
        if queue.receiver_closed and not queue.sender_closed:
            raise EndOfChannel
        return super().receive(timeout=timeout)


class EndsBoth(Both):
    """Ends the other direction, too."""

    def send_eof(self) -> None:
        self.close()


class EndsAfterClosing(Both):
    """Does not notice that it was closed."""

    def send_eof(self) -> None:
        self.sender.close()


class HasNoEnd(Both):
    """Cannot end one direction."""

    send_eof = None  # type: ignore[assignment]  # it has none


@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        (ClosesHalf, f"{laws.CLOSED}: receive raised EndOfChannel, not Closed"),
        (EndsBoth, f"{laws.EOF_ENDS}: unexpected Closed"),
        (EndsAfterClosing, f"{laws.EOF_CLOSES}: send_eof of an end that was closed did not raise Closed"),
        (HasNoEnd, f"{laws.EOF_ENDS}: an end has no send_eof"),
    ],
)
def test_who_breaks_a_law_of_two_ways_is_told_which(mutant: type[Both], told: str) -> None:
    """One fault each."""
    with pytest.raises(AssertionError, match=f"^{told}"):
        check_blocking_half_closeable_channel(joined_both(mutant))


def test_a_channel_without_halves_conforms() -> None:
    """`send_eof` is asked for by one check only."""
    check_blocking_two_way_channel(joined_both(HasNoEnd))
