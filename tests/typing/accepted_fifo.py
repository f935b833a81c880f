"""Fifo and RawFifo: what both checkers accept, with the exact type."""

from __future__ import annotations

from typing import TypeVar, assert_type

import trio.abc

from namedipc import (
    BlockingFifoReader,
    BlockingFifoWriter,
    BlockingRawFifoReader,
    BlockingRawFifoWriter,
    Fifo,
    FifoReader,
    FifoWriter,
    Framing,
    Opening,
    RawFifoReader,
    RawFifoWriter,
)

from .names import SLOT, TUBE, Letter

T = TypeVar("T")

assert_type(SLOT, Fifo[Letter])
assert_type(SLOT.at("elsewhere"), Fifo[Letter])
assert_type(Fifo("x", str, framing="lines"), Fifo[str])
assert_type(Fifo("x", Letter, framing="json-lines"), Fifo[Letter])

FRAMING: Framing = "lines"
assert_type(Fifo("x", bytes, framing=FRAMING), Fifo[bytes])


def generic_over_readers(opening: Opening[trio.abc.ReceiveChannel[T], object]) -> T:
    """What a library that knows only trio's channels may take."""
    raise NotImplementedError


def library() -> None:
    """The message type is found through trio's interface."""
    assert_type(generic_over_readers(SLOT.reader()), Letter)


async def in_trio() -> None:
    """Both ends are trio's channels; a reader is covariant."""
    async with SLOT.writer(wait_seconds=1) as writer, SLOT.reader(remove=True) as reader:
        assert_type(writer, FifoWriter[Letter])
        assert_type(reader, FifoReader[Letter])
        await writer.send(Letter("ann"))
        writer.send_nowait(Letter("ann"))
        await writer.send_many([Letter("ann"), Letter("bob")])
        assert_type(await reader.receive(), Letter)
        assert_type(reader.receive_nowait(), Letter)
        assert_type(await reader.receive_many(), list[Letter])
        async for letter in reader:
            assert_type(letter, Letter)
        wider: FifoReader[Letter | str] = reader
        await wider.aclose()


def in_blocking_code() -> None:
    """The same in blocking code."""
    with SLOT.writer(capacity_bytes=1 << 20) as writer, SLOT.reader(until_writers_gone=True) as reader:
        assert_type(writer, BlockingFifoWriter[Letter])
        assert_type(reader, BlockingFifoReader[Letter])
        writer.send(Letter("ann"), timeout=1)
        assert_type(reader.receive(timeout=1), Letter)
        for letter in reader:
            assert_type(letter, Letter)


async def raw() -> None:
    """Bytes, as trio's streams."""
    async with TUBE.writer() as writer, TUBE.reader() as reader:
        assert_type(writer, RawFifoWriter)
        assert_type(reader, RawFifoReader)
        sink: trio.abc.SendStream = writer
        source: trio.abc.ReceiveStream = reader
        await sink.send_all(b"hello")
        assert_type(await reader.receive_some(100), bytes)
        await source.aclose()


def raw_in_blocking_code() -> None:
    """Bytes in blocking code."""
    with TUBE.writer() as writer, TUBE.reader() as reader:
        assert_type(writer, BlockingRawFifoWriter)
        assert_type(reader, BlockingRawFifoReader)
        writer.send_all(bytearray(b"hello"))
        assert_type(reader.receive_some(), bytes)
