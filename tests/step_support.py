"""What the steps of trio's tasks do: between two steps others have their turn, so no step may wait, or go on for long.

A stalled loop is found without a clock. Of every step all calls are noted: those of functions that wait are errors, and
the system calls are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

import namedipc.lowlevel

LOWLEVEL: Final = next(iter(namedipc.lowlevel.__path__))
SYSTEM_MODULES: Final = frozenset({"posix", "fcntl"})


class Steps(trio.abc.Instrument):
    """Looks on.

    Attributes:
        most_calls: The most system calls of one step.
        waits: What has waited in a step.
    """

    def __init__(self) -> None:
        self.most_calls = 0
        self.waits: list[str] = []
        self._calls = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A step begins."""
        self._calls = 0
        sys.setprofile(self._profile)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It ends."""
        sys.setprofile(None)
        self.most_calls = max(self.most_calls, self._calls)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(LOWLEVEL) and code.co_name.startswith("wait_"):
                self.waits.append(code.co_name)
        elif event == "c_call":
            module = getattr(argument, "__module__", None)
            self._calls += module in SYSTEM_MODULES
            if getattr(argument, "__qualname__", "") == "sleep":
                self.waits.append("sleep")


@contextmanager
def looking_on() -> Iterator[Steps]:
    """Look on at the steps of all tasks."""
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        sys.setprofile(None)
        trio.lowlevel.remove_instrument(steps)
