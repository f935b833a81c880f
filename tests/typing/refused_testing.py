"""namedipc.testing: what both checkers refuse. Never imported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from namedipc import BlockingFifoReader, BlockingFifoWriter, Client, Fifo
from namedipc.testing import (
    check_blocking_one_way_channel,
    check_blocking_two_way_channel,
    check_one_way_channel,
    check_two_way_channel,
    local,
    relocated,
    substitute,
)

from .names import POST, Clerk, Post


class Idle:
    """Has no method of the interface."""


client: Client[Post] = local(Post, Idle())  # type: ignore[arg-type]
substitute(POST, Idle())  # type: ignore[misc]
substitute("post", Clerk())  # type: ignore[arg-type]
relocated(b"names")  # type: ignore[arg-type]


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[trio.MemorySendChannel[int], trio.MemoryReceiveChannel[int]]]:
    """One way, of numbers."""
    sender, receiver = trio.open_memory_channel[int](1)
    async with sender, receiver:
        yield sender, receiver


@asynccontextmanager
async def turned() -> AsyncIterator[tuple[trio.MemoryReceiveChannel[int], trio.MemorySendChannel[int]]]:
    """The wrong way round."""
    async with memory() as (sender, receiver):
        yield receiver, sender


@contextmanager
def queue() -> Iterator[tuple[BlockingFifoWriter[str], BlockingFifoReader[str]]]:
    """One way, in blocking code."""
    with Fifo("stamps", str).reader() as reader, Fifo("stamps", str).writer() as writer:
        yield writer, reader


async def conformance() -> None:
    """The checks."""
    await check_one_way_channel(memory, str)  # type: ignore[misc]
    await check_one_way_channel(turned)  # type: ignore[arg-type]
    await check_one_way_channel(memory, None, False)  # type: ignore[call-arg]
    await check_one_way_channel(memory())  # type: ignore[arg-type]
    await check_one_way_channel(queue)  # type: ignore[arg-type]
    await check_two_way_channel(memory)  # type: ignore[arg-type]
    check_blocking_one_way_channel(memory)  # type: ignore[arg-type]
    check_blocking_one_way_channel(queue, int)  # type: ignore[misc]
    check_blocking_two_way_channel(queue, str)  # type: ignore[arg-type]
    check_blocking_one_way_channel(queue, str, failures_checkpoint=False)  # type: ignore[call-arg]
