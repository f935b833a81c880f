"""multiprocessing.Queue: records put one by one by this process, taken by a child which has inherited the queue."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..messages import LAST, ORDER, Order
from ..sides import Pair, Place, Run, Works, burst_rate, die_with_parent

if TYPE_CHECKING:
    from multiprocessing.queues import Queue


def take(records: Queue[Order], back: Queue[None], core: int) -> None:
    """The child: takes records, and answers each last one."""
    die_with_parent()
    os.sched_setaffinity(0, {core})
    while True:
        if records.get().paid:
            back.put(None)


@contextmanager
def sending_records(place: Place) -> Iterator[Run]:
    """Start the child, and put."""
    records: Queue[Order] = multiprocessing.Queue()
    back: Queue[None] = multiprocessing.Queue()
    multiprocessing.Process(target=take, args=(records, back, place.other_core), daemon=True).start()

    def burst(count: int) -> None:
        for _ in range(count - 1):
            records.put(ORDER)
        records.put(LAST)
        back.get()

    yield burst_rate(burst)


WORKS: Final[Works] = {"records": Pair(None, sending_records)}
