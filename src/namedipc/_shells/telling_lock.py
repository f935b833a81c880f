"""For the threads of one connection: a lock that tells when it is free again, and what wakes a thread that waits.

The law: neither waits where garbage is collected, as that may be in the middle of anything.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias, final

from .. import lowlevel


@final
class TellingLock:
    """A lock which, each time it has been released, calls somebody: for what could not be done meanwhile.

    Args:
        after: Is called without the lock.
    """

    __slots__ = ("_after", "_lock")

    def __init__(self, after: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._after = after

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # as threading has it
        """As `threading.Lock`."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """As `threading.Lock`, and tell."""
        self._lock.release()
        self._after()

    def release_quietly(self) -> None:
        """Release without telling: by the one who is told."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.release()


Lock: TypeAlias = "threading.Lock | TellingLock"  # the former is no class before Python 3.13


@final
class Waker:
    """Wakes a thread that waits for something else. Owns a descriptor, which is made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # it may be rung by garbage that is collected in the middle of this
        self._fd: int | None = None
        self._is_armed = False
        self._is_closed = False

    def arm(self) -> int | None:
        """Forget what has been rung; return what can be read as soon as it is rung again, None once it is closed."""
        with self._lock:
            if self._is_closed:
                return None
            if self._fd is None:
                self._fd = lowlevel.eventfd()
            self._is_armed = True
            os.eventfd_write(self._fd, 1)
            os.eventfd_read(self._fd)
            return self._fd

    def disarm(self) -> None:
        """Nobody waits any more."""
        self._is_armed = False

    def ring(self) -> None:
        """Wake whoever waits."""
        if not self._is_armed:
            return
        with self._lock:
            if self._fd is not None:
                os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Let nobody wait any more. Safe to call twice."""
        with self._lock:
            fd, self._fd = self._fd, None
            self._is_closed = True
            if fd is not None:
                os.close(fd)
