"""Many readers of one writer, as each contender has them: processes, which say when a burst has come.

The server's side is the readers, the client's side the writer. What the readers say comes back through a FIFO, one byte
each; so a burst is timed from its first record to the moment when the slowest reader has read its last.

A contender's reader is an iterable of records, made of what its documentation recommends by what is in C, so that none
pays for a loop in Python but the one which counts.

The law: a burst of which a reader has missed a record is an error, not a figure.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
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

Opened = Callable[[], AbstractContextManager[Iterable[bytes]]]
"""Opens a reader, which gives records for ever."""


def reading(place: Place, opened: Opened) -> None:
    """Be the readers: for ever."""
    os.mkfifo(f"{place.path}.said")

    def read() -> None:
        with opened() as records:
            count(records, os.open(f"{place.path}.said", os.O_WRONLY))

    with ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(forked(read, *os.sched_getaffinity(0)))
        place.ready()
        signal.pause()


def count(records: Iterable[bytes], said: int) -> None:
    """Count records; say when the first one was seen, and after each last one whether all had come.

    Each is looked at, and that is all: eight readers share a core, and what is done here is done by each.
    """
    seen, fresh = 0, True
    for record in records:
        if not record[0]:
            seen += 1
        elif record[0] == LAST_RECORD[0]:
            os.write(said, WHOLE if seen == BURST - 1 else LACKING)
            seen = 0
        elif fresh:
            os.write(said, FRESH)
            fresh = False


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
