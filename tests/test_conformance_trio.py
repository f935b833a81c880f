"""The conformance checks of channels in trio: ours pass, trio's own pass, and who breaks a law is told which."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
import trio.abc
from trio.testing import MockClock

from namedipc import Broadcast, Channel, Fifo
from namedipc._broadcast_trio import BroadcastReader, BroadcastWriter
from namedipc._channel_trio import Connection
from namedipc._fifo_trio import FifoReader, FifoWriter
from namedipc.testing import _conformance as laws
from namedipc.testing import check_half_closeable_channel, check_one_way_channel, check_two_way_channel

from .channel_support import shrink

# ------------------------------------------------------------ ours


def long_message(number: int) -> bytes:
    """A message that is longer than what the small channels of these tests hold."""
    return b"%06d" % number * 2_000


@attrs.frozen
class Ours:
    """Makes pairs of our own ends, of messages which fit, and of messages that are longer than what an end holds."""

    directory: Path

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[Connection[int], Connection[int]]]:
        """Two ends of a connection over a socket with a name."""
        channel = Channel(self.directory / "channel", int)
        async with channel.listen() as listener, channel.connect() as one, await listener.accept() as other:
            yield one, other

    @asynccontextmanager
    async def small_connection(self) -> AsyncIterator[tuple[Connection[bytes], Connection[bytes]]]:
        """The same over a socket that holds little."""
        channel = Channel(self.directory / "channel", bytes)
        async with channel.listen() as listener, channel.connect() as one, await listener.accept() as other:
            for end in (one, other):
                shrink(end._link.socket)
            yield one, other

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Connection[int], Connection[int]]]:
        """Two ends without a name."""
        one_end, other_end = Channel("pair", int).pair()
        async with one_end as one, other_end as other:
            yield one, other

    @asynccontextmanager
    async def fifo(self) -> AsyncIterator[tuple[FifoWriter[int], FifoReader[int]]]:
        """A writer and a reader which ends with it."""
        fifo = Fifo(self.directory / "fifo", int)
        async with fifo.reader(until_writers_gone=True, remove=True) as reader, fifo.writer() as writer:
            yield writer, reader

    @asynccontextmanager
    async def small_fifo(self) -> AsyncIterator[tuple[FifoWriter[bytes], FifoReader[bytes]]]:
        """The same with room for one packet."""
        fifo = Fifo(self.directory / "fifo", bytes)
        async with (
            fifo.reader(until_writers_gone=True, remove=True) as reader,
            fifo.writer(capacity_bytes=4096) as writer,
        ):
            yield writer, reader

    @asynccontextmanager
    async def broadcast(self) -> AsyncIterator[tuple[BroadcastWriter[int], BroadcastReader[int]]]:
        """A writer and a reader."""
        broadcast = Broadcast(self.directory / "broadcast", int)
        async with broadcast.writer() as writer, broadcast.reader() as reader:
            yield writer, reader


@pytest.fixture
def ours(tmp_path: Path, no_leaks: None) -> Ours:
    """The makers, in a directory of their own."""
    return Ours(tmp_path)


async def test_a_connection_conforms(ours: Ours) -> None:
    """Over a socket with a name: whole, and with its halves closed one by one."""
    await check_half_closeable_channel(ours.connection)


async def test_a_connection_conforms_in_the_middle_of_messages(ours: Ours) -> None:
    """Cancelled at each scheduling point of messages that leave and arrive piece by piece."""
    await check_half_closeable_channel(ours.small_connection, long_message)


async def test_a_pair_conforms(ours: Ours) -> None:
    """So do joined ends without a name."""
    await check_half_closeable_channel(ours.pair)


async def test_a_fifo_conforms(ours: Ours) -> None:
    """One way, with a reader which ends with its writers."""
    await check_one_way_channel(ours.fifo)


async def test_a_fifo_conforms_in_the_middle_of_messages(ours: Ours) -> None:
    """Cancelled at each scheduling point of messages of several packets."""
    await check_one_way_channel(ours.small_fifo, long_message)


async def test_a_broadcast_conforms_but_for_its_purpose(ours: Ours) -> None:
    """Its writer never waits for a reader, and does not know whether there is one."""
    await check_one_way_channel(ours.broadcast, sender_waits=False, lost_receiver_breaks=False)


# ------------------------------------------------------------ trio's, and what breaks a law

Pair = tuple["Sender", "Receiver"]


class Sender(trio.abc.SendChannel[int]):
    """The sending end of trio's own channel, as those begin who break a law."""

    def __init__(self, inner: trio.MemorySendChannel[int]) -> None:
        self.inner = inner

    async def send(self, value: int) -> None:
        """Send."""
        await self.inner.send(value)

    def send_nowait(self, value: int) -> None:
        """Send."""
        self.inner.send_nowait(value)

    async def aclose(self) -> None:
        """Close."""
        await self.inner.aclose()


class Receiver(trio.abc.ReceiveChannel[int]):
    """The receiving end."""

    def __init__(self, inner: trio.MemoryReceiveChannel[int]) -> None:
        self.inner = inner

    async def receive(self) -> int:
        """Receive."""
        return await self.inner.receive()

    def receive_nowait(self) -> int:
        """Receive."""
        return self.inner.receive_nowait()

    async def aclose(self) -> None:
        """Close."""
        await self.inner.aclose()


@attrs.frozen
class Memory:
    """Makes pairs of trio's own ends, in the clothes of some class."""

    size: int = 3
    sender: type[Sender] = Sender
    receiver: type[Receiver] = Receiver

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Pair]:
        """Open a pair."""
        sender, receiver = trio.open_memory_channel[int](self.size)
        async with sender, receiver:
            yield self.sender(sender), self.receiver(receiver)


@pytest.mark.parametrize("size", [0, 1, 5])
async def test_trios_own_channel_conforms(size: int) -> None:
    """Whatever it holds. What fails at once in it is no checkpoint, which trio does not ask for."""

    @asynccontextmanager
    async def ends() -> AsyncIterator[tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]]]:
        sender, receiver = trio.open_memory_channel[str](size)
        async with sender, receiver:
            yield sender, receiver

    await check_one_way_channel(ends, str, failures_checkpoint=False)
    with pytest.raises(AssertionError, match=f"^{laws.FAILING_CHECKPOINTS}: receive behind the last message was none"):
        await check_one_way_channel(ends, str)


async def test_what_a_channel_does_not_have_is_not_checked(autojump_clock: MockClock) -> None:
    """Methods that do not wait, several tasks at one end, a limit, a sign of the receiver's end: none is needed."""

    class Alone(Receiver):
        receive_nowait = None  # type: ignore[assignment]  # it has none
        _is_used = False

        async def receive(self) -> int:
            if self._is_used:
                raise trio.BusyResourceError
            self._is_used = True
            try:
                return await self.inner.receive()
            finally:
                self._is_used = False

    class Careless(Sender):
        send_nowait = None  # type: ignore[assignment]  # it has none

        async def send(self, value: int) -> None:
            with suppress(trio.BrokenResourceError):
                await self.inner.send(value)

    memory = Memory(20_000, Careless, Alone)
    await check_one_way_channel(
        memory, many_tasks=False, sender_waits=False, lost_receiver_breaks=False, failures_checkpoint=False
    )
    with pytest.raises(AssertionError, match="BusyResourceError"):
        await check_one_way_channel(memory, sender_waits=False, lost_receiver_breaks=False, failures_checkpoint=False)
    with pytest.raises(AssertionError, match=f"^{laws.BACK_PRESSURE}: 10000 messages were sent, none received"):
        await check_one_way_channel(memory, many_tasks=False, lost_receiver_breaks=False, failures_checkpoint=False)


class NeverWaits(Sender):
    """Sends without a checkpoint where there is room."""

    async def send(self, value: int) -> None:
        try:
            self.inner.send_nowait(value)
        except trio.WouldBlock:
            await self.inner.send(value)


class ReceivesAtOnce(Receiver):
    """Receives without a checkpoint what is there."""

    async def receive(self) -> int:
        try:
            return self.inner.receive_nowait()
        except trio.WouldBlock:
            return await self.inner.receive()


class Stutters(Receiver):
    """Gives every third message twice."""

    _last = 0

    async def receive(self) -> int:
        if self._last % 3 == 2:
            await trio.lowlevel.checkpoint()
            last, self._last = self._last, 0
            return last
        self._last = await self.inner.receive()
        return self._last


class Skips(Receiver):
    """Loses every third message."""

    async def receive(self) -> int:
        while (value := await self.inner.receive()) % 3 == 2:
            pass
        return value


class Damages(Receiver):
    """Gives something else for every third message."""

    async def receive(self) -> int:
        value = await self.inner.receive()
        return value if value % 3 < 2 else -value


class Swaps(Receiver):
    """Exchanges two messages."""

    async def receive(self) -> int:
        value = await self.inner.receive()
        return {4: 5, 5: 4}.get(value, value)


class HangsAtTheEnd(Receiver):
    """Says the end once."""

    _has_ended = False

    async def receive(self) -> int:
        if self._has_ended:
            await trio.sleep_forever()
        try:
            return await self.inner.receive()
        except trio.EndOfChannel:
            self._has_ended = True
            raise


class HangsAtClose(Sender):
    """Never comes back from aclose, and has not closed."""

    async def aclose(self) -> None:
        await trio.sleep_forever()


class StaysOpen(Receiver):
    """Forgets to close."""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class ClosesOnce(Sender):
    """Is angry when it is closed twice."""

    _is_closed = False

    async def aclose(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("twice")
        self._is_closed = True
        await self.inner.aclose()


class ClosesTooLate(Sender):
    """Waits before it closes."""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        await self.inner.aclose()


class ClosesAtOnce(Sender):
    """Closes without a checkpoint."""

    async def aclose(self) -> None:
        self.inner.close()


class LeavesThemAsleep(Receiver):
    """Wakes nobody when it closes."""

    _is_closed = False

    async def receive(self) -> int:
        if self._is_closed:
            raise trio.ClosedResourceError
        return await self.inner.receive()

    async def aclose(self) -> None:
        self._is_closed = True
        await trio.lowlevel.checkpoint()


class NeverFull(Sender):
    """Drops what does not fit."""

    async def send(self, value: int) -> None:
        with suppress(trio.WouldBlock):
            self.inner.send_nowait(value)
        await trio.lowlevel.checkpoint()


class NoticesNothing(Sender):
    """Sends to nobody."""

    async def send(self, value: int) -> None:
        try:
            await self.inner.send(value)
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()


class GivesToAll(Receiver):
    """Whoever waits gets the same message."""

    _box: list[int] | None = None
    _arrived = trio.Event()

    async def receive(self) -> int:
        if self._box is not None:
            others = self._box
            await self._arrived.wait()
            return others[0] if others else await self.receive()
        box: list[int] = []
        arrived = trio.Event()
        self._box, self._arrived = box, arrived
        try:
            box.append(await self.inner.receive())
        finally:
            self._box = None
            arrived.set()
        return box[0]


class ForgetsWhenCancelled(Receiver):
    """Has taken a message when it is cancelled."""

    async def receive(self) -> int:
        value = await self.inner.receive()
        await trio.lowlevel.checkpoint()
        return value


class SendsBeforeItLooks(Sender):
    """Has sent when it sees that it was cancelled before."""

    async def send(self, value: int) -> None:
        try:
            self.inner.send_nowait(value)
        except trio.WouldBlock:
            await self.inner.send(value)
        else:
            await trio.lowlevel.checkpoint()


class LeavesHalfAMessage(Sender):
    """Sends the halves of a message one after the other."""

    async def send(self, value: int) -> None:
        await self.inner.send(2 * value)
        await self.inner.send(2 * value + 1)


class JoinsHalves(Receiver):
    """Takes every two for one."""

    _half: int | None = None

    async def receive(self) -> int:
        if self._half is None:
            self._half = await self.inner.receive()
        other = await self.inner.receive()
        half, self._half = self._half, None
        return (half + other) // 4


class SaysTheEndTooEarly(Receiver):
    """Takes an empty channel for an ended one."""

    def receive_nowait(self) -> int:
        try:
            return self.inner.receive_nowait()
        except trio.WouldBlock:
            raise trio.EndOfChannel from None


class SendsAlthoughItIsFull(Sender):
    """Says that it would block, and keeps the message."""

    _kept: int | None = None

    def send_nowait(self, value: int) -> None:
        try:
            self.inner.send_nowait(value)
        except trio.WouldBlock:
            self._kept = value
            raise

    async def send(self, value: int) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            await self.inner.send(kept)
        await self.inner.send(value)


@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        (NeverWaits, f"{laws.CHECKPOINTS}: send was none"),
        (ReceivesAtOnce, f"{laws.CHECKPOINTS}: receive was none"),
        (Stutters, f"{laws.ORDER}: a message came more than once: 2"),
        (Skips, f"{laws.ORDER}: a message was lost, or overtaken: 2"),
        (Damages, f"{laws.ORDER}: a message came which had not been sent: -2"),
        (Swaps, f"{laws.ORDER}: a message was lost, or overtaken: 4"),
        (HangsAtTheEnd, f"{laws.END}: nothing more has happened within 10.0 seconds"),
        (HangsAtClose, f"{laws.END}: nothing more has happened"),
        (StaysOpen, f"{laws.CLOSED}: receive raised EndOfChannel, not ClosedResourceError"),
        (ClosesOnce, f"{laws.CLOSED_TWICE}: unexpected ClosedResourceError: twice"),
        (ClosesTooLate, f"{laws.CLOSED_WHEN_CANCELLED}: send raised BrokenResourceError, not ClosedResourceError"),
        (ClosesAtOnce, f"{laws.CHECKPOINTS}: aclose was none"),
        (LeavesThemAsleep, f"{laws.CLOSED_MEANWHILE}: nothing more has happened"),
        (NeverFull, f"{laws.END}: a message was lost: 3"),
        (NoticesNothing, f"{laws.BROKEN}: send did not raise BrokenResourceError"),
        (GivesToAll, f"{laws.EXACTLY_ONE}: a message came more than once"),
        (ForgetsWhenCancelled, f"{laws.GIVEN_UP_RECEIVE}: a message was lost: 0"),
        (SendsBeforeItLooks, f"{laws.GIVEN_UP_SEND}: it was cancelled before it began"),
        (
            SaysTheEndTooEarly,
            f"{laws.NOWAIT}: receive_nowait from an empty channel raised EndOfChannel, not WouldBlock",
        ),
        (SendsAlthoughItIsFull, f"{laws.NOWAIT}: a message came which had not been sent: 3"),
    ],
)
async def test_who_breaks_a_law_is_told_which(
    mutant: type[Sender | Receiver], told: str, autojump_clock: MockClock
) -> None:
    """One fault each, in an end that is sound otherwise. What hangs is noticed as well."""
    memory = Memory(sender=mutant) if issubclass(mutant, Sender) else Memory(receiver=mutant)
    with pytest.raises(AssertionError, match=f"^{told}"):
        await check_one_way_channel(memory, failures_checkpoint=False)


async def test_half_a_message_is_noticed(autojump_clock: MockClock) -> None:
    """A send that was cancelled between two halves, whose next message is none."""
    memory = Memory(sender=LeavesHalfAMessage, receiver=JoinsHalves)
    with pytest.raises(AssertionError, match=f"^{laws.GIVEN_UP_SEND}: a message was lost"):
        await check_one_way_channel(memory, many_tasks=False, failures_checkpoint=False)


# ------------------------------------------------------------ two ways


class Both(trio.abc.Channel[int]):
    """Two channels of trio's own in one."""

    def __init__(self, sender: trio.MemorySendChannel[int], receiver: trio.MemoryReceiveChannel[int]) -> None:
        self.sender = sender
        self.receiver = receiver
        self.is_closed = False

    async def send(self, value: int) -> None:
        """Send."""
        await self.sender.send(value)

    async def receive(self) -> int:
        """Receive."""
        return await self.receiver.receive()

    async def send_eof(self) -> None:
        """End this direction."""
        if self.is_closed:
            raise trio.ClosedResourceError
        await self.sender.aclose()

    async def aclose(self) -> None:
        """Close both directions."""
        self.is_closed = True
        self.sender.close()
        await self.receiver.aclose()


TwoWay = Callable[[], AbstractAsyncContextManager[tuple[Both, Both]]]


def joined(kind: type[Both]) -> TwoWay:
    """Return what makes two joined ends of a class."""

    @asynccontextmanager
    async def ends() -> AsyncIterator[tuple[Both, Both]]:
        one_sends, other_receives = trio.open_memory_channel[int](3)
        other_sends, one_receives = trio.open_memory_channel[int](3)
        one, other = kind(one_sends, one_receives), kind(other_sends, other_receives)
        async with one_sends, one_receives, other_sends, other_receives:
            yield one, other

    return ends


async def test_two_joined_channels_conform() -> None:
    """Those whose faults are looked for below, without a fault."""
    await check_half_closeable_channel(joined(Both), failures_checkpoint=False)


class OneAtATime(Both):
    """Sends or receives: whoever waits for the one cannot do the other."""

    def __init__(self, sender: trio.MemorySendChannel[int], receiver: trio.MemoryReceiveChannel[int]) -> None:
        super().__init__(sender, receiver)
        self.lock = trio.Lock()

    async def send(self, value: int) -> None:
        async with self.lock:
            await self.sender.send(value)

    async def receive(self) -> int:
        if not self.sender.statistics().tasks_waiting_send:
            return await self.receiver.receive()
        async with self.lock:
            return await self.receiver.receive()


class EndsBoth(Both):
    """Ends the other direction, too."""

    async def send_eof(self) -> None:
        await self.aclose()


class EndsNothing(Both):
    """Says nothing to the other side."""

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()


class EndsOnce(Both):
    """Is angry when the end is said twice."""

    has_ended = False

    async def send_eof(self) -> None:
        if self.has_ended:
            raise trio.BusyResourceError("twice")
        self.has_ended = True
        await super().send_eof()


class EndsAfterClosing(Both):
    """Does not notice that it was closed."""

    async def send_eof(self) -> None:
        await self.sender.aclose()


class ForgetsTheEnd(Both):
    """Has noted that the end was said before it is."""

    has_ended = False

    async def send_eof(self) -> None:
        if self.is_closed:
            raise trio.ClosedResourceError
        if not self.has_ended:
            self.has_ended = True
            await trio.lowlevel.checkpoint()
            self.sender.close()
        await trio.lowlevel.checkpoint()


class HasNoEnd(Both):
    """Cannot end one direction."""

    send_eof = None  # type: ignore[assignment]  # it has none


@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        (OneAtATime, f"{laws.BOTH_WAYS}: nothing more has happened"),
        (EndsBoth, f"{laws.EOF_ENDS}: unexpected ClosedResourceError"),
        (EndsNothing, f"{laws.EOF_ENDS}: nothing more has happened"),
        (EndsOnce, f"{laws.EOF_CLOSES}: unexpected BusyResourceError: twice"),
        (EndsAfterClosing, f"{laws.EOF_CLOSES}: send_eof of an end that was closed did not raise ClosedResourceError"),
        (ForgetsTheEnd, f"{laws.EOF_GIVEN_UP}: nothing more has happened"),
        (HasNoEnd, f"{laws.EOF_ENDS}: an end has no send_eof"),
    ],
)
async def test_who_breaks_a_law_of_two_ways_is_told_which(
    mutant: type[Both], told: str, autojump_clock: MockClock
) -> None:
    """One fault each."""
    with pytest.raises(AssertionError, match=f"^{told}"):
        await check_half_closeable_channel(joined(mutant), failures_checkpoint=False)


async def test_a_fault_of_one_direction_is_found(autojump_clock: MockClock) -> None:
    """Whichever of the two ends has it."""

    @asynccontextmanager
    async def ends() -> AsyncIterator[tuple[Both, Both]]:
        async with joined(Both)() as (one, other):
            closing, other.aclose = other.aclose, one.aclose  # type: ignore[method-assign]  # a fault of one end
            yield one, other
            await closing()

    with pytest.raises(AssertionError, match=f"^{laws.CLOSED}|^{laws.END}"):
        await check_two_way_channel(ends, failures_checkpoint=False)
