"""namedipc, with blocking clients; a service is run by `Service.run`."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from namedipc import Broadcast, Channel, Limits, Service, SharedRegion

from ..figures import Sample
from ..messages import IN_FLIGHT, LAST, ORDER, Chef, Kitchen, Order
from ..readers import BURST, Readers, reading
from ..replay import holding, idling, replayed
from ..sides import MILLISECONDS, Pair, Place, Run, Works, burst_rate, rate, timed_each

LIMITS: Final = Limits(clients=4096, clients_per_uid=4096)
LARGE: Final = Limits(message_bytes=16 << 20, outbound_bytes=64 << 20)


class Echo(Protocol):
    """An interface for large arguments."""

    async def echo(self, data: bytes) -> bytes:
        """Return the data."""
        ...


class Reflector:
    """Its implementation."""

    async def echo(self, data: bytes) -> bytes:
        """Return it."""
        return data


# ------------------------------------------------------------ calls


def serve(place: Place) -> None:
    """A service."""
    Service(place.path, Kitchen).run(Chef(), limits=LIMITS, ready=lambda _: place.ready())


@contextmanager
def connected(place: Place) -> Iterator[Callable[[], object]]:
    """A client's call."""
    with Service(place.path, Kitchen).connect(wait_seconds=20) as kitchen:
        yield functools.partial(kitchen.call, Kitchen.cook, ORDER)


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    with connected(place) as call:
        yield timed_each(call)


@contextmanager
def calling_each(place: Place) -> Iterator[Run]:
    """Many in flight, by `call_each`."""
    orders = [ORDER] * IN_FLIGHT
    with Service(place.path, Kitchen).connect(wait_seconds=20) as kitchen:
        yield rate(lambda: kitchen.call_each(Kitchen.cook, orders), IN_FLIGHT)


def serve_echo(place: Place) -> None:
    """A service of large arguments."""
    Service(place.path, Echo).run(Reflector(), limits=LARGE, ready=lambda _: place.ready())


@contextmanager
def echoing(place: Place) -> Iterator[Run]:
    """So many bytes there and back."""
    data = bytes(place.argument)
    with Service(place.path, Echo).connect(wait_seconds=20) as service:
        yield timed_each(functools.partial(service.call, Echo.echo, data))


# ------------------------------------------------------------ messages one way


def serve_records(place: Place) -> None:
    """Takes records, and answers each last one."""
    with Channel(place.path, Order).listen() as listener:
        place.ready()
        with listener.accept() as connection:
            while True:
                for order in connection.receive_many():
                    if order.paid:
                        connection.send(order)


@contextmanager
def sending_records(place: Place) -> Iterator[Run]:
    """Many in one `send_many`."""
    batch = [ORDER] * IN_FLIGHT
    with Channel(place.path, Order).connect(wait_seconds=20) as connection:

        def burst(count: int) -> None:
            for _ in range((count - 1) // IN_FLIGHT):
                connection.send_many(batch)
            connection.send_many([ORDER] * ((count - 1) % IN_FLIGHT) + [LAST])
            connection.receive()

        yield burst_rate(burst)


def serve_readers(place: Place) -> None:
    """The readers of a broadcast."""

    @contextmanager
    def opened() -> Iterator[Iterable[bytes]]:
        with Broadcast(f"{place.path}.ring", bytes).reader(wait_seconds=20) as reader:
            yield itertools.chain.from_iterable(iter(reader.receive_many, None))

    reading(place, opened)


@contextmanager
def broadcasting(place: Place) -> Iterator[Run]:
    """One writer; the ring holds a burst twice."""
    broadcast = Broadcast(f"{place.path}.ring", bytes)
    with broadcast.writer(slots=2 * BURST, message_bytes=128) as writer, Readers(place) as readers:
        yield readers.rate(writer.send_many)


# ------------------------------------------------------------ shared memory


def serve_waking(place: Place) -> None:
    """Answers each value of a region by one of another."""
    with (
        SharedRegion(f"{place.path}.there", int).create(0) as there,
        SharedRegion(f"{place.path}.back", int).create(0) as back,
    ):
        values = iter(there.watch())
        next(values)
        place.ready()
        for value in values:
            back.write(value)


@contextmanager
def waking(place: Place) -> Iterator[Run]:
    """Write, and wait for the answer."""
    with (
        SharedRegion(f"{place.path}.there", int).open(wait_seconds=20) as there,
        SharedRegion(f"{place.path}.back", int).open(wait_seconds=20) as back,
    ):
        answers = iter(back.watch())
        next(answers)

        def wake() -> None:
            there.write(1)
            next(answers)

        yield timed_each(wake)


# ------------------------------------------------------------ starting


def started(*command: str) -> float:
    """How long a program runs."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def imported(statement: str) -> float:
    """How long an import takes in a fresh interpreter, in seconds, without the interpreter's own start."""
    script = f"import time; began = time.perf_counter()\n{statement}\nprint(time.perf_counter() - began)"
    return float(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)


def repeated(measured: Callable[[], float]) -> Run:
    """Where the work tells its own time, in seconds: the answer is in milliseconds."""

    def run(count: int) -> Sample:
        seconds = sum(measured() for _ in range(count))
        return Sample(seconds / count * MILLISECONDS, seconds)

    return run


@contextmanager
def importing(_: Place) -> Iterator[Run]:
    """What a program with one kind of name needs; the facade alone is less."""
    yield repeated(lambda: imported("from namedipc import Service"))


@contextmanager
def helping(_: Place) -> Iterator[Run]:
    """`namedipc --help`, as the installed command does it."""
    command = [sys.executable, "-c", "import sys; from namedipc.cli import main; sys.exit(main())", "--help"]
    yield repeated(lambda: started(*command))


WORKS: Final[Works] = {
    "call": Pair(serve, calling),
    "batch": Pair(serve, calling_each),
    "clients": Pair(serve, replayed(connected)),
    "memory": Pair(serve, holding(connected)),
    "idle": Pair(serve, idling(connected)),
    "records": Pair(serve_records, sending_records),
    "broadcast": Pair(serve_readers, broadcasting),
    "echo": Pair(serve_echo, echoing),
    "wake": Pair(serve_waking, waking),
    "import": Pair(None, importing),
    "help": Pair(None, helping),
}
