"""A log that many follow: writers send lines, each follower hears those of its level, at its own pace.

The service keeps the last lines, and each follower has its place in them. Who is slow slows nobody: its own generator
waits, and goes on with how many lines it has missed. Who is killed is forgotten: its generator is closed. One writer
ships a stream of lines in one call, the other sends each by a one-way call, which is not answered.

Prints what the followers have heard:

    10 followers have heard 600 lines each, in order.
    1 follower has heard the 60 errors, and nothing else.
    1 follower was killed; the service has forgotten it.
    1 follower was slow: it has missed some of 600 lines, and was told so.
"""

from __future__ import annotations

import os
import signal
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from enum import IntEnum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

import attrs
import trio
from _company import run, say, stage

from namedipc import Service, aclosing, current_call, feed, one_way

FOLLOWERS = 10
WRITERS = ("shipper", "noter")
LINES = 300
"""How many each writer has; every tenth is an error."""
ALL_LINES = LINES * len(WRITERS)
KEPT_LINES = 10_000


class Level(IntEnum):
    INFO = 20
    ERROR = 40


@attrs.frozen
class Line:
    level: Level
    who: str
    number: int


@attrs.frozen
class Missed:
    """To a follower: it was too slow for so many lines."""

    lines: int


class Log(Protocol):
    """What can be asked of the service."""

    async def ship(self, lines: AsyncIterable[Line]) -> int: ...
    @one_way
    async def note(self, line: Line) -> None: ...
    def follow(self, level: Level, *, at_most_behind: int = KEPT_LINES) -> AsyncIterator[Line | Missed]: ...
    async def wait_left(self, pid: int) -> None: ...


class Journal:
    """Keeps the last lines, and knows who follows."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._one_more = trio.Event()
        self._followers: Counter[int] = Counter()
        self._one_less = trio.Event()

    async def ship(self, lines: AsyncIterable[Line]) -> int:
        taken = 0
        async for line in lines:
            await self.note(line)
            taken += 1
        return taken

    async def note(self, line: Line) -> None:
        self._lines.append(line)
        self._count += 1
        self._one_more.set()
        self._one_more = trio.Event()

    async def follow(self, level: Level, *, at_most_behind: int = KEPT_LINES) -> AsyncIterator[Line | Missed]:
        pid = current_call().peer.pid
        self._followers[pid] += 1
        try:
            place = self._count - len(self._lines)
            while True:
                oldest = self._count - min(len(self._lines), at_most_behind)
                if place < oldest:
                    yield Missed(oldest - place)
                    place = oldest
                elif place < self._count:
                    line = self._lines[place - self._count]
                    place += 1
                    if line.level >= level:
                        yield line
                else:
                    await self._one_more.wait()
        finally:
            self._followers[pid] -= 1
            self._one_less.set()
            self._one_less = trio.Event()

    async def wait_left(self, pid: int) -> None:
        while self._followers[pid]:
            await self._one_less.wait()


LOG = Service("log", Log)


def serve(path: Path) -> None:
    """Be the service, until SIGTERM."""
    LOG.at(path).run(Journal())


def lines_of(who: str) -> Iterator[Line]:
    """What a writer has to say."""
    for number in range(1, LINES + 1):
        yield Line(Level.INFO if number % 10 else Level.ERROR, who, number)


def ship(path: Path) -> None:
    """Write by one call, with a stream of lines."""
    with LOG.at(path).connect(wait_seconds=10, timeout=10) as log:
        assert log.call(Log.ship, feed(lines_of("shipper"))) == LINES


def note(path: Path) -> None:
    """Write by a call for each line, without waiting for an answer."""
    with LOG.at(path).connect(wait_seconds=10, timeout=10) as log:
        for line in lines_of("noter"):
            log.call(Log.note, line)


async def hear(path: Path, level: Level, count: int, heard: list[list[Line]]) -> None:
    """Follow until so many lines have come."""
    lines: list[Line] = []
    async with LOG.at(path).connect(wait_seconds=10) as log, aclosing(log.follow(level)) as following:
        async for line in following:
            assert isinstance(line, Line)  # nothing was missed
            lines.append(line)
            if len(lines) == count:
                break
    heard.append(lines)


async def hear_all(path: Path) -> None:
    """Be many followers at the same time, each on its own connection; one wants to know of errors only."""
    everything: list[list[Line]] = []
    errors: list[list[Line]] = []
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(FOLLOWERS):
                nursery.start_soon(hear, path, Level.INFO, ALL_LINES, everything)
            nursery.start_soon(hear, path, Level.ERROR, ALL_LINES // 10, errors)
    say(f"{sum(map(in_order, everything))} followers have heard {ALL_LINES} lines each, in order.")
    say(f"1 follower has heard the {sum(line.level is Level.ERROR for line in errors[0])} errors, and nothing else.")


def in_order(lines: list[Line]) -> bool:
    """Whether they are the lines of both writers, each writer's in its order."""
    return all([line for line in lines if line.who == who] == [*lines_of(who)] for who in WRITERS)


def die(path: Path) -> None:
    """Be killed while following."""
    with LOG.at(path).connect(wait_seconds=10, timeout=10) as log:
        for _ in log.stream(Log.follow, Level.INFO):
            os.kill(os.getpid(), signal.SIGKILL)


def read_on(first: Line | Missed, following: Iterator[Line | Missed]) -> tuple[int, int]:
    """Follow until every line is accounted for: how many were heard, and how many missed."""
    heard = missed = 0
    for item in chain([first], following):
        if isinstance(item, Missed):
            missed += item.lines
        else:
            heard += 1
        if heard + missed == ALL_LINES:
            break
    return heard, missed


def main() -> None:
    with stage() as (directory, company):
        path = directory / "log"
        server = company.start(serve, path)
        with (
            LOG.at(path).connect(wait_seconds=10, timeout=10) as log,
            log.stream(Log.follow, Level.INFO, at_most_behind=10) as following,
        ):
            followers = company.start(trio.run, partial(hear_all, path))
            killed = company.start(die, path)
            writers = [company.start(ship, path), company.start(note, path)]
            first = next(following)
            company.wait(*writers, followers)  # all that while nobody reads here
            killed.join()
            assert killed.pid is not None
            log.call(Log.wait_left, killed.pid)
            say("1 follower was killed; the service has forgotten it.")
            heard, missed = read_on(first, following)
        some = "some" if missed else "none"
        say(f"1 follower was slow: it has missed {some} of {heard + missed} lines, and was told so.")
        company.stop(server)


if __name__ == "__main__":
    run(main)
