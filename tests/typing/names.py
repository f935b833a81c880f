"""The types and names of the type tests: a post office."""

from __future__ import annotations

import ctypes
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

import attrs

from namedipc import (
    Broadcast,
    Channel,
    ChannelEnd,
    Fd,
    Fifo,
    RawChannel,
    RawFifo,
    Service,
    SharedRegion,
    SharedStruct,
    allow,
    groups,
    idempotent,
    in_thread,
    one_way,
    raises,
)


@attrs.frozen
class Letter:
    """A message: an attrs class."""

    to: str
    grams: int = 20


@attrs.frozen
class Tariff:
    """The value of a region."""

    cents: int = 85


class Point(TypedDict):
    """A message: a TypedDict."""

    x: int


class Pair(NamedTuple):
    """A message: a NamedTuple."""

    first: int
    second: int


class Scale(ctypes.Structure):
    """The layout of a memory."""

    _fields_ = [("grams", ctypes.c_uint32), ("letters", ctypes.c_uint32)]
    grams: int
    letters: int


class Desk(Protocol):
    """What every desk can do."""

    async def ping(self) -> int: ...


class Overweight(Exception):
    """An exception which the interface declares."""


class Post(Desk, Protocol):
    """An interface with a base, with every mark, and with streams both ways."""

    @raises(Overweight)
    async def weigh(self, letter: Letter, *, registered: bool = False) -> int: ...

    @idempotent
    async def find(self, to: str = "anybody") -> Letter | None: ...

    @one_way
    async def note(self, text: str) -> None: ...

    def track(self, number: int, /) -> AsyncIterator[float]: ...

    async def load(self, bags: AsyncIterable[bytes]) -> int: ...

    def stamp(self, letters: AsyncIterable[Letter]) -> AsyncIterator[str]: ...

    async def book(self) -> Fd: ...

    async def counter(self, name: str) -> ChannelEnd[Letter]: ...


class Clerk:
    """An implementation: a plain class, which neither checker is told of."""

    async def ping(self) -> int:
        return 1

    @allow(groups(0))
    async def weigh(self, letter: Letter, *, registered: bool = False) -> int:
        return letter.grams + registered

    @in_thread
    def find(self, to: str = "anybody") -> Letter | None:
        return Letter(to)

    async def note(self, text: str) -> None:
        return None

    async def track(self, number: int, /) -> AsyncIterator[float]:
        yield 0.5

    async def load(self, bags: AsyncIterable[bytes]) -> int:
        return sum([len(bag) async for bag in bags])

    async def stamp(self, letters: AsyncIterable[Letter]) -> AsyncIterator[str]:
        async for letter in letters:
            yield letter.to

    async def book(self) -> Fd:
        return Fd(0)

    async def counter(self, name: str) -> ChannelEnd[Letter]:
        mine, _theirs = Channel("counter", Letter).pair()
        return mine


class Dance(Protocol):
    """An interface that the service does not have."""

    async def waltz(self) -> None: ...


POST = Service("run/post", Post)
COUNTER = Channel(Path("run/counter"), Letter | str)
SLOT = Fifo("run/slot", Letter)
GAZETTE = Broadcast("run/gazette", Letter)
TARIFF = SharedRegion("run/tariff", Tariff)
SCALE = SharedStruct("run/scale", Scale)
WIRE = RawChannel("run/wire")
TUBE = RawFifo("run/tube")
