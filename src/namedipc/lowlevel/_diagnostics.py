"""What a process has open. For people and for tests: /proc is read, nothing is changed."""

from __future__ import annotations

import errno
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
