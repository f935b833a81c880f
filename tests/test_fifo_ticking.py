"""No operation of a FIFO stalls the loop: another task that ticks beside it does so every 20 ms at the least."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from namedipc import Closed, Fifo, FifoReader, WouldBlock, lowlevel
from namedipc._shells.fifo_messages import PACKETS_AT_ONCE

from .conftest import open_descriptors
from .fifo_support import packet_end, packets, turn_is_taken, wait_until
from .step_support import looking_on


@pytest.fixture
def no_waiters(no_leaks: None) -> Iterator[None]:
    """A thread that waits for a turn which nobody wants any more ends, with its descriptor, when the turn comes."""
    yield
    wait_until(lambda: all(thread.name != "namedipc fifo turn" for thread in threading.enumerate()))


pytestmark = pytest.mark.usefixtures("no_waiters")

MOST_CALLS = PACKETS_AT_ONCE + 100
"""A packet is one call; the rest is for opening, closing, and looking around."""

TICK_SECONDS = 0.02
LONG = "x" * 20_000
VERY_LONG = "x" * (4 << 20)

Operation = Callable[[Fifo[str]], Awaitable[None]]


async def opening(fifo: Fifo[str]) -> None:
    """A writer waits for a reader, in a busy directory."""

    async def write() -> None:
        async with fifo.writer() as writer:
            await writer.send("x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        for number in range(5):
            await wait_all_tasks_blocked()
            (fifo.path.parent / str(number)).touch()
        async with fifo.reader() as reader:
            await reader.receive()


async def sending_to_a_full_one(fifo: Fifo[str]) -> None:
    """Writers wait for room, and for the turn of the one that has begun a long message."""
    async with fifo.reader(), fifo.writer() as one, fifo.writer() as other, trio.open_nursery() as nursery:
        for writer in (one, other, other):
            nursery.start_soon(writer.send, VERY_LONG)
        await wait_all_tasks_blocked()
        with pytest.raises(WouldBlock):
            other.send_nowait("x")
        nursery.cancel_scope.cancel()


async def receiving_from_an_empty_one(fifo: Fifo[str]) -> None:
    """Readers wait for a message."""
    async with fifo.reader() as one, fifo.reader() as other, trio.open_nursery() as nursery:
        for reader in (one, other, other):
            nursery.start_soon(reader.receive)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def fighting_for_the_turn(fifo: Fifo[str]) -> None:
    """Readers wait while another one is in the middle of a message."""
    first, *rest = packets(fifo, LONG)
    received: list[str] = []

    async def receive(reader: FifoReader[str]) -> None:
        received.append(await reader.receive())

    async with fifo.reader() as one, fifo.reader() as two, fifo.reader() as three, trio.open_nursery() as nursery:
        with packet_end(fifo.path) as fd:
            nursery.start_soon(receive, one)
            lowlevel.write_pipe(fd, first)
            while not turn_is_taken(fifo.path):
                await trio.lowlevel.checkpoint()
            for reader in (two, three):
                nursery.start_soon(receive, reader)
            await wait_all_tasks_blocked()
            for packet in rest + packets(fifo, "a") + packets(fifo, "b"):
                lowlevel.write_pipe(fd, packet)
            while len(received) < 3:
                await trio.lowlevel.checkpoint()
    assert sorted(received) == ["a", "b", LONG]


async def closing(fifo: Fifo[str]) -> None:
    """Ends are closed in which tasks wait, for a message, for room and for a turn."""

    async def wait(use: Callable[[], Awaitable[object]]) -> None:
        with suppress(Closed):
            await use()

    async with fifo.reader() as reader, fifo.writer() as one, fifo.writer() as other, trio.open_nursery() as nursery:
        nursery.start_soon(wait, reader.receive)
        await wait_all_tasks_blocked()
        async with fifo.reader():
            await reader.aclose()
            for writer in (one, other):
                nursery.start_soon(wait, partial(writer.send, VERY_LONG))
            await wait_all_tasks_blocked()
            for writer in (one, other):
                await writer.aclose()


async def long_messages(fifo: Fifo[str]) -> None:
    """Messages of megabytes, one way, with as much room as there is to be had."""
    async with (
        fifo.reader() as reader,
        fifo.writer(capacity_bytes=1 << 20) as writer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(writer.send_many, [VERY_LONG, VERY_LONG])
        for _ in range(2):
            assert await reader.receive() == VERY_LONG


async def many_messages(fifo: Fifo[str]) -> None:
    """Thousands of short ones at one go."""
    async with (
        fifo.reader() as reader,
        fifo.writer(capacity_bytes=1 << 20) as writer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(writer.send_many, map(str, range(3000)))
        received: list[str] = []
        while len(received) < 3000:
            received += await reader.receive_many()
    assert received == list(map(str, range(3000)))


OPERATIONS: tuple[Operation, ...] = (
    opening,
    sending_to_a_full_one,
    receiving_from_an_empty_one,
    fighting_for_the_turn,
    closing,
    long_messages,
    many_messages,
)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_no_step_waits_or_goes_on_for_long(operation: Operation, tmp_path: Path) -> None:
    """Between two turns of another task nothing waits in the kernel, and there are so many system calls at most."""
    with looking_on() as steps:
        await trio.lowlevel.checkpoint()  # the step that has begun is not looked at
        await operation(Fifo(tmp_path / "f", str))
    assert steps.waits == []
    assert 0 < steps.most_calls <= MOST_CALLS


async def test_what_stalls_the_loop_would_be_seen(tmp_path: Path) -> None:
    """The test above can fail."""
    with looking_on() as steps:
        await trio.lowlevel.checkpoint()
        read, write = os.pipe()
        lowlevel.wait_ready(write, read=False, write=True)
        for _ in range(MOST_CALLS):
            os.write(write, b"x")
        os.close(read)
        os.close(write)
        await trio.lowlevel.checkpoint()
    assert steps.waits == ["wait_ready"]
    assert steps.most_calls > MOST_CALLS


async def test_a_writer_that_has_waited_leaves_its_watch_to_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing it takes the kernel a while."""
    closed: list[int] = []
    close = lowlevel.close_inotify

    def note(fd: int) -> None:
        closed.append(fd)
        close(fd)

    monkeypatch.setattr(lowlevel, "close_inotify", note)
    await opening(Fifo(tmp_path / "f", str))
    assert len(closed) == 1


async def test_every_descriptor_of_a_fifo_is_one_that_does_not_block(tmp_path: Path) -> None:
    """So that no read or write waits, whoever else reads and writes; also those of readers that wait for the turn."""
    fifo = Fifo(tmp_path / "f", str)
    async with fifo.reader() as reader, fifo.reader() as other, fifo.writer(), trio.open_nursery() as nursery:
        with packet_end(fifo.path) as fd:
            lowlevel.write_pipe(fd, packets(fifo, LONG)[0])
            with pytest.raises(WouldBlock):
                reader.receive_nowait()
            nursery.start_soon(other.receive)
            await wait_all_tasks_blocked()
            opened = [number for number, what in open_descriptors().items() if what == str(fifo.path)]
            assert len(opened) >= 6
            assert all(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK for number in opened)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Have a task tick each millisecond, and note how long each tick took, without the waits for a core."""
    ticks: list[float] = []
    statistics = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def own_time() -> float:
        return perf_counter() - int(statistics.read_text().split()[1]) / 1e9

    async def tick() -> None:
        while True:
            began = own_time()
            await trio.sleep(0.001)
            ticks.append(own_time() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        yield ticks
        nursery.cancel_scope.cancel()


@pytest.mark.skipif("NAMEDIPC_CAMPAIGN" not in os.environ, reason="by the clock: NAMEDIPC_CAMPAIGN=SECONDS")
async def test_a_ticking_task_never_misses_20_milliseconds(tmp_path: Path) -> None:
    """Beside each operation, again and again, by the clock."""
    end = perf_counter() + float(os.environ["NAMEDIPC_CAMPAIGN"])
    async with ticking() as ticks:
        while perf_counter() < end:
            for operation in OPERATIONS:
                await operation(Fifo(tmp_path / "f", str))
    print(len(ticks), "ticks, the longest", max(ticks))
    assert max(ticks) < TICK_SECONDS
