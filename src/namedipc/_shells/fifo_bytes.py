"""Plain bytes through a FIFO: what the trio ends and the blocking ends share. Plans, as in `fifo_messages`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from .._errors import EndOfChannel
from .connecting import Pause
from .fifo_end import ReadingEnd, WritingEnd

WRITES_AT_ONCE: Final = 16
"""After so many, up to 1 MiB, other tasks get their turn."""

READ_BYTES: Final = 1 << 16
"""What a read asks for where the caller does not say: the usual capacity of a FIFO."""

WRITE_BYTES: Final = 1 << 16


def sending_bytes(end: WritingEnd, data: bytes | bytearray | memoryview) -> Generator[Pause, None, None]:
    """Write all of it.

    Raises:
        ConnectionLost: Nobody reads any more.
        Closed: The end was closed, be it meanwhile.
    """
    end.enter()
    try:
        with memoryview(data) as view, view.cast("B") as rest:
            sent = writes = 0
            while sent < len(rest):
                written = end.write(rest[sent : sent + WRITE_BYTES])
                sent += written
                writes += 1
                if not written:
                    yield end.pause()
                    end.hear()
                elif writes % WRITES_AT_ONCE == 0:
                    yield Pause(end.fileno(), 0)
                    end.hear()
    finally:
        end.leave()


def waiting_to_send(end: WritingEnd) -> Generator[Pause, None, None]:
    """Wait until a write would not have to.

    Raises:
        Closed: The end was closed, be it meanwhile.
    """
    end.enter()
    try:
        while not end.is_writable():
            yield end.pause()
            end.hear()
    finally:
        end.leave()


def receiving_bytes(end: ReadingEnd, max_bytes: int | None) -> Generator[Pause, None, bytes]:
    """Read what is there, at least one byte; nothing at the end.

    Raises:
        Closed: The end was closed, be it meanwhile.
    """
    end.enter()
    try:
        while True:
            try:
                data = end.read(READ_BYTES if max_bytes is None else max_bytes)
            except EndOfChannel:
                return b""
            if data is not None:
                return data
            yield end.pause()
            end.hear()
    finally:
        end.leave()


def check_max_bytes(max_bytes: int | None) -> None:
    """Refuse a number of bytes which nothing can be read by.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is below 1.
    """
    if max_bytes is None:
        return
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes={max_bytes!r}: a whole number, or None")
    if max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes}: at least 1")
