"""Waiting for the next change of a file in shared memory: what those who wait in both worlds share.

The law: the listener is there before the first look, so that no change falls between a look and the wait after it.
Looking again and again for a moment, where that has been paying, changes nothing in that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import inf
from typing import Final, TypeVar

from .bell import POLL_SECONDS, Listener
from .connecting import Pause
from .shared_file import AnyFile

R = TypeVar("R")


REPLACED: Final = "another region has been put under its name, and this one will not change any more; open it again"


class Superseded(Exception):  # says what has happened; never leaves the library
    """What is watched will not change any more: another has its name."""


def waiting(file: AnyFile, listener: Listener, look: Callable[[], R | None]) -> Generator[Pause, None, R]:
    """Wait until a look finds something, and return that.

    Raises:
        Closed: The file was closed, or the listener stopped, be it meanwhile.
    """
    while True:
        if listener.is_stopped:
            raise file.world.closed(f"{file.path}: this watch was closed")
        found = look()
        if found is None and file.spinner is not None:
            found = file.spinner.wait(look)
        if found is not None:
            return found
        yield Pause(None, POLL_SECONDS) if listener.is_polling else Pause(listener.fileno(), inf)
        listener.drain()
