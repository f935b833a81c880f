"""The interface that the tests of streams, marks and batches share, and what implements it."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Protocol

import attrs
import trio

from namedipc import Peer, allow, current_call, idempotent, in_thread, one_way, raises

mood: contextvars.ContextVar[str] = contextvars.ContextVar("mood", default="calm")


@attrs.define
class StringBroke(Exception):
    """A declared exception with fields."""

    string: str
    left: int = 3


@attrs.define
class BowBroke(StringBroke):
    """One which is declared by its base only."""


class OutOfTune(Exception):
    """A declared exception which travels as its text."""


class Orchestra(Protocol):
    """The interface."""

    def play(self, count: int) -> AsyncIterator[int]:
        """Deliver the numbers below `count`."""
        ...

    def hum(self, name: str) -> AsyncIterator[int]:
        """Deliver one number for each `cue` of that name."""
        ...

    async def cue(self, name: str) -> int:
        """Let `hum` or `rest` of that name go on; return how many there are."""
        ...

    def blocks(self, size: int, count: int) -> AsyncIterator[bytes]:
        """Deliver so many blocks of that size."""
        ...

    def falter(self, count: int) -> AsyncIterator[int]:
        """Deliver so many numbers, then raise StringBroke."""
        ...

    def stray(self) -> AsyncIterator[int]:
        """Yield inside of a cancel scope whose time is up."""
        ...

    async def weigh(self, parts: AsyncIterable[bytes], factor: int = 1) -> int:
        """Return the length of all parts, times a factor."""
        ...

    async def weigh_in_task(self, parts: AsyncIterable[bytes]) -> int:
        """The same by a task of the handler's own."""
        ...

    async def sip(self, parts: AsyncIterable[bytes], count: int) -> int:
        """Take so many parts and return."""
        ...

    async def glance(self, parts: AsyncIterable[bytes], name: str) -> int:
        """Take one part, then wait for `cue`, then take the rest; return how many there were."""
        ...

    async def merge(self, high: AsyncIterable[int], low: AsyncIterable[int]) -> list[int]:
        """Return what came, by turns."""
        ...

    def echo(self, words: AsyncIterable[str]) -> AsyncIterator[str]:
        """Deliver each word in capitals."""
        ...

    async def rest(self, name: str) -> str:
        """Answer once `cue` says so."""
        ...

    async def double(self, number: int) -> int:
        """Return twice the number; raise StringBroke below 0."""
        ...

    async def patient(self, number: int) -> int:
        """The same, after a turn of the loop or a few."""
        ...

    async def reverse(self, data: bytes) -> bytes:
        """Return the data, reversed."""
        ...

    @raises(StringBroke, OutOfTune)
    async def break_something(self, what: str) -> None:
        """Raise what is asked for."""
        ...

    @one_way
    async def note(self, text: str) -> None:
        """Write something down; "bad" raises."""
        ...

    @one_way
    async def hold(self, name: str) -> None:
        """Wait for `cue`, then write the name down."""
        ...

    async def notes(self) -> list[str]:
        """Return what was written down."""
        ...

    async def pid(self) -> int:
        """Return the server's process id."""
        ...

    @idempotent
    async def tune(self, number: int) -> int:
        """Return the number; may be repeated."""
        ...

    @idempotent
    async def lull(self, name: str) -> int:
        """Wait for `cue`, and return the server's process id; may be repeated."""
        ...

    @idempotent
    async def collapse(self) -> None:
        """Kill the server; may be repeated."""
        ...

    async def secret(self) -> int:
        """For nobody."""
        ...

    async def broken_rule(self) -> int:
        """For nobody: its rule raises."""
        ...

    async def worker(self, what: str) -> str:
        """Blocking code in a thread."""
        ...

    async def headers(self) -> dict[str, str]:
        """Return the headers of the call."""
        ...

    def headers_stream(self) -> AsyncIterator[dict[str, str]]:
        """The same as a stream."""
        ...


def nobody(peer: Peer, /) -> bool:
    """A rule."""
    return False


def failing(peer: Peer, /) -> bool:
    """A rule that raises."""
    raise LookupError("no such list")


class Band:
    """An implementation that never sleeps by time.

    Attributes:
        log: What has happened to the streams: "cancelled", "closed".
        made: How many items were made so far.
        written: The notes.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.made = 0
        self.written: list[str] = []
        self._waiting: dict[str, list[trio.Event]] = {}
        self.in_worker = threading.Event()
        self.go_on = threading.Event()

    async def _cue_of(self, name: str) -> None:
        event = trio.Event()
        self._waiting.setdefault(name, []).append(event)
        try:
            await event.wait()
        finally:
            if event in self._waiting.get(name, []):
                self._waiting[name].remove(event)

    async def play(self, count: int) -> AsyncIterator[int]:
        """Deliver."""
        try:
            for number in range(count):
                self.made += 1
                yield number
        except trio.Cancelled:
            self.log.append("cancelled")
            raise
        finally:
            self.log.append("closed")

    async def hum(self, name: str) -> AsyncIterator[int]:
        """Deliver one for each cue."""
        number = 0
        try:
            while True:
                await self._cue_of(name)
                yield number
                number += 1
        except trio.Cancelled:
            self.log.append("cancelled")
            raise
        finally:
            self.log.append("closed")

    async def cue(self, name: str) -> int:
        """Let them go."""
        events = self._waiting.pop(name, [])
        for event in events:
            event.set()
        return len(events)

    async def blocks(self, size: int, count: int) -> AsyncIterator[bytes]:
        """Deliver."""
        block = bytes(size)
        for _ in range(count):
            self.made += 1
            yield block

    async def falter(self, count: int) -> AsyncIterator[int]:
        """Deliver, then raise."""
        for number in range(count):
            yield number
        raise ValueError("a string broke")

    async def stray(self) -> AsyncIterator[int]:
        """What an async generator must not do."""
        with trio.move_on_after(0):
            while True:
                yield 0

    async def weigh(self, parts: AsyncIterable[bytes], factor: int = 1) -> int:
        """Add."""
        total = 0
        async for part in parts:
            self.made += 1
            total += len(part)
        return total * factor

    async def weigh_in_task(self, parts: AsyncIterable[bytes]) -> int:
        """Add, in another task."""
        weights: list[int] = []

        async def weigh() -> None:
            weights.append(await self.weigh(parts))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(weigh)
        return weights[0]

    async def sip(self, parts: AsyncIterable[bytes], count: int) -> int:
        """Take some."""
        taken = 0
        async for _ in parts:
            taken += 1
            if taken == count:
                break
        return taken

    async def glance(self, parts: AsyncIterable[bytes], name: str) -> int:
        """Take one, wait, take the rest."""
        taken = 0
        try:
            async for _ in parts:
                taken += 1
                if taken == 1:
                    await self._cue_of(name)
        except trio.Cancelled:
            self.log.append("cancelled")
            raise
        return taken

    async def merge(self, high: AsyncIterable[int], low: AsyncIterable[int]) -> list[int]:
        """Take by turns."""
        merged = []
        second = aiter(low)
        async for number in high:
            merged += [number, await anext(second)]
        return merged

    async def echo(self, words: AsyncIterable[str]) -> AsyncIterator[str]:
        """Deliver."""
        try:
            async for word in words:
                yield word.upper()
        finally:
            self.log.append("closed")

    async def rest(self, name: str) -> str:
        """Wait."""
        try:
            await self._cue_of(name)
        except trio.Cancelled:
            self.log.append(f"cancelled {name}")
            raise
        return name

    async def double(self, number: int) -> int:
        """Double."""
        if number < 0:
            raise ValueError(f"{number} is below 0")
        return 2 * number

    async def patient(self, number: int) -> int:
        """Double, later."""
        for _ in range(number % 3 + 1):
            await trio.lowlevel.checkpoint()
        return await self.double(number)

    async def reverse(self, data: bytes) -> bytes:
        """Reverse."""
        return data[::-1]

    async def break_something(self, what: str) -> None:
        """Break."""
        errors: dict[str, Callable[[], Exception]] = {
            "string": lambda: StringBroke("e", left=2),
            "bow": lambda: BowBroke("g", left=1),
            "tune": lambda: OutOfTune("a little"),
            "misfit": lambda: StringBroke("e", left="two"),  # type: ignore[arg-type]  # the mistake under test
            "other": lambda: KeyError("other"),
        }
        raise errors[what]()

    async def note(self, text: str) -> None:
        """Write."""
        if text == "bad":
            raise ValueError(text)
        self.written.append(text)

    async def hold(self, name: str) -> None:
        """Wait, then write."""
        await self._cue_of(name)
        self.written.append(name)

    async def notes(self) -> list[str]:
        """Tell."""
        return self.written

    async def pid(self) -> int:
        """Tell."""
        return os.getpid()

    async def tune(self, number: int) -> int:
        """Tell."""
        return number

    async def lull(self, name: str) -> int:
        """Wait."""
        await self._cue_of(name)
        return os.getpid()

    async def collapse(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)

    @allow(nobody)
    async def secret(self) -> int:
        """Never."""
        raise AssertionError

    @allow(failing)
    async def broken_rule(self) -> int:
        """Never."""
        raise AssertionError

    @in_thread
    def worker(self, what: str) -> str:
        """Block, in a thread."""
        if what == "wait":
            self.in_worker.set()
            self.go_on.wait(20)
        if what == "raise":
            raise LookupError(what)
        mood.set(what)
        return f"{current_call().method} {current_call().headers.get('who', '-')} {threading.current_thread().name}"

    async def headers(self) -> dict[str, str]:
        """Tell."""
        return current_call().headers

    async def headers_stream(self) -> AsyncIterator[dict[str, str]]:
        """Tell twice."""
        yield current_call().headers
        await trio.lowlevel.checkpoint()
        yield current_call().headers


SERVER_SCRIPT = """
    import sys
    from namedipc import Limits, Service
    from tests.orchestra import Band, Orchestra
    limits = Limits(calls_in_flight=int(sys.argv[2]) if len(sys.argv) > 2 else 256)
    ready = lambda server: print("ready", flush=True)
    Service(sys.argv[1], Orchestra).run(Band(), limits=limits, ready=ready)
    print("drained", flush=True)
"""
"""A child that serves the orchestra under the path it is given, until it is told to end."""
