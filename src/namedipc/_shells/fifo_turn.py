"""The turn of a reader: which of several may take packets off a FIFO.

The turn is flock(2) on the FIFO, which the kernel gives back when its holder is killed. It belongs to an open
file description, so that a handle's own serves as long as nobody else has the turn. Otherwise a thread waits
for it, on a description of its own.

The law: at most one thread a handle; a turn that comes when nobody wants it any more is given back at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock, Thread
from typing import Final, Literal, final

from namedipc import lowlevel
from namedipc._errors import IPCError

from .fifo_end import ReadingEnd, own_path
from .in_child import forget_in_child


@final
class Turn:
    """The turn as one reading end sees it. Used by one thread or task at a time."""

    def __init__(self, end: ReadingEnd) -> None:
        self._end: Final = end
        self._has_own = False
        self._waiter: _Waiter | None = None
        self._granted: _Waiter | None = None

    def take(self) -> bool:
        """Take the turn if it is free, or has come by waiting. Whether it is held now."""
        if self._has_own or self._granted is not None:
            return True
        if self._waiter is not None and self._waiter.has_come():
            self._granted, self._waiter = self._waiter, None
            return True
        try:
            lowlevel.flock(self._end.reading_fd, exclusive=True)
        except BlockingIOError:
            return False
        self._has_own = True
        return True

    def wait(self) -> None:
        """Have the end's bell rung when the turn has come."""
        if self._waiter is None or not self._waiter.want():
            fd = lowlevel.open_fifo_for_reading(own_path(self._end.reading_fd))
            self._waiter = _Waiter(fd, self._end.path, self._end.ring)

    def stop_waiting(self) -> None:
        """Wait no more. A thread that does, goes on; the next wait is that one's."""
        if self._waiter is not None:
            self._waiter.unwant()

    def give_back(self) -> None:
        """Let others take the turn. Safe to repeat."""
        granted, self._granted = self._granted, None
        if granted is not None:
            granted.unwant()
        if self._has_own:
            self._has_own = False
            lowlevel.unflock(self._end.reading_fd)


_State = Literal["waiting", "come", "over"]


@final
class _Waiter:
    """A thread that waits for the turn. Owns its descriptor, which is a reading end of the FIFO.

    That makes it a reader for the writers, but only as long as somebody else, who has the turn, is one.
    """

    def __init__(self, fd: int, path: str, ring: Callable[[], None]) -> None:
        self._fd = fd
        self._path: Final = path
        self._ring: Final = ring
        self._guard = Lock()
        self._state: _State = "waiting"
        self._is_wanted = True
        self._error: OSError | None = None
        forget_in_child(self)
        try:
            Thread(target=self._run, name="namedipc fifo turn", daemon=True).start()
        except BaseException:
            self._end()
            raise

    def has_come(self) -> bool:
        """Whether the turn has come."""
        with self._guard:
            if self._error is not None:
                raise IPCError(f"{self._path}: cannot wait for the other readers") from self._error
            return self._state == "come"

    def want(self) -> bool:
        """Want the turn again. False where the wait is over, so that another has to be begun."""
        with self._guard:
            if self._state == "over":
                return False
            self._is_wanted = True
            return True

    def unwant(self) -> None:
        """Want it no more; give it back if it has come."""
        with self._guard:
            self._is_wanted = False
            if self._state == "come":
                self._end()

    def forget(self) -> None:
        """Close the descriptor in a forked child, where the thread does not exist. The turn stays the parent's."""
        self._guard = Lock()
        self._state = "over"
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _run(self) -> None:
        try:
            lowlevel.wait_flock(self._fd, exclusive=True)
        except OSError as error:
            self._error = error
        with self._guard:
            if self._is_wanted and self._error is None:
                self._state = "come"
            else:
                self._end()
            if self._is_wanted:
                self._ring()

    def _end(self) -> None:
        self._state = "over"
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                lowlevel.unflock(fd)  # explicitly: a child that is being started may have the descriptor too
            finally:
                os.close(fd)
