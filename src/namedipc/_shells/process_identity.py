"""A process as another one recognises it: number, start time, and the namespaces in which both hold."""

from __future__ import annotations

import os
from contextlib import suppress
from zlib import crc32

from .. import lowlevel


def namespaces() -> int:
    """Return a number for the pid and time namespaces of this process; another in the same has the same."""
    names = ""
    for kind in ("pid", "time"):
        with suppress(OSError):  # a kernel without namespaces of time
            names += os.readlink(f"/proc/self/ns/{kind}")
    return crc32(names.encode())


def has_ended(pid: int, start_time: int) -> bool:
    """Whether a process of the same namespaces has ended for certain. False where that cannot be seen."""
    if lowlevel.process_alive(pid, start_time):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's, and perhaps hidden from this one: proc(5) "hidepid"
    try:
        lowlevel.process_start_time(pid)
    except ProcessLookupError:
        return False
    # It can be seen, and is another process or waits to be reaped.
    return not lowlevel.process_alive(pid, start_time)
