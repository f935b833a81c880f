"""What a task is told that was woken: nothing, and by one object for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing

import trio
import trio.testing

from namedipc._shells.woken import WOKEN


async def test_tasks_are_woken_by_it_as_often_as_need_be() -> None:
    """An outcome of trio's own could be given to one of them, once."""
    sleepers: list[trio.lowlevel.Task] = []
    woken: list[int] = []

    async def sleep(number: int) -> None:
        for _ in range(3):
            sleepers.append(trio.lowlevel.current_task())
            answer = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)
            assert answer is None
            woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(sleep, number)
        for turn in range(1, 4):
            await trio.testing.wait_all_tasks_blocked()
            asleep, sleepers[:] = sleepers[:], []
            for task in asleep:
                trio.lowlevel.reschedule(task, WOKEN)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(woken) == sorted([*range(4)] * turn)


async def test_it_is_an_outcome_in_every_respect() -> None:
    """What asks for it otherwise than trio does finds nothing as well."""

    def generator() -> Generator[str, None, None]:
        got = yield "first"
        yield f"then {got}"

    async def asynchronous() -> AsyncGenerator[str, None]:
        got = yield "first"
        yield f"then {got}"

    plain, other = generator(), asynchronous()
    assert [WOKEN.send(plain), WOKEN.send(plain)] == ["first", "then None"]
    async with aclosing(other):
        assert [await WOKEN.asend(other), await WOKEN.asend(other)] == ["first", "then None"]
