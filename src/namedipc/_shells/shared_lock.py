"""The lock of a file in shared memory, between processes, threads, tasks and handles: held alone, or shared by readers.

The lock is an open file description lock, which the kernel frees when its holder is killed. It excludes every
other open file description, in this process too; so a handle lends its own to one user at a time, and whoever
has to wait waits on one that was opened for it.

The kernel wakes whoever waits, but keeps no queue. So who asks for the lock first takes a turn, which is another
lock, and keeps it until it has the one it wants: whoever comes later, be it to share what is shared already, is
behind it.

The law: it is always given back explicitly. To close a descriptor does not free the lock while a forked child
has it.
"""

from __future__ import annotations

import os
from threading import Lock
from time import perf_counter
from typing import Final, Literal, TypeAlias, final

from .. import lowlevel
from .._errors import Busy
from .in_child import forget_in_child

WRITING: Final = 0
"""The byte which writers lock."""
OWNING: Final = 1
"""The byte which is locked by whoever keeps the name: the creator of a region, alone; all writers of a broadcast."""
TURN: Final = 2
"""The byte which whoever asks for the lock locks until it has it."""
_EVERY_BYTE: Final = 3

SOON_ATTEMPTS: Final = 16
"""How often a lock is tried before a wait, which costs a thread in trio; each costs 5 us."""
SOON_SECONDS: Final = 0.0005
"""For how long, where the core is wanted by others: to yield it is to wait until each of them has had its turn, some
4 ms, and so often that would come to longer than a wait takes."""

_holders: Final[set[tuple[tuple[int, int], object]]] = set()
"""Of which file which task or thread of this process holds the lock. Only to recognise who asks twice."""


def open_again(fd: int, *, writable: bool = True) -> int:
    """Return a new open file description of the same file, whatever has become of its name."""
    return os.open(f"/proc/self/fd/{fd}", (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)


@final
class FileLock:
    """The lock of one open handle. Owns its descriptor."""

    def __init__(self, fd: int, *, where: str, busy: type[Busy] = Busy) -> None:
        status = os.fstat(fd)
        self.where: Final = where
        self._busy = busy
        self._fd = fd
        self._file: Final = (status.st_dev, status.st_ino)
        self._gate = Lock()  # between a close and an unlock: the number may be another file's afterwards
        self._in_use = Lock()  # the descriptor: two users of one open file description do not exclude each other
        forget_in_child(self)

    def refuse_again(self, me: object) -> None:
        """Raise where the asker holds the lock already: it would wait for itself for ever.

        Raises:
            Busy: The same task or thread has it, through this handle or another of this process.
        """
        if (self._file, me) in _holders:
            raise self._busy(
                f"{self.where}: the lock is held by the very task or thread which asks for it; "
                "do what is to be done under the lock that it has"
            )

    def take(self, me: object, *, exclusive: bool = True) -> Held | None:
        """Take the lock if it is free. Does not wait.

        Args:
            me: Who asks: a task or a thread.
            exclusive: Alone, or beside others who share it.

        Returns:
            The lock, to be given back by its `release`; None where somebody has it, or is about to.
        """
        if not self._in_use.acquire(blocking=False):
            return None if exclusive else self._share(me)
        try:
            taken = _try_lock(self._fd, exclusive=exclusive)
        except BaseException:
            self._in_use.release()
            raise
        if not taken:
            self._in_use.release()
            return None
        _holders.add((self._file, me))
        return Held(self, self._fd, me)

    def take_soon(self, me: object, *, exclusive: bool = True) -> Held | None:
        """Take the lock if it is free, or becomes free at once: most who hold it do so for microseconds.

        Returns:
            The lock; None where a wait is due.
        """
        end = perf_counter() + SOON_SECONDS
        for _ in range(SOON_ATTEMPTS):
            held = self.take(me, exclusive=exclusive)
            if held is not None or any(file == self._file for file, _ in list(_holders)):
                return held  # whoever has it in this process may need this very thread to give it back
            if perf_counter() > end:
                break
            os.sched_yield()
        return None

    def _share(self, me: object) -> Held | None:
        """Take the lock beside others who share it, and of whom one uses the handle's own descriptor."""
        fd = open_again(self._fd)
        try:
            taken = _try_lock(fd, exclusive=False)
        except BaseException:
            os.close(fd)
            raise
        if not taken:
            os.close(fd)
            return None
        return self.granted(fd, me)

    def wait(self, me: object, *, exclusive: bool = True) -> LockWait:
        """Return a wait for the lock, not begun yet."""
        return LockWait(self, open_again(self._fd), me, exclusive=exclusive)

    def own(self) -> bool:
        """Take the owner's mark, for as long as this handle is open; nobody else may have one. Does not wait."""
        return self._mark(exclusive=True)

    def own_or_leave(self) -> bool:
        """Take the owner's mark in the place of one that others may have as well; give that up if others have one.

        Of several who do this at the same time, and are all who have one, one takes it: the last to give up finds none.
        """
        if self.own():
            return True
        lowlevel.unlock_ofd(self._fd, start=OWNING, length=1)
        return self.own()

    def share(self) -> bool:
        """Take a mark which others may have as well, for as long as this handle is open. Does not wait.

        Returns:
            False where somebody owns the file alone.
        """
        return self._mark(exclusive=False)

    def _mark(self, *, exclusive: bool) -> bool:
        try:
            lowlevel.lock_ofd(self._fd, exclusive=exclusive, start=OWNING, length=1)
        except BlockingIOError:
            return False
        return True

    def given_back(self, held: Held) -> None:
        """Note that the lock was given back; called by `Held` only, before it unlocks."""
        _holders.discard((self._file, held.me))

    def lent_back(self) -> None:
        """Free the lock on the handle's own descriptor; called by `Held` only."""
        with self._gate:
            if self._fd >= 0:  # else the handle was closed meanwhile, which freed it
                lowlevel.unlock_ofd(self._fd, start=WRITING, length=1)
        self._in_use.release()

    def granted(self, fd: int, me: object) -> Held:
        """Return the lock which was got on a descriptor of its own."""
        _holders.add((self._file, me))
        return Held(self, fd, me, own_fd=True)

    def close(self) -> None:
        """Close the descriptor, and with it give back whatever it holds. Safe to repeat."""
        with self._gate:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                try:
                    lowlevel.unlock_ofd(fd, length=_EVERY_BYTE)
                finally:
                    os.close(fd)

    def forget(self) -> None:
        """Close the descriptor in a forked child; the lock, if it is held, stays the parent's."""
        self._gate = Lock()  # another thread of the parent may have held it
        _holders.clear()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@final
class Held:
    """The lock, while it is held."""

    def __init__(self, lock: FileLock, fd: int, me: object, *, own_fd: bool = False) -> None:
        self.me: Final = me
        self._lock = lock
        self._fd = fd
        self._own_fd = own_fd
        if own_fd:
            forget_in_child(self)

    def release(self) -> None:
        """Give the lock back. Safe to repeat."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self._lock.given_back(self)
        if self._own_fd:
            _unlock_and_close(fd)
        else:
            self._lock.lent_back()

    def forget(self) -> None:
        """Close the descriptor in a forked child; the lock stays the parent's."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._own_fd:
            os.close(fd)


def _try_lock(fd: int, *, exclusive: bool) -> bool:
    try:
        lowlevel.lock_ofd(fd, exclusive=True, start=TURN, length=1)
    except BlockingIOError:
        return False
    try:
        lowlevel.lock_ofd(fd, exclusive=exclusive, start=WRITING, length=1)
    except BlockingIOError:
        return False
    finally:
        lowlevel.unlock_ofd(fd, start=TURN, length=1)
    return True


def _unlock_and_close(fd: int) -> None:
    try:
        lowlevel.unlock_ofd(fd, length=_EVERY_BYTE)
    finally:
        os.close(fd)


_State: TypeAlias = Literal["new", "waiting", "granted", "over"]


@final
class LockWait:
    """A wait for the lock, on an open file description of its own: `run` in a thread, `abandon` from outside.

    The kernel's wait cannot be called off. An abandoned one goes on, but without its turn, so that nobody is behind
    it; if it gets the lock, it gives it back at once.
    """

    def __init__(self, lock: FileLock, fd: int, me: object, *, exclusive: bool) -> None:
        self._lock = lock
        self._fd = fd
        self._me = me
        self._exclusive = exclusive
        self._guard: Final = Lock()
        self._state: _State = "new"
        self._held: Held | None = None
        forget_in_child(self)

    def run(self) -> Held | None:
        """Wait for the lock, for as long as it takes.

        Returns:
            The lock; None if the wait was abandoned.
        """
        if not self._begin():
            return None
        try:
            lowlevel.wait_lock_ofd(self._fd, exclusive=True, start=TURN, length=1)
            if not self._is_over():
                lowlevel.wait_lock_ofd(self._fd, exclusive=self._exclusive, start=WRITING, length=1)
                lowlevel.unlock_ofd(self._fd, start=TURN, length=1)
        except BaseException:
            with self._guard:
                self._close()
            raise
        with self._guard:
            if self._is_over():
                self._close()
                return None
            self._state = "granted"
            fd, self._fd = self._fd, -1
            self._held = self._lock.granted(fd, self._me)
            return self._held

    def abandon(self) -> None:
        """Give the wait up, and the lock with it if it has come meanwhile. Safe to repeat."""
        with self._guard:
            state, self._state = self._state, "over"
            if state == "waiting" and self._fd >= 0:
                lowlevel.unlock_ofd(self._fd, start=TURN, length=1)
        if state == "new":
            self._close()
        elif self._held is not None:
            self._held.release()

    def forget(self) -> None:
        """Close the descriptor in a forked child; the waiting thread is the parent's."""
        self._held = None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _begin(self) -> bool:
        with self._guard:
            if self._is_over():
                return False
            self._state = "waiting"
            return True

    def _is_over(self) -> bool:
        return self._state == "over"

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _unlock_and_close(fd)
