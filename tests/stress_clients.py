"""The clients of the stress campaign: what one of them does at random, in trio and in blocking code.

The law: each action notes that its calls began, does one thing, checks every value, and notes what it saw. What it did
not foresee comes out of it, and is a finding of the campaign.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from random import Random
from time import monotonic, sleep
from typing import Final, TypeVar

import attrs
import trio

from namedipc import (
    BlockingClient,
    Client,
    Closed,
    InvalidMessage,
    LimitReached,
    RemoteError,
    Service,
    TimedOut,
    TooLarge,
    aclosing,
    feed,
)

from .stress_service import LIMITS, LONGEST_SECONDS, Fate, Ledger, Refused, Stress

R = TypeVar("R")

WEIGHTS: Final = {
    "plain": 12,
    "wait": 8,
    "large": 3,
    "threaded": 3,
    "refused": 5,
    "lied_to": 1,
    "misused": 2,
    "batch": 2,
    "told": 4,
    "given_up": 6,
    "raced": 6,
    "read": 6,
    "left": 5,
    "swamped": 3,
    "dropped": 4,
    "failing": 4,
    "sent": 5,
    "both": 5,
    "source_fails": 3,
    "interrupted": 4,
}
"""How often each action is chosen, in relation to the others."""
ACTIONS_OF_A_CLIENT: Final = 60
"""About how many a client does before it is closed, and another takes its place."""


class SourceFailed(Exception):
    """A stream of requests of the client's own."""


@attrs.define
class Chooser:
    """What one worker of a client decides at random, and the ids of its calls."""

    random: Random
    ledger: Ledger
    next_id: Callable[[], int]

    def action(self) -> str:
        """Which to do next."""
        return self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]

    def begin(self) -> int:
        """Return the id of a new call."""
        id_ = self.next_id()
        self.ledger.add(id_, Fate.BEGAN)
        return id_

    def moment(self) -> float:
        """Return a short time: often none, at times one in which much happens."""
        return self.random.choice((0.0, 0.0, 0.0003, 0.001, 0.003, 0.01)) * self.random.random()

    def items(self) -> int:
        """Return the length of a stream: from none to some windows."""
        return self.random.choice((0, 1, 5, 63, 64, 65, 150, 300))

    def notes(self) -> int:
        """Return how many one-way calls to make: at times more than the service runs at once."""
        return self.random.choice((1,) * 7 + (3 * LIMITS.calls_in_flight // 2,))

    def sizes(self) -> list[int]:
        """Return the sizes of the items of a stream: some are larger than its window."""
        return [self.random.choice((10, 5_000, 50_000, 200_000)) for _ in range(self.random.choice((1, 5, 20)))]

    def numbers(self) -> list[int]:
        """Return the items of a stream of requests."""
        return [self.random.randrange(1 << 30)] * self.items()


def expect(seen: object, wanted: object) -> None:
    """Compare what came with what follows from the arguments."""
    if seen != wanted:
        raise AssertionError(f"{str(seen)[:200]} came, not {str(wanted)[:200]}")


# ---------------------------------------------------------------- trio


@attrs.define
class TrioWorker:
    """One task of a client."""

    stress: Stress
    client: Client[Stress]
    choose: Chooser

    async def settle(self, id: int, call: Awaitable[R], wanted: R, fate: Fate = Fate.ANSWERED) -> None:  # noqa: A002
        """Wait for a result, and check it. At the limit of calls in flight it may be refused."""
        try:
            expect(await call, wanted)
        except LimitReached:
            fate = Fate.REFUSED
        self.choose.ledger.add(id, fate)

    async def plain(self) -> None:
        id_ = self.choose.begin()
        await self.settle(id_, self.stress.add(id_, 7), id_ + 7)

    async def wait(self) -> None:
        id_ = self.choose.begin()
        await self.settle(id_, self.stress.nap(id_, self.choose.moment()), id_)

    async def large(self) -> None:
        id_ = self.choose.begin()
        data = bytes(self.choose.random.randrange(LIMITS.message_bytes - 100))
        await self.settle(id_, self.stress.echo(id_, data), data)

    async def threaded(self) -> None:
        id_ = self.choose.begin()
        await self.settle(id_, self.stress.seats(id_), id_ ^ 1)

    async def refused(self) -> None:
        id_ = self.choose.begin()
        declared = self.choose.random.random() < 0.7
        try:
            await self.stress.refuse(id_, declared, self.choose.moment())
        except Refused as error:
            expect((error.id, declared), (id_, True))
        except RemoteError as error:
            expect((error.type_name, error.message, declared), ("KeyError", str(id_), False))
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)
            return
        self.choose.ledger.add(id_, Fate.RAISED)

    async def lied_to(self) -> None:
        id_ = self.choose.begin()
        with suppress(InvalidMessage):
            await self.settle(id_, self.stress.lie(id_), -1)
            return
        self.choose.ledger.add(id_, Fate.MISFIT)

    async def misused(self) -> None:
        id_ = self.choose.begin()
        try:
            if self.choose.random.random() < 0.5:
                await self.stress.echo(id_, bytes(LIMITS.message_bytes + 1))
            else:
                await self.stress.echo(id_, "no bytes")  # type: ignore[arg-type]  # what a caller may get wrong
        except (TooLarge, InvalidMessage):
            self.choose.ledger.add(id_, Fate.REFUSED)

    async def batch(self) -> None:
        ids = [self.choose.begin() for _ in range(self.choose.random.randrange(1, 60))]
        fate = Fate.UNTOLD
        try:
            with trio.move_on_after(self.choose.random.choice((LONGEST_SECONDS,) * 3 + (self.choose.moment(),))):
                expect(await self.client.call_each(Stress.one, ids), [-id_ for id_ in ids])
                fate = Fate.ANSWERED
        except LimitReached:
            pass
        for id_ in ids:
            self.choose.ledger.add(id_, fate)

    async def told(self) -> None:
        ids = [self.choose.begin() for _ in range(self.choose.notes())]
        for id_ in ids:
            await self.stress.note(id_, self.choose.moment())
        if len(ids) > 1:
            await self._until_begun()
        for id_ in ids:
            self.choose.ledger.add(id_, Fate.SENT)

    async def _until_begun(self) -> None:
        """One-way calls wait at the service if there are too many; a call behind them is refused as long."""
        while True:
            with suppress(LimitReached):
                await self.stress.add(self.choose.begin(), 1)
                return

    async def given_up(self) -> None:
        """Cancelled by another task at any moment: the service is told, and knows no deadline."""
        id_ = self.choose.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel, nursery, self.choose.moment())
            await self.settle(id_, self.stress.nap(id_, LONGEST_SECONDS), id_)
        self.choose.ledger.add(id_, Fate.CANCELLED)

    async def _cancel(self, nursery: trio.Nursery, seconds: float) -> None:
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()

    async def raced(self) -> None:
        """A deadline about when the answer comes."""
        id_ = self.choose.begin()
        with trio.move_on_after(self.choose.moment()):
            await self.settle(id_, self.stress.nap(id_, self.choose.moment()), id_)
            return
        self.choose.ledger.add(id_, Fate.TIMED_OUT)

    async def read(self) -> None:
        id_ = self.choose.begin()
        items = self.choose.items()
        pause = self.choose.random.choice((0.0, 0.0, 0.0, 0.0001))
        try:
            seen = [number async for number in self.stress.count(id_, items, "", pause)]
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)
            return
        expect(seen, list(range(id_, id_ + items)))
        self.choose.ledger.add(id_, Fate.ANSWERED)

    async def left(self) -> None:
        id_ = self.choose.begin()
        fate = Fate.UNTOLD
        try:
            async with aclosing(self.stress.count(id_, 1 << 30, "", self.choose.moment())) as numbers:
                for wanted in range(id_, id_ + self.choose.items()):
                    expect(await anext(numbers), wanted)
                    fate = Fate.LEFT
        except LimitReached:
            fate = Fate.REFUSED
        self.choose.ledger.add(id_, fate)

    async def swamped(self) -> None:
        """A stream of large items which is read slowly, and at times left."""
        id_ = self.choose.begin()
        sizes = self.choose.sizes()
        leave_at = self.choose.random.choice((len(sizes), self.choose.random.randrange(len(sizes))))
        fate = Fate.ANSWERED
        seen = []
        try:
            async with aclosing(self.stress.blobs(id_, sizes)) as blobs:
                async for blob in blobs:
                    seen.append(len(blob))
                    if len(seen) > leave_at:
                        fate = Fate.LEFT
                        break
                    await trio.sleep(self.choose.moment())
            expect(seen, sizes[: len(seen)] if fate is Fate.LEFT else sizes)
        except LimitReached:
            fate = Fate.REFUSED
        self.choose.ledger.add(id_, fate)

    async def dropped(self) -> None:
        id_ = self.choose.begin()
        numbers = self.stress.count(id_, 1 << 30, "", self.choose.moment())
        fate = Fate.LEFT
        try:
            expect(await anext(numbers), id_)
        except LimitReached:
            fate = Fate.REFUSED
        del numbers
        self.choose.ledger.add(id_, fate)

    async def failing(self) -> None:
        id_ = self.choose.begin()
        items = self.choose.items()
        then = self.choose.random.choice(("raise", "lie"))
        seen = []
        try:
            async for number in self.stress.count(id_, items, then, 0.0):
                seen.append(number)
        except (Refused, InvalidMessage) as error:
            expect((seen, type(error)), (list(range(id_, id_ + items)), Refused if then == "raise" else InvalidMessage))
            self.choose.ledger.add(id_, Fate.RAISED if then == "raise" else Fate.MISFIT)
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)

    async def sent(self) -> None:
        id_ = self.choose.begin()
        numbers = self.choose.numbers()
        pause = self.choose.random.choice((0.0, 0.0, 0.0, 0.0001))
        await self.settle(id_, self.stress.total(id_, feed(numbers), pause), sum(numbers))

    async def both(self) -> None:
        id_ = self.choose.begin()
        numbers = self.choose.numbers()
        try:
            seen = [number async for number in self.stress.doubled(id_, feed(numbers))]
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)
            return
        expect(seen, [2 * number for number in numbers])
        self.choose.ledger.add(id_, Fate.ANSWERED)

    async def source_fails(self) -> None:
        id_ = self.choose.begin()
        source = self._failing_source(self.choose.items())
        try:
            if self.choose.random.random() < 0.5:
                await self.stress.total(id_, source, 0.0)
            else:
                async for _ in self.stress.doubled(id_, source):
                    pass
        except SourceFailed:
            self.choose.ledger.add(id_, Fate.CANCELLED)
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)

    async def _failing_source(self, items: int) -> AsyncIterator[int]:
        for number in range(items):
            yield number
            if number % 64 == 0:
                await trio.lowlevel.checkpoint()
        raise SourceFailed

    async def interrupted(self) -> None:
        """Waiting for an item is cancelled; the stream goes on, and none is lost."""
        id_ = self.choose.begin()
        items = self.choose.items()
        numbers = self.stress.doubled(id_, self._slow_source(items))
        seen: list[int] = []
        over = False
        try:
            while not over:
                with trio.move_on_after(self.choose.moment()):
                    async for number in numbers:
                        seen.append(number)
                    over = True
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)
            return
        expect(seen, [2 * number for number in range(items)])
        self.choose.ledger.add(id_, Fate.ANSWERED)

    async def _slow_source(self, items: int) -> AsyncIterator[int]:
        for number in range(items):
            yield number
            if number % 50 == 0:
                await trio.sleep(self.choose.moment())

    async def work(self, until: float, scope: trio.CancelScope) -> None:
        """Act until the client is closed, or the campaign ends."""
        while monotonic() < until:
            await getattr(self, self.choose.action())()
            if self.choose.random.random() < 1 / ACTIONS_OF_A_CLIENT:
                # The others are in the midst of something, which is cancelled by this, at times.
                if self.choose.random.random() < 0.5:
                    scope.cancel()
                return


async def trio_client(service: Service[Stress], choosers: list[Chooser], until: float) -> None:
    """Be one client after another, each with as many tasks as there are choosers."""
    while monotonic() < until:
        client = service.connect(wait_seconds=30)
        async with client as stress, trio.open_nursery() as nursery:
            for choose in choosers:
                nursery.start_soon(TrioWorker(stress, client, choose).work, until, nursery.cancel_scope)


# ---------------------------------------------------------------- blocking


@attrs.define
class BlockingWorker:
    """One thread of a client."""

    client: BlockingClient[Stress]
    choose: Chooser

    def settle(self, id: int, call: Callable[[], R], wanted: R) -> None:  # noqa: A002
        """Call, and check the result. At the limit of calls in flight it may be refused."""
        fate = Fate.ANSWERED
        try:
            expect(call(), wanted)
        except LimitReached:
            fate = Fate.REFUSED
        self.choose.ledger.add(id, fate)

    def plain(self) -> None:
        id_ = self.choose.begin()
        self.settle(id_, lambda: self.client.call(Stress.add, id_, 7), id_ + 7)

    def wait(self) -> None:
        id_ = self.choose.begin()
        self.settle(id_, lambda: self.client.call(Stress.nap, id_, self.choose.moment()), id_)

    def large(self) -> None:
        id_ = self.choose.begin()
        data = bytes(self.choose.random.randrange(LIMITS.message_bytes - 100))
        self.settle(id_, lambda: self.client.call(Stress.echo, id_, data), data)

    def threaded(self) -> None:
        id_ = self.choose.begin()
        self.settle(id_, lambda: self.client.call(Stress.seats, id_), id_ ^ 1)

    def refused(self) -> None:
        id_ = self.choose.begin()
        declared = self.choose.random.random() < 0.7
        try:
            self.client.call(Stress.refuse, id_, declared, self.choose.moment())
        except Refused as error:
            expect((error.id, declared), (id_, True))
        except RemoteError as error:
            expect((error.type_name, error.message, declared), ("KeyError", str(id_), False))
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)
            return
        self.choose.ledger.add(id_, Fate.RAISED)

    def lied_to(self) -> None:
        id_ = self.choose.begin()
        with suppress(InvalidMessage):
            self.settle(id_, lambda: self.client.call(Stress.lie, id_), -1)
            return
        self.choose.ledger.add(id_, Fate.MISFIT)

    def misused(self) -> None:
        id_ = self.choose.begin()
        try:
            if self.choose.random.random() < 0.5:
                self.client.call(Stress.echo, id_, bytes(LIMITS.message_bytes + 1))
            else:
                self.client.call(Stress.echo, id_, "no bytes")  # type: ignore[arg-type]  # what a caller may get wrong
        except (TooLarge, InvalidMessage):
            self.choose.ledger.add(id_, Fate.REFUSED)

    def batch(self) -> None:
        ids = [self.choose.begin() for _ in range(self.choose.random.randrange(1, 60))]
        client = self.client.with_options(timeout=self.choose.random.choice((None, None, None, self.choose.moment())))
        fate = Fate.UNTOLD
        with suppress(LimitReached, TimedOut):
            expect(client.call_each(Stress.one, ids), [-id_ for id_ in ids])
            fate = Fate.ANSWERED
        for id_ in ids:
            self.choose.ledger.add(id_, fate)

    def told(self) -> None:
        ids = [self.choose.begin() for _ in range(self.choose.notes())]
        for id_ in ids:
            self.client.call(Stress.note, id_, self.choose.moment())
        if len(ids) > 1:
            self._until_begun()
        for id_ in ids:
            self.choose.ledger.add(id_, Fate.SENT)

    def _until_begun(self) -> None:
        """One-way calls wait at the service if there are too many; a call behind them is refused as long."""
        while True:
            with suppress(LimitReached):
                self.client.call(Stress.add, self.choose.begin(), 1)
                return

    def given_up(self) -> None:
        """A timeout without any hope."""
        id_ = self.choose.begin()
        try:
            self.client.with_options(timeout=self.choose.moment()).call(Stress.nap, id_, LONGEST_SECONDS)
        except TimedOut:
            self.choose.ledger.add(id_, Fate.TIMED_OUT)
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)

    def raced(self) -> None:
        """A deadline about when the answer comes."""
        id_ = self.choose.begin()
        client = self.client.with_options(timeout=self.choose.moment())
        try:
            self.settle(id_, lambda: client.call(Stress.nap, id_, self.choose.moment()), id_)
        except TimedOut:
            self.choose.ledger.add(id_, Fate.TIMED_OUT)

    def read(self) -> None:
        id_ = self.choose.begin()
        items = self.choose.items()
        pause = self.choose.random.choice((0.0, 0.0, 0.0, 0.0001))
        wanted = list(range(id_, id_ + items))
        self.settle(id_, lambda: list(self.client.stream(Stress.count, id_, items, "", pause)), wanted)

    def left(self) -> None:
        id_ = self.choose.begin()
        fate = Fate.UNTOLD
        try:
            with self.client.stream(Stress.count, id_, 1 << 30, "", self.choose.moment()) as numbers:
                for wanted in range(id_, id_ + self.choose.items()):
                    expect(next(numbers), wanted)
                    fate = Fate.LEFT
        except LimitReached:
            fate = Fate.REFUSED
        self.choose.ledger.add(id_, fate)

    def swamped(self) -> None:
        """A stream of large items which is read slowly, and at times left."""
        id_ = self.choose.begin()
        sizes = self.choose.sizes()
        leave_at = self.choose.random.choice((len(sizes), self.choose.random.randrange(len(sizes))))
        fate = Fate.ANSWERED
        seen = []
        try:
            with self.client.stream(Stress.blobs, id_, sizes) as blobs:
                for blob in blobs:
                    seen.append(len(blob))
                    if len(seen) > leave_at:
                        fate = Fate.LEFT
                        break
                    sleep(self.choose.moment())
            expect(seen, sizes[: len(seen)] if fate is Fate.LEFT else sizes)
        except LimitReached:
            fate = Fate.REFUSED
        self.choose.ledger.add(id_, fate)

    def dropped(self) -> None:
        id_ = self.choose.begin()
        numbers = self.client.stream(Stress.count, id_, 1 << 30, "", self.choose.moment())
        fate = Fate.LEFT
        try:
            expect(next(numbers), id_)
        except LimitReached:
            fate = Fate.REFUSED
        del numbers
        self.choose.ledger.add(id_, fate)

    def failing(self) -> None:
        id_ = self.choose.begin()
        items = self.choose.items()
        then = self.choose.random.choice(("raise", "lie"))
        seen = []
        try:
            for number in self.client.stream(Stress.count, id_, items, then, 0.0):
                seen.append(number)
        except (Refused, InvalidMessage) as error:
            expect((seen, type(error)), (list(range(id_, id_ + items)), Refused if then == "raise" else InvalidMessage))
            self.choose.ledger.add(id_, Fate.RAISED if then == "raise" else Fate.MISFIT)
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)

    def sent(self) -> None:
        id_ = self.choose.begin()
        numbers = self.choose.numbers()
        pause = self.choose.random.choice((0.0, 0.0, 0.0, 0.0001))
        self.settle(id_, lambda: self.client.call(Stress.total, id_, feed(numbers), pause), sum(numbers))

    def both(self) -> None:
        id_ = self.choose.begin()
        numbers = self.choose.numbers()
        wanted = [2 * number for number in numbers]
        self.settle(id_, lambda: list(self.client.stream(Stress.doubled, id_, feed(numbers))), wanted)

    def source_fails(self) -> None:
        id_ = self.choose.begin()
        source: AsyncIterable[int] = feed(self._failing_source(self.choose.items()))
        try:
            if self.choose.random.random() < 0.5:
                self.client.call(Stress.total, id_, source, 0.0)
            else:
                for _ in self.client.stream(Stress.doubled, id_, source):
                    pass
        except SourceFailed:
            self.choose.ledger.add(id_, Fate.CANCELLED)
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)

    def _failing_source(self, items: int) -> Iterator[int]:
        yield from range(items)
        raise SourceFailed

    def interrupted(self) -> None:
        """Waiting for an item takes too long; the stream goes on, and none is lost."""
        id_ = self.choose.begin()
        items = self.choose.items()
        numbers = self.client.with_options(timeout=0.0005).stream(Stress.count, id_, items, "", 0.0003)
        seen: list[int] = []
        over = False
        try:
            while not over:
                with suppress(TimedOut):
                    seen.extend(numbers)
                    over = True
        except LimitReached:
            self.choose.ledger.add(id_, Fate.REFUSED)
            return
        expect(seen, list(range(id_, id_ + items)))
        self.choose.ledger.add(id_, Fate.ANSWERED)

    def work(self, until: float, failed: Callable[[BaseException], object]) -> None:
        """Act until the client is closed, or the campaign ends."""
        try:
            while monotonic() < until:
                getattr(self, self.choose.action())()
                if self.choose.random.random() < 1 / ACTIONS_OF_A_CLIENT:
                    if self.choose.random.random() < 0.5:
                        self.client.close()  # while the others are in the midst of something
                    return
        except Closed:
            pass
        except BaseException as error:
            failed(error)


def blocking_client(
    service: Service[Stress], choosers: list[Chooser], until: float, failed: Callable[[BaseException], object]
) -> None:
    """Be one client after another, each with as many threads as there are choosers."""
    try:
        while monotonic() < until:
            with service.connect(wait_seconds=30) as client:
                threads = [
                    threading.Thread(target=BlockingWorker(client, choose).work, args=(until, failed))
                    for choose in choosers
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            sleep(choosers[0].moment())
    except BaseException as error:
        failed(error)
