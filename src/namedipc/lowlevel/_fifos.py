"""FIFOs and pipes: made with exact permissions, opened each way, packets, capacity.

A FIFO's end is a plain descriptor. The names come as paths, or relative to a directory's descriptor.
"""

from __future__ import annotations

import array
import fcntl
import functools
import os
import stat
import termios
from typing import TYPE_CHECKING

from ._paths import StrPath, errors_naming, set_exact_mode

if TYPE_CHECKING:
    from typing_extensions import Buffer

_RWF_NOSIGNAL = 0x100  # <linux/fs.h>, Linux 6.18; not in Python
_SPLICE_F_NONBLOCK = 2  # <linux/splice.h>; Python has it since 3.14, and tee(2) not at all


def make_fifo(path: StrPath, *, mode: int = 0o600, directory_fd: int | None = None) -> None:
    """Make a FIFO with exactly these permissions, whatever the umask, and never more of them for an instant.

    Args:
        path: Where; relative to `directory_fd` where that is given.
        mode: Permission bits.
        directory_fd: A directory, or None.

    Raises:
        FileExistsError: Something stands under the path. It is not touched.
        OSError: ENOENT, EACCES, ENAMETOOLONG and the like of the path; ESTALE where another process has
            replaced the new FIFO at once.

    Source: mkfifo(3), chmod(2).
    """
    with errors_naming(path):
        os.mkfifo(path, mode, dir_fd=directory_fd)
        set_exact_mode(path, mode, stat.S_IFIFO, directory_fd=directory_fd)


def open_fifo_for_reading(path: StrPath, *, blocking: bool = False, directory_fd: int | None = None) -> int:
    """Open the reading end of a FIFO.

    Args:
        path: The FIFO; a symbolic link is followed, and so is a descriptor's link in /proc/self/fd.
        blocking: Wait for a writer, as open(2) does by default, and read blocking. Otherwise open at once,
            and a read without a writer finds the end.
        directory_fd: A directory that `path` is relative to, or None.

    Returns:
        A descriptor, close-on-exec; the caller closes it.

    Raises:
        OSError: ENOENT, EACCES and the like of the path. That it is a FIFO is not checked.

    Source: open(2), fifo(7).
    """
    return os.open(path, os.O_RDONLY | _waiting(blocking), dir_fd=directory_fd)


def open_fifo_for_writing(path: StrPath, *, blocking: bool = False, directory_fd: int | None = None) -> int:
    """Open the writing end of a FIFO.

    Args:
        path: The FIFO; a symbolic link is followed, and so is a descriptor's link in /proc/self/fd.
        blocking: Wait for a reader, as open(2) does by default, and write blocking.
        directory_fd: A directory that `path` is relative to, or None.

    Returns:
        A descriptor, close-on-exec; the caller closes it.

    Raises:
        OSError: ENXIO without `blocking` where nobody has it open for reading; ENOENT, EACCES and the like of
            the path. That it is a FIFO is not checked.

    Source: open(2), fifo(7).
    """
    return os.open(path, os.O_WRONLY | _waiting(blocking), dir_fd=directory_fd)


def _waiting(blocking: bool) -> int:
    return os.O_CLOEXEC if blocking else os.O_CLOEXEC | os.O_NONBLOCK


def pipe() -> tuple[int, int]:
    """Create a pipe without a name.

    Returns:
        The reading and the writing end, both blocking and close-on-exec; the caller closes both.

    Raises:
        OSError: EMFILE or ENFILE, no descriptor is left.

    Source: pipe2(2) O_CLOEXEC.
    """
    return os.pipe2(os.O_CLOEXEC)


def set_packet_mode(fd: int) -> None:
    """Make each write of at most 4096 bytes through this writing end one packet, which one read takes whole.

    Source: pipe2(2) "O_DIRECT", fcntl(2) F_SETFL.
    """
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)


def pipe_capacity(fd: int) -> int:
    """Tell how many bytes a pipe or FIFO holds.

    Raises:
        OSError: EBADF where it is no pipe.

    Source: fcntl(2) F_GETPIPE_SZ.
    """
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


def set_pipe_capacity(fd: int, size_bytes: int) -> int:
    """Ask for another capacity of a pipe or FIFO. Take it for a wish.

    Returns:
        The bytes which the kernel gave, at least `size_bytes`.

    Raises:
        PermissionError: Above /proc/sys/fs/pipe-max-size, or this user's pipes hold too much already.
        OSError: EBUSY where more bytes than that are unread; EBADF where it is no pipe.

    Source: fcntl(2) F_SETPIPE_SZ.
    """
    return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size_bytes)


def set_blocking(fd: int, blocking: bool) -> None:
    """Set whether reads and writes wait. It holds for everybody who shares the open file description.

    Source: fcntl(2) O_NONBLOCK.
    """
    os.set_blocking(fd, blocking)


def write_pipe(fd: int, data: Buffer) -> int:
    """Write as much of `data` as fits to a pipe or FIFO, without SIGPIPE where the kernel can.

    At most 4096 bytes (PIPE_BUF) are written whole or not at all, never mixed with another writer's. Before
    Linux 6.18 the signal is raised as its disposition is; Python ignores it unless told otherwise.

    Returns:
        The bytes taken.

    Raises:
        BlockingIOError: The descriptor is non-blocking and nothing fits.
        BrokenPipeError: Nobody has it open for reading.

    Source: pwritev2(2), RWF_NOSIGNAL of Linux 6.18; pipe(7).
    """
    flag = _no_signal_flag()
    if not flag:
        return os.write(fd, data)
    return os.pwritev(fd, [data], -1, flag)


def tee(fd: int, to_fd: int, max_bytes: int) -> int:
    """Repeat what lies in a pipe or FIFO in another pipe, without taking it. Does not wait.

    Args:
        fd: The reading end of the one.
        to_fd: The writing end of the other, which is a pipe as well.
        max_bytes: How much at most.

    Returns:
        The bytes repeated; 0 where nothing is there and nobody has `fd`'s pipe open for writing.

    Raises:
        BlockingIOError: Nothing is there, or the other pipe is full.
        OSError: EINVAL where either is no pipe, or both are the same.

    Source: tee(2) SPLICE_F_NONBLOCK.
    """
    import ctypes

    from ._libc import LIBC, succeed

    return succeed(LIBC.tee(fd, to_fd, ctypes.c_size_t(max_bytes), _SPLICE_F_NONBLOCK))


@functools.cache
def _no_signal_flag() -> int:
    """Ask the kernel once, on a pipe of our own: another descriptor may refuse for a reason of its own."""
    reader, writer = pipe()
    try:
        os.pwritev(writer, [b"?"], -1, _RWF_NOSIGNAL)
    except (OSError, NotImplementedError):
        # EOPNOTSUPP: a kernel before 6.18. ENOSYS or EPERM: a sandbox that does not know pwritev2.
        # NotImplementedError: a C library that does not.
        return 0
    finally:
        os.close(reader)
        os.close(writer)
    return _RWF_NOSIGNAL


def unread_bytes(fd: int) -> int:
    """Tell how many bytes are there to be read from a pipe, FIFO or socket.

    Source: ioctl(2) FIONREAD, pipe(7).
    """
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
