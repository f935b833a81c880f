"""What a well-behaved client notices of each kind of bad one: its latencies alone, beside them, and beside a control.

One blocking client calls a service, one call in flight, while an offender, in a process of its own, does its worst to
the same service. On a machine with few cores an offender that burns one costs everybody that core, whatever the
service does. So there is a control: the same offender at work against *another* service. The last column, the ratio
of the two, is what the service itself lets through. The rounds are interleaved; each figure is a median of rounds.

    python -m benchmarks.hostile                       every kind of offender
    python -m benchmarks.hostile --only garbage flood  some of them
    python -m benchmarks.hostile --json                for other programs
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import attrs

from namedipc import BlockingClient, Limits, Service
from namedipc._protocol.frames import CALL, HEADER, Kind, pack_call, pack_frame
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._schema import Schema

from .figures import p99_of
from .machine import this_machine
from .messages import ORDER, Order
from .processes import environment

SAMPLE_SECONDS: Final = 1.0
PIPELINED: Final = 64
"""How many calls an offender sends in one write."""


class Kitchen(Protocol):
    """The interface."""

    async def cook(self, order: Order) -> Order:
        """Return the order as it came."""
        ...

    async def simmer(self) -> None:
        """Never answer."""
        ...

    async def burn(self) -> None:
        """Raise."""
        ...

    async def echo(self, data: bytes) -> bytes:
        """Return the data."""
        ...


class Chef:
    """Its implementation."""

    async def cook(self, order: Order) -> Order:
        """Return it."""
        return order

    async def simmer(self) -> None:
        """Wait for ever."""
        import trio

        await trio.sleep_forever()

    async def burn(self) -> None:
        """Raise."""
        raise ValueError("burnt")

    async def echo(self, data: bytes) -> bytes:
        """Return it."""
        return data


SCHEMA: Final[Schema[Kitchen]] = Schema(Kitchen, frame_globals=globals(), frame_locals={})
HELLO: Final = Hello(SERVICE, Limits().message_bytes, SCHEMA.fingerprint).pack()
FOREIGN_HELLO: Final = Hello(SERVICE, Limits().message_bytes, bytes(16)).pack()


# ------------------------------------------------------------ offenders, each in a process of its own


def call(method: str, id_: int, *args: object) -> bytes:
    """A call as bytes."""
    found = SCHEMA.by_name[method]
    return pack_call(found.index, id_, found.arguments.encode(args, {}), None)


def calls(method: str, *args: object) -> bytes:
    """Calls for one write."""
    return b"".join(call(method, id_, *args) for id_ in range(1, PIPELINED + 1))


def connected(path: str, first: bytes = b"") -> socket.socket:
    """A blocking socket."""
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    with contextlib.suppress(OSError):  # turned away, it may be
        stream.sendall(first)
    return stream


def read_to_end(stream: socket.socket) -> None:
    """Until the service has closed."""
    with contextlib.suppress(OSError):
        while stream.recv(65536):
            pass


def again_and_again(path: str, offence: bytes) -> Iterator[None]:
    """Connect, offend, be told, come back."""
    while True:
        with connected(path, offence) as stream:
            stream.shutdown(socket.SHUT_WR)
            read_to_end(stream)
        yield


def over_and_over(path: str, calls_: bytes) -> Iterator[None]:
    """Send the same calls, and read what comes back, as fast as it goes."""
    with connected(path, HELLO) as stream:
        stream.setblocking(False)
        rest = calls_
        while True:
            with contextlib.suppress(BlockingIOError):
                rest = rest[stream.send(rest) :] or calls_
            with contextlib.suppress(BlockingIOError):
                if not stream.recv(1 << 20):
                    return
            yield
            select.select([stream], [stream], [])


def silent(path: str) -> Iterator[None]:
    """A hundred which connect and say nothing."""
    streams = [connected(path) for _ in range(100)]
    while streams:
        time.sleep(0.01)
        yield


def dripping(path: str) -> Iterator[None]:
    """A hundred which send a call byte by byte, a byte each millisecond."""
    streams = [connected(path, HELLO) for _ in range(100)]
    frame = call("cook", 1, ORDER)
    while True:
        for at in range(len(frame)):
            for stream in streams:
                stream.send(frame[at : at + 1])
            time.sleep(0.001)
            yield


def never_reading(path: str) -> Iterator[None]:
    """Ten which call and call, and never read an answer."""
    streams = [connected(path, HELLO) for _ in range(10)]
    frames = calls("cook", ORDER)
    for stream in streams:
        stream.setblocking(False)
    while True:
        for stream in streams:
            with contextlib.suppress(BlockingIOError):
                stream.send(frames)
        yield
        select.select([], streams, [])


def flood(path: str) -> Iterator[None]:
    """Calls as fast as they are answered, 64 in a write."""
    return over_and_over(path, calls("cook", ORDER))


def burning(path: str) -> Iterator[None]:
    """Calls whose handler raises."""
    return over_and_over(path, calls("burn"))


def nested(path: str) -> Iterator[None]:
    """Calls whose arguments are nested a thousand deep."""
    body = b"\x91" * 1000 + b"\x90"
    return over_and_over(path, b"".join(pack_frame(Kind.CALL, body, method=0, id=id_) for id_ in range(1, 65)))


def cancelling(path: str) -> Iterator[None]:
    """Calls which are cancelled as soon as they have begun."""
    frames = (call("simmer", id_) + pack_frame(Kind.CANCEL, id=id_) for id_ in range(1, PIPELINED + 1))
    return over_and_over(path, b"".join(frames))


def large(path: str) -> Iterator[None]:
    """Messages as large as they may be."""
    return over_and_over(path, call("echo", 1, bytes(Limits().message_bytes - 100)))


def descriptors(path: str) -> Iterator[None]:
    """Descriptors that nobody has asked for, with every call."""
    with connected(path, HELLO) as stream, open(os.devnull, "rb") as null:
        stream.setblocking(False)
        frame = call("cook", 1, ORDER)
        while True:
            with contextlib.suppress(BlockingIOError, PermissionError):
                socket.send_fds(stream, [frame], [null.fileno()] * 10)
            with contextlib.suppress(BlockingIOError):
                stream.recv(1 << 20)
            yield
            select.select([stream], [stream], [])


def connections(path: str) -> Iterator[None]:
    """As many connections as a user may have, and ever new ones above that."""
    kept = [connected(path, HELLO) for _ in range(Limits().clients_per_uid)]
    while kept:
        with connected(path) as stream:
            read_to_end(stream)
        yield


def visits(path: str) -> Iterator[None]:
    """Connect, call once, go, and come back."""
    return again_and_again(path, HELLO + call("cook", 1, ORDER))


def halves(path: str) -> Iterator[None]:
    """Connect, send half a frame, go."""
    return again_and_again(path, HELLO + call("cook", 1, ORDER)[:-5])


def garbage(path: str) -> Iterator[None]:
    """Connect, and speak another protocol."""
    return again_and_again(path, b"GET / HTTP/1.1\r\nHost: kitchen.example.org\r\n\r\n")


def giant(path: str) -> Iterator[None]:
    """Connect, and announce a frame of four gigabytes."""
    return again_and_again(path, HELLO + HEADER.pack((1 << 32) - 1, CALL, 0, 0, 1))


def foreign(path: str) -> Iterator[None]:
    """Connect with another schema, call, and never say what the calls are."""
    return again_and_again(path, FOREIGN_HELLO + calls("cook", ORDER))


OFFENDERS: Final[dict[str, Callable[[str], Iterator[None]]]] = {
    offender.__name__: offender
    for offender in (
        silent,
        dripping,
        never_reading,
        flood,
        burning,
        nested,
        cancelling,
        large,
        descriptors,
        connections,
        visits,
        halves,
        garbage,
        giant,
        foreign,
    )
}


def offend(name: str, path: str) -> None:
    """Do it until killed, or dropped and not let in again. Says so once it has begun."""
    work = OFFENDERS[name](path)
    next(work)
    print("begun", flush=True)
    with contextlib.suppress(OSError):
        for _ in work:
            pass
    time.sleep(3600)


# ------------------------------------------------------------ the run


@contextmanager
def process(*arguments: str) -> Iterator[None]:
    """Another one of this program, which has begun."""
    command = [sys.executable, "-m", f"{__package__}.hostile", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as child:
        assert child.stdout is not None
        try:
            if not child.stdout.readline():
                raise SystemExit(f"{arguments} ended before it had begun")
            yield
        finally:
            child.kill()


@attrs.frozen
class Latency:
    """The latencies of one sample, in microseconds."""

    p50: float
    p99: float


def sample(kitchen: BlockingClient[Kitchen], count: int) -> Latency:
    """Call so often, or for a second."""
    took: list[float] = []
    ends = time.perf_counter() + SAMPLE_SECONDS
    while len(took) < count and time.perf_counter() < ends:
        began = time.perf_counter()
        kitchen.call(Kitchen.cook, ORDER)
        took.append((time.perf_counter() - began) * 1e6)
    return Latency(statistics.median(took), p99_of(took))


def median(samples: list[Latency]) -> Latency:
    """Of each quantile by itself."""
    return Latency(statistics.median(s.p50 for s in samples), statistics.median(s.p99 for s in samples))


@attrs.frozen
class Row:
    """What was measured beside one kind of offender."""

    offender: str
    alone: Latency
    beside: Latency
    control: Latency

    @property
    def of_alone(self) -> float:
        """How many times its p99 alone."""
        return self.beside.p99 / self.alone.p99

    @property
    def of_control(self) -> float:
        """How many times its p99 while the offender is at another service."""
        return self.beside.p99 / self.control.p99


def measure(names: list[str], rounds: int, count: int) -> list[Row]:
    """Alone, beside and control, one after the other, in every round."""
    samples: dict[str, tuple[list[Latency], list[Latency], list[Latency]]] = {name: ([], [], []) for name in names}
    with tempfile.TemporaryDirectory() as directory:
        ours, other = f"{directory}/ours", f"{directory}/other"
        with process("--serve", ours), process("--serve", other), Service(ours, Kitchen).connect(timeout=60) as kitchen:
            sample(kitchen, count)  # warm
            for _ in range(rounds):
                for name, (alone, beside, control) in samples.items():
                    alone.append(sample(kitchen, count))
                    for path, into in ((ours, beside), (other, control)):
                        with process("--offend", name, path):
                            into.append(sample(kitchen, count))
    return [Row(name, *map(median, of_name)) for name, of_name in samples.items()]


def main() -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=OFFENDERS, default=list(OFFENDERS), metavar="OFFENDER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000, help="calls a sample, which takes a second at most")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--offend", nargs=2, metavar=("OFFENDER", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        Service(options.serve, Kitchen).run(Chef(), ready=lambda _: print("begun", flush=True))
        return
    if options.offend:
        offend(*options.offend)
        return
    rows = measure(options.only, options.rounds, options.calls)
    if options.json:
        print(json.dumps([attrs.asdict(row) for row in rows], indent=2))
        return
    print(f"{this_machine().in_words()}, {options.rounds} rounds")
    print(f"{'us a call':16} {'alone':>15} {'beside':>15} {'control':>15}   {'p99 beside, of':>16}")
    print(f"{'':16} {'p50':>7} {'p99':>7} {'p50':>7} {'p99':>7} {'p50':>7} {'p99':>7}   {'alone':>7} {'control':>8}")
    for row in rows:
        figures = (value for latency in (row.alone, row.beside, row.control) for value in attrs.astuple(latency))
        print(
            f"{row.offender:16} {' '.join(f'{value:7.0f}' for value in figures)}   "
            f"{row.of_alone:7.2f} {row.of_control:8.2f}"
        )


if __name__ == "__main__":
    main()
