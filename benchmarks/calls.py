"""Typed calls, one in flight: namedipc beside raw sockets, pyzmq and trio streams, as ratios within one run.

Every contender answers the same call (a method and a record of four fields in, a record out; msgpack both ways) from
a server process of its own. The rounds are interleaved, so that a machine which changes its mind changes it for all;
what is printed are medians of the rounds, and each one's ratio to raw sockets.

    python benchmarks/calls.py            a core each where there are two, and all on one core
    python benchmarks/calls.py --quick    a smoke run: that it works and orders sanely

A contender that is not installed is left out, and said so.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

import attrs
import msgspec
import trio

from namedipc import Service


@attrs.frozen
class Order:
    """The record that goes there and back."""

    table: int
    dish: str
    price: float
    paid: bool


class Kitchen(Protocol):
    """The interface."""

    async def cook(self, order: Order) -> Order:
        """Return the order as it came."""
        ...


class Chef:
    """Its implementation."""

    async def cook(self, order: Order) -> Order:
        """Return it."""
        return order


ORDER = Order(4, "soup", 7.5, paid=False)
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Order).decode
Call = Callable[[int], None]
"""Makes so many calls."""


# ------------------------------------------------------------ servers, each in a process of its own


def serve_namedipc(directory: str) -> None:
    """A service."""
    Service(f"{directory}/namedipc", Kitchen).run(Chef())


def serve_raw(directory: str) -> None:
    """A blocking socket, a client at a time: four bytes of length, and the record."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/raw.new")
        listener.listen()
        os.rename(f"{directory}/raw.new", f"{directory}/raw")
        while True:
            stream, _ = listener.accept()
            with stream:
                while data := stream.recv(65536):
                    body = encode(decode(data[4:]))
                    stream.sendall(len(body).to_bytes(4, "little") + body)


def serve_trio(directory: str) -> None:
    """A trio SocketStream a client."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            async for data in stream:
                body = encode(decode(bytes(data[4:])))
                await stream.send_all(len(body).to_bytes(4, "little") + body)

    async def serve() -> None:
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(f"{directory}/trio.new")
        listener.listen()
        os.rename(f"{directory}/trio.new", f"{directory}/trio")
        async with trio.open_nursery() as nursery:
            while True:
                accepted, _ = await listener.accept()
                nursery.start_soon(handle, trio.SocketStream(accepted))

    trio.run(serve)


def serve_pyzmq(directory: str) -> None:
    """REP."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as replies:
        replies.bind(f"ipc://{directory}/pyzmq")
        while True:
            replies.send(encode(decode(replies.recv())))


SERVERS: dict[str, Callable[[str], None]] = {
    "namedipc": serve_namedipc,
    "raw": serve_raw,
    "trio": serve_trio,
    "pyzmq": serve_pyzmq,
}


# ------------------------------------------------------------ clients, all in this process


@contextmanager
def call_namedipc(directory: str) -> Iterator[Call]:
    """The blocking client."""
    with Service(f"{directory}/namedipc", Kitchen).connect(wait_seconds=20) as kitchen:

        def run(count: int) -> None:
            for _ in range(count):
                kitchen.call(Kitchen.cook, ORDER)

        yield run


@contextmanager
def call_namedipc_trio(directory: str) -> Iterator[Call]:
    """The trio client, in a loop of its own each round."""
    service = Service(f"{directory}/namedipc", Kitchen)

    async def main(count: int) -> None:
        async with service.connect(wait_seconds=20) as kitchen:
            for _ in range(count):
                await kitchen.cook(ORDER)

    yield lambda count: trio.run(main, count)


@contextmanager
def call_raw(directory: str) -> Iterator[Call]:
    """A blocking socket."""
    wait_for(f"{directory}/raw")
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(f"{directory}/raw")

        def run(count: int) -> None:
            for _ in range(count):
                body = encode(ORDER)
                stream.sendall(len(body).to_bytes(4, "little") + body)
                decode(stream.recv(65536)[4:])

        yield run


@contextmanager
def call_trio(directory: str) -> Iterator[Call]:
    """A trio SocketStream."""
    wait_for(f"{directory}/trio")

    async def main(count: int) -> None:
        async with await trio.open_unix_socket(f"{directory}/trio") as stream:
            for _ in range(count):
                body = encode(ORDER)
                await stream.send_all(len(body).to_bytes(4, "little") + body)
                decode(bytes(await stream.receive_some(65536))[4:])

    yield lambda count: trio.run(main, count)


@contextmanager
def call_pyzmq(directory: str) -> Iterator[Call]:
    """REQ."""
    import zmq

    wait_for(f"{directory}/pyzmq")
    with zmq.Context() as context, context.socket(zmq.REQ) as requests:
        requests.connect(f"ipc://{directory}/pyzmq")

        def run(count: int) -> None:
            for _ in range(count):
                requests.send(encode(ORDER))
                decode(requests.recv())

        yield run


CLIENTS: dict[str, tuple[str, Callable[[str], AbstractContextManager[Call]]]] = {
    "raw sockets + msgspec": ("raw", call_raw),
    "pyzmq REQ/REP + msgspec": ("pyzmq", call_pyzmq),
    "trio SocketStream + msgspec": ("trio", call_trio),
    "namedipc, blocking client": ("namedipc", call_namedipc),
    "namedipc, trio client": ("namedipc", call_namedipc_trio),
}


def wait_for(path: str) -> None:
    """Until the server has made its name."""
    while not os.path.exists(path):
        time.sleep(0.005)


# ------------------------------------------------------------ the run


@contextmanager
def server(name: str, directory: str, core: int) -> Iterator[None]:
    """A server process, pinned to a core."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", name, directory, "--core", str(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(cores: tuple[int, int], rounds: int, calls: int) -> dict[str, float]:
    """Return the median microseconds a call of each contender."""
    times: dict[str, list[float]] = {name: [] for name in contenders()}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        for name in dict.fromkeys(CLIENTS[contender][0] for contender in times):
            stack.enter_context(server(name, directory, cores[1]))
        os.sched_setaffinity(0, {cores[0]})
        clients = {name: stack.enter_context(CLIENTS[name][1](directory)) for name in times}
        for client in clients.values():
            client(max(20, calls // 10))  # warm
        for _ in range(rounds):
            for name, client in clients.items():
                began = time.perf_counter()
                client(calls)
                times[name].append((time.perf_counter() - began) / calls * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def contenders() -> list[str]:
    """Who is installed."""
    try:
        import zmq  # noqa: F401
    except ImportError:
        print("pyzmq is not installed: left out")
        return [name for name in CLIENTS if CLIENTS[name][0] != "pyzmq"]
    return list(CLIENTS)


def main() -> None:
    """Run, and print a table for each placement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run of a second or two")
    parser.add_argument("--serve", nargs=2, metavar=("NAME", "DIRECTORY"), help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        os.sched_setaffinity(0, {options.core})
        SERVERS[options.serve[0]](options.serve[1])
        return
    rounds, calls = (3, 100) if options.quick else (11, 3000)
    available = sorted(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {len(available)} cores, Python {platform.python_version()}")
    for title, cores in (("a core each", (available[0], available[-1])), ("one core", (available[0], available[0]))):
        if title == "a core each" and len(available) < 2:
            continue
        medians = measure(cores, rounds, calls)
        print(f"\n{title}, {rounds} rounds of {calls} calls    us a call    of raw sockets")
        for name, median in medians.items():
            print(f"  {name:40} {median:9.1f} {median / medians['raw sockets + msgspec']:14.2f}")


if __name__ == "__main__":
    main()
