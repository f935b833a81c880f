"""The bell: who waits for a file to change is woken, through one inotify instance for the whole process.

A user may have 128 inotify instances, so all handles share one, in trio and in blocking code. Whoever is
woken by it takes off all that has happened, and rings the listeners of the other files by their own eventfd.
A listener waits for both through one epoll descriptor. Where no instance is left, a listener is polled
instead.

The law: the watch is there before the value is looked at, and what was taken off the shared queue has been
passed on before anybody sleeps again. So the last change is never missed.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Final, final
from weakref import WeakSet

from .. import lowlevel
from .._names._watch import close_queue
from .in_child import forget_in_child

LITTLE_BYTES: Final = 4096
"""How much is taken off at once where it is not looked at; what is left wakes again."""

POLL_SECONDS: Final = 0.01
"""How often a file is looked at where there is no inotify; a reading of both records costs 2 us."""

_NONE_LEFT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM, errno.ENOSYS}
"""No instance, no descriptor or no watch is left: inotify_init(2), inotify_add_watch(2), epoll_create(2)."""


@final
class Listener:
    """Hears the changes of one file. Close it; dropping it does so too."""

    def __init__(self, fd: int) -> None:
        """Begin to listen.

        Args:
            fd: The file, open to read; it stays the caller's, and open as long as the listener.
        """
        self.is_stopped: bool = False
        self._closed = False
        self._epoll: lowlevel.Epoll | None = None
        self._bell_fd = -1
        self._watch = -1
        try:
            self._bell_fd = lowlevel.eventfd()
            self._epoll = lowlevel.Epoll()
            self._watch = _bell.join(self, fd, self._epoll)
            self._epoll.register(self._bell_fd, lowlevel.EPOLLIN)
        except OSError as error:
            self.close()
            if error.errno not in _NONE_LEFT:
                raise
            self._closed = False
        except BaseException:
            self.close()
            raise
        forget_in_child(self)

    @property
    def is_polling(self) -> bool:
        """Whether there is no descriptor to wait for, so that the file has to be looked at now and then."""
        return self._epoll is None

    def fileno(self) -> int:
        """Return the descriptor which is readable when the file may have changed, or the listener was rung."""
        assert self._epoll is not None
        return self._epoll.fileno()

    def drain(self) -> None:
        """Take off what has happened, for all listeners of the process. To be followed by a look at the value."""
        if self._epoll is not None and not _bell.pass_on(self):
            with suppress(BlockingIOError):  # it may have been this one which woke; if not, it does so the next time
                os.eventfd_read(self._bell_fd)

    def ring(self) -> None:
        """Wake whoever waits for this listener."""
        if self._bell_fd >= 0:
            with suppress(BlockingIOError):
                os.eventfd_write(self._bell_fd, 1)

    def stop(self) -> None:
        """Have whoever waits for this listener end the wait; `close` is then theirs, for they hold its descriptor."""
        self.is_stopped = True
        self.ring()

    def close(self) -> None:
        """Stop listening. Safe to repeat. Not while somebody waits for it."""
        if self._closed:
            return
        self._closed = True
        watch, self._watch = self._watch, -1
        if watch >= 0:
            _bell.leave(self, watch)
        self._close_own()

    def forget(self) -> None:
        """Close the descriptors in a forked child, which must not take events off its parent's queue."""
        self._closed, self._watch = True, -1
        _bell.forget()
        self._close_own()

    def __del__(self, *, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():  # else the kernel closes it, and what `close` needs may be gone
            self.close()

    def _close_own(self) -> None:
        epoll, self._epoll = self._epoll, None
        fd, self._bell_fd = self._bell_fd, -1
        if epoll is not None:
            epoll.close()
        if fd >= 0:
            os.close(fd)


@final
class _Bell:
    """The inotify instance of the process, there while somebody listens."""

    def __init__(self) -> None:
        self._fd = -1
        # Reentrant: a listener may be dropped, and closed by that, while this very thread is in here.
        self._lock = RLock()
        # Weak: a listener that was dropped has to go.
        self._listeners: dict[int, WeakSet[Listener]] = {}

    def join(self, listener: Listener, fd: int, epoll: lowlevel.Epoll) -> int:
        """Have a listener rung when the file changes; return the number of its watch."""
        with self._lock:
            if self._fd < 0:
                self._fd = lowlevel.create_inotify()
            try:
                # The kernel gives the same number again for the same file, whoever has opened it.
                watch = lowlevel.add_watch(self._fd, f"/proc/self/fd/{fd}", lowlevel.Watch.MODIFY)
                epoll.register(self._fd, lowlevel.EPOLLIN)
                self._listeners.setdefault(watch, WeakSet()).add(listener)
            finally:
                self._close_if_unused()
            return watch

    def leave(self, listener: Listener, watch: int) -> None:
        """Ring a listener no more."""
        with self._lock:
            listeners = self._listeners.get(watch, WeakSet())
            listeners.discard(listener)
            if not listeners and self._listeners.pop(watch, None) is not None:
                with suppress(OSError):  # the kernel has removed it with the file
                    lowlevel.remove_watch(self._fd, watch)
            self._close_if_unused()

    def pass_on(self, taker: Listener) -> bool:
        """Take everything off the queue and ring whom it concerns, but the one who has just been woken.

        Returns:
            Whether something was there.
        """
        with self._lock:
            if self._fd < 0:
                return False
            changed: set[int] | None = None  # not known: everybody
            try:
                if self._is_alone(taker):
                    os.read(self._fd, LITTLE_BYTES)
                    changed = set()
                else:
                    changed = _changed(lowlevel.read_watch(self._fd))
            except BlockingIOError:
                changed = set()  # somebody else has taken it, and has rung
                return False
            finally:  # also when a signal's handler raises: what was taken off is not there for anybody else
                for watch in list(self._listeners) if changed is None else changed:
                    for listener in list(self._listeners.get(watch, ())):
                        if listener is not taker:
                            listener.ring()
            return True

    def _is_alone(self, taker: Listener) -> bool:
        """Whether nobody else listens to anything, so that it is all the same what has happened."""
        if len(self._listeners) != 1:
            return False
        (listeners,) = self._listeners.values()
        return len(listeners) == 1 and taker in listeners

    def forget(self) -> None:
        """Close the parent's instance in a forked child."""
        self._lock = RLock()  # another thread of the parent may have held it
        self._listeners = {}
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _close_if_unused(self) -> None:
        if not self._listeners:
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            close_queue(fd)


def _changed(events: list[lowlevel.WatchEvent]) -> set[int] | None:
    """Return the watches of the files that have changed; None if the kernel had to drop some events."""
    if any(event.mask & lowlevel.Watch.Q_OVERFLOW for event in events):
        return None
    return {event.descriptor for event in events}


_bell: Final = _Bell()
