"""rpyc: a ThreadedServer under a path, and what it exposes. A record is a tuple, which rpyc sends by value."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import rpyc
from rpyc.utils.factory import unix_connect
from rpyc.utils.server import ThreadedServer

from ..messages import ORDER
from ..sides import Pair, Place, Run, Works, connecting, timed_each


class Reflector(rpyc.Service):  # type: ignore[misc]  # rpyc has no types
    """What is exposed."""

    def exposed_cook(self, value: object) -> object:
        """Return it."""
        return value


def serve(place: Place) -> None:
    """A thread a client."""
    server = ThreadedServer(Reflector, socket_path=place.path)
    place.ready()
    server.start()


@contextmanager
def remote(place: Place, value: object) -> Iterator[Run]:
    """One call in flight."""
    connections = []
    connecting(lambda: connections.append(unix_connect(place.path)))
    with connections[0] as connection:
        yield timed_each(functools.partial(connection.root.cook, value))


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """A record."""
    with remote(place, attrs.astuple(ORDER)) as run:
        yield run


@contextmanager
def echoing(place: Place) -> Iterator[Run]:
    """So many bytes there and back."""
    with remote(place, bytes(place.argument)) as run:
        yield run


WORKS: Final[Works] = {"call": Pair(serve, calling), "echo": Pair(serve, echoing)}
