"""Open an end of a FIFO: check the name, make it where that is asked for, wait for a reader.

The law: watch first, then try, then wait. Opening never blocks, and a writer is never opened for reading as
well, for what it wrote without a reader would vanish.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from time import monotonic
from typing import Final

from .. import _names, lowlevel
from .._errors import NameNotFound, NoServer, TimedOut
from .._names._trouble import translate, translating
from .._values import StrPath
from .connecting import Pause
from .fifo_end import ReadingEnd, WritingEnd, own_path

FIRST_POLL_SECONDS: Final = 0.05
LAST_POLL_SECONDS: Final = 0.25
"""A program that opens the FIFO and blocks until a writer comes, as `cat` does, causes no event until then."""

NAP_SECONDS: Final = 0.002
"""The least time between two tries: in a busy directory, most events are about other files."""


def opening_writing(
    path: StrPath, *, create: bool, mode: int, wait_seconds: float, capacity_bytes: int | None
) -> Generator[Pause, None, WritingEnd]:
    """Open the writing end, waiting for a reader.

    Raises:
        NoServer: Nobody reads, and `wait_seconds` is 0.
        TimedOut: Nobody has come to read within `wait_seconds`.
        NameNotFound: Nothing stands there, it is not to be made, and `wait_seconds` have passed.
        WrongKind, NotAllowed: See `_names.open_fifo`.
    """
    where = _names.absolute(path)  # the working directory may be another one when it is tried again
    until = monotonic() + wait_seconds
    seconds = FIRST_POLL_SECONDS
    watch: _names.NameWatch | None = None
    try:
        while True:
            try:
                fd = _try_writing(where, create=create, mode=mode)
                with translating(where, "open it for writing"):
                    end = WritingEnd(where, fd)
                break
            except (NameNotFound, NoServer) as error:
                left = until - monotonic()
                if left <= 0:
                    raise _timed_out(error, where, wait_seconds) from error
            if watch is None:
                watch = _names.NameWatch(where, opens=True)
                continue
            yield Pause(watch.fileno(), min(seconds, left))
            yield Pause(None, NAP_SECONDS)
            watch.drain()
            seconds = min(2 * seconds, LAST_POLL_SECONDS)
    finally:
        if watch is not None:
            watch.close()
    if capacity_bytes is not None:
        end.wish_capacity(capacity_bytes)
    return end


def _try_writing(path: str, *, create: bool, mode: int) -> int:
    name_fd = _names.open_fifo(path, create=create, mode=mode)
    try:
        return lowlevel.open_fifo_for_writing(own_path(name_fd))
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NoServer(
                f"{path}: nobody has it open for reading; start a reader, or wait for one with wait_seconds="
            ) from error
        raise translate(error, path, "open it for writing") from error
    finally:
        os.close(name_fd)


def _timed_out(error: NameNotFound | NoServer, path: str, wait_seconds: float) -> Exception:
    if isinstance(error, NameNotFound) or wait_seconds <= 0:
        return error
    return TimedOut(f"{path}: nobody has opened it for reading within {wait_seconds} seconds")


def open_reading(path: StrPath, *, create: bool, mode: int, until_writers_gone: bool, remove: bool) -> ReadingEnd:
    """Open the reading end. Does not wait for a writer.

    Raises:
        NameNotFound: Nothing stands there, and it is not to be made.
        WrongKind, NotAllowed: See `_names.open_fifo`.
    """
    where = _names.absolute(path)
    name_fd = _names.open_fifo(where, create=create, mode=mode)
    try:
        with translating(where, "open it for reading"):
            fd = lowlevel.open_fifo_for_reading(own_path(name_fd))
            return ReadingEnd(where, fd, until_writers_gone=until_writers_gone, remove=remove)
    finally:
        os.close(name_fd)
