"""Whether a channel keeps what trio's SendChannel and ReceiveChannel promise: checks for whoever builds one.

The law: nothing is left to luck. A task is given up at each of its scheduling points in turn, and nobody sleeps.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import count
from typing import Final, Generic, TypeAlias, TypeVar, final

import attrs
import trio
import trio.abc
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from . import _conformance as laws
from ._conformance import MOST_UNREAD, expect, expect_each_once, expect_messages, expect_so_far, expecting, messages_by

T = TypeVar("T")
R = TypeVar("R")

Sender: TypeAlias = trio.abc.SendChannel[T]
Receiver: TypeAlias = trio.abc.ReceiveChannel[T]
Both: TypeAlias = trio.abc.Channel[T]
OneWayMaker: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Sender[T], Receiver[T]]]]
TwoWayMaker: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Both[T], Both[T]]]]

A_FEW: Final = 10


async def check_one_way_channel(
    make_pair: OneWayMaker[T],
    message: Callable[[int], T] | None = None,
    *,
    many_tasks: bool = True,
    sender_waits: bool = True,
    lost_receiver_breaks: bool = True,
    failures_checkpoint: bool = True,
    patience_seconds: float = 10.0,
) -> None:
    """Check a sending and a receiving end which are joined, law by law.

    - Messages arrive whole, each once, in order. Of several tasks that receive, each message reaches one.
    - When the sender has closed, what it had sent is received. Then each receive raises `trio.EndOfChannel`, and
      `async for` ends.
    - An end that was closed here raises `trio.ClosedResourceError`, also in a task which waits in it at that moment.
      Closing twice is safe, and a cancelled `aclose` closes.
    - Every operation is a checkpoint, whether it succeeds or fails.
    - A receive that is cancelled loses no message. A message whose send is cancelled arrives whole or not at all, and
      the next one is whole. Both are tried with a cancellation at each scheduling point, where there is something to
      wait for and where there is not. What is cancelled before it begins does nothing.
    - A sender that is not received from waits in the end, and loses nothing.
    - Sending raises `trio.BrokenResourceError` once the receiver has closed, also in a task which waits, and goes on
      to.
    - `send_nowait` and `receive_nowait`, where there are any, raise `trio.WouldBlock` rather than wait, and have done
      nothing then.

    A channel need not hold any message: the checks send and receive side by side.

    Args:
        make_pair: Called for each check. Returns what `async with` opens: fresh ends, which it closes at its end.
        message: Makes the message of a number, a different one for each, equal to itself as it arrives; None sends
            the numbers. To cancel in the middle of a message, make it longer than the channel holds.
        many_tasks: False where one task at a time may send, and one receive.
        sender_waits: False where a sender never waits, or only after 10 000 messages.
        lost_receiver_breaks: False where a sender does not learn that its receiver has closed.
        failures_checkpoint: False where an operation that fails need not be a checkpoint, as in trio's own channels.
        patience_seconds: When a check that makes no way is given up.

    Raises:
        AssertionError: A law is broken; the text begins with it.
    """
    traits = _Traits(
        many_tasks=many_tasks,
        sender_waits=sender_waits,
        lost_receiver_breaks=lost_receiver_breaks,
        failures_checkpoint=failures_checkpoint,
        patience_seconds=patience_seconds,
    )
    await _OneWay(make_pair, messages_by(message), traits).check()


async def check_two_way_channel(
    make_pair: TwoWayMaker[T],
    message: Callable[[int], T] | None = None,
    *,
    many_tasks: bool = True,
    sender_waits: bool = True,
    lost_receiver_breaks: bool = True,
    failures_checkpoint: bool = True,
    patience_seconds: float = 10.0,
) -> None:
    """Check two joined ends each of which sends and receives.

    Each direction is checked as by `check_one_way_channel`. Besides, both work at once, one that waits does not hold up
    the other, and an end that is closed is closed in both.

    Args:
        make_pair: As for `check_one_way_channel`, with two ends of which each does both; so are the rest.
        message: As there.
        many_tasks: As there.
        sender_waits: As there.
        lost_receiver_breaks: As there.
        failures_checkpoint: As there.
        patience_seconds: As there.

    Raises:
        AssertionError: A law is broken; the text begins with it.
    """
    traits = _Traits(
        many_tasks=many_tasks,
        sender_waits=sender_waits,
        lost_receiver_breaks=lost_receiver_breaks,
        failures_checkpoint=failures_checkpoint,
        patience_seconds=patience_seconds,
    )
    await _TwoWay(make_pair, messages_by(message), traits).check()


async def check_half_closeable_channel(
    make_pair: TwoWayMaker[T],
    message: Callable[[int], T] | None = None,
    *,
    many_tasks: bool = True,
    sender_waits: bool = True,
    lost_receiver_breaks: bool = True,
    failures_checkpoint: bool = True,
    patience_seconds: float = 10.0,
) -> None:
    """Check two joined ends whose directions can be ended one by one, by `async def send_eof(self) -> None`.

    They are checked as by `check_two_way_channel`. Besides, `send_eof` is a checkpoint. It ends the other side's
    receiving, behind what was sent before, and leaves the other direction open. A send after it raises
    `trio.ClosedResourceError`. It may be repeated, also after it was cancelled, at whichever point.

    Args:
        make_pair: As for `check_two_way_channel`, with ends that have `send_eof`; so are the rest.
        message: As there.
        many_tasks: As there.
        sender_waits: As there.
        lost_receiver_breaks: As there.
        failures_checkpoint: As there.
        patience_seconds: As there.

    Raises:
        AssertionError: A law is broken; the text begins with it.
    """
    traits = _Traits(
        many_tasks=many_tasks,
        sender_waits=sender_waits,
        lost_receiver_breaks=lost_receiver_breaks,
        failures_checkpoint=failures_checkpoint,
        patience_seconds=patience_seconds,
    )
    await _TwoWay(make_pair, messages_by(message), traits).check()
    await _HalfCloseable(make_pair, messages_by(message), traits).check()


# ------------------------------------------------------------ what the checks share


@final
@attrs.frozen(kw_only=True)
class _Traits:
    """What differs between one kind of channel and another."""

    many_tasks: bool
    sender_waits: bool
    lost_receiver_breaks: bool
    failures_checkpoint: bool
    patience_seconds: float

    @asynccontextmanager
    async def law(self, sentence: str) -> AsyncIterator[None]:
        """Whatever goes wrong inside, be it that nothing goes on, breaks this law."""
        with laws.law(sentence):
            with trio.move_on_after(self.patience_seconds) as scope:
                yield
            if scope.cancelled_caught:
                raise laws.hung(self.patience_seconds)


@types.coroutine
def _cancelled_at(
    point: int, scope: trio.CancelScope, action: Coroutine[object, object, R]
) -> Generator[object, object, R]:
    """Carry an action out, and cancel a scope at one of its points: before it begins, as it waits, as it goes on."""
    points = count()
    step: Callable[[], object] = partial(action.send, None)
    while True:
        if next(points) == point:
            scope.cancel()
        try:
            wish = step()
        except StopIteration as done:
            result: R = done.value
            return result
        if next(points) == point:
            scope.cancel()
        try:
            step = partial(action.send, (yield wish))
        except BaseException as error:
            step = partial(action.throw, error)


@contextmanager
def _checkpoint(operation: str) -> Iterator[None]:
    """The body is a checkpoint."""
    checked = assert_checkpoints()
    checked.__enter__()
    yield
    try:
        checked.__exit__(None, None, None)
    except AssertionError as error:
        raise AssertionError(f"{operation} was none") from error


async def _send_all(sender: Sender[T], messages: Iterable[T]) -> None:
    for message in messages:
        await sender.send(message)


async def _receive_all(receiver: Receiver[T]) -> list[T]:
    received = []
    with suppress(trio.EndOfChannel):
        while True:
            received.append(await receiver.receive())
    return received


async def _fails(kind: type[Exception], operation: str, action: Callable[[], Awaitable[object]]) -> None:
    with expecting(kind, operation):
        await action()


@final
@attrs.frozen
class _OneWay(Generic[T]):
    """The checks of one direction."""

    _make: OneWayMaker[T]
    _message: Callable[[int], T]
    _traits: _Traits

    async def check(self) -> None:
        """Check each law, the simplest first: what breaks one breaks others as well."""
        await self._checkpoints()
        await self._order()
        await self._end()
        await self._closed()
        if self._traits.sender_waits:
            await self._back_pressure()
        await self._closed_meanwhile()
        if self._traits.lost_receiver_breaks:
            await self._broken()
        await self._closing_checkpoints()
        if self._traits.failures_checkpoint:
            await self._failing_checkpoints()
        if self._traits.many_tasks:
            await self._exactly_one()
        await self._given_up_receives()
        await self._given_up_sends()
        await self._receive_nowait()
        if self._traits.sender_waits:
            await self._send_nowait()

    @asynccontextmanager
    async def _trial(self, law: str) -> AsyncIterator[tuple[Sender[T], Receiver[T], trio.Nursery]]:
        async with self._traits.law(law), self._make() as (sender, receiver), trio.open_nursery() as nursery:
            yield sender, receiver, nursery

    def _messages(self, number: int) -> list[T]:
        return [self._message(each) for each in range(number)]

    async def _send_until(self, sender: Sender[T], sent: list[T], enough: Callable[[], bool] = lambda: False) -> None:
        """Send one message after the other, and say which have been sent."""
        for number in range(MOST_UNREAD):
            message = self._message(number)
            await sender.send(message)
            sent.append(message)
            if enough():
                return
        raise AssertionError(f"{MOST_UNREAD} messages were sent, none received, and the sender never had to wait")

    # -------------------------------------------------------- messages

    async def _order(self) -> None:
        sent = self._messages(A_FEW)
        async with self._trial(laws.ORDER) as (sender, receiver, nursery):
            expect(isinstance(sender, trio.abc.SendChannel), "the sending end is no trio.abc.SendChannel")
            expect(isinstance(receiver, trio.abc.ReceiveChannel), "the receiving end is no trio.abc.ReceiveChannel")
            nursery.start_soon(_send_all, sender, sent)
            received: list[T] = []
            for _ in sent:
                received.append(await receiver.receive())
                expect_so_far(received, sent)

    async def _exactly_one(self) -> None:
        sent = self._messages(2 * A_FEW)
        received: list[T] = []

        async def receive() -> None:
            received.extend(await _receive_all(receiver))

        async with self._trial(laws.EXACTLY_ONE) as (sender, receiver, nursery):
            for _ in range(3):
                nursery.start_soon(receive)
            async with trio.open_nursery() as senders:
                senders.start_soon(_send_all, sender, sent[:A_FEW])
                senders.start_soon(_send_all, sender, sent[A_FEW:])
            await sender.aclose()
        with laws.law(laws.EXACTLY_ONE):
            expect_each_once(received, sent)

    async def _back_pressure(self) -> None:
        sent: list[T] = []
        is_read = False

        async def send() -> None:
            await self._send_until(sender, sent, lambda: is_read)
            await sender.aclose()

        async with self._trial(laws.BACK_PRESSURE) as (sender, receiver, nursery):
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            is_read = True
            received = await _receive_all(receiver)
            expect_messages(received, sent)

    async def _receive_nowait(self) -> None:
        async with self._trial(laws.NOWAIT) as (sender, receiver, nursery):
            receive_nowait: Callable[[], T] | None = getattr(receiver, "receive_nowait", None)
            if receive_nowait is None:
                return
            with expecting(trio.WouldBlock, "receive_nowait from an empty channel"):
                receive_nowait()
            sent = self._messages(A_FEW)
            nursery.start_soon(_send_all, sender, sent)
            received: list[T] = []
            while len(received) < A_FEW:
                await wait_all_tasks_blocked()
                with suppress(trio.WouldBlock):
                    received.append(receive_nowait())
            expect_messages(received, sent)
            await sender.aclose()
            with expecting(trio.EndOfChannel, "receive_nowait behind the last message"):
                receive_nowait()
            await receiver.aclose()
            with expecting(trio.ClosedResourceError, "receive_nowait from an end that was closed"):
                receive_nowait()

    async def _send_nowait(self) -> None:
        async with self._trial(laws.NOWAIT) as (sender, receiver, nursery):
            send_nowait: Callable[[T], None] | None = getattr(sender, "send_nowait", None)
            if send_nowait is None:
                return
            sent = []
            with expecting(trio.WouldBlock, "send_nowait to a full channel"):
                for message in map(self._message, range(MOST_UNREAD)):
                    send_nowait(message)
                    sent.append(message)

            async def send_one_more() -> None:  # which finishes what has been begun
                await sender.send(last)
                await sender.aclose()

            last = self._message(MOST_UNREAD)
            nursery.start_soon(send_one_more)
            expect_messages(await _receive_all(receiver), [*sent, last])
            with expecting(trio.ClosedResourceError, "send_nowait to an end that was closed"):
                send_nowait(self._message(0))

    # -------------------------------------------------------- the end

    async def _end(self) -> None:
        sent = self._messages(A_FEW)

        async def send() -> None:
            await _send_all(sender, sent)
            await sender.aclose()

        async with self._trial(laws.END) as (sender, receiver, nursery):
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            expect_messages(await _receive_all(receiver), sent)
            for _ in range(3):
                await _fails(trio.EndOfChannel, "receive behind the last message", receiver.receive)
        async with self._trial(laws.ITERATION) as (sender, receiver, nursery):
            nursery.start_soon(send)
            expect_messages([message async for message in receiver], sent)

    async def _closed(self) -> None:
        for cancelled, law in ((False, laws.CLOSED), (True, laws.CLOSED_WHEN_CANCELLED)):
            async with self._trial(law) as (sender, receiver, _nursery):
                for end in (receiver, sender):
                    with trio.CancelScope() as scope:
                        if cancelled:
                            scope.cancel()
                        await end.aclose()
                await _fails(trio.ClosedResourceError, "send", partial(sender.send, self._message(0)))
                await _fails(trio.ClosedResourceError, "receive", receiver.receive)
        for sender_first in (True, False):
            async with self._trial(laws.CLOSED_TWICE) as (sender, receiver, _nursery):
                ends = (sender, receiver) if sender_first else (receiver, sender)
                for end in ends:
                    await end.aclose()
                    await end.aclose()

    async def _closed_meanwhile(self) -> None:
        async with self._trial(laws.CLOSED_MEANWHILE) as (_sender, receiver, nursery):
            for _ in range(1 + self._traits.many_tasks):
                nursery.start_soon(_fails, trio.ClosedResourceError, "a receive that waited", receiver.receive)
            await wait_all_tasks_blocked()
            await receiver.aclose()
        if not self._traits.sender_waits:
            return
        async with self._trial(laws.CLOSED_MEANWHILE) as (sender, _receiver, nursery):
            send = partial(self._send_until, sender, [])
            nursery.start_soon(_fails, trio.ClosedResourceError, "a send that waited", send)
            await wait_all_tasks_blocked()
            await sender.aclose()

    async def _broken(self) -> None:
        async with self._trial(laws.BROKEN) as (sender, receiver, _nursery):
            await receiver.aclose()
            for _ in range(2):
                with expecting(trio.BrokenResourceError, "send"):
                    await _send_all(sender, map(self._message, range(MOST_UNREAD)))
        if not self._traits.sender_waits:
            return
        async with self._trial(laws.BROKEN) as (sender, receiver, nursery):
            send = partial(self._send_until, sender, [])
            nursery.start_soon(_fails, trio.BrokenResourceError, "a send that waited", send)
            await wait_all_tasks_blocked()
            await receiver.aclose()

    # -------------------------------------------------------- checkpoints and cancellation

    async def _checkpoints(self) -> None:
        async def send(message: T) -> None:
            with _checkpoint("send"):
                await sender.send(message)

        async def receive() -> None:
            with _checkpoint("receive"):
                await receiver.receive()

        async with self._trial(laws.CHECKPOINTS) as (sender, receiver, nursery):
            nursery.start_soon(send, self._message(0))
            await wait_all_tasks_blocked()
            await receive()
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            await send(self._message(1))

    async def _closing_checkpoints(self) -> None:
        async with self._trial(laws.CHECKPOINTS) as (sender, receiver, _nursery):
            for end in (sender, sender, receiver, receiver):
                with _checkpoint("aclose"):
                    await end.aclose()

    async def _failing_checkpoints(self) -> None:
        async def fail(operation: str, action: Callable[[], Awaitable[object]]) -> None:
            with _checkpoint(operation), suppress(trio.EndOfChannel, trio.ClosedResourceError):
                await action()

        async with self._trial(laws.FAILING_CHECKPOINTS) as (sender, receiver, _nursery):
            await sender.aclose()
            await fail("receive behind the last message", receiver.receive)
            await fail("send to an end that was closed", partial(sender.send, self._message(0)))
            await receiver.aclose()
            await fail("receive from an end that was closed", receiver.receive)
        if not self._traits.lost_receiver_breaks:
            return
        async with self._trial(laws.FAILING_CHECKPOINTS) as (sender, receiver, _nursery):
            await receiver.aclose()
            with suppress(trio.BrokenResourceError):
                await self._send_until(sender, [])
            with _checkpoint("send to a receiver that has closed"), suppress(trio.BrokenResourceError):
                await sender.send(self._message(0))

    async def _given_up_receives(self) -> None:
        for is_there in (True, False):
            await _at_each_point(partial(self._given_up_receive, is_there=is_there))
        if self._traits.many_tasks:
            await _at_each_point(self._given_up_receive_among_others)

    async def _given_up_receive(self, point: int, *, is_there: bool) -> bool:
        sent = self._messages(3)

        async def send() -> None:
            if not is_there:
                await wait_all_tasks_blocked()  # until the other one waits
            await _send_all(sender, sent)
            await sender.aclose()

        async with self._trial(laws.GIVEN_UP_RECEIVE) as (sender, receiver, nursery):
            nursery.start_soon(send)
            if is_there:
                await wait_all_tasks_blocked()
            received = []
            with trio.CancelScope() as scope:
                received.append(await _cancelled_at(point, scope, receiver.receive()))
            expect(point > 0 or not received, laws.DONE_ALL_THE_SAME)
            received += await _receive_all(receiver)
            expect_messages(received, sent)
        return scope.cancel_called

    async def _given_up_receive_among_others(self, point: int) -> bool:
        sent = self._messages(3)
        received: list[T] = []
        scope = trio.CancelScope()

        async def give_up() -> None:
            with scope:
                received.append(await _cancelled_at(point, scope, receiver.receive()))

        async def receive() -> None:
            received.extend(await _receive_all(receiver))

        async with self._trial(laws.GIVEN_UP_RECEIVE) as (sender, receiver, nursery):
            nursery.start_soon(give_up)
            await wait_all_tasks_blocked()
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            await _send_all(sender, sent)
            await sender.aclose()
        with laws.law(laws.GIVEN_UP_RECEIVE):
            expect_each_once(received, sent)
        return scope.cancel_called

    async def _given_up_sends(self) -> None:
        await _at_each_point(partial(self._given_up_send, is_full=False))
        if self._traits.sender_waits:
            await _at_each_point(partial(self._given_up_send, is_full=True))

    async def _given_up_send(self, point: int, *, is_full: bool) -> bool:
        sent: list[T] = []
        received: list[T] = []

        async def receive() -> None:
            await wait_all_tasks_blocked()  # until the other one waits
            received.extend(await _receive_all(receiver))

        async with self._trial(laws.GIVEN_UP_SEND) as (sender, receiver, nursery):
            if is_full:
                async with trio.open_nursery() as filling:
                    filling.start_soon(self._send_until, sender, sent)
                    await wait_all_tasks_blocked()
                    filling.cancel_scope.cancel()
            waited, tried, following = map(self._message, range(len(sent), len(sent) + 3))
            nursery.start_soon(receive)
            with trio.CancelScope() as scope:
                await _cancelled_at(point, scope, sender.send(tried))
            await sender.send(following)
            await sender.aclose()
        with laws.law(laws.GIVEN_UP_SEND):
            expect(point > 0 or tried not in received, laws.DONE_ALL_THE_SAME)
            if is_full and waited in received:
                sent.append(waited)
            if not scope.cancelled_caught or tried in received:
                sent.append(tried)
            expect_messages(received, [*sent, following])
        return scope.cancel_called


async def _at_each_point(attempt: Callable[[int], Awaitable[bool]]) -> None:
    """Try with a cancellation at each scheduling point in turn, until there is no further one."""
    for point in count():
        if not await attempt(point):
            return


@final
@attrs.frozen
class _TwoWay(Generic[T]):
    """The checks of two directions."""

    _make: TwoWayMaker[T]
    _message: Callable[[int], T]
    _traits: _Traits

    async def check(self) -> None:
        """Check each direction, and then both together."""
        for make in (self._make, self._turned):
            await _OneWay[T](make, self._message, self._traits).check()
        await self._both_ways()
        await self._closed()
        if self._traits.sender_waits:
            await self._one_waits()

    @asynccontextmanager
    async def _turned(self) -> AsyncIterator[tuple[Both[T], Both[T]]]:
        async with self._make() as (one, other):
            yield other, one

    async def _both_ways(self) -> None:
        sent = list(map(self._message, range(A_FEW)))

        async def receive(end: Both[T]) -> None:
            expect_messages([await end.receive() for _ in sent], sent)

        async with self._traits.law(laws.BOTH_WAYS), self._make() as ends, trio.open_nursery() as nursery:
            for end in ends:
                nursery.start_soon(_send_all, end, sent)
                nursery.start_soon(receive, end)

    async def _one_waits(self) -> None:
        sent = list(map(self._message, range(A_FEW)))
        async with self._traits.law(laws.BOTH_WAYS), self._make() as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(_send_all, one, map(self._message, count()))
            await wait_all_tasks_blocked()
            nursery.start_soon(_send_all, other, sent)
            expect_messages([await one.receive() for _ in sent], sent)
            nursery.cancel_scope.cancel()

    async def _closed(self) -> None:
        async with self._traits.law(laws.CLOSED), self._make() as (one, _other):
            await one.aclose()
            await _fails(trio.ClosedResourceError, "send", partial(one.send, self._message(0)))
            await _fails(trio.ClosedResourceError, "receive", one.receive)


def _eof(end: Both[T]) -> Callable[[], Coroutine[object, object, None]]:
    send_eof: Callable[[], Coroutine[object, object, None]] | None = getattr(end, "send_eof", None)
    if send_eof is None:
        raise AssertionError("an end has no send_eof")
    return send_eof


@final
@attrs.frozen
class _HalfCloseable(Generic[T]):
    """The checks of `send_eof`."""

    _make: TwoWayMaker[T]
    _message: Callable[[int], T]
    _traits: _Traits

    async def check(self) -> None:
        """Check each law."""
        await self._ends_one_direction()
        await self._closes()
        await _at_each_point(self._given_up)

    async def _ends_one_direction(self) -> None:
        sent = list(map(self._message, range(A_FEW)))

        async def say(end: Both[T], send_eof: Callable[[], Awaitable[None]]) -> None:
            await _send_all(end, sent)
            await send_eof()

        async with self._traits.law(laws.EOF_ENDS), self._make() as (one, other), trio.open_nursery() as nursery:
            for speaker, listener in ((one, other), (other, one)):
                nursery.start_soon(say, speaker, _eof(speaker))
                expect_messages(await _receive_all(listener), sent)
                await _fails(trio.EndOfChannel, "receive behind the end", listener.receive)

    async def _closes(self) -> None:
        async with self._traits.law(laws.EOF_CLOSES), self._make() as (one, _other):
            for _ in range(2):
                with _checkpoint("send_eof"):
                    await _eof(one)()
                await _fails(trio.ClosedResourceError, "send", partial(one.send, self._message(0)))
            await one.aclose()
            await _fails(trio.ClosedResourceError, "send_eof of an end that was closed", _eof(one))

    async def _given_up(self, point: int) -> bool:
        async with self._traits.law(laws.EOF_GIVEN_UP), self._make() as (one, other):
            with trio.CancelScope() as scope:
                await _cancelled_at(point, scope, _eof(one)())
            await _eof(one)()
            expect_messages(await _receive_all(other), [])
        return scope.cancel_called
