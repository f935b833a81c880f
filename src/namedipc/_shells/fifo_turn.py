"""Turns: which of several readers may take packets off a FIFO, and which of several writers begins a long message.

A turn is a lock on the FIFO, which the kernel gives back when its holder is killed: flock(2) for readers, an
open file description lock for writers, which do not see each other. Either belongs to an open file
description, so that a handle's own serves as long as nobody else has the turn. Otherwise a thread waits for
it, on a description of its own.

The law: at most one thread a handle; a turn that comes when nobody wants it any more is given back at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Lock, Thread
from typing import Final, Literal, final

import attrs

from .. import lowlevel
from .._names._trouble import translate, translating
from .fifo_end import End, own_path
from .in_child import forget_in_child


@final
@attrs.frozen
class Sort:
    """How a turn is taken.

    Attributes:
        open: Opens the FIFO once more, for a thread to wait on.
        take: Takes the turn, or raises BlockingIOError.
        wait: Waits for it.
        give_back: Gives it back.
    """

    open: Callable[[str], int]
    take: Callable[[int], None]
    wait: Callable[[int], None]
    give_back: Callable[[int], None]


READERS: Final = Sort(
    open=lowlevel.open_fifo_for_reading,
    take=partial(lowlevel.flock, exclusive=True),
    wait=partial(lowlevel.wait_flock, exclusive=True),
    give_back=lowlevel.unflock,
)
WRITERS: Final = Sort(
    open=lowlevel.open_fifo_for_writing,
    take=partial(lowlevel.lock_ofd, exclusive=True),
    wait=partial(lowlevel.wait_lock_ofd, exclusive=True),
    give_back=lowlevel.unlock_ofd,
)


@final
class Turn:
    """The turn as one end sees it. Used by one thread or task at a time."""

    def __init__(self, end: End, sort: Sort) -> None:
        self._end: Final = end
        self._sort: Final = sort
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
            self._sort.take(self._end.fd)
        except BlockingIOError:
            return False
        self._has_own = True
        return True

    def wait(self) -> None:
        """Have the end's bell rung when the turn has come.

        Raises:
            IPCError: No descriptor is left for it, or the other side has gone.
        """
        if self._waiter is None or not self._waiter.want():
            with translating(self._end.path, "wait for a turn"):
                fd = self._sort.open(own_path(self._end.fd))
            self._waiter = _Waiter(fd, self._sort, self._end.path, self._end.ring)

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
            self._sort.give_back(self._end.fd)


_State = Literal["waiting", "come", "over"]


@final
class _Waiter:
    """A thread that waits for the turn. Owns its descriptor, which is one more end of the FIFO.

    The other side cannot tell it from an open reader or writer, but it stays only as long as somebody else,
    who has the turn, is one.
    """

    def __init__(self, fd: int, sort: Sort, path: str, ring: Callable[[], None]) -> None:
        self._fd = fd
        self._sort: Final = sort
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
            error, self._error = self._error, None
            if error is not None:
                raise translate(error, self._path, "wait for a turn") from error
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
            self._sort.wait(self._fd)
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
                self._sort.give_back(fd)  # explicitly: a child that is being started may have the descriptor too
            finally:
                os.close(fd)
