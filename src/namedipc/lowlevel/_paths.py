"""Paths for the other modules: a name relative to its directory, and a new node's exact permission bits.

Nothing here follows a symbolic link at the last component, and nothing here removes a name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
"""A filesystem path, as the standard library takes it."""


@contextmanager
def errors_naming(path: StrPath) -> Iterator[None]:
    """Make each OSError of the body carry `path`, as the caller wrote it, instead of an address in /proc."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


@contextmanager
def parent_directory(path: StrPath) -> Iterator[tuple[int, str]]:
    """Open the directory that holds `path`, and give its descriptor and the last component."""
    directory, name = os.path.split(os.fspath(path))
    if not name:
        raise FileNotFoundError(errno.ENOENT, "the path has no last component", os.fspath(path))
    # O_PATH needs no read permission on the directory, only the search permission that any use of it needs.
    directory_fd = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory_fd, name
    finally:
        os.close(directory_fd)


def set_exact_mode(name: StrPath, mode: int, kind: int, *, directory_fd: int | None) -> None:
    """Give a node that has just been made the bits which the umask has withheld.

    The kernel makes it with `mode & ~umask`, which is never looser than `mode`; here the rest is added.

    Args:
        name: The node, relative to `directory_fd` where that is given.
        mode: Permission bits.
        kind: The expected type, for example `stat.S_IFIFO`.
        directory_fd: A directory, or None.

    Raises:
        OSError: ESTALE where a node of another type has taken the name meanwhile; it is not touched.
    """
    node_fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        status = os.fstat(node_fd)
        if stat.S_IFMT(status.st_mode) != kind:
            raise OSError(errno.ESTALE, "the new node was replaced by another process", os.fspath(name))
        if stat.S_IMODE(status.st_mode) != mode:
            # fchmod(2) refuses an O_PATH descriptor; its link in /proc leads to exactly this inode.
            os.chmod(f"/proc/self/fd/{node_fd}", mode)
    finally:
        os.close(node_fd)
