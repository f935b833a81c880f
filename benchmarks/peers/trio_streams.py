"""trio's SocketStream on both sides, with msgspec: a task a client, as trio's tutorial serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from ..figures import Sample
from ..framing import bodies, connected, decode, encode, frame, framed
from ..messages import IN_FLIGHT
from ..replay import replayed
from ..sides import Pair, Place, Run, Works, awaited_each, awaited_rate


async def answer(stream: trio.SocketStream) -> None:
    """One client: what came together is answered together."""
    buffer = bytearray()
    async with stream:
        async for data in stream:
            buffer += data
            await stream.send_all(b"".join([framed(encode(decode(body))) for body in bodies(buffer)]))


def serve(place: Place) -> None:
    """All clients."""

    async def main() -> None:
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(place.path)
        listener.listen(4096)
        place.ready()
        await trio.serve_listeners(answer, [trio.SocketListener(listener)])

    trio.run(main)


class Caller:
    """A client."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def call(self, count: int = 1) -> None:
        """So many calls, all in flight together."""
        await self._stream.send_all(b"".join([frame() for _ in range(count)]))
        while count:
            self._buffer += await self._stream.receive_some()
            for body in bodies(self._buffer):
                decode(body)
                count -= 1


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""

    async def main(count: int) -> Sample:
        async with await trio.open_unix_socket(place.path) as stream:
            return await awaited_each(Caller(stream).call, count)

    yield lambda count: trio.run(main, count)


@contextmanager
def calling_each(place: Place) -> Iterator[Run]:
    """Many in flight."""

    async def main(count: int) -> Sample:
        async with await trio.open_unix_socket(place.path) as stream:
            caller = Caller(stream)
            return await awaited_rate(lambda: caller.call(IN_FLIGHT), IN_FLIGHT, count)

    yield lambda count: trio.run(main, count)


WORKS: Final[Works] = {
    "call": Pair(serve, calling),
    "batch": Pair(serve, calling_each),
    "clients": Pair(serve, replayed(connected)),
}
