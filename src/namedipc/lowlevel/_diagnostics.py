"""What a process has open. Nothing is changed."""

from __future__ import annotations

import errno
import fcntl
import os


def descriptors(pid: int | None = None) -> dict[int, str]:
    """Tell what `ls -l /proc/PID/fd` shows: the descriptors of a process, and where each leads.

    A descriptor that is opened or closed meanwhile may be there or not.

    Args:
        pid: The process; None is this one.

    Returns:
        By number, in order: a path (" (deleted)" follows a removed one), or for example `socket:[1234]`,
            `pipe:[1234]`, `/memfd:name (deleted)`, `anon_inode:[eventpoll]`.

    Raises:
        ProcessLookupError: There is no such process.
        PermissionError: It belongs to another user.

    Source: proc_pid_fd(5).
    """
    directory = "/proc/self/fd" if pid is None else f"/proc/{pid}/fd"
    try:
        numbers = sorted(int(entry) for entry in os.listdir(directory))
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid)) from error
    found: dict[int, str] = {}
    for fd in numbers:
        try:
            found[fd] = os.readlink(f"{directory}/{fd}")
        except FileNotFoundError:  # closed meanwhile, as is the one by which this directory was listed
            continue
    return found


def access_mode(fd: int) -> int:
    """Tell what a descriptor may be used for.

    Returns:
        `os.O_RDONLY`, `os.O_WRONLY` or `os.O_RDWR`; O_RDONLY too for one that was opened with O_PATH.

    Source: fcntl(2) F_GETFL, open(2) O_ACCMODE.
    """
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
