"""A chat of many clients: what one says, every other hears.

The server listens on a Channel, in trio, with a task for each guest and a queue of lines for it: a guest that does
not read is left behind, and keeps nobody waiting. Guests are ordinary blocking programs.

Prints what each guest hears; the order varies:

    ann hears bob: hello from bob
    ann hears eve: hello from eve
    bob hears ann: hello from ann
    ...
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs
import trio
from _company import run, say, stage

from namedipc import BlockingConnection, Channel, Connection

GUESTS = ("ann", "bob", "eve")
QUEUED_LINES = 100


@attrs.frozen
class Line:
    """What somebody says. A guest's first line is only its name."""

    who: str
    text: str


CHAT = Channel("chat", Line)
IS_HERE = "is here"


class Room:
    """Who is in the chat, and the lines that each has not been sent yet."""

    def __init__(self) -> None:
        self._queues: dict[str, trio.MemorySendChannel[Line]] = {}
        self.everybody_left = trio.Event()

    async def host(self, connection: Connection[Line]) -> None:
        """Let a guest in, and pass on what it says until it leaves."""
        who = (await connection.receive()).who
        queue, lines = trio.open_memory_channel[Line](QUEUED_LINES)
        for other in self._queues:
            queue.send_nowait(Line(other, IS_HERE))
        self._queues[who] = queue
        self.tell(Line(who, IS_HERE))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_queued, lines, connection)
                async for line in connection:
                    self.tell(line)
                nursery.cancel_scope.cancel()
        finally:
            del self._queues[who]
            if not self._queues:
                self.everybody_left.set()

    def tell(self, line: Line) -> None:
        """Queue a line for all but who said it."""
        for who, queue in self._queues.items():
            if who != line.who:
                with suppress(trio.WouldBlock):  # a full queue: this guest does not read
                    queue.send_nowait(line)

    async def _send_queued(self, lines: trio.MemoryReceiveChannel[Line], connection: Connection[Line]) -> None:
        async for line in lines:
            await connection.send(line)


async def serve(path: Path) -> None:
    """Be the server until the last guest has left."""
    room = Room()
    async with CHAT.at(path).listen() as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, room.host)
        await room.everybody_left.wait()
        nursery.cancel_scope.cancel()


def guest(path: Path, who: str) -> None:
    """Come, wait for the others, say hello, hear each of the others, and leave."""
    others = set(GUESTS) - {who}
    with CHAT.at(path).connect(wait_seconds=10) as chat:
        chat.send(Line(who, ""))
        early = hear(chat, others, IS_HERE)
        chat.send(Line(who, f"hello from {who}"))
        for line in early + [chat.receive(timeout=10) for _ in range(len(others) - len(early))]:
            say(f"{who} hears {line.who}: {line.text}")


def hear(chat: BlockingConnection[Line], others: set[str], text: str) -> list[Line]:
    """Wait until all others have said this; return what else they have said meanwhile."""
    meanwhile: list[Line] = []
    waited_for = set(others)
    while waited_for:
        line = chat.receive(timeout=10)
        if line.text == text:
            waited_for.remove(line.who)
        else:
            meanwhile.append(line)
    return meanwhile


def main() -> None:
    with stage() as (directory, company):
        path = directory / "chat"
        server = company.start(trio.run, partial(serve, path))
        guests = [company.start(guest, path, who) for who in GUESTS]
        company.wait(*guests, server)


if __name__ == "__main__":
    run(main)
