"""What a caller needs around streams: `feed` makes one from an iterable, `aclosing` leaves one in order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar, final

R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)


@final
class Feed(AsyncIterable[T_co], Generic[T_co]):
    """A stream of requests from an ordinary iterable, which is drawn where the caller runs."""

    def __init__(self, items: Iterable[T_co]) -> None:
        self.items: Iterable[T_co] = items

    def __repr__(self) -> str:
        return f"feed({self.items!r})"

    def __aiter__(self) -> AsyncIterator[T_co]:
        return _FeedIterator(iter(self.items))


class _FeedIterator(AsyncIterator[T_co]):
    def __init__(self, items: Iterator[T_co]) -> None:
        self._items = items

    async def __anext__(self) -> T_co:
        try:
            return next(self._items)
        except StopIteration:
            raise StopAsyncIteration from None


def feed(items: Iterable[R], /) -> AsyncIterable[R]:
    """Make a stream of requests from an ordinary iterable.

    A blocking client draws it in the calling thread, an item at a time, as the service takes them. In trio it is drawn
    in the event loop: an iterable which blocks would hold up every task; write an async generator instead.

    Args:
        items: Drawn once, from its beginning.
    """
    return Feed(items)


def aclosing(stream: AsyncIterable[R], /) -> AbstractAsyncContextManager[AsyncIterator[R]]:
    """Leave a stream in order: at the end of the `async with` it is closed, and cancelled at the service.

    The call is sent when the `async with` is entered; without one, when the first item is asked for.

    `contextlib.aclosing` for what an interface declares as AsyncIterator, which has no `aclose` for a checker.

    Args:
        stream: A stream of results of a service; or any other asynchronous iterable.
    """
    return _closing(stream)


@contextlib.asynccontextmanager
async def _closing(stream: AsyncIterable[R]) -> AsyncIterator[AsyncIterator[R]]:
    iterator = aiter(stream)
    try:
        begin = getattr(iterator, "open", None)
        if begin is not None:
            await begin()
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
