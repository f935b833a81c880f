"""Does the waiting that a plan asks for, in blocking code; its twin for trio is `trio_waiting`."""

from __future__ import annotations

import time
from collections.abc import Generator
from math import inf
from typing import TypeVar

from .. import lowlevel
from .._errors import TimedOut
from .connecting import Pause

R = TypeVar("R")


class Clock:
    """How much of a `timeout` is left. None is for ever."""

    __slots__ = ("end", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Return the seconds that are left, at least 0; None for ever."""
        return None if self.end is None else max(0.0, self.end - time.monotonic())

    def expired(self) -> bool:
        """Whether the time is over."""
        return self.end is not None and time.monotonic() >= self.end


def carry_out(plan: Generator[Pause, None, R], clock: Clock, what: str) -> R:
    """Do a plan's waiting, and return what it returns.

    Args:
        plan: Says what to wait for.
        clock: How long altogether.
        what: Begins the message of a clock that has run out: "/run/name: no message".

    Raises:
        TimedOut: The clock's time has passed.
    """
    try:
        while True:
            pause = next(plan)
            left = clock.left()
            if left is not None and left <= 0 and pause.seconds > 0:
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
