"""The chapter's C programs at one end of `pennys_channel`, a RawChannel at the other.

The C code is the chapter's `server()` and `client()`, each as a program of its own (`tests/c/`), compiled by whatever
C compiler is there. They run in the test's directory and are told the name relative to it, as in the chapter.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from namedipc import BlockingRawConnection, RawChannel, RawConnection

from .c_compiler import compiled

SOURCES = Path(__file__).parent / "c"
SECONDS = 20
NAME = "pennys_channel"


@attrs.frozen
class Programs:
    """The compiled programs."""

    server: str
    client: str


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Compile both programs."""
    directory = tmp_path_factory.mktemp("c")
    names = ("pennys_channel_server", "pennys_channel_client")
    return Programs(*[compiled(SOURCES / f"{name}.c", directory) for name in names])


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a C program beside the test; it must end by itself with status 0."""
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True)
    try:
        yield process
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


def printed_by(process: subprocess.Popen[str]) -> list[str]:
    """Everything it prints to its end."""
    assert process.stdout is not None
    return process.stdout.read().splitlines()


def citizen(pid: int) -> str:
    """What a client of the chapter says."""
    return f"Citizen {pid}: Penny for Pawsident!"


def client_lines(pid: int) -> list[str]:
    """What a client of the chapter prints when all goes well."""
    return [
        f"1. Client {pid} connected to server.",
        f"2. Client {pid} request sent message to server.",
        f"3. Client {pid} reply received from server: {citizen(pid)}",
    ]


def test_c_client_and_blocking_listener(programs: Programs, tmp_path: Path) -> None:
    """The C client gets its message back, NUL included; the kernel says which process it is."""
    with (
        RawChannel(tmp_path / NAME).listen() as listener,
        running([programs.client, NAME], tmp_path) as client,
        listener.accept(timeout=SECONDS) as connection,
    ):
        message = connection.receive_some(timeout=SECONDS)
        assert message == citizen(client.pid).encode() + b"\0"
        assert connection.peer.pid == client.pid
        connection.send_all(message)
        assert printed_by(client) == client_lines(client.pid)
        assert connection.receive_some(timeout=SECONDS) == b""  # it has closed, as a C program does


async def test_c_clients_and_trio_listener(programs: Programs, tmp_path: Path) -> None:
    """Several C clients at the same time: each gets its own message back."""

    async def echo(connection: RawConnection) -> None:
        async for data in connection:
            await connection.send_all(data)

    def two_clients() -> list[tuple[int, list[str]]]:
        with (
            running([programs.client, NAME], tmp_path) as first,
            running([programs.client, NAME], tmp_path) as second,
        ):
            return [(process.pid, printed_by(process)) for process in (first, second)]

    with trio.fail_after(2 * SECONDS):
        async with RawChannel(tmp_path / NAME).listen() as listener, trio.open_nursery() as nursery:
            nursery.start_soon(listener.serve, echo)
            for pid, lines in await trio.to_thread.run_sync(two_clients):
                assert lines == client_lines(pid)
            nursery.cancel_scope.cancel()


def test_blocking_client_and_c_server(programs: Programs, tmp_path: Path) -> None:
    """A blocking RawChannel waits for the C server's name and is answered; the server removes the name."""
    message = citizen(os.getpid())
    with running([programs.server, "1", NAME], tmp_path) as server:
        with RawChannel(tmp_path / NAME).connect(wait_seconds=SECONDS) as connection:
            assert connection.peer.pid == server.pid
            connection.send_all(message.encode() + b"\0")
            assert receive_all(connection) == message.encode() + b"\0"
        connected, received = printed_by(server)
        assert connected.startswith("Server: New client connected with new file descriptor ")
        assert received == f'Server received message (sz {len(message) + 1}): "{message}". Replying!'
    assert not (tmp_path / NAME).exists()


def receive_all(connection: BlockingRawConnection) -> bytes:
    """Receive to the end."""
    received = b""
    while data := connection.receive_some(timeout=SECONDS):
        received += data
    return received


async def test_trio_clients_and_c_server(programs: Programs, tmp_path: Path) -> None:
    """Two clients in trio, connected at the same time: the C server answers one after the other, each its own."""
    name = RawChannel(tmp_path / NAME)
    with trio.fail_after(2 * SECONDS), running([programs.server, "2", NAME], tmp_path) as server:
        async with (
            name.connect(wait_seconds=SECONDS) as first,
            name.connect(wait_seconds=SECONDS) as second,
        ):
            for connection, message in ((second, b"from the second\0"), (first, b"from the first\0")):
                await connection.send_all(message)
            assert b"".join([data async for data in first]) == b"from the first\0"
            assert b"".join([data async for data in second]) == b"from the second\0"
        lines = await trio.to_thread.run_sync(printed_by, server)
    assert [line for line in lines if "received" in line] == [
        'Server received message (sz 15): "from the first". Replying!',
        'Server received message (sz 16): "from the second". Replying!',
    ]
