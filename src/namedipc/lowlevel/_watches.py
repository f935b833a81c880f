"""Waiting: for changes of files (inotify), for a bell (eventfd), for descriptors (poll, epoll)."""

from __future__ import annotations

import enum
import errno
import math
import os
import select
import struct
from _thread import start_new_thread
from typing import Final, TypeAlias

import attrs

from ._paths import StrPath

Poll: TypeAlias = select.poll
"""Descriptors to poll for, as Python has them; itself no descriptor. Source: poll(2)."""

Epoll: TypeAlias = select.epoll
"""A set of descriptors to wait for, as Python has it; close-on-exec. Source: epoll(7)."""

EPOLLIN: Final[int] = select.EPOLLIN
"""There is something to read, or the end."""
EPOLLOUT: Final[int] = select.EPOLLOUT
"""There is room to write."""
EPOLLRDHUP: Final[int] = select.EPOLLRDHUP
"""The peer has shut its sending direction, or has closed."""
EPOLLHUP: Final[int] = select.EPOLLHUP
"""Both directions are shut, or the last writer of a pipe has gone; told without being asked for."""
EPOLLERR: Final[int] = select.EPOLLERR
"""An error, or the last reader of a pipe has gone; told without being asked for."""

_EVENT = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len; the name follows
_READ_BYTES = 65_536  # about 240 events with the longest names, and 4 096 without
_POLL_MS_MAX = 2**31 - 1  # poll(2) takes an int of milliseconds: 24 days


class Watch(enum.IntFlag):
    """What to watch for, and what has happened. Source: inotify(7)."""

    ACCESS = 0x1
    """Read."""
    MODIFY = 0x2
    """Written by write(2) or truncated; a store to memory and an empty write are not seen."""
    ATTRIB = 0x4
    """Permissions, times, owner or the number of links have changed."""
    CLOSE_WRITE = 0x8
    """A descriptor that was open for writing was closed."""
    CLOSE_NOWRITE = 0x10
    """Another descriptor was closed."""
    OPEN = 0x20
    """Opened."""
    MOVED_FROM = 0x40
    """A name has left the directory by rename(2)."""
    MOVED_TO = 0x80
    """A name has come into the directory by rename(2)."""
    CREATE = 0x100
    """A name has come into the directory by open(2), link(2), bind(2) and the like."""
    DELETE = 0x200
    """A name was removed from the directory."""
    DELETE_SELF = 0x400
    """The watched file itself is gone: no link and no descriptor is left."""
    MOVE_SELF = 0x800
    """The watched file itself was renamed."""
    UNMOUNT = 0x2000
    """Only in events: its filesystem was unmounted."""
    Q_OVERFLOW = 0x4000
    """Only in events, with descriptor -1: events were lost; look for yourself."""
    IGNORED = 0x8000
    """Only in events: the watch is gone, removed or with what it watched."""
    ONLYDIR = 0x1000000
    """Only in `add_watch`: ENOTDIR where it is no directory."""
    DONT_FOLLOW = 0x2000000
    """Only in `add_watch`: watch a symbolic link itself."""
    EXCL_UNLINK = 0x4000000
    """Only in `add_watch`: nothing of files whose name in the directory is gone."""
    MASK_CREATE = 0x10000000
    """Only in `add_watch`: EEXIST where this inode is watched already."""
    MASK_ADD = 0x20000000
    """Only in `add_watch`: add to what an older watch of this inode watches for."""
    ISDIR = 0x40000000
    """Only in events: it is about a directory."""
    ONESHOT = 0x80000000
    """Only in `add_watch`: the watch ends after one event."""


@attrs.frozen
class WatchEvent:
    """One change.

    Attributes:
        descriptor: The watch, as `add_watch` returned it; -1 for `Watch.Q_OVERFLOW`.
        mask: What has happened.
        cookie: The same number in both events of a rename; otherwise 0.
        name: The name in the watched directory; empty where it is about the watched file itself.
    """

    descriptor: int
    mask: Watch
    cookie: int
    name: str


def create_inotify() -> int:
    """Create a queue of changes of files.

    Returns:
        A descriptor, non-blocking and close-on-exec; the caller closes it, an event loop by `close_inotify`.

    Raises:
        OSError: EMFILE where this user has too many (128 by default,
            /proc/sys/fs/inotify/max_user_instances), or this process no descriptor left.

    Source: inotify_init1(2).
    """
    from ._libc import LIBC, succeed

    return succeed(LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def close_inotify(fd: int) -> None:
    """Close a queue of changes without waiting: a thread does, which ends with that.

    Where the queue has had watches lately, close(2) waits until nobody in the kernel looks at them any more: 12 ms as
    a rule, 50 ms were seen, and an event loop would stand still for as long.

    Args:
        fd: The queue, closed a moment later.

    Source: close(2), inotify(7); synchronize_srcu in the kernel's fs/notify/mark.c.
    """
    try:
        start_new_thread(os.close, (fd,))  # a `threading.Thread` would be waited for until it runs
    except RuntimeError:  # no thread is left, or the interpreter is at its end
        os.close(fd)


def add_watch(fd: int, path: StrPath, mask: Watch) -> int:
    """Watch a file or a directory; an inode that is watched already gets the new mask.

    Args:
        fd: The queue.
        path: What to watch; /proc/self/fd/N watches an open file.
        mask: What to watch for.

    Returns:
        The watch's number, the same for each watch of one inode.

    Raises:
        OSError: ENOENT, EACCES (no read permission), ENOTDIR of the path; ENOSPC where this user has too many
            watches; EINVAL for an empty mask.

    Source: inotify_add_watch(2).
    """
    filename = os.fspath(path)
    encoded = os.fsencode(filename)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")  # as everywhere in Python; C would watch the part before it
    from ._libc import LIBC, succeed

    return succeed(LIBC.inotify_add_watch(fd, encoded, mask.value), filename)


def remove_watch(fd: int, descriptor: int) -> None:
    """Stop watching. A last event, `Watch.IGNORED`, follows.

    Raises:
        OSError: EINVAL where there is no such watch, as after its file has gone.

    Source: inotify_rm_watch(2).
    """
    from ._libc import LIBC, succeed

    succeed(LIBC.inotify_rm_watch(fd, descriptor))


def read_watch(fd: int) -> list[WatchEvent]:
    """Take the changes that have queued up, the oldest first.

    One read of at most 64 KiB: more may be there.

    Raises:
        BlockingIOError: There are none.

    Source: inotify(7) "Reading events from an inotify file descriptor".
    """
    data = os.read(fd, _READ_BYTES)
    events: list[WatchEvent] = []
    position = 0
    while position < len(data):
        descriptor, mask, cookie, name_bytes = _EVENT.unpack_from(data, position)
        position += _EVENT.size
        name = os.fsdecode(data[position : position + name_bytes].rstrip(b"\0"))
        position += name_bytes
        events.append(WatchEvent(descriptor, Watch(mask), cookie, name))
    return events


def eventfd(initial: int = 0) -> int:
    """Create a counter that wakes whoever waits for it: os.eventfd_write adds, os.eventfd_read takes all.

    Args:
        initial: Where it starts; above 0 it is readable at once.

    Returns:
        A descriptor, non-blocking and close-on-exec; the caller closes it.

    Raises:
        OSError: EMFILE or ENFILE, no descriptor is left.

    Source: eventfd(2).
    """
    return os.eventfd(initial, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def poll_readable(fd: int) -> Poll:
    """Return a `Poll` for one descriptor, to be asked again and again.

    `poll.poll(0)` is not empty once it can be read.

    Source: poll(2).
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll


def wait_ready(
    fd: int, *, read: bool = True, write: bool = False, timeout_seconds: float | None = None, bell: int | None = None
) -> bool:
    """Wait in blocking code until a descriptor can be read or written, or its other end has gone.

    Other threads run meanwhile. Ready is also what would fail: the next read or write tells.

    Args:
        fd: Any descriptor that poll(2) takes.
        read: Whether to wait for something to read, or for the end.
        write: Whether to wait for room to write.
        timeout_seconds: The longest wait, rounded up to a millisecond; None or more than 24 days: no limit. 0
            or less only looks.
        bell: Another descriptor, of an `eventfd` for instance, which ends the wait once it can be read.

    Returns:
        False where the time has passed.

    Raises:
        OSError: EBADF where a descriptor is closed.

    Source: poll(2).
    """
    if fd < 0:  # what a closed socket has; poll(2) would ignore it and wait for nothing
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    poll = select.poll()
    poll.register(fd, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    if bell is not None:
        poll.register(bell, select.POLLIN)
    ready = poll.poll(_milliseconds(timeout_seconds))
    if not ready:
        return False
    if any(events & select.POLLNVAL for _, events in ready):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return True


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None or seconds * 1000 > _POLL_MS_MAX:
        return None
    return math.ceil(max(seconds, 0.0) * 1000)
