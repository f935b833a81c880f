"""Penny's channel with typed messages: a trio server with a task for each client, and blocking clients.

As in `chapter/pennys_channel.py` two clients each send a message and get it back, each on its own connection. The
messages are `Citizen` objects on both sides; who is connected the kernel says; and clients wait for the name.

Prints what server and clients print in the chapter; pids and the order of lines vary:

    1. Client 8151 connected to server.
    2. Client 8151 request sent message to server.
    Server: New client connected, process 8151.
    Server received message: "Citizen 8151: Penny for Pawsident!". Replying!
    3. Client 8151 reply received from server: Citizen 8151: Penny for Pawsident!
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import attrs
import trio
from _company import run, say, stage

from namedipc import Channel, Connection

CLIENTS = 2


@attrs.frozen
class Citizen:
    """One message: who says what."""

    pid: int
    words: str

    def __str__(self) -> str:
        return f"Citizen {self.pid}: {self.words}"


PENNYS_CHANNEL = Channel("pennys_channel", Citizen)


async def answer(connection: Connection[Citizen]) -> None:
    """Talk to one client to its end: the connection is this client's only."""
    say(f"Server: New client connected, process {connection.peer.pid}.")
    async for citizen in connection:
        say(f'Server received message: "{citizen}". Replying!')
        await connection.send(citizen)


async def serve(path: Path, clients: int) -> None:
    """Serve so many clients, all at the same time."""
    async with PENNYS_CHANNEL.at(path).listen() as listener, trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(talk, await listener.accept())


async def talk(connection: Connection[Citizen]) -> None:
    async with connection:
        await answer(connection)


def client(path: Path) -> None:
    """Send one message and print the reply."""
    with PENNYS_CHANNEL.at(path).connect(wait_seconds=10) as server:
        say(f"1. Client {os.getpid()} connected to server.")
        server.send(Citizen(os.getpid(), "Penny for Pawsident!"))
        say(f"2. Client {os.getpid()} request sent message to server.")
        say(f"3. Client {os.getpid()} reply received from server: {server.receive(timeout=10)}")


def main() -> None:
    with stage() as (directory, company):
        path = directory / "pennys_channel"
        server = company.start(trio.run, partial(serve, path, CLIENTS))
        clients = [company.start(client, path) for _ in range(CLIENTS)]
        company.wait(*clients, server)


if __name__ == "__main__":
    run(main)
