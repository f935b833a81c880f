"""Broadcasts in trio: cancellation, tasks, closing, and the other world at the same broadcast."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import Broadcast, Closed, EndOfChannel, InvalidMessage, TooLarge, WouldBlock
from namedipc._broadcast_trio import BroadcastReader, BroadcastWriter

from .region_support import NEWS, Entry

pytestmark = pytest.mark.usefixtures("no_leaks")

LONG_SECONDS = 20.0
ENTRIES = [Entry.of(number) for number in range(1, 5)]


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[BroadcastWriter[Entry]]:
    """A broadcast that keeps four messages, open to send."""
    async with NEWS.at(tmp_path / "news").writer(slots=4) as opened:
        yield opened


@pytest.fixture
async def reader(writer: BroadcastWriter[Entry]) -> AsyncIterator[BroadcastReader[Entry]]:
    """The same, open to receive."""
    async with again(writer).reader() as opened:
        yield opened


def again(writer: BroadcastWriter[Entry]) -> Broadcast[Entry]:
    """The name of an open broadcast."""
    return NEWS.at(writer._sender.file.path)


async def test_every_reader_gets_every_message(writer: BroadcastWriter[Entry], reader: BroadcastReader[Entry]) -> None:
    """From the moment it was opened, or from the oldest message on; a lapped one is told."""
    await writer.send(ENTRIES[0])
    async with again(writer).reader(start="oldest") as old, again(writer).writer() as other:
        await other.send_many(ENTRIES[1:])
        assert [await reader.receive() for _ in range(4)] == ENTRIES
        assert await old.receive_many(max_messages=3) == ENTRIES[:3]
        assert old.receive_nowait() == ENTRIES[3]
        with pytest.raises(trio.WouldBlock) as caught:
            old.receive_nowait()
        assert isinstance(caught.value, WouldBlock)
        for number in range(100):
            await writer.send(Entry.of(number))
        assert await reader.receive_many() == [Entry.of(number) for number in range(96, 100)]
        assert (reader.missed, old.missed) == (96, 0)
        assert repr(reader).startswith("<BroadcastReader of ")
        assert repr(writer).startswith("<BroadcastWriter of ")


async def test_the_end_is_trios(tmp_path: Path) -> None:
    """`async for` ends with it; it comes after the last message."""
    news = NEWS.at(tmp_path / "news")
    async with news.writer() as writer, news.reader() as reader:
        await writer.send_many(ENTRIES)
        await writer.aclose()
        assert [entry async for entry in reader] == ENTRIES
        with pytest.raises(trio.EndOfChannel) as caught:
            await reader.receive()
        assert isinstance(caught.value, EndOfChannel)
        with pytest.raises(trio.ClosedResourceError):
            await writer.send(ENTRIES[0])
    assert not news.exists()


async def test_every_async_function_is_a_checkpoint(
    writer: BroadcastWriter[Entry], reader: BroadcastReader[Entry]
) -> None:
    """Also where nothing has to be waited for."""
    with trio.testing.assert_checkpoints():
        await writer.send(ENTRIES[0])
    for values in ((), ENTRIES[1:]):
        with trio.testing.assert_checkpoints():
            await writer.send_many(values)
    with trio.testing.assert_checkpoints():
        await reader.receive()
    with trio.testing.assert_checkpoints():
        await reader.receive_many()
    with trio.testing.assert_checkpoints():
        async with again(writer).writer() as other, again(writer).reader() as another:
            pass
    with trio.testing.assert_checkpoints():
        await other.aclose()
    with trio.testing.assert_checkpoints():
        await another.aclose()


async def test_cancelled_nothing_is_sent_and_nothing_lost(
    writer: BroadcastWriter[Entry], reader: BroadcastReader[Entry]
) -> None:
    """A cancelled send has sent nothing, a cancelled receive taken nothing."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await writer.send(ENTRIES[0])
    with trio.move_on_after(0.01):
        await reader.receive()
    await writer.send(ENTRIES[1])
    with trio.CancelScope() as scope:
        scope.cancel()
        await reader.receive()
    assert reader.receive_nowait() == ENTRIES[1]


async def test_what_does_not_fit_is_not_sent(writer: BroadcastWriter[Entry], reader: BroadcastReader[Entry]) -> None:
    """Of several, those before it are."""
    with pytest.raises(InvalidMessage):
        await writer.send("soup")  # type: ignore[arg-type]  # what a checker refuses too
    with pytest.raises(TooLarge):
        writer.send_nowait(Entry(1, "x" * 5000))
    with pytest.raises(InvalidMessage):
        await writer.send_many([ENTRIES[0], 3])  # type: ignore[list-item]  # what a checker refuses too
    assert await reader.receive_many() == ENTRIES[:1]
    with pytest.raises(ValueError, match="max_messages=0"):
        await reader.receive_many(max_messages=0)


async def test_who_has_the_lock_is_waited_for(writer: BroadcastWriter[Entry], reader: BroadcastReader[Entry]) -> None:
    """In a thread, so that other tasks run; `send_nowait` does not wait."""
    async with again(writer).writer() as other:
        held = other._sender.file.lock.take("somebody else")
        assert held is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.send, ENTRIES[0])
            await trio.testing.wait_all_tasks_blocked(0.01)
            for end in (writer, other):
                with pytest.raises(trio.WouldBlock):
                    end.send_nowait(ENTRIES[1])
            with pytest.raises(trio.WouldBlock):
                reader.receive_nowait()
            held.release()
        writer.send_nowait(ENTRIES[2])
    assert await reader.receive_many() == [ENTRIES[0], ENTRIES[2]]


async def test_tasks_share_a_reader_in_order(writer: BroadcastWriter[Entry], reader: BroadcastReader[Entry]) -> None:
    """Each message goes to one of them; a second one is WouldBlock for who does not wait."""
    got: list[Entry] = []

    async def receive() -> None:
        got.append(await reader.receive())

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.WouldBlock):
            reader.receive_nowait()
        await writer.send_many(ENTRIES)
    assert got == ENTRIES


async def test_closing_ends_the_wait(reader: BroadcastReader[Entry]) -> None:
    """Of every task that waits in it, with trio's own error too."""

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError) as caught:
            await reader.receive()
        assert isinstance(caught.value, Closed)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await reader.aclose()
    await reader.aclose()


async def test_both_worlds_meet(tmp_path: Path) -> None:
    """A blocking reader in a thread hears a trio writer, and the other way round."""
    news = Broadcast(tmp_path / "news", int)
    seen: list[int] = []

    def echo() -> None:
        with news.reader() as reader, news.writer() as writer:
            trio.from_thread.run_sync(ready.set)
            for number in reader:
                if number >= 0:
                    seen.append(number)
                    writer.send(-number - 1)
                if number == 9:
                    return

    ready = trio.Event()
    with trio.fail_after(LONG_SECONDS):
        async with news.writer() as writer, news.reader() as reader, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, echo)
            await ready.wait()
            assert writer.is_current
            assert reader.is_current
            for number in range(10):
                await writer.send(number)
                assert [await reader.receive() for _ in range(2)] == [number, -number - 1]
    assert seen == list(range(10))
