"""Pyro5: a daemon under a path, and a proxy. A record is a dict, as its default serializer has it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import Pyro5.api

from ..messages import ORDER
from ..sides import Pair, Place, Run, Works, connecting, timed_each


class Reflector:
    """What is exposed."""

    def cook(self, order: dict[str, object]) -> dict[str, object]:
        """Return it."""
        return order


def serve(place: Place) -> None:
    """A daemon."""
    with Pyro5.api.Daemon(unixsocket=place.path) as daemon:
        daemon.register(Pyro5.api.expose(Reflector), "kitchen")
        place.ready()
        daemon.requestLoop()


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    with Pyro5.api.Proxy(f"PYRO:kitchen@./u:{place.path}") as kitchen:
        connecting(kitchen._pyroBind)
        yield timed_each(functools.partial(kitchen.cook, attrs.asdict(ORDER)))


WORKS: Final[Works] = {"call": Pair(serve, calling)}
