"""Openings: nothing is open before `with`, each world has its own; used again after it was left, not twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from namedipc._opening import Opening, in_trio_task


class Recorder:
    """Opens a number, and writes down what happens."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fail = False
        self.opening = Opening("thing.open()", self.trio, self.blocking)

    @asynccontextmanager
    async def trio(self) -> AsyncIterator[int]:
        """Open in trio."""
        with self.blocking() as number:
            await trio.lowlevel.checkpoint()
            yield number

    @contextmanager
    def blocking(self) -> Iterator[int]:
        """Open in blocking code."""
        if self.fail:
            raise OSError("no")
        self.seen.append("open")
        try:
            yield 7
        except BaseException as error:
            self.seen.append(type(error).__name__)
            raise
        finally:
            self.seen.append("close")


@pytest.fixture
def recorder() -> Recorder:
    """Return one that has not been entered."""
    return Recorder()


def test_a_recipe_opens_nothing(recorder: Recorder) -> None:
    """And says what is missing."""
    assert repr(recorder.opening) == "<thing.open(): not opened yet; enter it by 'async with' (trio) or 'with'>"
    assert recorder.seen == []
    assert [name for name in dir(recorder.opening) if not name.startswith("_")] == []


def test_blocking_code(recorder: Recorder) -> None:
    """`with` opens and closes, and again after that."""
    for _ in range(2):
        with recorder.opening as number:
            assert number == 7
    assert recorder.seen == ["open", "close"] * 2


async def test_trio(recorder: Recorder) -> None:
    """`async with` does the same."""
    for _ in range(2):
        async with recorder.opening as number:
            assert number == 7
    assert recorder.seen == ["open", "close"] * 2


def test_an_exception_passes_through(recorder: Recorder) -> None:
    """What is open sees it on the way."""
    with pytest.raises(KeyError), recorder.opening:
        raise KeyError
    assert recorder.seen == ["open", "KeyError", "close"]


async def test_an_exception_passes_through_in_trio(recorder: Recorder) -> None:
    """A cancellation as well."""
    with trio.CancelScope() as scope:
        async with recorder.opening:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert recorder.seen == ["open", "Cancelled", "close"]


def test_entered_twice(recorder: Recorder) -> None:
    """One opening is one end; the first is not disturbed."""
    with recorder.opening:
        with pytest.raises(RuntimeError, match=r"thing.open\(\): already entered; call the verb once more"):
            recorder.opening.__enter__()
        assert recorder.seen == ["open"]
    with recorder.opening:
        pass


async def test_entered_twice_in_trio(recorder: Recorder) -> None:
    """From another task, too."""
    async with recorder.opening:
        with pytest.raises(RuntimeError, match="already entered"):
            await recorder.opening.__aenter__()
        with pytest.raises(RuntimeError, match="already entered"):
            await trio.to_thread.run_sync(recorder.opening.__enter__)
    async with recorder.opening:
        pass


async def test_an_opening_that_failed(recorder: Recorder) -> None:
    """It may be tried again, in either world."""
    recorder.fail = True
    with pytest.raises(OSError, match="no"):
        await recorder.opening.__aenter__()
    with pytest.raises(OSError, match="no"):
        await trio.to_thread.run_sync(recorder.opening.__enter__)
    recorder.fail = False
    async with recorder.opening as number:
        assert number == 7


async def test_with_in_a_trio_task(recorder: Recorder) -> None:
    """It would stop the loop, and is refused; in a worker thread it is right."""

    def worker() -> int:
        with recorder.opening as number:
            return number

    assert in_trio_task()
    with pytest.raises(RuntimeError, match=r"thing.open\(\): 'with' would block every task.*Write 'async with'"):
        recorder.opening.__enter__()
    assert recorder.seen == []
    assert await trio.to_thread.run_sync(worker) == 7


def test_async_with_outside_trio(recorder: Recorder) -> None:
    """In asyncio it is refused, with what to do instead."""

    async def main() -> None:
        async with recorder.opening:
            raise AssertionError("entered")

    assert not in_trio_task()
    with pytest.raises(RuntimeError, match=r"needs trio.*asyncio.to_thread"):
        asyncio.run(main())
    assert recorder.seen == []
