"""Does the waiting that a plan asks for, in trio; its twin for blocking code is `waiting`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from math import inf
from typing import TypeVar

import trio

from . import trio_errors
from .connecting import Pause

R = TypeVar("R")


async def carry_out(plan: Generator[Pause, None, R]) -> R:
    """Do a plan's waiting, and return what it returns. Always a checkpoint.

    Cancellation: the plan is closed, and so is what it had opened.
    """
    await trio.lowlevel.checkpoint()
    return await carry_on(plan)


async def carry_on(plan: Generator[Pause, None, R]) -> R:
    """Do a plan's waiting for a caller who has had a checkpoint. None where there is nothing to wait for.

    Cancellation: as in `carry_out`.
    """
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


@contextmanager
def at_once(turn: trio.Lock | trio.Semaphore, path: str) -> Iterator[None]:
    """Be the task whose turn it is, or raise WouldBlock."""
    try:
        turn.acquire_nowait()
    except trio.WouldBlock:
        raise trio_errors.WouldBlock(f"{path}: another task uses this end") from None
    try:
        yield
    finally:
        turn.release()
