"""Messages which come and leave in pieces: their memory is used again, which shows in page faults, not in time."""

from __future__ import annotations

import platform
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs
import pytest
import trio

from namedipc import Channel, Limits, Service
from namedipc._shells.large_frames import LARGEST_READ_BYTES, READ_BYTES, bytes_to_read

from .conftest import Children

pytestmark = [
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their own ways"),
]

MIB = 1 << 20
ROUNDS = 20
MOST_FAULTS = 100
"""A round. Without what is tested here it is 1 000 and more: a page for every 4 KiB, of each copy of a MiB."""
LIMITS = Limits(message_bytes=2 * MIB)


class Echo(Protocol):
    """An interface for large messages."""

    async def echo(self, data: bytes) -> bytes: ...

    async def large(self, size_bytes: int) -> bytes: ...

    async def faults(self) -> int: ...


class Reflector:
    """What answers."""

    async def echo(self, data: bytes) -> bytes:
        return data

    async def large(self, size_bytes: int) -> bytes:
        return b"x" * size_bytes

    async def faults(self) -> int:
        return faults()


def faults() -> int:
    """How many pages this process had to be given."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def a_round(work: Callable[[], object], count: Callable[[], int]) -> float:
    """How many of these a round of work takes, once it has been done a few times."""
    for _ in range(5):
        work()
    before = count()
    for _ in range(ROUNDS):
        work()
    return (count() - before) / ROUNDS


def serve(path: str) -> None:
    """A service in a process of its own."""
    Service(path, Echo).run(Reflector(), limits=LIMITS, ready=lambda _: print("ready", flush=True))


def call(path: str) -> None:
    """A client in a process of its own: prints what the pages are that it took for a call, and the service."""
    data = b"x" * MIB
    with Service(path, Echo).connect(timeout=20) as echo:
        for work in (lambda: echo.call(Echo.echo, data), lambda: echo.call(Echo.large, MIB)):
            print(a_round(work, faults), a_round(work, lambda: echo.call(Echo.faults)), flush=True)


def call_in_trio(path: str) -> None:
    """The same."""

    async def main() -> None:
        async with Service(path, Echo).connect() as echo:
            for _ in range(5):
                await echo.echo(b"x" * MIB)
            before = faults(), await echo.faults()
            for _ in range(ROUNDS):
                await echo.echo(b"x" * MIB)
            after = faults(), await echo.faults()
            print(*((b - a) / ROUNDS for a, b in zip(before, after, strict=True)), flush=True)

    trio.run(main)


def mirror(path: str) -> None:
    """One end of a channel: sends back what comes, and how many pages that took so far."""
    with Channel(path, bytes).connect(wait_seconds=20, limits=LIMITS) as channel:
        for data in channel:
            channel.send(data)
            channel.send(b"%d" % faults())


def look(path: str) -> None:
    """The other end."""
    data = b"x" * MIB
    there = 0
    with Channel(path, bytes).listen(limits=LIMITS) as listener, listener.accept(timeout=20) as channel:

        def work() -> None:
            nonlocal there
            channel.send(data)
            assert len(channel.receive(timeout=20)) == MIB
            there = int(channel.receive(timeout=20))

        print(a_round(work, faults), a_round(work, lambda: there), flush=True)


@attrs.define
class Came:
    """What is there of a frame."""

    waiting_bytes: int
    missing: int


@pytest.mark.parametrize(
    ("waiting", "missing", "asked"),
    [
        (0, 0, READ_BYTES),
        (100, READ_BYTES, READ_BYTES),
        (100, READ_BYTES + 1, READ_BYTES + 1),
        (1, 1 << 24, LARGEST_READ_BYTES),
    ],
)
def test_what_a_read_asks_for(waiting: int, missing: int, asked: int) -> None:
    """As much as a socket may hold, of what is known to come."""
    assert bytes_to_read(Came(waiting, missing)) == asked


SCRIPT = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from tests import test_large_frames
    getattr(test_large_frames, sys.argv[3])(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("here", "there", "lines"),
    [("serve", "call", 2), ("serve", "call_in_trio", 1), ("mirror", "look", 1)],
)
def test_the_memory_of_large_messages_is_used_again(
    here: str, there: str, lines: int, tmp_path: Path, child: Children
) -> None:
    """On both sides, whichever is the large one of the question and the answer."""
    arguments = (str(tmp_path / "name"), str(Path(__file__).parent.parent))
    first = child(SCRIPT, *arguments, here)
    if here == "serve":
        first.expect("ready")
    second = child(SCRIPT, *arguments, there)
    counts = [float(count) for _ in range(lines) for count in second.read_line().split()]
    assert max(counts) < MOST_FAULTS, counts
