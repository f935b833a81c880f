"""Many readers of one writer, as each contender has them: processes, which say when a burst has come.

The server's side is the readers, the client's side the writer. What the readers say comes back through a FIFO, one byte
each; so a burst is timed from its first record to the moment when the slowest reader has read its last.

The law: a burst of which a reader has missed a record is an error, not a figure.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final

from .messages import LAST_RECORD, RECORD
from .sides import Place, Run, forked, rate

READERS: Final = 8
BURST: Final = 1024
"""How many records are sent before the readers are waited for; pyzmq's default high-water mark is about as many."""
SYNC: Final = b"\x02" * 64
"""Sent until every reader has seen one, and counts for nothing."""
FRESH, WHOLE, LACKING = b"f", b"w", b"l"

Take = Callable[[Callable[[bytes], None]], None]
"""Reads for ever, and gives each record to a function."""


def reading(place: Place, take: Take) -> None:
    """Be the readers: for ever."""
    os.mkfifo(f"{place.path}.said")
    with ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(forked(lambda: take(counting(f"{place.path}.said")), *os.sched_getaffinity(0)))
        place.ready()
        signal.pause()


def counting(path: str) -> Callable[[bytes], None]:
    """Count records; say when the first one was seen, and after each last one whether all had come."""
    said = os.open(path, os.O_WRONLY)
    seen, fresh = 0, True

    def count(record: bytes) -> None:
        nonlocal seen, fresh
        first = record[0]
        if first == SYNC[0]:
            if fresh:
                os.write(said, FRESH)
            fresh = False
            return
        seen += 1
        if first == LAST_RECORD[0]:
            os.write(said, WHOLE if seen == BURST else LACKING)
            seen = 0

    return count


class Readers:
    """The readers, from the writer's side."""

    def __init__(self, place: Place) -> None:
        self._path = f"{place.path}.said"

    def __enter__(self) -> Readers:
        self._said = os.open(self._path, os.O_RDWR)  # never at its end, whoever comes and goes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        os.close(self._said)

    def rate(self, send_many: Callable[[Sequence[bytes]], object]) -> Run:
        """Once every reader reads: bursts, as records a second."""
        os.set_blocking(self._said, False)
        missing = READERS
        while missing:
            send_many([SYNC])
            missing -= len(self._heard())
        os.set_blocking(self._said, True)
        burst = [RECORD] * (BURST - 1) + [LAST_RECORD]

        def send() -> None:
            send_many(burst)
            heard = b""
            while len(heard) < READERS:
                heard += os.read(self._said, READERS)
            if heard != WHOLE * READERS:
                raise RuntimeError("a reader has missed records of a burst")

        return rate(send, BURST)

    def _heard(self) -> bytes:
        try:
            return os.read(self._said, READERS)
        except BlockingIOError:
            return b""
