"""Remove and list: the end of a name.

The law: only what is of the expected kind, belongs to the caller and has no living owner is removed.
"""

from __future__ import annotations

import os
import stat
from typing import final

import attrs

from .._errors import NameNotFound, NotAllowed
from .._values import StrPath
from ._attach import read_card, refuse_other_kind
from ._claim import refuse_living_or_other, remove_left_over
from ._lock import NameLock, handover_name, lock_name, new_name
from ._place import Kind, Place, absolute
from ._temporary import sweep
from ._trouble import translating


def remove_name(path: StrPath, *, kind: Kind, missing_ok: bool = False) -> None:
    """Remove a name, and what killed processes have left beside it.

    Args:
        path: The name.
        kind: What has to stand there.
        missing_ok: Say nothing where nothing is there.

    Raises:
        NameNotFound: Nothing is there, or the directory is missing, unless `missing_ok`.
        WrongKind: Something else is there; it is not touched.
        NameTaken: It is a socket with a living owner.
        NotAllowed: It belongs to somebody else, or the directory may not be written to.
    """
    try:
        place = Place(path)
    except NameNotFound:
        if missing_ok:
            return
        raise
    with place, translating(place.path, "remove it"):
        status = place.status()
        if status is not None:
            _refuse_removal(status, kind, place.path)
        if kind == "socket":
            _remove_socket(place)
        else:
            sweep(place)
            place.unlink(place.name)
        if status is None and not missing_ok:
            raise NameNotFound(f"{place.path}: nothing is there to remove; say missing_ok=True if that is all right")


def remove_published(path: StrPath, fd: int) -> bool:
    """Remove the name of a file which the caller has open, unless it stands for another file by now.

    Args:
        path: The name.
        fd: The file, still open: the kernel gives its inode number to nobody else meanwhile.

    Returns:
        Whether it was removed.

    Raises:
        NotAllowed: The directory may not be written to.
    """
    try:
        place = Place(path)
    except NameNotFound:
        return False
    with place, translating(place.path, "remove it"):
        if not place.is_same(place.name, fd):
            return False
        place.unlink(place.name)
        return True


def _refuse_removal(status: os.stat_result, kind: Kind, path: str) -> None:
    refuse_other_kind(status, kind, path)
    if os.geteuid() not in {status.st_uid, 0}:
        raise NotAllowed(f"{path}: belongs to uid {status.st_uid}; only that user or root may remove it")


def _remove_socket(place: Place) -> None:
    beside = (new_name(place.name), handover_name(place.name), lock_name(place.name))
    if all(place.status(name) is None for name in (place.name, *beside)):
        return  # nothing to lock, and so no lock file is made
    lock = NameLock(place)
    lock.take()
    try:
        refuse_living_or_other(place, lock)
        remove_left_over(place)
        place.unlink(place.name)
    finally:
        lock.release()


@final
@attrs.frozen
class ListedName:
    """One name in a directory.

    Attributes:
        path: From the root on.
        kind: What it is in the filesystem.
        card: What its owner says of itself; None without one.
    """

    path: str
    kind: Kind
    card: bytes | None


def list_names(directory: StrPath) -> list[ListedName]:
    """Return the sockets, FIFOs and regular files of a directory, in the order of their names; hidden ones
    are left out.

    Raises:
        NameNotFound: The directory is missing, or is none.
        NotAllowed: It may not be read.
    """
    base = absolute(directory)
    with translating(base, "list it"):
        names = sorted(name for name in os.listdir(base) if not name.startswith("."))
    return [listed for name in names if (listed := _listed(os.path.join(base, name))) is not None]


def _listed(path: str) -> ListedName | None:
    try:
        kind = _kind(os.lstat(path))
    except FileNotFoundError:  # removed since it was listed
        return None
    if kind is None:
        return None
    return ListedName(path, kind, read_card(path) if kind == "socket" else None)


def _kind(status: os.stat_result) -> Kind | None:
    if stat.S_ISSOCK(status.st_mode):
        return "socket"
    if stat.S_ISFIFO(status.st_mode):
        return "fifo"
    return "file" if stat.S_ISREG(status.st_mode) else None
