"""What the stress campaign serves: an interface with a method of each sort, and the ledger of what was run.

The law: every call has an id of its own, and the ledger of a process has a record for whatever it knows of it. Records
go to a file, so that they outlive the process and take no memory of it, which is measured.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from enum import IntEnum, auto
from pathlib import Path
from struct import Struct
from typing import Protocol

import attrs
import trio

from namedipc import Limits, Service, idempotent, in_thread, one_way, raises

LIMITS = Limits(
    message_bytes=256 << 10,
    calls_in_flight=48,
    stream_items=16,
    stream_bytes=4096,
    outbound_bytes=128 << 10,
    clients_per_uid=1024,
    handshake_seconds=30,
)
"""Of messages, calls and streams small enough to be met. No client is to be refused, or dropped for being slow: the
machine may be, and who is stopped is."""
LONGEST_SECONDS = 1000.0
"""What waits so long is waited for by nobody: it ends by being cancelled."""
_RECORD = Struct("<QB")


class Fate(IntEnum):
    """What a process knows of a call."""

    BEGAN = auto()
    ANSWERED = auto()
    RAISED = auto()
    """At the service: the handler raised. At the client: that very exception arrived."""
    MISFIT = auto()
    """The handler returned or yielded what its interface does not declare, and the client was told so."""
    CANCELLED = auto()
    """At the service: cancelled, or its generator closed. At the client: by itself."""
    TIMED_OUT = auto()
    LEFT = auto()
    """A stream was left after items of it had come."""
    SENT = auto()
    """One way."""
    UNTOLD = auto()
    """One of a batch of which another call failed, or the client was closed meanwhile."""
    REFUSED = auto()
    """It never left the client, or the service has too many in flight: it was not run."""


class Ledger:
    """A file of fates, which any thread may add to."""

    def __init__(self, path: Path, *, buffer_bytes: int = 0) -> None:
        self._file = path.open("ab", buffering=buffer_bytes)

    def add(self, id: int, fate: Fate) -> None:  # noqa: A002
        """Note what has become of a call."""
        self._file.write(_RECORD.pack(id, fate))

    def close(self) -> None:
        """Write what is still in memory."""
        self._file.close()

    @contextmanager
    def running(self, id: int) -> Iterator[None]:  # noqa: A002
        """Note that a handler began, and how it ended."""
        self.add(id, Fate.BEGAN)
        try:
            yield
        except (trio.Cancelled, GeneratorExit):
            self.add(id, Fate.CANCELLED)
            raise
        except BaseException:
            self.add(id, Fate.RAISED)
            raise
        self.add(id, Fate.ANSWERED)


def read_ledger(path: Path) -> dict[int, list[Fate]]:
    """Return the fates of each call, in their order. A killed process may have left half of a record."""
    fates: dict[int, list[Fate]] = defaultdict(list)
    data = path.read_bytes()
    for id_, fate in _RECORD.iter_unpack(data[: len(data) // _RECORD.size * _RECORD.size]):
        fates[id_].append(Fate(fate))
    return fates


@attrs.define
class Refused(Exception):
    """Declared, with a field."""

    id: int


class Stress(Protocol):
    """One method of each sort."""

    async def add(self, id: int, value: int) -> int:  # noqa: A002
        """Never wait."""
        ...

    async def nap(self, id: int, seconds: float) -> int:  # noqa: A002
        """Wait."""
        ...

    async def echo(self, id: int, data: bytes) -> bytes:  # noqa: A002
        """Carry much."""
        ...

    async def one(self, id: int) -> int:  # noqa: A002
        """Be one of a batch."""
        ...

    @idempotent
    async def seats(self, id: int) -> int:  # noqa: A002
        """Run in a thread."""
        ...

    @raises(Refused)
    async def refuse(self, id: int, declared: bool, seconds: float) -> None:  # noqa: A002
        """Raise."""
        ...

    async def lie(self, id: int) -> int:  # noqa: A002
        """Return what is no int."""
        ...

    @one_way
    async def note(self, id: int, seconds: float) -> None:  # noqa: A002
        """Tell nobody."""
        ...

    @raises(Refused)
    def count(self, id: int, items: int, then: str, pause: float) -> AsyncIterator[int]:  # noqa: A002
        """Yield numbers; then end, raise, or lie."""
        ...

    def blobs(self, id: int, sizes: list[int]) -> AsyncIterator[bytes]:  # noqa: A002
        """Yield much."""
        ...

    async def total(self, id: int, numbers: AsyncIterable[int], pause: float) -> int:  # noqa: A002
        """Take numbers."""
        ...

    def doubled(self, id: int, numbers: AsyncIterable[int]) -> AsyncIterator[int]:  # noqa: A002
        """Take and yield."""
        ...


def service_at(directory: Path) -> Service[Stress]:
    """Return the name of the campaign in this directory."""
    return Service(directory / "stress", Stress)


async def pause_for(seconds: float) -> None:
    """Wait, or do not."""
    if seconds:
        await trio.sleep(seconds)


class Stressed:
    """The implementation. Its answers follow from the arguments, so that the clients can check them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def add(self, id: int, value: int) -> int:  # noqa: A002
        with self._ledger.running(id):
            return id + value

    async def nap(self, id: int, seconds: float) -> int:  # noqa: A002
        with self._ledger.running(id):
            await trio.sleep(seconds)
            return id

    async def echo(self, id: int, data: bytes) -> bytes:  # noqa: A002
        with self._ledger.running(id):
            return data

    async def one(self, id: int) -> int:  # noqa: A002
        with self._ledger.running(id):
            if id % 7 == 0:
                await trio.lowlevel.checkpoint()
            return -id

    @in_thread
    def seats(self, id: int) -> int:  # noqa: A002
        with self._ledger.running(id):
            return id ^ 1

    async def refuse(self, id: int, declared: bool, seconds: float) -> None:  # noqa: A002
        with self._ledger.running(id):
            await pause_for(seconds)
            raise Refused(id) if declared else KeyError(id)

    async def lie(self, id: int) -> int:  # noqa: A002
        with self._ledger.running(id):
            lie: int = "no int"  # type: ignore[assignment]  # what a handler may get wrong
            return lie

    async def note(self, id: int, seconds: float) -> None:  # noqa: A002
        with self._ledger.running(id):
            await pause_for(seconds)

    async def count(self, id: int, items: int, then: str, pause: float) -> AsyncIterator[int]:  # noqa: A002
        with self._ledger.running(id):
            for number in range(items):
                yield id + number
                await pause_for(pause)
            if then == "raise":
                raise Refused(id)
            if then == "lie":
                lie: int = "no int"  # type: ignore[assignment]  # likewise
                yield lie

    async def blobs(self, id: int, sizes: list[int]) -> AsyncIterator[bytes]:  # noqa: A002
        with self._ledger.running(id):
            for size in sizes:
                yield bytes(size)

    async def total(self, id: int, numbers: AsyncIterable[int], pause: float) -> int:  # noqa: A002
        with self._ledger.running(id):
            total = 0
            async for number in numbers:
                total += number
                await pause_for(pause)
            return total

    async def doubled(self, id: int, numbers: AsyncIterable[int]) -> AsyncIterator[int]:  # noqa: A002
        with self._ledger.running(id):
            async for number in numbers:
                yield 2 * number


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    """How much memory this process has, as the kernel counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def living_tasks() -> int:
    """How many tasks of trio there are."""
    return trio.lowlevel.current_statistics().tasks_living


@attrs.define
class Findings:
    """What the service says of itself at the end of the campaign.

    Attributes:
        descriptors: Before and after it was served.
        tasks: Likewise.
        in_flight: Calls, once every client had gone.
        clients: Connections, likewise.
        memory: Samples, evenly spaced over the campaign, in bytes.
    """

    descriptors: tuple[int, int] = (0, 0)
    tasks: tuple[int, int] = (0, 0)
    in_flight: int = 0
    clients: int = 0
    memory: list[int] = attrs.field(factory=list)
