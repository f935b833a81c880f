"""namedipc, with trio clients, in a loop of their own each round; the server is the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from namedipc import Service

from ..figures import Sample
from ..messages import IN_FLIGHT, ORDER, Kitchen
from ..sides import Pair, Place, Run, Works, awaited_each, awaited_rate
from .ours import serve


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""

    async def main(count: int) -> Sample:
        async with Service(place.path, Kitchen).connect(wait_seconds=20) as kitchen:
            return await awaited_each(lambda: kitchen.cook(ORDER), count)

    yield lambda count: trio.run(main, count)


@contextmanager
def calling_each(place: Place) -> Iterator[Run]:
    """Many in flight, by `call_each`."""
    orders = [ORDER] * IN_FLIGHT

    async def main(count: int) -> Sample:
        client = Service(place.path, Kitchen).connect(wait_seconds=20)
        async with client:
            return await awaited_rate(lambda: client.call_each(Kitchen.cook, orders), IN_FLIGHT, count)

    yield lambda count: trio.run(main, count)


WORKS: Final[Works] = {
    "call": Pair(serve, calling),
    "batch": Pair(serve, calling_each),
}
