"""Does the waiting that a plan asks for, in trio; its twin for blocking code is `waiting`."""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import TypeVar

import trio

from .connecting import Pause

R = TypeVar("R")


async def carry_out(plan: Generator[Pause, None, R]) -> R:
    """Do a plan's waiting, and return what it returns. Always a checkpoint.

    Cancellation: the plan is closed, and so is what it had opened.
    """
    await trio.lowlevel.checkpoint()
    try:
        while True:
            await wait(next(plan))
    except StopIteration as done:
        result: R = done.value
        return result
    finally:
        plan.close()


async def wait(pause: Pause) -> None:
    """Wait for what a plan says. Always a checkpoint."""
    if pause.seconds <= 0:
        await trio.lowlevel.checkpoint()
    elif pause.fd is None:
        await trio.sleep(pause.seconds)
    elif pause.seconds == inf:
        await trio.lowlevel.wait_readable(pause.fd)
    else:
        with trio.move_on_after(pause.seconds):
            await trio.lowlevel.wait_readable(pause.fd)
