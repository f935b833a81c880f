"""What there is to do, and who does it: names, units and words, as data.

The law: nothing of a peer is imported here; a contender's `needs` are looked for without importing them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

import attrs

from .figures import Better


class Placement(Enum):
    """Where the two sides run."""

    SPLIT = "a core each"
    SAME = "one core"


@attrs.frozen
class Work:
    """Something that contenders do.

    Attributes:
        name: As in the modules of `peers`.
        title: What it is.
        unit: Of its figures.
        better: Which way they should go.
        once: For what is looked at only once, and not in rounds: what the client is asked for.
        smoke_argument: The argument of a smoke run, where it has one.
    """

    name: str
    title: str
    unit: str
    better: Better = Better.LOWER
    once: int | None = None
    smoke_argument: int = 0


WORKS: Final = {
    work.name: work
    for work in (
        Work("call", "Typed calls, one in flight", "us"),
        Work("batch", "64 calls in flight on one connection", "calls/s", Better.HIGHER),
        Work("clients", "Many clients, a call of each in flight", "calls/s", Better.HIGHER, smoke_argument=8),
        Work("memory", "Memory of the server a connected client", "KiB", once=1, smoke_argument=20),
        Work("idle", "CPU ticks in 3 s with clients who say nothing", "ticks", once=30, smoke_argument=20),
        Work("records", "Records one way in batches", "records/s", Better.HIGHER),
        Work("broadcast", "64-byte records from one writer to 8 readers", "records/s", Better.HIGHER),
        Work("echo", "Bytes there and back", "us", smoke_argument=4096),
        Work("array", "A numpy array to another process, and word back", "ms", smoke_argument=1 << 16),
        Work("in-place", "A numpy array changed in place, and word back", "ms", smoke_argument=1 << 16),
        Work("wake", "Waking another process, and being woken by it", "us"),
        Work("import", "Importing, the interpreter's start not counted", "ms"),
        Work("help", "Printing the help of the command", "ms"),
    )
}


@attrs.frozen
class Contender:
    """One way of doing works.

    Attributes:
        name: How it is asked for.
        module: In `peers`; empty for the program in C.
        needs: What has to be installed.
        does: Its works, each with what it is there.
        alone: Those of them for which the client starts whatever it needs, and no server is started.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    does: dict[str, str]
    alone: frozenset[str] = frozenset()

    @property
    def is_ours(self) -> bool:
        """Whether it is namedipc."""
        return self.module.startswith("ours")

    def missing(self) -> list[str]:
        """What it needs and is not installed."""
        return [needed for needed in self.needs if importlib.util.find_spec(needed) is None]


OURS: Final = "namedipc"
IN_TRIO: Final = "namedipc-trio"
TASKS: Final = "namedipc-tasks"
VIEWS: Final = "namedipc-views"
ARRAYS: Final = "namedipc-arrays"
UNCOMPILED: Final = "namedipc-uncompiled"
COMPILED: Final = "namedipc._shells.called_alone"
"""Is there where the package was built with what can be compiled: what is not is measured beside it then."""
C: Final = "c"
CONTENDERS: Final = {
    contender.name: contender
    for contender in (
        Contender(
            OURS,
            "ours",
            (),
            {
                "call": "blocking client",
                "batch": "call_each",
                "clients": "Service",
                "memory": "Service",
                "idle": "Service",
                "records": "Channel, send_many",
                "broadcast": "Broadcast",
                "echo": "Service, bytes",
                "wake": "SharedRegion",
                "import": "from namedipc import Service",
                "help": "namedipc --help",
            },
            frozenset({"import", "help"}),
        ),
        Contender(IN_TRIO, "ours_trio", (), {"call": "trio client", "batch": "call_each in trio"}),
        Contender(TASKS, "ours_tasks", (), {"batch": "64 trio tasks"}),
        Contender(
            "namedipc-declared", "ours_declared", (), {"import": "the same, and a declaration"}, frozenset({"import"})
        ),
        Contender(
            UNCOMPILED,
            "ours_uncompiled",
            (COMPILED,),
            {
                "call": "blocking client, not compiled",
                "clients": "Service, not compiled",
                "broadcast": "Broadcast, not compiled",
            },
        ),
        Contender(VIEWS, "ours_views", (), {"echo": "Service, memoryview"}),
        Contender(ARRAYS, "ours_arrays", ("numpy",), {"array": "Channel, an array", "in-place": "SharedArray"}),
        Contender(
            C,
            "",
            (),
            {
                "call": "C, 64 bytes",
                "batch": "C, epoll, 64 bytes",
                "clients": "C, epoll, 64 bytes",
                "echo": "C",
                "array": "C, a warm memcpy",
                "wake": "C, eventfd",
            },
            frozenset({"array", "wake"}),
        ),
        Contender(
            "raw",
            "raw",
            ("numpy",),
            {
                "call": "raw sockets + msgspec",
                "records": "raw sockets + msgspec, 64 a send",
                "echo": "raw sockets",
                "array": "raw socket, a buffer used again",
            },
        ),
        Contender(
            "pyzmq",
            "zeromq",
            ("zmq", "numpy"),
            {
                "call": "pyzmq REQ/REP + msgspec",
                "batch": "pyzmq DEALER/ROUTER + msgspec",
                "clients": "pyzmq REQ/REP + msgspec",
                "memory": "pyzmq REP",
                "idle": "pyzmq REP",
                "records": "pyzmq PUSH/PULL, 64 bytes",
                "broadcast": "pyzmq PUB/SUB",
                "echo": "pyzmq REQ/REP",
                "array": "pyzmq, copy=False",
            },
        ),
        Contender(
            "trio",
            "trio_streams",
            (),
            dict.fromkeys(("call", "batch", "clients"), "trio SocketStream + msgspec"),
        ),
        Contender(
            "asyncio",
            "asyncio_streams",
            (),
            dict.fromkeys(("call", "batch", "clients"), "asyncio streams + msgspec"),
        ),
        Contender(
            "uvloop",
            "uvloop_streams",
            ("uvloop",),
            dict.fromkeys(("call", "batch", "clients"), "uvloop streams + msgspec"),
        ),
        Contender(
            "connection",
            "connections",
            ("numpy",),
            dict.fromkeys(("call", "echo", "records", "array"), "multiprocessing.connection"),
        ),
        Contender("manager", "manager", (), {"call": "multiprocessing Manager"}),
        Contender("queue", "queues", (), {"records": "multiprocessing.Queue"}, frozenset({"records"})),
        Contender("shared_memory", "shared_memory", ("numpy",), {"array": "multiprocessing.shared_memory, a copy"}),
        Contender(
            "pynng",
            "nng",
            ("pynng",),
            {
                "call": "pynng Req0/Rep0 + msgspec",
                "records": "pynng Push0/Pull0, 64 bytes",
                "broadcast": "pynng Pub0/Sub0",
                "echo": "pynng Req0/Rep0",
            },
        ),
        Contender("rpyc", "rpyc_", ("rpyc",), {"call": "rpyc, a tuple", "echo": "rpyc, bytes"}),
        Contender("pyro5", "pyro", ("Pyro5",), {"call": "Pyro5, a dict"}),
        Contender("grpcio", "grpc_", ("grpc",), {"call": "grpcio + msgspec", "batch": "grpcio + msgspec, futures"}),
        Contender("iceoryx2", "iceoryx", ("iceoryx2",), {"call": "iceoryx2, with events"}),
        Contender(
            "faster-fifo", "faster", ("faster_fifo",), {"records": "faster-fifo, put_many"}, frozenset({"records"})
        ),
        Contender("libraries", "starting", (), {"import": "import msgspec, attrs"}, frozenset({"import"})),
    )
}


@attrs.frozen
class Setting:
    """A work with all that has to be the same for those who are compared: what one group of rounds measures."""

    work: str
    placement: Placement = Placement.SPLIT
    argument: int = 0

    @property
    def title(self) -> str:
        """In words."""
        return ", ".join(filter(None, [WORKS[self.work].title, self.amount, self.placement.value]))

    @property
    def amount(self) -> str:
        """The argument in words; none where there is none."""
        if not self.argument:
            return ""
        return (
            f"{self.argument} clients" if self.work in {"clients", "memory", "idle"} else size_in_words(self.argument)
        )


@attrs.frozen
class Figure:
    """What one contender is measured at."""

    setting: Setting
    contender: str

    @property
    def label(self) -> str:
        """Who, in words."""
        return CONTENDERS[self.contender].does[self.setting.work]

    @property
    def unit(self) -> str:
        """Its unit."""
        return WORKS[self.setting.work].unit


def size_in_words(size: int) -> str:
    """A number of bytes."""
    for unit, bytes_ in (("MB", 10**6), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= bytes_ and size % bytes_ == 0:
            return f"{size // bytes_} {unit}"
    return f"{size} bytes"


def able(work: str, names: Iterable[str] = CONTENDERS) -> Iterator[Contender]:
    """Who does a work, of these, in the order of the table."""
    wanted = set(names)
    return (contender for name, contender in CONTENDERS.items() if name in wanted and work in contender.does)
