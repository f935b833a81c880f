"""namedipc, with large arguments which are views of memory that both sides have mapped."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from namedipc import Service

from ..sides import Pair, Place, Run, Works, timed_each
from .ours import LARGE


class Echo(Protocol):
    """An interface for large arguments."""

    async def echo(self, data: memoryview) -> memoryview:
        """Return the data."""
        ...


class Reflector:
    """Its implementation."""

    async def echo(self, data: memoryview) -> memoryview:
        """Return it."""
        return data


def serve(place: Place) -> None:
    """A service."""
    Service(place.path, Echo).run(Reflector(), limits=LARGE, ready=lambda _: place.ready())


@contextmanager
def echoing(place: Place) -> Iterator[Run]:
    """So many bytes there and back."""
    data = memoryview(bytes(place.argument))
    with Service(place.path, Echo).connect(wait_seconds=20) as service:
        yield timed_each(functools.partial(service.call, Echo.echo, data))


WORKS: Final[Works] = {"echo": Pair(serve, echoing)}
