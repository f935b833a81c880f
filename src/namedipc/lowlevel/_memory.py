"""Memory that processes share: anonymous files with seals, files without a name yet, shared mappings.

Sizes are bytes. Whoever may write a file may also shorten it unless a seal forbids that, and touching a
mapping past the end kills the process by SIGBUS: check seals and sizes before mapping.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import mmap
import os
import sys
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer

Mapping: TypeAlias = mmap.mmap
"""Memory of a file, as Python has it."""

_NO_DUPLICATE = {"trackfd": False} if sys.version_info >= (3, 13) else {}
"""Lets mmap.mmap keep no duplicate of the descriptor, where it knows how to."""

_MFD_NOEXEC_SEAL = 8  # <linux/memfd.h>, Linux 6.3; not in Python


class Seal(enum.IntFlag):
    """What can no longer be done to a memfd, by anybody."""

    SEAL = fcntl.F_SEAL_SEAL
    """Add further seals."""
    SHRINK = fcntl.F_SEAL_SHRINK
    """Make it smaller."""
    GROW = fcntl.F_SEAL_GROW
    """Make it larger."""
    WRITE = fcntl.F_SEAL_WRITE
    """Change its contents; EBUSY while a writable mapping is there."""
    FUTURE_WRITE = 0x10
    """Change its contents by write(2) or by a new mapping; mappings of before still write. Linux 5.1."""
    EXEC = 0x20
    """Change the execute permission. Linux 6.3; set from birth by `create_memfd` there."""


def create_memfd(name: str, size_bytes: int, *, sealable: bool = True) -> int:
    """Create an anonymous file in memory, filled with zeros, not executable.

    Before Linux 6.3 it can be executed: the kernel knows no memfd that cannot.

    Args:
        name: For diagnostics only: /proc/PID/fd shows it. At most 249 bytes.
        size_bytes: Its size. Pages are taken at the first store; `allocate` takes them now.
        sealable: Whether seals may be added.

    Returns:
        A descriptor, open for reading and writing, close-on-exec; the caller closes it.

    Raises:
        OSError: EINVAL for a name that is too long or a negative size; EFBIG; EMFILE or ENFILE.

    Source: memfd_create(2).
    """
    fd = _memfd(name)
    try:
        os.ftruncate(fd, size_bytes)
        if not sealable:
            add_seals(fd, Seal.SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _memfd(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    # Asked for first: a system with vm.memfd_noexec = 2 refuses a memfd without it.
    with contextlib.suppress(OSError):
        return os.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
    # EINVAL of an older kernel; anything else is met, and raised, once more.
    return os.memfd_create(name, flags)


def add_seals(fd: int, seals: Seal) -> None:
    """Add seals to a memfd. A seal cannot be taken away.

    Raises:
        PermissionError: It has `Seal.SEAL`, or the descriptor is not open for writing.
        OSError: EBUSY for `Seal.WRITE` where a writable mapping is there; EINVAL where it is no memfd.

    Source: fcntl(2) F_ADD_SEALS.
    """
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals.value)


def seals(fd: int) -> Seal:
    """Tell the seals of a memfd.

    Raises:
        OSError: EINVAL where it is no memfd: a file has no seals, and whoever may write it may shorten it.

    Source: fcntl(2) F_GET_SEALS.
    """
    return Seal(fcntl.fcntl(fd, fcntl.F_GET_SEALS))


def map_shared(fd: int, size_bytes: int, *, writable: bool, offset_bytes: int = 0) -> Mapping:
    """Map bytes of a file into this process: stores are seen by everybody who maps it.

    The mapping outlives `fd`, and as long as it is there so does the open file description with its locks.
    Before Python 3.13 it keeps a duplicate of the descriptor too (close-on-exec); from 3.13 it keeps none,
    and its `size()` and `resize()` raise.

    Args:
        fd: A regular file or a memfd, open for reading, and for writing too where `writable`.
        size_bytes: 1 or more, at most what the file has from `offset_bytes` on.
        writable: Whether this process may store.
        offset_bytes: Where in the file it begins; a multiple of the page size.

    Returns:
        The mapping; the caller closes it, after every memoryview of it.

    Raises:
        OSError: EINVAL for a size of 0 or less, for one above the file's, or for an offset within a page; EACCES or
            EPERM where the descriptor's mode or a seal forbids it; ENOMEM.

    Source: mmap(2) MAP_SHARED.
    """
    if size_bytes <= 0:  # Python would take 0 for "the whole file"
        raise OSError(errno.EINVAL, f"a mapping has 1 byte or more, not {size_bytes}")
    if os.fstat(fd).st_size < offset_bytes + size_bytes:
        raise OSError(errno.EINVAL, f"the file has fewer than the {size_bytes} bytes to be mapped")
    protection = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
    return mmap.mmap(fd, size_bytes, flags=mmap.MAP_SHARED, prot=protection, offset=offset_bytes, **_NO_DUPLICATE)


def lend_mapping(mapping: Mapping) -> Buffer:
    """Return an object which has the bytes of a mapping, for views that are told apart from other views of it.

    It is there as long as any view which was made of it: a slice of a memoryview of it, an array over that. So a
    `weakref.ref` of it tells when the last of them is gone; one of a memoryview tells of that memoryview only.

    Args:
        mapping: Of memory that may be written.

    Returns:
        The object; it keeps the mapping.

    Raises:
        TypeError: The mapping is not writable.
        ValueError: The mapping is closed.

    Source: Python's buffer protocol.
    """
    import ctypes

    return (ctypes.c_char * len(mapping)).from_buffer(mapping)


def open_unnamed_file(directory_fd: int, *, mode: int = 0o600) -> int:
    """Create a file that has no name yet: nobody sees it half made, and it is gone with its last descriptor.

    Args:
        directory_fd: A directory on the filesystem where `link_file` will name it; O_PATH is enough.
        mode: Its exact permission bits, whatever the umask.

    Returns:
        A descriptor, open for reading and writing, close-on-exec; the caller closes it.

    Raises:
        OSError: EOPNOTSUPP where the filesystem has no such files; EACCES, ENOSPC and the like.

    Source: open(2) O_TMPFILE.
    """
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=directory_fd)
    try:
        os.fchmod(fd, mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def link_file(fd: int, name: str, *, directory_fd: int) -> None:
    """Give an open file a name, in one step. What stands under the name is never replaced.

    Args:
        fd: A file of `open_unnamed_file`, or another of this filesystem.
        name: Relative to `directory_fd`.
        directory_fd: The directory.

    Raises:
        FileExistsError: Somebody was first.
        OSError: EXDEV for another filesystem; EACCES, ENAMETOOLONG and the like.

    Source: open(2) "O_TMPFILE", linkat(2) AT_SYMLINK_FOLLOW.
    """
    # With dst_dir_fd CPython calls linkat(2); without, link(2), which does not follow the link in /proc.
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory_fd, follow_symlinks=True)


def allocate(fd: int, size_bytes: int) -> None:
    """Reserve the room for a file's first bytes, and make it at least that large.

    No store into them then fails for a full disk, which in a mapping would be SIGBUS.

    Raises:
        OSError: ENOSPC where there is no room, EFBIG; EINVAL for a size of 0 or less; EPERM where a seal
            forbids it.

    Source: posix_fallocate(3).
    """
    os.posix_fallocate(fd, 0, size_bytes)


class _Heap:
    """What this process has had its C library keep."""

    block_bytes = 128 << 10
    """glibc maps each larger block on its own, until such a one is freed."""


_LARGEST_BLOCK_BYTES = (32 << 20) - (64 << 10)  # glibc learns nothing from one of 32 MiB with its header


def keep_heap(block_bytes: int) -> None:
    """Have the C library keep freed blocks of up to this size for the next ones, instead of unmapping each.

    A message of 1 MiB is copied a few times on its way, to memory which glibc gives back to the kernel right after: the
    next one finds none of its pages there, and each is a fault. But glibc learns. Once a mapped block has been freed,
    blocks of up to its size come from the heap, of which up to twice as much stays while it is unused. So one of this
    size is made here, and freed, untouched. The process keeps no page by that which it had not used before.

    Args:
        block_bytes: Nothing is done if it is no more than before. More than 32 MiB counts as that.

    Source: mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD. With another C library, or where one of these is set in
    the environment, it has no effect.
    """
    if block_bytes > _Heap.block_bytes < _LARGEST_BLOCK_BYTES:
        _Heap.block_bytes = min(1 << (block_bytes - 1).bit_length(), _LARGEST_BLOCK_BYTES)
        bytes(_Heap.block_bytes)  # zeros from calloc, which a new mapping has anyway
