"""Does the waiting that a plan asks for, in blocking code; its twin for trio is `trio_waiting`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from math import inf
from threading import Lock
from typing import Final, TypeVar, final

from .. import lowlevel
from .._errors import Busy, TimedOut, WouldBlock
from ..lowlevel import _libc  # noqa: F401  # comes with every name: who drops its rights may not read it later
from .connecting import Pause

R = TypeVar("R")

LOOKS_AFTER_TIME: Final = 32
"""How often a plan that only lets others have their turn may go on when the time is over.

With `timeout=0` what is there is still taken, and whoever finds nothing but junk ends.
"""
LONGEST_LOCK_SECONDS: Final = 4e6
"""46 days: beyond what `threading.TIMEOUT_MAX` may be, acquiring raises."""


class Clock:
    """How much of a `timeout` is left. None is for ever."""

    __slots__ = ("end", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout: float | None = timeout
        self.end: float | None = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Return the seconds that are left, at least 0; None for ever."""
        return None if self.end is None else max(0.0, self.end - time.monotonic())

    def expired(self) -> bool:
        """Whether the time is over."""
        return self.end is not None and time.monotonic() >= self.end


FOREVER: Final = Clock(None)
"""The clock of whoever has no timeout."""


def carry_out(plan: Generator[Pause, None, R], clock: Clock, what: str) -> R:
    """Do a plan's waiting, and return what it returns.

    Args:
        plan: Says what to wait for.
        clock: How long altogether.
        what: Begins the message of a clock that has run out: "/run/name: no message".

    Raises:
        TimedOut: The clock's time has passed.
    """
    looks = 0
    try:
        while True:
            pause = next(plan)
            left = clock.left()
            if left is not None and left <= 0:
                looks += 1
                if pause.seconds > 0 or looks > LOOKS_AFTER_TIME:
                    raise TimedOut(f"{what} within {clock.timeout} seconds")
            seconds = pause.seconds if left is None else min(pause.seconds, left)
            if pause.fd is None:
                time.sleep(seconds)
            else:
                lowlevel.wait_ready(pause.fd, timeout_seconds=None if seconds == inf else seconds)
    except StopIteration as done:
        result: R = done.value
        return result
    finally:
        plan.close()


@final
class ThreadQueue:
    """The threads of this process that want to use one end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()

    @contextmanager
    def within(self, clock: Clock) -> Iterator[None]:
        """Be the one who uses it, as soon as possible."""
        left = clock.left()
        if not self._lock.acquire(timeout=-1 if left is None else min(left, LONGEST_LOCK_SECONDS)):
            raise TimedOut(f"{self._path}: other threads have used this end for {clock.timeout} seconds")
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Be the one, or do not wait."""
        if not self._lock.acquire(blocking=False):
            raise WouldBlock(f"{self._path}: another thread uses this end")
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one."""
        if not self._lock.acquire(blocking=False):
            raise Busy(f"{self._path}: another thread uses this end; give each its own")
        try:
            yield
        finally:
            self._lock.release()


def check_max_messages(max_messages: int) -> None:
    """Refuse a number of messages below 1.

    Raises:
        ValueError: It is.
    """
    if max_messages < 1:
        raise ValueError(f"max_messages={max_messages}: at least 1")
