"""What the campaigns of kills share: SIGKILL at a chosen bytecode."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def killed_at(point: int, way: Callable[[T], None], shared: T) -> int:
    """Do one thing, and die before bytecode number `point`; return how many there were if it is beyond the last one."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:  # what sys.settrace wants
        nonlocal count
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys._getframe().f_trace_opcodes = True  # 3.12 looks whether any frame wants them when settrace is called
    sys.settrace(trace)
    way(shared)
    sys.settrace(None)
    return count


def bytecodes(attempt: Callable[[int, Callable[[T], None]], int], way: Callable[[T], None]) -> int:
    """How many bytecodes a way to do something has, in an attempt that is killed at none of them."""
    attempt(-1, way)  # what happens only the first time in a process is not wanted
    return attempt(-1, way)
