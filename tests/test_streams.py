"""What a caller needs around streams: `feed` and `aclosing`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

import pytest

from namedipc import aclosing, feed


async def drawn(stream: AsyncIterable[int]) -> list[int]:
    """Everything."""
    return [item async for item in stream]


class Watched:
    """An asynchronous iterator that tells whether it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        """Go on for ever."""
        return 1

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1


async def test_a_feed_is_a_stream() -> None:
    """Of a list, of an iterator, of nothing; a list can be drawn again."""
    numbers = feed([1, 2, 3])
    assert await drawn(numbers) == await drawn(numbers) == [1, 2, 3]
    assert await drawn(feed(iter([1, 2]))) == [1, 2]
    assert await drawn(feed([])) == []


async def test_a_feed_is_drawn_as_it_is_needed() -> None:
    """An item at a time: so an endless iterable will do."""
    made = []

    def numbers() -> Iterator[int]:
        for number in range(1 << 60):
            made.append(number)
            yield number

    async with aclosing(feed(numbers())) as stream:
        assert made == []
        assert [await anext(stream), await anext(stream)] == [0, 1]
    assert made == [0, 1]


async def test_what_the_iterable_raises_is_raised() -> None:
    """Where it is drawn."""

    def numbers() -> Iterator[int]:
        yield 1
        raise KeyError("mine")

    stream = aiter(feed(numbers()))
    assert await anext(stream) == 1
    with pytest.raises(KeyError, match="mine"):
        await anext(stream)


def test_a_feed_shows_what_it_is_made_of() -> None:
    """In messages."""
    assert repr(feed([1, 2])) == "feed([1, 2])"


async def test_aclosing_closes() -> None:
    """At the end of the block, also by an exception; once."""
    watched = Watched()
    async with aclosing(watched) as stream:
        assert await anext(stream) == 1
        assert watched.closed == 0
    assert watched.closed == 1
    with pytest.raises(KeyError):
        async with aclosing(watched):
            raise KeyError
    assert watched.closed == 2


async def test_aclosing_takes_a_generator() -> None:
    """It is closed, and what it had open with it."""
    ended = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    async with aclosing(numbers()) as stream:
        assert await anext(stream) == 1
    assert ended == [True]


async def test_aclosing_takes_what_cannot_be_closed() -> None:
    """Such as a feed: there is nothing to do."""
    async with aclosing(feed([1])) as stream:
        assert [item async for item in stream] == [1]
