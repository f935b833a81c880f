"""Processes: one that is held by a descriptor, and one that is told from a later one with the same number."""

from __future__ import annotations

import errno
import os
import signal as signals
from pathlib import Path

_STATE = 3 - 3  # proc_pid_stat(5) counts from 1; fields from 3 on follow the name in parentheses
_START_TIME = 22 - 3


def open_pidfd(pid: int) -> int:
    """Open a process: the descriptor never comes to mean another one, and is readable once it has ended.

    Returns:
        A descriptor, close-on-exec; the caller closes it.

    Raises:
        ProcessLookupError: There is no such process.
        OSError: EINVAL for a number that no process has, 0 or less.

    Source: pidfd_open(2).
    """
    return os.pidfd_open(pid)


def signal_pidfd(fd: int, signal: int) -> None:
    """Send a signal to the process behind a pidfd, never to another one that has its number now.

    Args:
        fd: Of `open_pidfd` or `peer_pidfd`.
        signal: Its number; 0 only asks whether it could be sent.

    Raises:
        ProcessLookupError: It has ended and was waited for.
        PermissionError: It belongs to another user.

    Source: pidfd_send_signal(2).
    """
    signals.pidfd_send_signal(fd, signal)


def process_start_time(pid: int) -> int:
    """Tell when a process started: with the number, this names one process until the next boot.

    Returns:
        Clock ticks (os.sysconf("SC_CLK_TCK") a second, mostly 100) since the boot.

    Raises:
        ProcessLookupError: There is no such process, or it is hidden from this user (proc(5) "hidepid").

    Source: proc_pid_stat(5), field 22.
    """
    return int(_fields(pid)[_START_TIME])


def process_executable(pid: int) -> str:
    """Tell which program a process runs.

    Returns:
        The absolute path; " (deleted)" follows where the file has been removed or replaced.

    Raises:
        ProcessLookupError: There is no such process, or it runs none (it has ended, or belongs to the
            kernel).
        PermissionError: It belongs to another user.

    Source: proc_pid_exe(5).
    """
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except FileNotFoundError as error:
        raise _missing(pid) from error


def process_alive(pid: int, start_time: int) -> bool:
    """Tell whether this very process still runs; one that has ended and was not waited for does not.

    Args:
        pid: Its number.
        start_time: What `process_start_time` told of it.

    Returns:
        False too where it is hidden from this user (proc(5) "hidepid").

    Source: proc_pid_stat(5), fields 3 and 22.
    """
    try:
        fields = _fields(pid)
    except ProcessLookupError:
        return False
    return int(fields[_START_TIME]) == start_time and fields[_STATE] not in {b"Z", b"X"}


def _fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third on."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError as error:
        raise _missing(pid) from error
    # The second field, the program's name in parentheses, may itself have spaces and parentheses.
    return line[line.rindex(b")") + 1 :].split()


def _missing(pid: int) -> ProcessLookupError:
    """Return what to raise for a directory in /proc that is not there."""
    return ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid))
