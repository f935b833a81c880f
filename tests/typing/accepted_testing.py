"""namedipc.testing: what both checkers accept, with the exact type."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import assert_type

import trio

from namedipc import (
    BlockingClient,
    BlockingConnection,
    BlockingFifoReader,
    BlockingFifoWriter,
    Channel,
    Client,
    Connection,
    Fifo,
    FifoReader,
    FifoWriter,
)
from namedipc.testing import (
    check_blocking_half_closeable_channel,
    check_blocking_one_way_channel,
    check_blocking_two_way_channel,
    check_half_closeable_channel,
    check_one_way_channel,
    check_two_way_channel,
    local,
    relocated,
    substitute,
)

from .names import POST, Clerk, Letter, Post

LETTERS = Channel("letters", Letter)
STAMPS = Fifo("stamps", str)


async def in_trio() -> None:
    """A local client is the interface, whatever the implementation's class."""
    client: Client[Post] = local(Post, Clerk())
    async with client as post:
        assert_type(post, Post)
    async with local(Post, Clerk()) as post:
        assert_type(await post.weigh(Letter("ann")), int)
    with substitute(POST, Clerk()):
        async with POST.connect() as post:
            assert_type(post, Post)


def blocking() -> None:
    """The same in blocking code."""
    with local(Post, Clerk()) as post:
        assert_type(post, BlockingClient[Post])
        assert_type(post.call(Post.weigh, Letter("ann")), int)
    assert_type(substitute(POST, Clerk()), AbstractContextManager[None])
    for directory in ("names", Path("names")):
        assert_type(relocated(directory), AbstractContextManager[None])


@contextmanager
def blocking_pair() -> Iterator[tuple[BlockingConnection[Letter], BlockingConnection[Letter]]]:
    """Two ends in blocking code."""
    one_end, other_end = LETTERS.pair()
    with one_end as one, other_end as other:
        yield one, other


@asynccontextmanager
async def trio_pair() -> AsyncIterator[tuple[Connection[Letter], Connection[Letter]]]:
    """Two ends in trio."""
    one_end, other_end = LETTERS.pair()
    async with one_end as one, other_end as other:
        yield one, other


@contextmanager
def blocking_queue() -> Iterator[tuple[BlockingFifoWriter[str], BlockingFifoReader[str]]]:
    """One way."""
    with STAMPS.reader() as reader, STAMPS.writer() as writer:
        yield writer, reader


@asynccontextmanager
async def trio_queue() -> AsyncIterator[tuple[FifoWriter[str], FifoReader[str]]]:
    """One way."""
    async with STAMPS.reader() as reader, STAMPS.writer() as writer:
        yield writer, reader


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[trio.MemorySendChannel[int], trio.MemoryReceiveChannel[int]]]:
    """Of trio's own."""
    sender, receiver = trio.open_memory_channel[int](1)
    async with sender, receiver:
        yield sender, receiver


def letter(number: int) -> Letter:
    """A message."""
    return Letter(str(number))


async def conformance() -> None:
    """Makers of both worlds, of all kinds of ends."""
    await check_one_way_channel(memory, failures_checkpoint=False)
    await check_one_way_channel(trio_queue, str, patience_seconds=1.0)
    await check_two_way_channel(trio_pair, letter, many_tasks=False)
    await check_half_closeable_channel(trio_pair, letter, lost_receiver_breaks=False, sender_waits=False)
    check_blocking_one_way_channel(blocking_queue, str)
    check_blocking_two_way_channel(blocking_pair, letter, many_threads=False)
    check_blocking_half_closeable_channel(blocking_pair, letter)
