"""The lock file beside a file in shared memory: what writers lock where somebody may read that but not write it.

A shared lock of a file needs no more than to read it, and keeps every writer out for as long as it is held. So where
there are mere readers, writers lock another file, which only they can open. Its name has the file's uuid in it: two
files which have had the same name never share one.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from .._errors import NotAllowed
from .._protocol.file_header import FileHeader, Flag
from .shared_lock import open_again


def needs_sidecar(mode: int) -> bool:
    """Whether somebody may read but not write: a shared lock needs no more, and keeps every writer out."""
    return any(mode & read and not mode & write for read, write in ((0o040, 0o020), (0o004, 0o002)))


def writers_only(mode: int) -> int:
    """Return the permissions of the lock file: read and write for whoever may write the other."""
    return mode & 0o222 | (mode & 0o222) << 1


def sidecar_path(path: str, header: FileHeader) -> str:
    """Return the path of the file which writers lock instead of this file; its successor has another one."""
    directory, name = os.path.split(path)
    stem = os.fsdecode(os.fsencode(name)[:200])
    return os.path.join(directory, f".{stem}.{header.uuid.hex()[:16]}.lock")


def remove_sidecar(path: str, header: FileHeader) -> None:
    """Remove the lock file of a file whose name is gone; writers who have it open go on using it."""
    if header.flags & Flag.SIDECAR:
        with suppress(OSError):  # gone, or its directory is
            os.unlink(sidecar_path(path, header))


def open_lock_file(fd: int, path: str, header: FileHeader) -> int:
    """Open what writers of this file lock. FileNotFoundError: it has been removed."""
    if not header.flags & Flag.SIDECAR:
        return open_again(fd)
    where = sidecar_path(path, header)
    try:
        lock_fd = os.open(where, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotAllowed(
            f"{path}: cannot open its lock file {where} ({error.strerror}); open it to read only (view, reader)"
        ) from error
    status, locked = os.fstat(lock_fd), os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != locked.st_uid:
        os.close(lock_fd)
        raise NotAllowed(f"{path}: its lock file {where} is not of the same owner; remove both")
    return lock_fd
