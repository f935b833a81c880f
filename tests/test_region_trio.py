"""Regions in trio: cancellation, tasks, closing, and the other world at the same region."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import Busy, Closed, EndOfChannel, InvalidMessage, NameNotFound, TooLarge, lowlevel
from namedipc._region import SharedRegion
from namedipc._region_trio import Region, RegionView

from .conftest import Children
from .region_support import BOARD, Entry, advance, script

pytestmark = pytest.mark.usefixtures("no_leaks")

LONG_SECONDS = 20.0


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[Region[Entry]]:
    """A region with entry 0."""
    async with BOARD.at(tmp_path / "board").create(Entry.of(0)) as region:
        yield region


def again(board: Region[Entry]) -> SharedRegion[Entry]:
    """The name of an open region."""
    return BOARD.at(board._file.path)


async def test_write_read_update_and_version(board: Region[Entry]) -> None:
    """Each write is the latest value, one version higher, in every handle."""
    assert (board.read(), board.version) == (Entry.of(0), 1)
    async with again(board).open() as other, again(board).view() as view:
        assert await other.write(Entry.of(5)) == 2
        assert await board.update(advance) == Entry.of(6)
        async with board.editing() as draft:
            draft.value = advance(draft.value)
            await trio.lowlevel.checkpoint()
            assert view.read() == Entry.of(6)
        assert (view.read(), view.version) == (Entry.of(7), 4)
        assert repr(view).startswith("<RegionView of ")


async def test_what_raises_writes_nothing(board: Region[Entry]) -> None:
    """Whatever goes wrong under the lock, the value and the version stay, and the lock is free."""

    def change(entry: Entry) -> Entry:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await board.update(change)
    with pytest.raises(ZeroDivisionError):
        async with board.editing() as draft:
            draft.value = change(draft.value)
    with pytest.raises(InvalidMessage):
        await board.write("soup")  # type: ignore[arg-type]  # what a checker refuses too
    with pytest.raises(TooLarge):
        await board.write(Entry(1, "x" * 200_000))
    assert (board.read(), board.version) == (Entry.of(0), 1)
    assert await board.update(advance) == Entry.of(1)


async def test_every_async_function_is_a_checkpoint(board: Region[Entry]) -> None:
    """Also where nothing has to be waited for."""
    with trio.testing.assert_checkpoints():
        await board.write(Entry.of(1))
    with trio.testing.assert_checkpoints():
        await board.update(advance)
    with trio.testing.assert_checkpoints():
        await board.wait_newer(0)
    watch = board.watch()
    with trio.testing.assert_checkpoints():
        await anext(watch)
    with trio.testing.assert_checkpoints():
        await watch.aclose()  # type: ignore[attr-defined]  # an addition to what the annotation promises
    with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
        await anext(watch)
    with trio.testing.assert_checkpoints():
        async with again(board).open() as other:
            pass
    with trio.testing.assert_checkpoints():
        await other.aclose()


async def test_cancelled_before_the_lock_nothing_is_written(board: Region[Entry]) -> None:
    """A cancelled write, update or editing has changed nothing and holds nothing."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await board.write(Entry.of(9))
    with trio.CancelScope() as scope:
        scope.cancel()
        await board.update(lambda entry: pytest.fail("called"))
    with trio.CancelScope() as scope:
        async with board.editing() as draft:
            draft.value = Entry.of(9)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert (board.read(), board.version) == (Entry.of(0), 1)
    assert await board.update(advance) == Entry.of(1)


async def test_a_cancelled_wait_for_another_handle_leaves_no_lock(board: Region[Entry]) -> None:
    """Given up in the worker thread; when the holder is done, the abandoned thread gives the lock back at once."""
    await board.write(Entry.of(0))  # so that it has all that a handle opens
    before = len(lowlevel.descriptors())
    async with again(board).open() as other:
        async with board.editing(), trio.open_nursery() as nursery:
            nursery.start_soon(other.write, Entry.of(9))
            nursery.start_soon(other.write, Entry.of(9))  # stands in line behind the first
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        assert (board.read(), board.version) == (Entry.of(0), 3)
        with trio.fail_after(LONG_SECONDS):
            assert await other.update(advance) == Entry.of(1)
    await no_more_descriptors_than(before)


async def no_more_descriptors_than(count: int) -> None:
    """Wait until abandoned waits have had the lock, given it back and closed their descriptor."""
    with trio.fail_after(LONG_SECONDS):
        while len(lowlevel.descriptors()) > count:
            await trio.sleep(0.005)


async def test_asking_for_the_lock_one_holds_is_busy(board: Region[Entry]) -> None:
    """In the same task, through any handle: Busy, which is trio's too; another task waits instead."""
    async with again(board).open() as other, trio.open_nursery() as nursery, board.editing() as draft:
        for region in (board, other):
            with pytest.raises(trio.BusyResourceError) as caught:
                await region.write(Entry.of(9))
            assert isinstance(caught.value, Busy)
        nursery.start_soon(other.update, advance)
        await trio.testing.wait_all_tasks_blocked(0.01)
        draft.value = Entry.of(1)
    assert board.read() == Entry.of(2)


async def test_tasks_and_threads_and_both_worlds_add_up(board: Region[Entry]) -> None:
    """Three tasks on two handles and a blocking thread: no update is lost."""

    async def add(region: Region[Entry]) -> None:
        for _ in range(20):
            await region.update(advance)

    def add_blocking() -> None:
        with again(board).open() as region:
            for _ in range(20):
                region.update(advance)

    async with again(board).open() as other, trio.open_nursery() as nursery:
        for region in (board, board, other):
            nursery.start_soon(add, region)
        nursery.start_soon(trio.to_thread.run_sync, add_blocking)
    assert (board.read(), board.version) == (Entry.of(80), 81)


async def test_watch_gives_the_value_now_and_the_last_one(board: Region[Entry]) -> None:
    """Values come in order, some may be skipped, the last never; two watchers share one inotify instance."""
    seen: list[int] = []

    async def watch(region: Region[Entry], until: int) -> None:
        last = -1
        async for entry in region.watch():
            assert entry.whole
            assert entry.number > last
            last = entry.number
            if last == until:
                seen.append(last)
                return

    async with again(board).open() as other, trio.open_nursery() as nursery:
        nursery.start_soon(watch, board, 50)
        nursery.start_soon(watch, other, 50)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sum(target == "anon_inode:inotify" for target in lowlevel.descriptors().values()) == 1
        for number in range(1, 51):
            await other.write(Entry.of(number))
    assert seen == [50, 50]


async def test_a_cancelled_watch_loses_nothing(board: Region[Entry]) -> None:
    """The step after a cancelled one gives the latest value that was not given yet."""
    watch = board.watch()
    assert await anext(watch) == Entry.of(0)
    with trio.move_on_after(0.01):
        await anext(watch)
    await board.write(Entry.of(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(watch)
    assert await anext(watch) == Entry.of(1)


async def test_wait_newer(board: Region[Entry]) -> None:
    """At once where there is something newer, else when there is; cancelled it leaves nothing."""
    assert await board.wait_newer(0) == Entry.of(0)
    with trio.move_on_after(0.01) as scope:
        await board.wait_newer(1)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.write, Entry.of(5))
        assert await board.wait_newer(1) == Entry.of(5)


async def test_close_ends_every_wait(board: Region[Entry]) -> None:
    """Who waits when the region is closed gets Closed, which is trio's too; afterwards everything does."""
    async with again(board).open() as region:
        async with trio.open_nursery() as nursery:
            watch = region.watch()
            await anext(watch)
            nursery.start_soon(expect_closed, region)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await region.aclose()
        with pytest.raises(trio.ClosedResourceError):
            region.read()
        with pytest.raises(Closed):
            await region.write(Entry.of(1))
        with pytest.raises(Closed):
            await anext(watch)


async def expect_closed(region: Region[Entry]) -> None:
    """Wait for a newer value than will ever be there."""
    with pytest.raises(trio.ClosedResourceError) as caught:
        await region.wait_newer(1)
    assert isinstance(caught.value, Closed)


async def test_closed_while_in_line_for_the_lock(board: Region[Entry]) -> None:
    """A task that waits for its turn when the handle is closed gets Closed; the lock is given back."""

    async def write() -> None:
        with pytest.raises(Closed):
            await region.write(Entry.of(9))

    async def edit() -> None:
        async with region.editing() as draft:
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await region.aclose()
            draft.value = Entry.of(9)

    async with again(board).open() as region, trio.open_nursery() as nursery:
        with pytest.raises(Closed):
            await edit()
    assert await board.update(advance) == Entry.of(1)


async def test_the_next_generation_ends_every_wait(board: Region[Entry]) -> None:
    """A watch ends, `wait_newer` is trio's EndOfChannel too, and the name gives the new region."""
    seen: list[Entry] = []

    async def follow(region: RegionView[Entry]) -> None:
        async for entry in region.watch():
            seen.append(entry)

    async def wait(region: RegionView[Entry]) -> None:
        with pytest.raises(EndOfChannel, match="open it again") as caught:
            await region.wait_newer(1)
        assert isinstance(caught.value, trio.EndOfChannel)

    async with again(board).view() as view:
        with trio.fail_after(LONG_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, view)
                nursery.start_soon(wait, view)
                await trio.testing.wait_all_tasks_blocked()
                async with again(board).create(Entry.of(1), capacity_bytes=1 << 20, if_exists="replace") as new:
                    assert [region.is_current for region in (board, view, new)] == [False, False, True]
        assert seen == [view.read()] == [Entry.of(0)]


async def test_a_watch_is_closed_by_another_task(board: Region[Entry]) -> None:
    """Its waiting task gets Closed, a second task in one watch is Busy, and the region stays open."""
    watch = board.watch()
    await anext(watch)

    async def wait() -> None:
        with pytest.raises(Closed, match="watch was closed"):
            await anext(watch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(Busy):
            await anext(watch)
        await watch.aclose()  # type: ignore[attr-defined]  # an addition to what the annotation promises
    assert board.read() == Entry.of(0)


async def test_a_watch_that_is_dropped_lets_go(board: Region[Entry]) -> None:
    """`async for` left early needs no aclosing: no warning, and no descriptor but the one that a thread is closing."""
    before = len(lowlevel.descriptors())
    async for entry in board.watch():
        assert entry == Entry.of(0)
        break
    with trio.fail_after(20):
        while len(lowlevel.descriptors()) != before:
            await trio.sleep(0.001)


async def test_without_inotify_it_polls(board: Region[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """With no instance left a watcher still sees the last value, and a region is waited for."""

    def refuse() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(lowlevel, "create_inotify", refuse)
    async with again(board).view(wait_seconds=LONG_SECONDS) as view:
        watch = view.watch()
        assert await anext(watch) == Entry.of(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.write, Entry.of(5))
            assert await anext(watch) == Entry.of(5)


async def test_waiting_for_a_region_to_appear(tmp_path: Path) -> None:
    """Opened while it is not there yet; cancelled or in vain, nothing is left."""
    region = BOARD.at(tmp_path / "board")
    with pytest.raises(NameNotFound):
        async with region.open(wait_seconds=0.01):
            pass
    with trio.move_on_after(0.01):
        async with region.open(wait_seconds=LONG_SECONDS):
            pass
    made = trio.Event()

    async def create() -> None:
        async with region.create(Entry.of(3)):
            await made.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        async with region.view(wait_seconds=LONG_SECONDS) as board:
            assert board.read() == Entry.of(3)
        made.set()
    assert not os.listdir(tmp_path)


async def test_another_process_writes_and_is_killed(board: Region[Entry], child: Children) -> None:
    """The watcher here is woken by a blocking writer elsewhere, whose death while it holds the lock blocks nobody."""
    other = child(
        script("""
        from tests.region_support import BOARD, Entry
        with BOARD.at(sys.argv[1]).open() as board:
            input()
            board.write(Entry.of(1))
            with board.editing() as draft:
                print("held", flush=True)
                input()
        """),
        board._file.path,
    )
    watch = board.watch()
    assert await anext(watch) == Entry.of(0)
    other.say()
    with trio.fail_after(LONG_SECONDS):
        assert await anext(watch) == Entry.of(1)
    await trio.to_thread.run_sync(other.expect, "held")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.update, advance)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert board.read() == Entry.of(1)
        await trio.to_thread.run_sync(other.kill)
    assert board.read() == Entry.of(2)
