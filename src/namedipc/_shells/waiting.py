"""Carries out a connection plan in blocking code; its twin for trio is `trio_waiting`."""

from __future__ import annotations

import time

from .. import lowlevel
from .._errors import TimedOut
from .connecting import Connected, Plan


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


def carry_out(plan: Plan, clock: Clock, where: object) -> Connected:
    """Follow the plan until it is connected, or until the clock has run out: TimedOut."""
    try:
        while True:
            pause = next(plan)
            left = clock.left()
            seconds = pause.seconds if left is None else min(pause.seconds, left)
            if pause.fd is None:
                time.sleep(seconds)
            else:
                lowlevel.wait_ready(pause.fd, timeout_seconds=seconds)
            if clock.expired():
                raise TimedOut(f"{where}: not connected within {clock.timeout} seconds")
    except StopIteration as done:
        connected: Connected = done.value
        return connected
    finally:
        plan.close()
