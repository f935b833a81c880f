"""Watch: be woken when a name appears or is replaced.

The law: first the watch, then the try; an event between the two is kept. Where no inotify instance is left
(128 a user) the descriptor never becomes readable, and the caller's own back-off, which it needs anyway, is
all there is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, final

from .. import lowlevel
from .._opening import in_trio_task
from .._values import StrPath
from ._place import Place
from ._trouble import translating

FIRST_POLL_SECONDS: Final = 0.05
LAST_POLL_SECONDS: Final = 1.0

_NONE_LEFT: Final = {errno.EMFILE, errno.ENOSPC, errno.ENOMEM, errno.ENOSYS}
"""No instance is left, or no watch: inotify_init(2), inotify_add_watch(2)."""


@final
class NameWatch:
    """Readable when something has happened to the name's directory. Close it, or leave it by `with`.

    Attributes:
        is_polling: Whether there was no inotify, so that only polling remains.
    """

    def __init__(self, path: StrPath, *, opens: bool = False) -> None:
        """Begin to watch.

        Args:
            path: The name; nothing has to be there.
            opens: Be woken as well when something in the directory is opened, as a reader opens a FIFO.

        Raises:
            NameNotFound: The directory is missing: it cannot be watched, and is not waited for.
        """
        watch = lowlevel.Watch
        mask = watch.CREATE | watch.MOVED_TO | watch.ATTRIB | watch.ONLYDIR
        with Place(path, make_directory=True) as place, translating(place.path, "watch its directory"):
            self._fd = _watching(place.directory_fd, mask | watch.OPEN if opens else mask)
            self.is_polling: Final = self._fd < 0
            if self.is_polling:
                self._fd = lowlevel.eventfd()

    def __enter__(self) -> NameWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor to wait for; the watch keeps it."""
        return self._fd

    def drain(self) -> None:
        """Take what has happened off the descriptor, so that it is readable again only for something new."""
        if not self.is_polling:
            with suppress(BlockingIOError):
                while lowlevel.read_watch(self._fd):
                    pass

    def close(self) -> None:
        """Stop to watch. Safe to repeat."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            close_queue(fd)


def _watching(directory_fd: int, mask: lowlevel.Watch) -> int:
    try:
        fd = lowlevel.create_inotify()
    except OSError as error:
        if error.errno in _NONE_LEFT:
            return -1
        raise
    try:
        lowlevel.add_watch(fd, f"/proc/self/fd/{directory_fd}", mask)
    except OSError as error:
        close_queue(fd)
        if error.errno in _NONE_LEFT:
            return -1
        raise
    return fd


def close_queue(fd: int) -> None:
    """Close an inotify instance; within trio a moment later, so that its loop does not stand still meanwhile."""
    if in_trio_task():
        lowlevel.close_inotify(fd)
    else:
        os.close(fd)


def poll_delays() -> Iterator[float]:
    """Yield how many seconds to wait at most before the next try: 0.05, doubling to 1. Never ends."""
    seconds = FIRST_POLL_SECONDS
    while True:
        yield seconds
        seconds = min(2 * seconds, LAST_POLL_SECONDS)
