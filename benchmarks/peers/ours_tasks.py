"""namedipc, with one trio client which many tasks share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from namedipc import Service

from ..figures import Sample
from ..messages import IN_FLIGHT, ORDER, Kitchen
from ..sides import Pair, Place, Run, Works, rate_of
from .ours import serve


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """Many in flight, one in each of many tasks."""

    async def main(count: int) -> Sample:
        async with Service(place.path, Kitchen).connect(wait_seconds=20) as kitchen:
            await in_tasks(lambda: kitchen.cook(ORDER), 1)  # warm
            each = -(-count // IN_FLIGHT)
            began = time.perf_counter()
            await in_tasks(lambda: kitchen.cook(ORDER), each)
            return rate_of(each * IN_FLIGHT, began)

    yield lambda count: trio.run(main, count)


async def in_tasks(call: Callable[[], Awaitable[object]], each: int) -> None:
    """So many calls in each task."""

    async def task() -> None:
        for _ in range(each):
            await call()

    async with trio.open_nursery() as nursery:
        for _ in range(IN_FLIGHT):
            nursery.start_soon(task)


WORKS: Final[Works] = {"batch": Pair(serve, calling)}
