"""multiprocessing's BaseManager under a path: a registered object, and a proxy of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.managers import BaseManager
from typing import Final

from ..messages import ORDER, Order
from ..sides import Pair, Place, Run, Works, connecting, timed_each

KEY: Final = b"kitchen"


class Chef:
    """What is registered."""

    def cook(self, order: Order) -> Order:
        """Return it."""
        return order


CHEF: Final = Chef()


class KitchenManager(BaseManager):
    """The manager, of the server and of the client."""


def get_chef() -> Chef:
    """The one there is."""
    return CHEF


KitchenManager.register("chef", get_chef, exposed=["cook"])


def serve(place: Place) -> None:
    """Its server, in this process."""
    server = KitchenManager(place.path, KEY).get_server()
    place.ready()
    server.serve_forever()


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    manager = KitchenManager(place.path, KEY)
    connecting(manager.connect)
    yield timed_each(functools.partial(manager.chef().cook, ORDER))  # type: ignore[attr-defined]  # registered above


WORKS: Final[Works] = {"call": Pair(serve, calling)}
