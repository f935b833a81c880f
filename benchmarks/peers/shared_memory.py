"""multiprocessing.shared_memory: one block, kept mapped by both sides; the array is copied into it for each message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client, Listener
from multiprocessing.resource_tracker import unregister
from multiprocessing.shared_memory import SharedMemory
from typing import Final

import numpy as np

from ..sides import MILLISECONDS, Pair, Place, Run, Works, timed_each


def serve(place: Place) -> None:
    """Attaches to the block whose name comes first, and reads its ends at each message."""
    with Listener(place.path, "AF_UNIX") as listener:
        place.ready()
        with listener.accept() as connection:
            block = SharedMemory(connection.recv())
            unregister(f"/{block.name}", "shared_memory")  # or this process would remove what is not its own
            pixels = np.ndarray(place.argument, np.uint8, block.buf)
            while True:
                connection.recv()
                connection.send((int(pixels[0]), int(pixels[-1])))


@contextmanager
def sending(place: Place) -> Iterator[Run]:
    """Copy an array into the block, and wait until it has been read."""
    pixels = np.ones(place.argument, np.uint8)
    block = SharedMemory(create=True, size=place.argument)
    try:
        shared = np.ndarray(place.argument, np.uint8, block.buf)
        shared[:] = 0  # every page is there
        with Client(place.path, "AF_UNIX") as connection:
            connection.send(block.name)

            def send() -> None:
                shared[:] = pixels
                connection.send("sent")
                connection.recv()

            yield timed_each(send, MILLISECONDS)
    finally:
        block.unlink()


WORKS: Final[Works] = {"array": Pair(serve, sending)}
