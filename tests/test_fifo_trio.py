"""The ends of a FIFO in trio."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import assert_type

import pytest
import trio
from trio.testing import assert_checkpoints, check_one_way_stream, wait_all_tasks_blocked

from namedipc import lowlevel
from namedipc._errors import (
    Busy,
    Closed,
    ConnectionLost,
    EndOfChannel,
    InvalidMessage,
    SchemaMismatch,
    TimedOut,
    WouldBlock,
)
from namedipc._fifo import Fifo, RawFifo
from namedipc._fifo_trio import FifoReader, FifoWriter, RawFifoReader, RawFifoWriter

from .conftest import Children
from .fifo_support import packet_end, packets, turn_is_taken

pytestmark = pytest.mark.usefixtures("no_leaks")

BIG = "x" * 200_000
"""Several times what the FIFO holds."""


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo[str]:
    """A name of text messages."""
    return Fifo(tmp_path / "f", str)


@asynccontextmanager
async def both(fifo: Fifo[str]) -> AsyncIterator[tuple[FifoReader[str], FifoWriter[str]]]:
    """Both ends."""
    async with fifo.reader() as reader, fifo.writer() as writer:
        yield reader, writer


def fill(writer: FifoWriter[str]) -> int:
    """Fill the FIFO with one-packet messages; how many there are."""
    number = 0
    while True:
        try:
            writer.send_nowait(str(number))
        except trio.WouldBlock:
            return number
        number += 1


async def until(condition: Callable[[], bool]) -> None:
    """Look until it is so; another process or thread is on its way to it."""
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.001)


class Ticker:
    """Counts how often a task beside others gets its turn."""

    def __init__(self) -> None:
        self.ticks = 0

    async def run(self) -> None:
        """Tick."""
        while True:
            self.ticks += 1
            await trio.lowlevel.checkpoint()

    async def more(self, number: int = 50) -> None:
        """Wait for so many further ticks, which a stalled loop would not make."""
        end = self.ticks + number
        while self.ticks < end:
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def ticking() -> AsyncIterator[tuple[trio.Nursery, Ticker]]:
    """A nursery with a ticking task, cancelled at the end."""
    ticker = Ticker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        yield nursery, ticker
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------ messages


async def test_messages_are_whole_and_in_order(fifo: Fifo[str]) -> None:
    """Messages of any length arrive as they were sent, one by one, until the last writer has left."""
    sent = ["", "a", "x" * 4039, "y" * 4044, BIG, "z" * 4000]

    async def send() -> None:
        async with fifo.writer() as writer:
            for message in sent:
                await writer.send(message)

    async with fifo.reader(until_writers_gone=True) as reader, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert [message async for message in reader] == sent


async def test_types(fifo: Fifo[str]) -> None:
    """The ends have the declared types, and are trio's channels."""
    async with both(fifo) as (reader, writer):
        assert_type(reader, FifoReader[str])
        assert_type(writer, FifoWriter[str])
        receiving: trio.abc.ReceiveChannel[str | int] = reader
        sending: trio.abc.SendChannel[str] = writer
        await sending.send("x")
        assert_type(await receiving.receive(), str | int)
        assert str(fifo.path) in repr(reader)
        assert str(fifo.path) in repr(writer)


async def test_batches(fifo: Fifo[str]) -> None:
    """send_many and receive_many keep the order, and receive_many takes what is there, up to its limit."""
    async with both(fifo) as (reader, writer):
        await writer.send_many(str(number) for number in range(10))
        assert await reader.receive_many(max_messages=4) == ["0", "1", "2", "3"]
        assert await reader.receive_many() == ["4", "5", "6", "7", "8", "9"]
        with pytest.raises(ValueError, match="at least 1"):
            await reader.receive_many(max_messages=0)


async def test_everything_checkpoints(fifo: Fifo[str], tmp_path: Path) -> None:
    """Every async function is a checkpoint, also where there is nothing to wait for."""
    raw = RawFifo(tmp_path / "raw")
    async with AsyncExitStack() as stack:
        with assert_checkpoints():
            reader = await stack.enter_async_context(fifo.reader())
        with assert_checkpoints():
            writer = await stack.enter_async_context(fifo.writer())
        with assert_checkpoints():
            await writer.send("x")
        with assert_checkpoints():
            await writer.send_many([])
        with assert_checkpoints():
            await reader.receive()
        with assert_checkpoints():
            raw_reader = await stack.enter_async_context(raw.reader())
        with assert_checkpoints():
            raw_writer = await stack.enter_async_context(raw.writer())
        with assert_checkpoints():
            await raw_writer.send_all(b"")
        with assert_checkpoints():
            await raw_writer.wait_send_all_might_not_block()
        await raw_writer.send_all(b"x")
        with assert_checkpoints():
            await raw_reader.receive_some()
        for end in (reader, writer, raw_reader, raw_writer):
            for _ in range(2):
                with assert_checkpoints():
                    await end.aclose()


async def test_nowait(fifo: Fifo[str]) -> None:
    """The nowait methods say WouldBlock, which is trio's, where they would have to wait."""
    async with both(fifo) as (reader, writer):
        with pytest.raises(trio.WouldBlock):
            reader.receive_nowait()
        number = fill(writer)
        with pytest.raises(WouldBlock):
            writer.send_nowait("x")
        assert [reader.receive_nowait() for _ in range(number)] == [str(n) for n in range(number)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.receive)
            await wait_all_tasks_blocked()
            with pytest.raises(WouldBlock, match="another task"):
                reader.receive_nowait()
            writer.send_nowait("x")


async def test_errors_are_trios_as_well(fifo: Fifo[str]) -> None:
    """ConnectionLost, EndOfChannel and Closed are caught by trio's names too; the others are the library's."""
    async with both(fifo) as (reader, writer):
        with pytest.raises(InvalidMessage):
            await writer.send(5)  # type: ignore[arg-type]  # the error is what is tested
        async with Fifo(fifo.path, int).writer() as wrong:
            await wrong.send(5)
        with pytest.raises(SchemaMismatch):
            await reader.receive()
        await reader.aclose()
        with pytest.raises(trio.BrokenResourceError) as lost:
            await writer.send("x")
        assert isinstance(lost.value, ConnectionLost)
        assert isinstance(lost.value.__cause__, BrokenPipeError)
        with pytest.raises(ConnectionLost):
            writer.send_nowait("x")
        for use in (reader.receive, reader.receive_many):
            with pytest.raises(trio.ClosedResourceError) as closed:
                await use()
            assert isinstance(closed.value, Closed)
        with pytest.raises(Closed):
            reader.receive_nowait()
    async with fifo.reader(until_writers_gone=True) as reader:
        async with fifo.writer():
            pass
        with pytest.raises(trio.EndOfChannel) as end:
            await reader.receive()
        assert isinstance(end.value, EndOfChannel)


async def test_tasks_take_turns(fifo: Fifo[str]) -> None:
    """Tasks that send on one end at once get their turns in order, and so do tasks that receive."""
    messages = [letter * 50_000 for letter in "abcd"]
    received: list[str] = []
    async with both(fifo) as (reader, writer):

        async def receive() -> None:
            received.append(await reader.receive())

        async with trio.open_nursery() as nursery:
            for message in messages:
                nursery.start_soon(writer.send, message)
                await wait_all_tasks_blocked(0.01)
            for _ in messages:
                nursery.start_soon(receive)
                await wait_all_tasks_blocked(0.01)
    assert received == messages


# ------------------------------------------------------------ cancelling


async def test_cancel_a_receive(fifo: Fifo[str]) -> None:
    """A cancelled receive loses nothing, neither before a message nor in the middle of one."""
    first, *rest = packets(fifo, "x" * 20_000)
    async with both(fifo) as (reader, writer):
        for _ in range(3):
            with trio.move_on_after(0.005) as scope:
                await reader.receive()
            assert scope.cancelled_caught
        await writer.send("a")
        with trio.CancelScope() as scope:
            scope.cancel()
            await reader.receive()
        assert await reader.receive() == "a"
        with packet_end(fifo.path) as fd:
            lowlevel.write_pipe(fd, first)
            with trio.move_on_after(0.005):
                await reader.receive()
            for packet in rest:
                lowlevel.write_pipe(fd, packet)
            assert await reader.receive() == "x" * 20_000
        assert reader.dropped == 0


async def test_cancel_a_send_before_its_first_packet(fifo: Fifo[str]) -> None:
    """A send that was cancelled before it began has sent nothing."""
    async with both(fifo) as (reader, writer):
        number = fill(writer)
        for message in ("short", BIG):
            with trio.move_on_after(0.005) as scope:
                await writer.send(message)
            assert scope.cancelled_caught
        for n in range(number):
            assert await reader.receive() == str(n)
        await writer.send("next")
        assert await reader.receive() == "next"


@pytest.mark.parametrize("packets_read", [0, 1, 5, 30])
async def test_cancel_a_send_in_the_middle(fifo: Fifo[str], packets_read: int) -> None:
    """A message whose send was cancelled after its first packet is finished by the next send, and both are whole."""
    async with both(fifo) as (reader, writer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.send, BIG)
            await wait_all_tasks_blocked()
            for _ in range(packets_read):
                assert reader._receiver._read(1)
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.send, "next")
            assert await reader.receive() == BIG
            assert await reader.receive() == "next"


async def test_cancel_opening(fifo: Fifo[str]) -> None:
    """A writer that waits for a reader can be cancelled; nothing is open, and the FIFO stays."""
    with trio.move_on_after(0.01) as scope:
        async with fifo.writer():
            pass
    assert scope.cancelled_caught
    assert fifo.exists()
    with pytest.raises(TimedOut):
        async with fifo.writer(wait_seconds=0.01):
            pass


async def test_cancel_a_wait_for_the_turn(fifo: Fifo[str]) -> None:
    """A reader that waits for another's turn can be cancelled, and takes messages when the turn is free."""
    first, *rest = packets(fifo, "x" * 20_000)
    async with fifo.reader() as reader, fifo.reader() as other, fifo.writer() as writer:
        with packet_end(fifo.path) as fd:
            lowlevel.write_pipe(fd, first)
            with pytest.raises(WouldBlock):
                reader.receive_nowait()
            for _ in range(3):
                with trio.move_on_after(0.005) as scope:
                    await other.receive()
                assert scope.cancelled_caught
            for packet in rest:
                lowlevel.write_pipe(fd, packet)
        assert await reader.receive() == "x" * 20_000
        await until(lambda: not turn_is_taken(fifo.path))
        await writer.send("next")
        assert await other.receive() == "next"


async def test_close_wakes_whoever_waits(fifo: Fifo[str]) -> None:
    """Closing ends the waits of other tasks by Closed: for a message, for room, for a turn."""
    closed = 0

    async def expect_closed(use: Callable[[], Awaitable[object]]) -> None:
        nonlocal closed
        with pytest.raises(Closed):
            await use()
        closed += 1

    async with both(fifo) as (reader, writer), fifo.reader() as other, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(expect_closed, reader.receive)
        await wait_all_tasks_blocked()
        await reader.aclose()
        await wait_all_tasks_blocked()
        fill(writer)
        nursery.start_soon(expect_closed, lambda: writer.send("x"))
        await wait_all_tasks_blocked()
        await writer.aclose()
        await wait_all_tasks_blocked()
        while True:
            try:
                other.receive_nowait()
            except WouldBlock:
                break
        with packet_end(fifo.path) as fd:
            lowlevel.write_pipe(fd, packets(fifo, BIG)[0])
            with pytest.raises(WouldBlock):
                other.receive_nowait()
            async with fifo.reader() as third:
                nursery.start_soon(expect_closed, third.receive)
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert closed == 4


async def test_aclose_when_cancelled(fifo: Fifo[str]) -> None:
    """aclose in a cancelled scope closes all the same."""
    async with both(fifo) as (reader, writer):
        for end in (reader, writer):
            with trio.CancelScope() as scope:
                scope.cancel()
                await end.aclose()
            assert scope.cancelled_caught
        with pytest.raises(Closed):
            await writer.send("x")


# ------------------------------------------------------------ the loop goes on


async def test_the_loop_goes_on_while_opening(fifo: Fifo[str]) -> None:
    """A writer that waits for a reader lets other tasks run."""
    async with ticking() as (nursery, ticker):
        opened = trio.Event()

        async def write() -> None:
            async with fifo.writer() as writer:
                await writer.send("x")
                opened.set()
                await trio.sleep_forever()

        nursery.start_soon(write)
        await ticker.more()
        assert not opened.is_set()
        async with fifo.reader() as reader:
            with trio.fail_after(20):
                await opened.wait()
                assert await reader.receive() == "x"


async def test_the_loop_goes_on_while_receiving(fifo: Fifo[str]) -> None:
    """A reader that waits, for a message or for a turn, lets other tasks run."""
    first, *rest = packets(fifo, "x" * 20_000)
    async with fifo.reader() as reader, fifo.reader() as other, ticking() as (nursery, ticker):
        with packet_end(fifo.path) as fd:
            received: list[str] = []

            async def receive(end: FifoReader[str]) -> None:
                received.append(await end.receive())

            nursery.start_soon(receive, reader)
            await ticker.more()
            lowlevel.write_pipe(fd, first)
            await until(lambda: turn_is_taken(fifo.path))
            nursery.start_soon(receive, other)
            await ticker.more()
            assert received == []
            for packet in rest + packets(fifo, "short"):
                lowlevel.write_pipe(fd, packet)
            await until(lambda: len(received) == 2)
            assert set(received) == {"short", "x" * 20_000}


async def test_the_loop_goes_on_under_load(tmp_path: Path, child: Children) -> None:
    """A long message from another process does not take the loop for itself: other tasks get turns all the time."""
    fifo = Fifo(tmp_path / "f", bytes)
    process = child(
        """
        import sys
        from namedipc._fifo import Fifo
        with Fifo(sys.argv[1], bytes).writer(capacity_bytes=1 << 20) as writer:
            writer.send_many([bytes(12 << 20)])
        """,
        str(fifo.path),
    )
    async with fifo.reader() as reader, ticking() as (_, ticker):
        with trio.fail_after(20):
            assert len(await reader.receive()) == 12 << 20
        assert ticker.ticks >= 12  # a turn for each MiB at the least
    assert process.wait() == 0


async def test_the_reader_is_killed_while_a_send_waits(fifo: Fifo[str], child: Children) -> None:
    """A send that waits in a full FIFO is woken by the reader's death."""
    process = child(
        """
        import sys
        from namedipc._fifo import Fifo
        with Fifo(sys.argv[1], str).reader():
            print("open", flush=True)
            input()
        """,
        str(fifo.path),
    )
    await trio.to_thread.run_sync(process.expect, "open")
    lost = False
    async with fifo.writer() as writer:

        async def send() -> None:
            nonlocal lost
            with pytest.raises(trio.BrokenResourceError):
                await writer.send(BIG)
            lost = True

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await wait_all_tasks_blocked()
                assert not lost
                process.kill()
        assert lost


# ------------------------------------------------------------ bytes


async def test_trios_stream_conformance(tmp_path: Path) -> None:
    """The ends of a RawFifo pass trio's own checks of a one-way stream."""
    raw = RawFifo(tmp_path / "raw")
    async with AsyncExitStack() as stack:

        async def make() -> tuple[RawFifoWriter, RawFifoReader]:
            reader = await stack.enter_async_context(raw.reader())
            writer = await stack.enter_async_context(raw.writer())
            raw.remove()
            return writer, reader

        async def make_clogged() -> tuple[RawFifoWriter, RawFifoReader]:
            writer, reader = await make()
            while writer._end.write(bytes(1 << 16)):
                pass
            return writer, reader

        await check_one_way_stream(make, make_clogged)


async def test_raw_bytes(tmp_path: Path) -> None:
    """Bytes arrive in their order, and end with the writer; a reader may stay."""
    raw = RawFifo(tmp_path / "raw")
    data = os.urandom(2_000_000)

    async def send() -> None:
        async with raw.writer() as writer:
            await writer.send_all(memoryview(data))

    async with raw.reader() as reader, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert b"".join([piece async for piece in reader]) == data
        assert await reader.receive_some(10) == b""
    async with raw.reader(until_writers_gone=False) as reader:
        async with raw.writer() as writer:
            await writer.send_all(b"abc")
            assert str(raw.path) in repr(writer)
        assert str(raw.path) in repr(reader)
        assert await reader.receive_some(2) == b"ab"
        assert await reader.receive_some() == b"c"
        with trio.move_on_after(0.005) as scope:
            await reader.receive_some()
        assert scope.cancelled_caught


async def test_raw_ends_are_for_one_task(tmp_path: Path) -> None:
    """A second task is told that the end is in use."""
    raw = RawFifo(tmp_path / "raw")
    async with raw.reader() as reader, raw.writer(), trio.open_nursery() as nursery:
        nursery.start_soon(reader.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(Busy):
            await reader.receive_some()
        nursery.cancel_scope.cancel()


async def test_remove_at_close(fifo: Fifo[str]) -> None:
    """reader(remove=True) removes the name when its `async with` is left."""
    async with fifo.reader(remove=True):
        assert fifo.exists()
    assert not fifo.exists()
