"""faster-fifo: records put and taken by many, between this process and a child which has inherited the queue."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Full
from typing import TYPE_CHECKING, Final

import faster_fifo

from ..messages import IN_FLIGHT, LAST, ORDER, Order
from ..sides import Pair, Place, Run, Works, burst_rate, die_with_parent

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

CAPACITY: Final = 1 << 20
"""In bytes: its documentation's own example has as much."""


def take(records: faster_fifo.Queue, back: Queue[None], core: int) -> None:
    """The child: takes records, and answers each last one."""
    die_with_parent()
    os.sched_setaffinity(0, {core})
    while True:
        try:
            orders = records.get_many(timeout=10.0)
        except Empty:
            continue
        if any(order.paid for order in orders):
            back.put(None)


def put_all(records: faster_fifo.Queue, orders: list[Order]) -> None:
    """Put them all; a full queue is tried again."""
    while True:
        try:
            records.put_many(orders, timeout=10.0)
            return
        except Full:
            continue


@contextmanager
def sending_records(place: Place) -> Iterator[Run]:
    """Start the child, and put many at once."""
    records = faster_fifo.Queue(CAPACITY)
    back: Queue[None] = multiprocessing.Queue()
    multiprocessing.Process(target=take, args=(records, back, place.other_core), daemon=True).start()
    batch = [ORDER] * IN_FLIGHT

    def burst(count: int) -> None:
        for _ in range((count - 1) // IN_FLIGHT):
            put_all(records, batch)
        put_all(records, [ORDER] * ((count - 1) % IN_FLIGHT) + [LAST])
        back.get()

    yield burst_rate(burst)


WORKS: Final[Works] = {"records": Pair(None, sending_records)}
