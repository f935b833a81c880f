"""errno to error: the one place of the names layer which turns an OSError into an error of the library.

The law: the message names the path and what to do, and the OSError stays as `__cause__`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .._errors import (
    DeclarationError,
    IPCError,
    NameNotFound,
    NameTaken,
    NoServer,
    NotAllowed,
    TooLarge,
    WrongKind,
)

_KINDS: Final = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)

_ERRORS: Final[dict[int, tuple[type[IPCError], str]]] = {
    errno.ENOENT: (
        NameNotFound,
        "nothing is there; start its owner first, or wait for it with wait_seconds=",
    ),
    errno.ENOTDIR: (NameNotFound, "a part of the path is not a directory; correct the path"),
    errno.EEXIST: (NameTaken, "it is there already; remove it, or choose another path"),
    errno.EADDRINUSE: (NameTaken, "another program has put something there just now; choose another path"),
    errno.EACCES: (NotAllowed, "permission denied; check the permissions of the name and of its directories"),
    errno.EPERM: (
        NotAllowed,
        "not permitted; in a directory like /tmp only a file's owner may replace or remove it",
    ),
    errno.EROFS: (
        NotAllowed,
        "the filesystem is read-only; choose a path elsewhere, runtime_path() for instance",
    ),
    errno.ECONNREFUSED: (NoServer, "nobody listens: its owner has died; start the owner again"),
    errno.ENAMETOOLONG: (
        DeclarationError,
        "a part of the path is too long for the filesystem; choose a shorter one",
    ),
    errno.ELOOP: (WrongKind, "there is a symbolic link where none may be; give the path it leads to"),
    errno.EISDIR: (WrongKind, "it is a directory; choose another path"),
    errno.EPROTOTYPE: (WrongKind, "it is a socket of another type than SOCK_STREAM; choose another path"),
    errno.ENXIO: (
        WrongKind,
        "it is a socket or a device and cannot be opened as a file; choose another path",
    ),
    errno.ENOSPC: (TooLarge, "no room is left on the filesystem; free some, or ask for less"),
    errno.EDQUOT: (TooLarge, "the disk quota is used up; free some, or ask for less"),
    errno.EFBIG: (TooLarge, "the size is above what the filesystem or `ulimit -f` allows; ask for less"),
    errno.EMFILE: (IPCError, "this process has no descriptor left; close some, or raise `ulimit -n`"),
    errno.ENFILE: (IPCError, "the machine has no descriptor left; see /proc/sys/fs/file-max"),
}


def translate(error: OSError, path: str, doing: str) -> IPCError:
    """Return the error of the library which stands for an OSError met while `doing` something with `path`."""
    kind, remedy = _ERRORS.get(error.errno or 0, (IPCError, str(error)))
    translated = kind(f"{path}: cannot {doing}: {remedy}")
    if isinstance(translated, OSError):
        translated.errno = error.errno
    return translated


@contextmanager
def translating(path: str, doing: str) -> Iterator[None]:
    """Turn an OSError of the body into an error of the library.

    Those which are one already pass, and so does BlockingIOError, which says: later.
    """
    try:
        yield
    except (IPCError, BlockingIOError):
        raise
    except OSError as error:
        raise translate(error, path, doing) from error


def kind_of(status: os.stat_result) -> str:
    """Return in words what kind of file it is."""
    return next((name for test, name in _KINDS if test(status.st_mode)), "a device")
