"""A side of a contender, from inside: what a server or a client process is told, and how a client times its work.

    python -m benchmarks.sides MODULE WORK ROLE DIRECTORY ARGUMENT CORE

A server does its work until it is ended. A client reads lines with a count, does its work so often, and answers each
by a line of JSON. Both print "ready" first, the server when it can be connected to, the client when it is connected.

The law: whatever a peer prints goes to the standard error, so that the answers stay alone on the standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import attrs

from .figures import Sample, p99_of

Run = Callable[[int], Sample]
"""Does the work so often."""
MICROSECONDS = 1e6
MILLISECONDS = 1e3


@attrs.frozen
class Place:
    """Where a side does its work.

    Attributes:
        directory: For the names of this pair of processes.
        argument: The work's number: of clients, of bytes.
        other_core: The core of the other side, for whoever starts it.
        output: The descriptor of the standard output, for a program which takes over.
        ready: Says that a server can be connected to.
    """

    directory: Path
    argument: int = 0
    other_core: int = 0
    output: int = 1
    ready: Callable[[], None] = lambda: None

    @property
    def path(self) -> str:
        """The name of the server."""
        return str(self.directory / "s")

    def server_pid(self) -> int:
        """The server's process."""
        return int((self.directory / "pid").read_text())


@attrs.frozen
class Pair:
    """How a contender does a work. Without `serve` the client starts whatever it needs."""

    serve: Callable[[Place], None] | None
    client: Callable[[Place], AbstractContextManager[Run]]


Works = dict[str, Pair]
"""What a module of `peers` can do, by the work's name."""


# ------------------------------------------------------------ timing


def sample_of(times: Sequence[float], scale: float) -> Sample:
    """Of single operations, timed in seconds."""
    return Sample(sum(times) / len(times) * scale, sum(times), p99_of(times) * scale)


def rate_of(count: int, began: float) -> Sample:
    """Of so many operations, from then to now: how many a second."""
    seconds = time.perf_counter() - began
    return Sample(count / seconds, seconds)


def timed_each(operation: Callable[[], object], scale: float = MICROSECONDS) -> Run:
    """Time every single operation."""

    def run(count: int) -> Sample:
        times = [0.0] * count
        clock = time.perf_counter
        for number in range(count):
            began = clock()
            operation()
            times[number] = clock() - began
        return sample_of(times, scale)

    return run


async def awaited_each(operation: Callable[[], Awaitable[object]], count: int) -> Sample:
    """Time every single operation, after some which warm up what is new."""
    for _ in range(5):
        await operation()
    times = [0.0] * count
    clock = time.perf_counter
    for number in range(count):
        began = clock()
        await operation()
        times[number] = clock() - began
    return sample_of(times, MICROSECONDS)


def rate(batch: Callable[[], object], size: int) -> Run:
    """Time many operations together, which come in batches of one size: how many a second."""

    def run(count: int) -> Sample:
        batches = -(-count // size)
        began = time.perf_counter()
        for _ in range(batches):
            batch()
        return rate_of(batches * size, began)

    return run


async def awaited_rate(batch: Callable[[], Awaitable[object]], size: int, count: int) -> Sample:
    """The same in trio or asyncio, after a batch which warms up what is new."""
    await batch()
    batches = -(-count // size)
    began = time.perf_counter()
    for _ in range(batches):
        await batch()
    return rate_of(batches * size, began)


def burst_rate(burst: Callable[[int], object]) -> Run:
    """Time a burst, which ends when its receiver has said that all of it has come: how many a second."""

    def run(count: int) -> Sample:
        began = time.perf_counter()
        burst(count)
        return rate_of(count, began)

    return run


def connecting(connect: Callable[[], None], *, seconds: float = 20.0) -> None:
    """Try until a server which has bound its name listens, too."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return connect()
        except (ConnectionRefusedError, FileNotFoundError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


# ------------------------------------------------------------ processes


def die_with_parent() -> None:
    """End when whoever started this process ends, however it does."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


@contextmanager
def forked(work: Callable[[], None], core: int) -> Iterator[None]:
    """A child process on a core of its own, killed at the end."""
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent()
            os.sched_setaffinity(0, {core})
            work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def raise_open_files() -> None:
    """A thousand clients need more descriptors than there are by default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(module: str, work: str, role: str, directory: str, argument: str, core: str) -> None:
    """Be one side."""
    die_with_parent()
    raise_open_files()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(line: str) -> None:
        print(line, file=answers, flush=True)

    place = Place(Path(directory), int(argument), int(core), answers.fileno(), lambda: say("ready"))
    works: Works = importlib.import_module(f".peers.{module}", __package__).WORKS
    pair = works[work]
    if role == "server":
        assert pair.serve is not None
        (place.directory / "pid").write_text(str(os.getpid()))
        pair.serve(place)
        return
    with pair.client(place) as run:
        say("ready")
        for line in sys.stdin:
            say(json.dumps(attrs.asdict(run(int(line)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
