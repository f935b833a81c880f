"""The same streams as asyncio's, in uvloop's loop on both sides: `uvloop.run`, as its documentation recommends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvloop

from ..framing import connected
from ..replay import replayed
from ..sides import Pair, Place, Run, Works
from .asyncio_streams import call_many, call_one, served


def serve(place: Place) -> None:
    """All clients."""
    uvloop.run(served(place))


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    yield lambda count: uvloop.run(call_one(place, count))


@contextmanager
def calling_each(place: Place) -> Iterator[Run]:
    """Many in flight."""
    yield lambda count: uvloop.run(call_many(place, count))


WORKS: Final[Works] = {
    "call": Pair(serve, calling),
    "batch": Pair(serve, calling_each),
    "clients": Pair(serve, replayed(connected)),
}
