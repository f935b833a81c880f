"""Broadcast: what both checkers accept, with the exact type."""

from __future__ import annotations

from typing import TypeVar, assert_type

import trio.abc

from namedipc import (
    BlockingBroadcastReader,
    BlockingBroadcastWriter,
    Broadcast,
    BroadcastReader,
    BroadcastWriter,
    Opening,
)

from .names import GAZETTE, Letter

T = TypeVar("T")

assert_type(GAZETTE, Broadcast[Letter])
assert_type(GAZETTE.at("elsewhere"), Broadcast[Letter])


def generic_over_readers(opening: Opening[trio.abc.ReceiveChannel[T], object]) -> T:
    """What a library that knows only trio's channels may take."""
    raise NotImplementedError


def library() -> None:
    """The message type is found through trio's interface."""
    assert_type(generic_over_readers(GAZETTE.reader()), Letter)


async def in_trio() -> None:
    """Both ends are trio's channels; a reader is covariant."""
    async with GAZETTE.writer(slots=16, if_exists="replace", persist=True) as writer, GAZETTE.reader() as reader:
        assert_type(writer, BroadcastWriter[Letter])
        assert_type(reader, BroadcastReader[Letter])
        await writer.send(Letter("ann"))
        writer.send_nowait(Letter("ann"))
        await writer.send_many([Letter("ann"), Letter("bob")])
        assert_type(await reader.receive(), Letter)
        assert_type(reader.receive_nowait(), Letter)
        assert_type(await reader.receive_many(), list[Letter])
        assert_type(reader.missed, int)
        assert_type(writer.is_current and reader.is_current, bool)
        async for letter in reader:
            assert_type(letter, Letter)
        wider: BroadcastReader[Letter | str] = reader
        await wider.aclose()


def in_blocking_code() -> None:
    """The same in blocking code."""
    with (
        GAZETTE.writer(message_bytes=100) as writer,
        GAZETTE.reader(start="oldest", wait_seconds=1, spin=False) as reader,
    ):
        assert_type(writer, BlockingBroadcastWriter[Letter])
        assert_type(reader, BlockingBroadcastReader[Letter])
        writer.send(Letter("ann"), timeout=1)
        assert_type(reader.receive(timeout=1), Letter)
        assert_type(reader.missed, int)
        assert_type(writer.is_current and reader.is_current, bool)
        for letter in reader:
            assert_type(letter, Letter)
