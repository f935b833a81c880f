"""Attach: look at what stands under a name, and use it only if it is what was expected.

The law: the name is opened once, by `O_PATH|O_NOFOLLOW`, checked by `fstat` of that descriptor (type, owner),
and everything after that goes through it, so that nobody can exchange the name in between. Attaching never
makes, changes or unlinks anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, TypeAlias

from .. import lowlevel
from .._errors import IPCError, NotAllowed, WrongKind
from .._values import StrPath
from ._lock import LONGEST_CARD_BYTES, Record, lock_name
from ._place import Kind, Place, check_path, located
from ._trouble import kind_of, translate, translating

Owners: TypeAlias = Collection[int] | None
"""User ids whose names may be used besides one's own and root's; None: no others."""

_TESTS: Final[dict[Kind, tuple[Callable[[int], bool], str]]] = {
    "socket": (stat.S_ISSOCK, "a socket"),
    "fifo": (stat.S_ISFIFO, "a FIFO"),
    "file": (stat.S_ISREG, "a regular file"),
}


def connect_socket(
    path: StrPath, *, allowed_uids: Owners = None, any_owner: bool = False
) -> tuple[lowlevel.Socket, lowlevel.Credentials]:
    """Connect to the owner of a socket name. Does not wait.

    Args:
        path: The name.
        allowed_uids: User ids which may own the name and listen, besides the caller's own and root.
        any_owner: Accept whoever owns it; the caller then judges the credentials before it sends anything.

    Returns:
        A connected, non-blocking socket, which the caller closes; and the listener's credentials.

    Raises:
        NameNotFound: Nothing is there, or the directory is missing.
        WrongKind: Something else is there.
        NoServer: Nobody listens.
        NotAllowed: The file, or the process behind it, belongs to somebody who is not expected.
        BlockingIOError: The owner's backlog is full: to be tried again a little later.

    Source: unix(7), SO_PEERCRED.
    """
    with Place(path) as place:
        name_fd = open_checked(place, "socket", allowed_uids, any_owner=any_owner)
        try:
            sock = _connected(place.path, name_fd)
        finally:
            os.close(name_fd)
    try:
        credentials = lowlevel.peer_credentials(sock)
        if not any_owner and credentials.uid not in expected_owners(allowed_uids):
            raise NotAllowed(
                f"{place.path}: process {credentials.pid} of uid {credentials.uid} listens there, "
                f"which is not expected; {_how_to_allow(credentials.uid)}"
            )
    except BaseException:
        sock.close()
        raise
    return sock, credentials


def _connected(path: str, name_fd: int) -> lowlevel.Socket:
    with translating(path, "connect"):
        sock = lowlevel.unix_socket()
        try:
            sock.setblocking(False)
            lowlevel.connect_at(sock, name_fd)
        except BaseException:
            sock.close()
            raise
    return sock


def read_card(path: StrPath) -> bytes | None:
    """Return what the owner of a socket name says of itself; None where it says nothing that can be relied
    on.

    Read without the lock, and never an error: a name without a card may still be connected to. A card which
    does not belong to the socket that stands there now is not returned.
    """
    with suppress(IPCError, OSError), Place(path) as place:
        fd = place.open(lock_name(place.name), os.O_RDONLY)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in expected_owners(None):
                return None
            record = Record.unpack(os.pread(fd, LONGEST_CARD_BYTES + 256, 0))
        finally:
            os.close(fd)
        if record is not None and record.describes(place.status()):
            return record.card or None
    return None


def open_file(path: StrPath, *, writable: bool, allowed_uids: Owners = None, any_owner: bool = False) -> int:
    """Open the regular file under a name.

    Args:
        path: The name.
        writable: Open it to read and write; otherwise to read only, which needs read permission only.
        allowed_uids: User ids which may own it, besides the caller's own and root.
        any_owner: Accept whoever owns it.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        NameNotFound: Nothing is there, or the directory is missing.
        WrongKind: Something else is there.
        NotAllowed: It belongs to somebody who is not expected, or its permissions refuse.
    """
    with Place(path) as place:
        return open_file_at(place, writable=writable, allowed_uids=allowed_uids, any_owner=any_owner)


def open_file_at(place: Place, *, writable: bool, allowed_uids: Owners = None, any_owner: bool = False) -> int:
    """Open the regular file of a place; see `open_file`."""
    name_fd = open_checked(place, "file", allowed_uids, any_owner=any_owner)
    try:
        with translating(place.path, "open it to write" if writable else "open it to read"):
            return os.open(f"/proc/self/fd/{name_fd}", (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    finally:
        os.close(name_fd)


def name_exists(path: StrPath, *, kind: Kind) -> bool:
    """Whether something of that kind stands under the name; of another kind, or no directory: False.

    Raises:
        NotAllowed: The directory may not be looked into.
    """
    check_path(path)
    try:
        status = os.lstat(located(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise translate(error, os.fspath(path), "look at it") from error
    return _TESTS[kind][0](status.st_mode)


def refuse_other_kind(status: os.stat_result, kind: Kind, path: str) -> None:
    """Raise WrongKind where what stands there is not of that kind."""
    test, wanted = _TESTS[kind]
    if not test(status.st_mode):
        raise WrongKind(
            f"{path}: is {kind_of(status)}, not {wanted}; it was not touched: "
            "choose another path, or remove it yourself"
        )


def expected_owners(allowed_uids: Owners) -> frozenset[int]:
    """Return the user ids whose names may be used."""
    return frozenset((os.geteuid(), 0, *(allowed_uids or ())))


def open_checked(place: Place, kind: Kind, allowed_uids: Owners, *, any_owner: bool) -> int:
    """Return an `O_PATH` descriptor of what stands under the name, if its type and owner are as expected."""
    with translating(place.path, "look at it"):
        fd = place.open(place.name, os.O_PATH)
    try:
        status = os.fstat(fd)
        refuse_other_kind(status, kind, place.path)
        if not any_owner and status.st_uid not in expected_owners(allowed_uids) and not _vouched(place, kind):
            raise NotAllowed(
                f"{place.path}: belongs to uid {status.st_uid}, who is not expected; {_how_to_allow(status.st_uid)}"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def _vouched(place: Place, kind: Kind) -> bool:
    """Whether only root or the caller can have put the name into its directory.

    For a socket that is not enough: who listens is known, so who listens has to be expected.
    """
    status = os.fstat(place.directory_fd)
    others_write = stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    return kind != "socket" and status.st_uid in expected_owners(None) and not others_write


def _how_to_allow(uid: int) -> str:
    return f"if that user is trusted, say so with allow=users({uid})"
