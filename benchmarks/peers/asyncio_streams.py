"""asyncio's streams on both sides, with msgspec: `start_unix_server`, `readexactly`, as its documentation has it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..figures import Sample
from ..framing import connected, decode, encode, frame, framed
from ..messages import IN_FLIGHT
from ..replay import replayed
from ..sides import Pair, Place, Run, Works, awaited_each, awaited_rate


async def receive(reader: asyncio.StreamReader) -> bytes:
    """One frame."""
    size = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(size, "little"))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client."""
    while True:
        try:
            body = await receive(reader)
        except asyncio.IncompleteReadError:
            return
        writer.write(framed(encode(decode(body))))
        await writer.drain()


async def served(place: Place) -> None:
    """All clients."""
    async with await asyncio.start_unix_server(answer, place.path, backlog=4096) as server:
        place.ready()
        await server.serve_forever()


def serve(place: Place) -> None:
    """In asyncio's own loop."""
    asyncio.run(served(place))


class Caller:
    """A client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def call(self, count: int = 1) -> None:
        """So many calls, all in flight together."""
        self._writer.write(b"".join([frame() for _ in range(count)]))
        await self._writer.drain()
        for _ in range(count):
            decode(await receive(self._reader))

    async def aclose(self) -> None:
        """Disconnect."""
        self._writer.close()
        await self._writer.wait_closed()


async def call_one(place: Place, count: int) -> Sample:
    """One call in flight."""
    caller = Caller(*await asyncio.open_unix_connection(place.path))
    try:
        return await awaited_each(caller.call, count)
    finally:
        await caller.aclose()


async def call_many(place: Place, count: int) -> Sample:
    """Many in flight."""
    caller = Caller(*await asyncio.open_unix_connection(place.path))
    try:
        return await awaited_rate(lambda: caller.call(IN_FLIGHT), IN_FLIGHT, count)
    finally:
        await caller.aclose()


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """In asyncio's own loop."""
    yield lambda count: asyncio.run(call_one(place, count))


@contextmanager
def calling_each(place: Place) -> Iterator[Run]:
    """In asyncio's own loop."""
    yield lambda count: asyncio.run(call_many(place, count))


WORKS: Final[Works] = {
    "call": Pair(serve, calling),
    "batch": Pair(serve, calling_each),
    "clients": Pair(serve, replayed(connected)),
}
