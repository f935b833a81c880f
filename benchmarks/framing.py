"""The format of the contenders that carry bytes: four bytes of length, and the record in msgpack, by msgspec.

Encoders and decoders are made once, as msgspec recommends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from .messages import ORDER, Order
from .sides import Place, connecting

encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(Order).decode


def framed(body: bytes) -> bytes:
    """A frame of it."""
    return len(body).to_bytes(4, "little") + body


def frame() -> bytes:
    """A call."""
    return framed(encode(ORDER))


def bodies(buffer: bytearray) -> Iterator[bytes]:
    """Take whole frames from a buffer of a stream, and give what is in them."""
    at = 0
    while len(buffer) - at >= 4:
        end = at + 4 + int.from_bytes(buffer[at : at + 4], "little")
        if end > len(buffer):
            break
        yield bytes(buffer[at + 4 : end])
        at = end
    del buffer[:at]


@contextmanager
def listening(place: Place) -> Iterator[socket.socket]:
    """A listening socket, which others can connect to from now on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place.path)
        listener.listen(4096)
        place.ready()
        yield listener


@contextmanager
def stream_to(place: Place) -> Iterator[socket.socket]:
    """A connected socket."""
    with socket.socket(socket.AF_UNIX) as stream:
        connecting(lambda: stream.connect(place.path))
        yield stream


def receive_into(stream: socket.socket, view: memoryview) -> None:
    """Fill a buffer."""
    while view:
        got = stream.recv_into(view)
        if not got:
            raise ConnectionResetError("the other side has gone")
        view = view[got:]


@contextmanager
def connected(place: Place) -> Iterator[Callable[[], None]]:
    """A plain client of a server which speaks this, one call in flight."""
    with stream_to(place) as stream:

        def call() -> None:
            stream.sendall(frame())
            decode(stream.recv(65536)[4:])

        yield call
