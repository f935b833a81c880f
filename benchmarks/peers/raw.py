"""Blocking sockets of the standard library, with msgspec: what one would write by hand for one client at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from ..framing import bodies, connected, decode, encode, framed, listening, receive_into, stream_to
from ..messages import IN_FLIGHT, LAST, ORDER
from ..sides import MILLISECONDS, Pair, Place, Run, Works, burst_rate, timed_each


def serve_calls(place: Place) -> None:
    """Answers what one `recv` brings, which with one call in flight is one frame."""
    with listening(place) as listener:
        while True:
            stream, _ = listener.accept()
            with stream:
                while data := stream.recv(65536):
                    stream.sendall(framed(encode(decode(data[4:]))))


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    with connected(place) as call:
        yield timed_each(call)


def serve_records(place: Place) -> None:
    """Takes records, and answers each last one."""
    with listening(place) as listener:
        stream, _ = listener.accept()
        buffer = bytearray()
        with stream:
            while data := stream.recv(65536):
                buffer += data
                for order in map(decode, bodies(buffer)):
                    if order.paid:
                        stream.sendall(b"!")


@contextmanager
def sending_records(place: Place) -> Iterator[Run]:
    """Many frames in one `sendall`."""
    with stream_to(place) as stream:

        def burst(count: int) -> None:
            for _ in range((count - 1) // IN_FLIGHT):
                stream.sendall(b"".join([framed(encode(ORDER)) for _ in range(IN_FLIGHT)]))
            rest = [ORDER] * ((count - 1) % IN_FLIGHT) + [LAST]
            stream.sendall(b"".join([framed(encode(order)) for order in rest]))
            stream.recv(1)

        yield burst_rate(burst)


def serve_bytes(place: Place) -> None:
    """Sends back what has come, once it is whole: into and from one buffer."""
    buffer = memoryview(bytearray(place.argument))
    with listening(place) as listener:
        stream, _ = listener.accept()
        with stream:
            while True:
                receive_into(stream, buffer)
                stream.sendall(buffer)


@contextmanager
def echoing(place: Place) -> Iterator[Run]:
    """So many bytes there and back."""
    data, buffer = bytes(place.argument), memoryview(bytearray(place.argument))
    with stream_to(place) as stream:

        def echo() -> None:
            stream.sendall(data)
            receive_into(stream, buffer)

        yield timed_each(echo)


def serve_arrays(place: Place) -> None:
    """Takes an array into a buffer which is used again, reads its ends, and says what they were."""
    pixels = np.zeros(place.argument, np.uint8)
    with listening(place) as listener:
        stream, _ = listener.accept()
        with stream:
            while True:
                receive_into(stream, pixels.data)
                stream.sendall(bytes([pixels[0], pixels[-1]]))


@contextmanager
def sending_arrays(place: Place) -> Iterator[Run]:
    """Send an array, and wait until it has been read."""
    pixels = np.ones(place.argument, np.uint8)
    with stream_to(place) as stream:

        def send() -> None:
            stream.sendall(pixels.data)
            stream.recv(2)

        yield timed_each(send, MILLISECONDS)


WORKS: Final[Works] = {
    "call": Pair(serve_calls, calling),
    "records": Pair(serve_records, sending_records),
    "echo": Pair(serve_bytes, echoing),
    "array": Pair(serve_arrays, sending_arrays),
}
