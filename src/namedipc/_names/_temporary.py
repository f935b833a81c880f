"""Temporary names: where something gets its permissions before it gets its name.

The law: a temporary name is held by flock while its maker lives. What can be locked was left by a killed
maker, and the next one removes it; so at most one of them a kill is ever left, and none for long.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from .. import lowlevel
from ._place import Place

_LONGEST_STEM_BYTES: Final = 200  # leaves room for the random part within the 255 bytes of a name
_ATTEMPTS: Final = 100  # each one means that another maker swept in the very instant, or that nothing helps
_RANDOM: Final = re.compile(r"[0-9a-f]{16}\.new")


def unused_name(place: Place) -> str:
    """Return a temporary name which nobody else has."""
    return f"{_stem(place)}{os.urandom(8).hex()}.new"


def hold_temporary(place: Place, make: Callable[[str], int]) -> tuple[str, int]:
    """Make something under a temporary name and hold it.

    Args:
        place: Beside which name.
        make: Makes it under the name it is given, for its owner only, and returns a descriptor.

    Returns:
        The temporary name and the descriptor, which holds the lock; both are the caller's.
    """
    sweep(place)
    for _ in range(_ATTEMPTS):
        name = unused_name(place)
        try:
            fd = make(name)
        except FileNotFoundError:
            continue  # swept before it was opened; or else the directory has gone
        try:
            lowlevel.flock(fd, exclusive=True)
            held = place.is_same(name, fd)
        except BlockingIOError:
            held = False  # in the instant before the lock somebody took it for a left-over
        except BaseException:
            os.close(fd)
            place.unlink(name)
            raise
        if held:
            return name, fd
        os.close(fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def sweep(place: Place) -> None:
    """Remove the temporary names which killed makers have left beside this name."""
    for name in _temporaries(place):
        status = place.status(name)
        if status is None or not _is_ours(status):
            continue
        if status.st_nlink > 1:
            place.unlink(name)  # has got its name already; its maker does not need this one any more
        else:
            _remove_unheld(place, name)


def _is_ours(status: os.stat_result) -> bool:
    made = stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)
    return made and status.st_uid == os.geteuid()


def _remove_unheld(place: Place, name: str) -> None:
    with suppress(OSError):  # gone, or held by its living maker
        fd = place.open(name, os.O_RDWR)
        try:
            lowlevel.flock(fd, exclusive=True)
            if place.is_same(name, fd):
                place.unlink(name)
        finally:
            os.close(fd)


def _temporaries(place: Place) -> Iterator[str]:
    stem = _stem(place)
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.directory_fd)
    except OSError:
        return  # a directory that may be written to but not listed: nothing can be found
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    yield from (name for name in names if name.startswith(stem) and _RANDOM.fullmatch(name, len(stem)))


def _stem(place: Place) -> str:
    return f".{os.fsdecode(os.fsencode(place.name)[:_LONGEST_STEM_BYTES])}."
