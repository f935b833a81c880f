"""namedipc, with numpy arrays: as a message, and in place in memory that both sides have mapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from namedipc import Channel, Limits
from namedipc.numpy import SharedArray

from ..sides import MILLISECONDS, Pair, Place, Run, Works, timed_each

LIMITS: Final = Limits(message_bytes=16 << 20)


@attrs.frozen
class Picture:
    """A message with an array."""

    pixels: npt.NDArray[np.uint8]


@attrs.frozen
class Seen:
    """The answer: the first and the last item, which were read."""

    first: int
    last: int


def serve_pictures(place: Place) -> None:
    """Reads each picture's ends, and says what they were."""
    with Channel(place.path, Picture | Seen).listen(limits=LIMITS) as listener:
        place.ready()
        with listener.accept() as connection:
            while True:
                picture = connection.receive()
                assert isinstance(picture, Picture)
                seen = Seen(int(picture.pixels[0]), int(picture.pixels[-1]))
                del picture  # its memory may be used again
                connection.send(seen)


@contextmanager
def sending_pictures(place: Place) -> Iterator[Run]:
    """Send an array, and wait until it has been read."""
    picture = Picture(np.ones(place.argument, np.uint8))
    with Channel(place.path, Picture | Seen).connect(wait_seconds=20, limits=LIMITS) as connection:

        def send() -> None:
            connection.send(picture)
            connection.receive()

        yield timed_each(send, MILLISECONDS)


def arrays(place: Place) -> tuple[SharedArray[np.uint8], SharedArray[np.uint8]]:
    """The large one, and a small one for answers."""
    return (
        SharedArray(f"{place.path}.there", np.uint8, place.argument),
        SharedArray(f"{place.path}.back", np.uint8, 2),
    )


def serve_in_place(place: Place) -> None:
    """Reads the ends after each change, and says what they were."""
    there, back = arrays(place)
    with there.create() as pixels, back.create() as answer:
        with pixels.lock() as all_of_them:
            all_of_them[:] = 1  # every page is there before the first round
        changes = iter(pixels.watch())
        next(changes)
        place.ready()
        for _ in changes:
            with pixels.lock_shared() as seen, answer.lock() as ends:
                ends[:] = seen[0], seen[-1]


@contextmanager
def changing_in_place(place: Place) -> Iterator[Run]:
    """Change the ends of an array, and wait until they have been read. What lies between was made in place before."""
    there, back = arrays(place)
    with there.open(wait_seconds=20) as pixels, back.open(wait_seconds=20) as answer:
        with pixels.lock_shared() as all_of_them:
            assert int(all_of_them.sum()) == place.argument  # maps every page
        answers = iter(answer.watch())
        next(answers)

        def change() -> None:
            with pixels.lock() as all_of_them:
                all_of_them[0] = all_of_them[-1] = 2
            next(answers)

        yield timed_each(change, MILLISECONDS)


WORKS: Final[Works] = {
    "array": Pair(serve_pictures, sending_pictures),
    "in-place": Pair(serve_in_place, changing_in_place),
}
