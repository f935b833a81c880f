"""pynng over ipc://, with msgspec: Req0/Rep0, Push0/Pull0 and Pub0/Sub0, as its documentation uses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pynng

from ..framing import decode, encode
from ..messages import LAST_RECORD, ORDER, RECORD
from ..readers import BURST, Readers, reading
from ..sides import Pair, Place, Run, Works, burst_rate, timed_each


def serve_calls(place: Place) -> None:
    """Rep0."""
    with pynng.Rep0(listen=f"ipc://{place.path}") as replies:
        place.ready()
        while True:
            replies.send(encode(decode(replies.recv())))


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """Req0."""
    with pynng.Req0(dial=f"ipc://{place.path}", block_on_dial=True) as requests:

        def call() -> None:
            requests.send(encode(ORDER))
            decode(requests.recv())

        yield timed_each(call)


def serve_bytes(place: Place) -> None:
    """Rep0, which takes messages of any size."""
    with pynng.Rep0(listen=f"ipc://{place.path}", recv_max_size=0) as replies:
        place.ready()
        while True:
            replies.send(replies.recv())


@contextmanager
def echoing(place: Place) -> Iterator[Run]:
    """So many bytes there and back."""
    data = bytes(place.argument)
    with pynng.Req0(dial=f"ipc://{place.path}", recv_max_size=0, block_on_dial=True) as requests:

        def echo() -> None:
            requests.send(data)
            requests.recv()

        yield timed_each(echo)


def serve_records(place: Place) -> None:
    """Pull0; answers each last one by a Push0."""
    with (
        pynng.Pull0(listen=f"ipc://{place.path}") as records,
        pynng.Push0(listen=f"ipc://{place.path}.back") as back,
    ):
        place.ready()
        while True:
            if records.recv() == LAST_RECORD:
                back.send(b"!")


@contextmanager
def sending_records(place: Place) -> Iterator[Run]:
    """Push0: raw bytes, one by one."""
    with (
        pynng.Push0(dial=f"ipc://{place.path}", block_on_dial=True) as records,
        pynng.Pull0(dial=f"ipc://{place.path}.back", block_on_dial=True) as back,
    ):

        def burst(count: int) -> None:
            for _ in range(count - 1):
                records.send(RECORD)
            records.send(LAST_RECORD)
            back.recv()

        yield burst_rate(burst)


def serve_readers(place: Place) -> None:
    """Sub0."""

    @contextmanager
    def opened() -> Iterator[Iterable[bytes]]:
        with pynng.Sub0(topics=b"", recv_buffer_size=2 * BURST) as subscriber:
            subscriber.dial(f"ipc://{place.path}.feed", block=False)
            yield iter(subscriber.recv, None)

    reading(place, opened)


@contextmanager
def broadcasting(place: Place) -> Iterator[Run]:
    """Pub0, with buffers which hold a burst, as it would drop records beyond."""
    with (
        pynng.Pub0(listen=f"ipc://{place.path}.feed", send_buffer_size=2 * BURST) as publisher,
        Readers(place) as readers,
    ):

        def send_many(records: Sequence[bytes]) -> None:
            for record in records:
                publisher.send(record)

        yield readers.rate(send_many)


WORKS: Final[Works] = {
    "call": Pair(serve_calls, calling),
    "echo": Pair(serve_bytes, echoing),
    "records": Pair(serve_records, sending_records),
    "broadcast": Pair(serve_readers, broadcasting),
}
