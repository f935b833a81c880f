"""Socket activation: a listening socket that the service manager made, and passed to this process at its start.

The law: it is used where it stands under the very path that is claimed, once, and its name is the manager's: never
unlinked. The variables are left alone, and those of another process are not looked at.

Source: sd_listen_fds(3).
"""

from __future__ import annotations

import os
from typing import Final

from .. import lowlevel
from ._place import Place

_FIRST_FD: Final = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
_used: Final[set[int]] = set()


def activated_listener(place: Place) -> lowlevel.Socket | None:
    """Return the socket which was passed for this name, non-blocking; None without one. The caller closes it."""
    wanted = _resolved(place.path)
    for fd in _passed():
        path = lowlevel.listening_path(fd)
        if path and fd not in _used and _resolved(path) == wanted:
            _used.add(fd)
            listener = lowlevel.adopt_socket(fd)
            listener.setblocking(False)
            return listener
    return None


def _passed() -> range:
    count = os.environ.get("LISTEN_FDS", "")
    # A child inherits the variables, but not what they speak of: sd_listen_fds(3).
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return range(0)
    return range(_FIRST_FD, _FIRST_FD + int(count))


def _resolved(path: str) -> str:
    """Return the path with the links among its directories followed, and not one in its own place."""
    directory, name = os.path.split(path)
    return os.path.join(os.path.realpath(directory), name)
