"""multiprocessing.connection: Listener and Client under a path; what crosses is pickled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection, Listener
from typing import Final

import numpy as np

from ..messages import LAST, ORDER, Order
from ..sides import MILLISECONDS, Pair, Place, Run, Works, burst_rate, timed_each


def served(place: Place, talk: Callable[[Connection[object, object]], None]) -> None:
    """One client."""
    with Listener(place.path, "AF_UNIX") as listener:
        place.ready()
        with listener.accept() as connection:
            talk(connection)


def serve(place: Place) -> None:
    """Sends back what comes."""

    def talk(connection: Connection[object, object]) -> None:
        while True:
            connection.send(connection.recv())

    served(place, talk)


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    with Client(place.path, "AF_UNIX") as connection:

        def call() -> None:
            connection.send(ORDER)
            connection.recv()

        yield timed_each(call)


def serve_bytes(place: Place) -> None:
    """Sends back the bytes that come."""

    def talk(connection: Connection[object, object]) -> None:
        while True:
            connection.send_bytes(connection.recv_bytes())

    served(place, talk)


@contextmanager
def echoing(place: Place) -> Iterator[Run]:
    """So many bytes there and back."""
    data = bytes(place.argument)
    with Client(place.path, "AF_UNIX") as connection:

        def echo() -> None:
            connection.send_bytes(data)
            connection.recv_bytes()

        yield timed_each(echo)


def serve_records(place: Place) -> None:
    """Takes records, and answers each last one."""

    def talk(connection: Connection[object, object]) -> None:
        while True:
            order = connection.recv()
            assert isinstance(order, Order)
            if order.paid:
                connection.send(None)

    served(place, talk)


@contextmanager
def sending_records(place: Place) -> Iterator[Run]:
    """One by one, as it has no other way."""
    with Client(place.path, "AF_UNIX") as connection:

        def burst(count: int) -> None:
            for _ in range(count - 1):
                connection.send(ORDER)
            connection.send(LAST)
            connection.recv()

        yield burst_rate(burst)


def serve_arrays(place: Place) -> None:
    """Takes arrays, reads their ends, and says what they were."""

    def talk(connection: Connection[object, object]) -> None:
        while True:
            pixels = connection.recv()
            assert isinstance(pixels, np.ndarray)
            connection.send((int(pixels[0]), int(pixels[-1])))

    served(place, talk)


@contextmanager
def sending_arrays(place: Place) -> Iterator[Run]:
    """Send an array, and wait until it has been read."""
    pixels = np.ones(place.argument, np.uint8)
    with Client(place.path, "AF_UNIX") as connection:

        def send() -> None:
            connection.send(pixels)
            connection.recv()

        yield timed_each(send, MILLISECONDS)


WORKS: Final[Works] = {
    "call": Pair(serve, calling),
    "echo": Pair(serve_bytes, echoing),
    "records": Pair(serve_records, sending_records),
    "array": Pair(serve_arrays, sending_arrays),
}
