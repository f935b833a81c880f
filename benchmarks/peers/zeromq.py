"""pyzmq over ipc://, with msgspec: REQ/REP, DEALER/ROUTER, PUSH/PULL and PUB/SUB, each as the ZeroMQ guide uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import zmq

from ..framing import decode, encode
from ..messages import IN_FLIGHT, LAST_RECORD, ORDER, RECORD
from ..readers import Readers, reading
from ..replay import holding, idling, replayed
from ..sides import MILLISECONDS, Pair, Place, Run, Works, burst_rate, rate, timed_each


@contextmanager
def bound(place: Place, kind: int, name: str = "") -> Iterator[zmq.Socket]:
    """A socket with a name."""
    with zmq.Context.instance().socket(kind) as here:
        here.bind(f"ipc://{place.path}{name}")
        yield here


@contextmanager
def connection(place: Place, kind: int, name: str = "") -> Iterator[zmq.Socket]:
    """A socket which is connected to that, or will be."""
    with zmq.Context.instance().socket(kind) as here:
        here.linger = 0
        here.connect(f"ipc://{place.path}{name}")
        yield here


# ------------------------------------------------------------ calls


def serve_calls(place: Place) -> None:
    """REP."""
    with bound(place, zmq.REP) as replies:
        place.ready()
        while True:
            replies.send(encode(decode(replies.recv())))


@contextmanager
def connected(place: Place) -> Iterator[Callable[[], object]]:
    """REQ."""
    with connection(place, zmq.REQ) as requests:

        def call() -> None:
            requests.send(encode(ORDER))
            decode(requests.recv())

        yield call


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    with connected(place) as call:
        yield timed_each(call)


def serve_routed(place: Place) -> None:
    """ROUTER."""
    with bound(place, zmq.ROUTER) as router:
        place.ready()
        while True:
            who, body = router.recv_multipart()
            router.send_multipart([who, encode(decode(body))])


@contextmanager
def calling_each(place: Place) -> Iterator[Run]:
    """DEALER: many in flight."""
    with connection(place, zmq.DEALER) as dealer:

        def batch() -> None:
            for _ in range(IN_FLIGHT):
                dealer.send(encode(ORDER))
            for _ in range(IN_FLIGHT):
                decode(dealer.recv())

        yield rate(batch, IN_FLIGHT)


def serve_bytes(place: Place) -> None:
    """REP, without a copy where that is worth while, which ZeroMQ says is from some ten kilobytes on."""
    with bound(place, zmq.REP) as replies:
        place.ready()
        while True:
            replies.send(replies.recv(copy=False), copy=False)


@contextmanager
def echoing(place: Place) -> Iterator[Run]:
    """So many bytes there and back."""
    data = bytes(place.argument)
    copy = place.argument < zmq.COPY_THRESHOLD
    with connection(place, zmq.REQ) as requests:

        def echo() -> None:
            requests.send(data, copy=copy)
            requests.recv(copy=copy)

        yield timed_each(echo)


# ------------------------------------------------------------ one way


def serve_records(place: Place) -> None:
    """PULL; answers each last one by another PUSH."""
    with bound(place, zmq.PULL) as records, bound(place, zmq.PUSH, ".back") as back:
        place.ready()
        while True:
            if records.recv() == LAST_RECORD:
                back.send(b"")


@contextmanager
def sending_records(place: Place) -> Iterator[Run]:
    """PUSH: raw bytes, one by one, which ZeroMQ puts together by itself."""
    with connection(place, zmq.PUSH) as records, connection(place, zmq.PULL, ".back") as back:

        def burst(count: int) -> None:
            for _ in range(count - 1):
                records.send(RECORD)
            records.send(LAST_RECORD)
            back.recv()

        yield burst_rate(burst)


def serve_readers(place: Place) -> None:
    """SUB."""

    @contextmanager
    def opened() -> Iterator[Iterable[bytes]]:
        with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
            subscriber.rcvhwm = 0
            subscriber.connect(f"ipc://{place.path}.feed")
            subscriber.subscribe(b"")
            yield iter(subscriber.recv, None)

    reading(place, opened)


@contextmanager
def broadcasting(place: Place) -> Iterator[Run]:
    """PUB, with high-water marks which no burst reaches, as it would drop records beyond."""
    with zmq.Context.instance().socket(zmq.PUB) as publisher, Readers(place) as readers:
        publisher.sndhwm = 0
        publisher.bind(f"ipc://{place.path}.feed")

        def send_many(records: Sequence[bytes]) -> None:
            for record in records:
                publisher.send(record)

        yield readers.rate(send_many)


def serve_arrays(place: Place) -> None:
    """REP: an array as pyzmq's documentation receives it, without a copy."""
    with bound(place, zmq.REP) as replies:
        place.ready()
        while True:
            pixels = np.frombuffer(replies.recv(copy=False).buffer, np.uint8)
            replies.send(bytes([pixels[0], pixels[-1]]))


@contextmanager
def sending_arrays(place: Place) -> Iterator[Run]:
    """Send an array without a copy, and wait until it has been read."""
    pixels = np.ones(place.argument, np.uint8)
    with connection(place, zmq.REQ) as requests:

        def send() -> None:
            requests.send(pixels, copy=False)
            requests.recv()

        yield timed_each(send, MILLISECONDS)


WORKS: Final[Works] = {
    "call": Pair(serve_calls, calling),
    "batch": Pair(serve_routed, calling_each),
    "clients": Pair(serve_calls, replayed(connected)),
    "memory": Pair(serve_calls, holding(connected)),
    "idle": Pair(serve_calls, idling(connected)),
    "echo": Pair(serve_bytes, echoing),
    "records": Pair(serve_records, sending_records),
    "broadcast": Pair(serve_readers, broadcasting),
    "array": Pair(serve_arrays, sending_arrays),
}
