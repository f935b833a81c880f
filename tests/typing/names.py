"""The types and names of the type tests: a post office."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

import attrs

from namedipc import Broadcast, Channel, Fifo, RawChannel, RawFifo, Service, SharedRegion, SharedStruct


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


class Post(Desk, Protocol):
    """An interface with a base."""

    async def weigh(self, letter: Letter, *, registered: bool = False) -> int: ...

    async def find(self, to: str = "anybody") -> Letter | None: ...

    async def note(self, text: str) -> None: ...


class Clerk:
    """An implementation: a plain class, which neither checker is told of."""

    async def ping(self) -> int:
        return 1

    async def weigh(self, letter: Letter, *, registered: bool = False) -> int:
        return letter.grams + registered

    async def find(self, to: str = "anybody") -> Letter | None:
        return Letter(to)

    async def note(self, text: str) -> None:
        return None


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
