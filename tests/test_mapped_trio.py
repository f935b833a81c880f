"""Mapped memory in trio: cancellation, tasks which share the lock or wait in line for it, both worlds at one memory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import Busy, Closed, Memory, NameNotFound, OwnerDied, SharedStruct, lowlevel

from .conftest import Children
from .memory_support import PAIR, Pair, Wide
from .region_support import script

pytestmark = pytest.mark.usefixtures("no_leaks")

LONG_SECONDS = 20.0


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory[Pair]]:
    """A memory of two zeros."""
    async with PAIR.at(tmp_path / "pair").create() as made:
        yield made


def again(memory: Memory[Pair]) -> SharedStruct[Pair]:
    """The name of an open memory."""
    return PAIR.at(memory._memory.file.path)


async def enter(use: Callable[[], AbstractAsyncContextManager[Pair]]) -> None:
    """Take a lock and give it back."""
    async with use():
        pass


async def test_content_lock_and_version(memory: Memory[Pair]) -> None:
    """Stores are seen in every handle; each clean exit of the lock is one version."""
    async with again(memory).open() as other:
        async with memory.lock() as pair:
            pair.advance()
            await trio.lowlevel.checkpoint()
            assert other.content.both == (1, 1)
        async with other.recover() as pair:
            pair.advance()
        async with other.lock_shared() as pair:
            assert pair.both == (2, 2)
        assert memory.version == other.version == 3
        assert memory.is_current
        assert repr(memory).startswith("<Memory of ")


async def test_every_async_function_is_a_checkpoint(memory: Memory[Pair]) -> None:
    """Also where nothing has to be waited for."""
    for use in (memory.lock, memory.lock_shared, memory.recover):
        with trio.testing.assert_checkpoints():
            await enter(use)
    watch = memory.watch()
    with trio.testing.assert_checkpoints():
        assert await anext(watch) == 3
    with trio.testing.assert_checkpoints():
        async with again(memory).open() as other:
            pass
    with trio.testing.assert_checkpoints():
        await other.aclose()


async def test_readers_share_it_and_a_writer_is_not_overtaken(memory: Memory[Pair]) -> None:
    """Tasks of one handle and of two read together; who comes after a waiting writer reads after it."""
    order: list[str] = []
    begun, go_on = trio.Event(), trio.Event()

    async def read(handle: Memory[Pair], name: str) -> None:
        async with handle.lock_shared() as pair:
            order.append(f"{name} {pair.first}")
            if len(order) == 3:
                begun.set()
            await go_on.wait()

    async def write() -> None:
        async with memory.lock() as pair:
            order.append("writer")
            pair.advance()

    async with again(memory).open() as other, trio.open_nursery() as nursery:
        for handle in (memory, memory, other):
            nursery.start_soon(read, handle, "early")
        await begun.wait()
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(read, memory, "late")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert order == ["early 0"] * 3
        go_on.set()
    assert order == ["early 0", "early 0", "early 0", "writer", "late 1"]


async def test_asking_for_the_lock_one_holds_is_busy(memory: Memory[Pair]) -> None:
    """In the same task, through any handle, alone or shared: Busy, which is trio's too."""
    async with again(memory).open() as other:
        for hold in (memory.lock, memory.lock_shared):
            async with hold():
                for use in (memory.lock, memory.lock_shared, memory.recover, other.lock, other.lock_shared):
                    with pytest.raises(trio.BusyResourceError) as caught:
                        await enter(use)
                    assert isinstance(caught.value, Busy)


async def test_a_cancelled_wait_leaves_nothing(memory: Memory[Pair]) -> None:
    """Neither a lock nor a turn nor a mark: readers go on at once beside the reader who was waited for."""
    before = len(lowlevel.descriptors())
    async with again(memory).open() as other:
        async with memory.lock_shared():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(enter, other.lock)
                nursery.start_soon(enter, other.recover)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()
            async with trio.open_nursery() as nursery:
                with trio.fail_after(LONG_SECONDS):
                    nursery.start_soon(enter, other.lock_shared)
        with trio.fail_after(LONG_SECONDS):
            await enter(other.lock)
        assert memory.version == 2
    with trio.fail_after(LONG_SECONDS):
        while len(lowlevel.descriptors()) > before:
            await trio.sleep(0.005)


async def test_cancelled_in_the_body_the_change_is_unfinished(memory: Memory[Pair]) -> None:
    """As after any other exception; cancelled before it, nothing has begun."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with memory.lock():
            pytest.fail("entered")
    with trio.CancelScope() as scope:
        async with memory.lock() as pair:
            pair.first += 1
            scope.cancel()
            await trio.lowlevel.checkpoint()
    for use in (memory.lock, memory.lock_shared):
        with pytest.raises(OwnerDied):
            await enter(use)
    async with memory.recover() as pair:
        pair.second = pair.first
    await enter(memory.lock)


async def test_a_killed_holder_elsewhere(memory: Memory[Pair], child: Children) -> None:
    """A task that waits for a blocking process's lock gets it when that one is killed, and is told."""
    other = child(
        script("""
        from tests.memory_support import PAIR
        with PAIR.at(sys.argv[1]).open() as memory, memory.lock() as pair:
            pair.first += 1
            print("half", flush=True)
            input()
        """),
        str(again(memory).path),
    )
    await trio.to_thread.run_sync(other.expect, "half")

    async def mend() -> None:
        with pytest.raises(OwnerDied):
            await enter(memory.lock)
        async with memory.recover() as pair:
            pair.second = pair.first

    with trio.fail_after(LONG_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mend)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.to_thread.run_sync(other.kill)
    assert memory.content.both == (1, 1)


async def test_tasks_and_threads_and_both_worlds_add_up(memory: Memory[Pair]) -> None:
    """Three tasks on two handles and a blocking thread: no change is lost."""

    async def add(handle: Memory[Pair]) -> None:
        for _ in range(20):
            async with handle.lock() as pair:
                pair.advance()

    def add_blocking() -> None:
        with again(memory).open() as handle:
            for _ in range(20):
                with handle.lock() as pair:
                    pair.advance()

    async with again(memory).open() as other, trio.open_nursery() as nursery:
        for handle in (memory, memory, other):
            nursery.start_soon(add, handle)
        nursery.start_soon(trio.to_thread.run_sync, add_blocking)
    assert (memory.content.both, memory.version) == ((80, 80), 81)


async def test_watch_gives_the_latest_and_ends_with_the_memory(memory: Memory[Pair]) -> None:
    """Versions in between are skipped; cancelled it loses nothing; replaced it ends, closed it raises."""
    watch = memory.watch()
    assert await anext(watch) == 1
    for _ in range(3):
        await enter(memory.lock)
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(watch)
    assert await anext(watch) == 4
    async with again(memory).open() as other, trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, other)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await other.aclose()
    ended = trio.Event()

    async def follow() -> None:
        async for version in watch:
            pytest.fail(f"version {version}")
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with SharedStruct(again(memory).path, Wide).create(if_exists="replace"):
            with trio.fail_after(LONG_SECONDS):
                await ended.wait()
            assert not memory.is_current
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def expect_closed(memory: Memory[Pair]) -> None:
    """Watch until it is closed; afterwards nothing else is to be had either."""
    with pytest.raises(trio.ClosedResourceError) as caught:
        async for _ in memory.watch():
            pass
    assert isinstance(caught.value, Closed)
    with pytest.raises(trio.ClosedResourceError):
        memory.content  # noqa: B018  # it is a property
    with pytest.raises(Closed):
        await enter(memory.lock)


async def test_waiting_for_a_memory_to_appear(tmp_path: Path) -> None:
    """Opened while it is not there yet; in vain or cancelled, nothing is left."""
    name = PAIR.at(tmp_path / "pair")
    with pytest.raises(NameNotFound):
        async with name.open(wait_seconds=0.01):
            pass
    with trio.move_on_after(0.01):
        async with name.open(wait_seconds=LONG_SECONDS):
            pass
    seen = trio.Event()

    async def create() -> None:
        async with name.create() as made:
            made.content.first = 3
            await seen.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        async with name.open(wait_seconds=LONG_SECONDS) as memory:
            assert memory.content.second == 0
        seen.set()
    assert not os.listdir(tmp_path)
