"""Channel and RawChannel: what both checkers accept, with the exact type."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated, Literal, Optional, assert_type

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import trio.abc

from namedipc import (
    BlockingConnection,
    BlockingListener,
    BlockingRawConnection,
    Channel,
    ChannelEnd,
    Connection,
    ConnectionStatistics,
    Fd,
    Limits,
    Listener,
    Opening,
    Peer,
    RawConnection,
    anyone,
)

from .names import COUNTER, WIRE, Letter, Pair, Point

assert_type(COUNTER, Channel[Letter | str])
assert_type(COUNTER.at("elsewhere"), Channel[Letter | str])

# Message types: nothing becomes Any.
assert_type(Channel("x", bytes), Channel[bytes])
assert_type(Channel("x", memoryview), Channel[memoryview])
assert_type(Limits(payload_bytes=64 << 20).payload_bytes, int)
assert_type(Channel("x", None), Channel[None])
assert_type(Channel("x", bytes, framing="lines"), Channel[bytes])
assert_type(Channel("x", Letter | str, framing="json-lines"), Channel[Letter | str])
assert_type(Channel("x", Optional[Letter]), Channel[Letter | None])  # noqa: UP045  # both spellings are accepted
assert_type(Channel("x", list[Letter]), Channel[list[Letter]])
assert_type(Channel("x", Annotated[int, msgspec.Meta(ge=0)]), Channel[int])
assert_type(Channel("x", Literal["a", "b"]), Channel[Literal["a", "b"]])
assert_type(Channel("x", Point), Channel[Point])
assert_type(Channel("x", Pair), Channel[Pair])
assert_type(Channel("x", "Letter | str"), Channel[Letter | str])

assert_type(Channel("x", Fd), Channel[Fd])
assert_type(Channel("x", list[Fd | None]), Channel[list[Fd | None]])


@attrs.frozen
class Guest:
    """A message with an end of a channel, read at run time as well."""

    name: str
    talk: ChannelEnd[Letter | str]
    log: Fd | None = None


GUESTS = Channel("x", Guest)
ENDS = Channel("x", dict[str, ChannelEnd[Letter]])

wide: Channel[Letter | str] = Channel("x", Letter)
"""A hole in what checkers see: the declared type widens what is inferred. So `send` checks when it runs."""


def arrays() -> None:
    """An array type is a message type for the checkers."""
    assert_type(Channel("x", npt.NDArray[np.float64]), Channel[npt.NDArray[np.float64]])


async def talk(connection: Connection[Letter | str]) -> None:
    """A handler of one connection."""
    async for message in connection:
        assert_type(message, Letter | str)


async def listening() -> None:
    """A listener of typed connections, which is trio's as well."""
    async with COUNTER.listen(limits=Limits(clients=3), takeover=True) as listener:
        assert_type(listener, Listener[Connection[Letter | str]])
        async for connection in listener:
            assert_type(connection, Connection[Letter | str])
        assert_type(await listener.accept(), Connection[Letter | str])
        await listener.serve(talk)
        generic: trio.abc.Listener[trio.abc.AsyncResource] = listener
        await generic.aclose()


async def connecting() -> None:
    """Messages both ways."""
    async with COUNTER.connect(wait_seconds=1) as connection:
        narrower: trio.abc.SendChannel[Letter] = connection
        await narrower.send(Letter("ann"))
        await connection.send("hello")
        connection.send_nowait("hello")
        await connection.send_many(["a", Letter("ann")])
        assert_type(await connection.receive(), Letter | str)
        assert_type(connection.receive_nowait(), Letter | str)
        assert_type(await connection.receive_many(), list[Letter | str])
        assert_type(connection.peer, Peer)
        assert_type(connection.statistics(), ConnectionStatistics)
        await connection.send_eof()
    async with AsyncExitStack() as stack:
        assert_type(await stack.enter_async_context(COUNTER.connect()), Connection[Letter | str])


async def meeting() -> None:
    """Whoever comes first: an end like any other."""
    async with COUNTER.meet() as connection:
        assert_type(connection, Connection[Letter | str])
    with COUNTER.meet(wait_seconds=5, allow=anyone, limits=Limits(handshake_seconds=1), mode=0o660) as blocking:
        assert_type(blocking, BlockingConnection[Letter | str])


async def joined() -> None:
    """Two ends without a name; an end of a message is opened like any other."""
    mine, theirs = COUNTER.pair()
    assert_type(mine, Opening[Connection[Letter | str], BlockingConnection[Letter | str]])
    end: ChannelEnd[Letter | str] = theirs
    async with GUESTS.connect() as guests, mine as connection:
        await guests.send(Guest("ann", end))
        assert_type(await connection.receive(), Letter | str)
        async with (await guests.receive()).talk as talk:
            assert_type(talk, Connection[Letter | str])
        with (await guests.receive()).talk as talk_in_a_thread:
            assert_type(talk_in_a_thread, BlockingConnection[Letter | str])


def in_blocking_code() -> None:
    """The same in blocking code."""
    with COUNTER.listen() as listener, listener.accept(timeout=1) as connection:
        assert_type(listener, BlockingListener[BlockingConnection[Letter | str]])
        assert_type(connection.receive(timeout=1), Letter | str)
        for message in connection:
            assert_type(message, Letter | str)
    with COUNTER.connect() as connection:
        connection.send(Letter("ann"), timeout=1)
        assert_type(connection.receive_many(max_messages=3), list[Letter | str])


async def raw() -> None:
    """A byte stream, which is trio's as well."""
    async with WIRE.listen() as listener:
        assert_type(listener, Listener[RawConnection])
    async with WIRE.connect() as connection:
        stream: trio.abc.HalfCloseableStream = connection
        await stream.send_all(b"hello")
        assert_type(await connection.receive_some(), bytes)
        assert_type(connection.peer, Peer)


def raw_in_blocking_code() -> None:
    """A byte stream in blocking code."""
    with WIRE.listen(takeover=True) as listener, listener.accept() as connection:
        assert_type(connection, BlockingRawConnection)
    with WIRE.connect() as connection:
        connection.send_all(memoryview(b"hello"), timeout=1)
        assert_type(connection.receive_some(100), bytes)
