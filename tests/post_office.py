"""A service with one method of each kind, for those who ask it without its types."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

import attrs
import trio

from namedipc import allow, one_way, raises


@attrs.define
class Burnt(Exception):
    """A declared exception with fields."""

    what: str
    minutes: int


class Lost(Exception):
    """A declared exception with a text."""


class Post(Protocol):
    """The interface."""

    @raises(Burnt, Lost)
    async def burn(self, letter: str) -> None: ...

    def count(self, to: int) -> AsyncIterator[int]: ...

    def echo(self, letters: AsyncIterable[str]) -> AsyncIterator[str]: ...

    async def forbidden(self) -> None: ...

    @one_way
    async def note(self, text: str) -> None: ...

    async def notes(self) -> list[str]: ...

    async def post(self, parcels: AsyncIterable[bytes], stamps: int = 1) -> int: ...

    async def route(self, by: dict[tuple[int, int], str]) -> None: ...

    async def swap(self, one: list[int], other: str = "", *, times: int = 1) -> list[str | list[int]]: ...

    async def wait(self, seconds: float) -> float: ...


class Clerk:
    """The implementation.

    Attributes:
        left: How many streams of numbers were left before their end.
    """

    def __init__(self) -> None:
        self.written: list[str] = []
        self.left = 0

    async def burn(self, letter: str) -> None:
        """Raise one of them, or something else."""
        if letter == "bill":
            raise Lost("the bill")
        if letter == "stone":
            raise ValueError("a stone does not burn")
        raise Burnt(letter, 3)

    async def count(self, to: int) -> AsyncIterator[int]:
        """Count to a number."""
        try:
            for number in range(to):
                yield number
        except (GeneratorExit, trio.Cancelled):
            self.left += 1
            raise

    async def echo(self, letters: AsyncIterable[str]) -> AsyncIterator[str]:
        """Return each letter as it comes."""
        async for letter in letters:
            yield letter

    @allow(lambda peer: False)
    async def forbidden(self) -> None:
        """Never run."""

    async def note(self, text: str) -> None:
        """Write it down."""
        self.written.append(text)

    async def notes(self) -> list[str]:
        """What was written down."""
        return self.written

    async def post(self, parcels: AsyncIterable[bytes], stamps: int = 1) -> int:
        """Return the bytes of all parcels, times the stamps."""
        return stamps * sum([len(parcel) async for parcel in parcels])

    async def route(self, by: dict[tuple[int, int], str]) -> None:
        """Its argument has keys that JSON has no word for."""

    async def swap(self, one: list[int], other: str = "", *, times: int = 1) -> list[str | list[int]]:
        """Return both, the other way round."""
        return [other, one] * times

    async def wait(self, seconds: float) -> float:
        """Return after a while."""
        await trio.sleep(seconds)
        return seconds
