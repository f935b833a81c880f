"""Locks of files: of the open file description, so that neither another descriptor nor a thread loses them.

Both families are advisory, belong to the open file description (what open(2) makes and dup(2) shares), and
are freed by the kernel when the last that refers to it has gone, also by a kill. They do not see each other.
A mapping of the file refers to it too, and so do the descriptors of a child after fork(2): unlock explicitly.
"""

from __future__ import annotations

import fcntl
import os
import struct

# struct flock: l_type, l_whence, l_start, l_len, l_pid, and the padding at the end.
_FLOCK = struct.Struct("hhqqi0q")


def lock_ofd(fd: int, *, exclusive: bool, start: int = 0, length: int = 0) -> None:
    """Lock a range of a file, or raise at once. A lock that this description has already is converted.

    Args:
        fd: A file, open for writing where `exclusive`, for reading otherwise.
        exclusive: Alone, or beside other shared ones.
        start: The first byte.
        length: How many; 0 is to the end, however far that moves.

    Raises:
        BlockingIOError: Another open file description holds the range, be it in this process.
        OSError: EBADF where the descriptor is not open for it.

    Source: fcntl(2) "F_OFD_SETLK".
    """
    _control(fd, fcntl.F_OFD_SETLK, fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK, start, length)


def wait_lock_ofd(fd: int, *, exclusive: bool, start: int = 0, length: int = 0) -> None:
    """Lock a range of a file, and wait while another holds it.

    The kernel finds no deadlock: a thread that waits for another description of its own process, which nobody
    else unlocks, waits for ever. Other threads run meanwhile.

    Args:
        fd: A file, open for writing where `exclusive`, for reading otherwise.
        exclusive: Alone, or beside other shared ones.
        start: The first byte.
        length: How many; 0 is to the end, however far that moves.

    Raises:
        OSError: EBADF where the descriptor is not open for it.

    Source: fcntl(2) "F_OFD_SETLKW".
    """
    _control(fd, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK, start, length)


def unlock_ofd(fd: int, *, start: int = 0, length: int = 0) -> None:
    """Unlock a range of a file; one that is not locked is no error.

    Source: fcntl(2) "F_OFD_SETLK" with F_UNLCK.
    """
    _control(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, start, length)


def _control(fd: int, command: int, kind: int, start: int, length: int) -> None:
    # l_pid has to be 0 for locks of a description.
    fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def flock(fd: int, *, exclusive: bool) -> None:
    """Lock a whole file, or raise at once. Any way of opening will do, also of a FIFO or a directory.

    Converting a lock is not atomic: the old one may be lost where the new one is refused.

    Raises:
        BlockingIOError: Another open file description holds it, be it in this process.

    Source: flock(2) LOCK_NB.
    """
    fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)


def wait_flock(fd: int, *, exclusive: bool) -> None:
    """Lock a whole file, and wait while another holds it. Other threads run meanwhile.

    Raises:
        OSError: EBADF; ENOLCK where the kernel is out of memory for locks.

    Source: flock(2).
    """
    fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)


def unflock(fd: int) -> None:
    """Unlock a file of `flock`; one that is not locked is no error.

    Source: flock(2) LOCK_UN.
    """
    fcntl.flock(fd, fcntl.LOCK_UN)
