"""The claim: how a process becomes the one owner of a socket name.

The law: everything is done under the lock (`_lock.py`), and the socket gets its name, by `rename`, only when
it listens. So a second owner is refused, a killed owner's name is free at once, and there is no instant in
which the name is there and nobody listens. Left behind by a kill: `.NAME.lock`, and NAME or `.NAME.new`; the
next owner takes over both, and `.NAME.handover`, the socket at which a successor asks the owner for the name.

A name passes from one process to another with its sockets and its lock: `inherit_claim` in the successor, which
changes nothing before `Claim.assume`; `Claim.give` in the owner, after which closing removes nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from contextlib import suppress
from typing import Final, final

from .. import lowlevel
from .._errors import DeclarationError, IPCError, NameTaken, WrongKind
from .._values import StrPath
from ._activation import activated_listener
from ._attach import refuse_other_kind
from ._lock import LONGEST_CARD_BYTES, NameLock, Record, handover_name, new_name
from ._place import Place, check_mode, check_path
from ._trouble import kind_of, translating


@final
class Claim:
    """The ownership of a socket name, for as long as it is open.

    A child made by fork inherits nothing of it: its copies are closed at birth, and the name is left alone.

    Attributes:
        path: The name, from the root on, as of when it was claimed.
        listener: The listening socket, non-blocking; the claim closes it.
        handover: The socket, listening and non-blocking, at which a successor asks; the claim closes it.
    """

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_card",
        "_given",
        "_handover_bound",
        "_kept",
        "_lock",
        "_mode",
        "_name_fd",
        "_pid",
        "_place",
        "handover",
        "listener",
        "path",
    )

    def __init__(self, place: Place, card: bytes, mode: int, backlog: int) -> None:
        """Begin with nothing but the place, which becomes the claim's own."""
        self.path: Final = place.path
        self._place: Final = place
        self._card: Final = card
        self._mode: Final = mode
        self._backlog: Final = backlog
        self._pid: Final = os.getpid()
        self._lock: Final = NameLock(place)
        self._name_fd = -1
        self._kept = False  # whether the name is the service manager's
        self._given = False  # whether the name is another process's, from which or to which it passes
        self._handover_bound = False
        with translating(place.path, "claim it"):
            self.listener: lowlevel.Socket = lowlevel.unix_socket()
            try:
                self.handover: lowlevel.Socket = lowlevel.unix_socket()
            except BaseException:
                self.listener.close()
                raise
        _claims.add(self)

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._place.directory_fd < 0

    def close(self) -> None:
        """Remove the name if it is still ours, stop listening, and give the lock away. Safe to repeat."""
        if os.getpid() != self._pid or self._given:
            self._forget()
            return
        with suppress(OSError):  # the directory may have gone, or have become read-only: nothing can be removed then
            if self._handover_bound:
                self._place.unlink(handover_name(self._place.name))
            if self._name_fd >= 0 and not self._kept and self._place.is_same(self._place.name, self._name_fd):
                self._place.unlink(self._place.name)
        self.listener.close()
        self.handover.close()
        with suppress(OSError):
            self._lock.release()
        self._forget()

    def descriptors(self) -> tuple[int, int, int]:
        """Return what a successor needs, for `inherit_claim`; they stay the claim's."""
        return self.listener.fileno(), self.handover.fileno(), self._lock.fd

    def give(self) -> None:
        """Leave the name to the process that has the descriptors: closing removes nothing from here on."""
        self._given = True

    def assume(self) -> None:
        """Be the owner whom the name speaks of, for the first time or again: its permissions, its card, its process.

        Who connects from here on is shown this process, for listen(2) is what SO_PEERCRED tells of. Where the socket
        is the service manager's, that goes on to be shown.
        """
        with translating(self.path, "own it"):
            status = os.fstat(self._name_fd)
            if not self._kept:
                if stat.S_IMODE(status.st_mode) != self._mode:
                    os.chmod(f"/proc/self/fd/{self._name_fd}", self._mode)
                self.listener.listen(self._backlog)
            self.handover.listen(_HANDOVER_BACKLOG)
            self._lock.write(Record(status.st_ino, status.st_mtime_ns, self._pid, self._card, self._kept))
        self._given = False

    def take_back(self) -> None:
        """Be the owner again, for the process to which the name was given has died."""
        self._given = False
        with suppress(IPCError):  # a full disk, for instance: then the name has no card
            self.assume()

    def _forget(self) -> None:
        """Close every descriptor, and remove nothing."""
        self.listener.close()
        self.handover.close()
        self._lock.abandon()
        fd, self._name_fd = self._name_fd, -1
        if fd >= 0:
            os.close(fd)
        self._place.close()
        _claims.discard(self)

    def _take(self) -> None:
        self._lock.take()
        activated = activated_listener(self._place)
        if activated is not None:
            self.listener.close()
            self.listener = activated
            self._kept = True
        else:
            refuse_living_or_other(self._place, self._lock)
        remove_left_over(self._place)
        new = new_name(self._place.name)
        try:
            self._bind_handover()
            if activated is not None:
                self._name_fd = self._opened(self._place.name)
                self.assume()
                return
            self._name_fd = self._bound(self.listener, new, self._mode & 0o600)
            self.assume()
            fd = self._place.directory_fd
            os.rename(new, self._place.name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            with suppress(OSError):
                self._place.unlink(new)
            raise

    def _bind_handover(self) -> None:
        self._handover_bound = True
        fd = self._bound(self.handover, handover_name(self._place.name), 0o600)
        try:
            os.chmod(f"/proc/self/fd/{fd}", 0o600)  # the umask may have taken the owner's own bits
        finally:
            os.close(fd)

    def _bound(self, sock: lowlevel.Socket, name: str, mode: int) -> int:
        """Bind with no more than the owner's permissions from the first instant; return the name's `O_PATH`."""
        sock.setblocking(False)
        os.fchmod(sock.fileno(), mode)
        lowlevel.bind_at(sock, self._place.directory_fd, name)
        return self._opened(name)

    def _opened(self, name: str) -> int:
        fd = self._place.open(name, os.O_PATH)
        try:
            refuse_other_kind(os.fstat(fd), "socket", self.path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _inherit(self, listener: int, handover: int, lock: int) -> None:
        """Put the owner's descriptors in the place of one's own; those which are not taken stay the caller's."""
        self._lock.inherit(lock)
        record = self._lock.record()
        self._name_fd = self._opened(self._place.name)
        listens = all(lowlevel.listening_path(fd) is not None for fd in (listener, handover))
        if record is None or not listens or not record.describes(os.fstat(self._name_fd)):
            raise NameTaken(
                f"{self.path}: its owner no longer listens under this name, which somebody has replaced; end it first"
            )
        self._kept = record.kept
        self._handover_bound = True
        self.listener.close()
        self.listener = lowlevel.adopt_socket(listener)
        self.handover.close()
        self.handover = lowlevel.adopt_socket(handover)


_HANDOVER_BACKLOG: Final = 16
"""Successors that may ask at once; more of them try again."""

_claims: Final[weakref.WeakSet[Claim]] = weakref.WeakSet()


def _forget_in_child() -> None:
    # A lock lives as long as the last copy of its descriptor: a child would own its killed parent's name.
    for claim in list(_claims):
        claim._forget()


os.register_at_fork(after_in_child=_forget_in_child)


def claim_socket(path: StrPath, *, card: bytes, mode: int = 0o600, backlog: int = 1024) -> Claim:
    """Become the owner of a socket name.

    Args:
        path: The name.
        card: What the owner says of itself to whoever wants to connect; see `read_card`.
        mode: Permissions of the name, exactly these whatever the umask, and never looser.
        backlog: How many connections may wait to be accepted; the kernel's bound is net.core.somaxconn.

    Returns:
        The claim, whose listener listens; the caller closes it.

    Raises:
        NameTaken: It has a living owner.
        WrongKind: Something else is there; it is not touched.
        NameNotFound: The directory is missing.
        NotAllowed: The directory may not be written to, or the left-overs belong to another user.
        DeclarationError: The name is too long.
    """
    claim = _unowned(path, card, mode, backlog)
    try:
        with translating(claim.path, "claim it"):
            claim._take()
    except BaseException:
        claim.close()
        raise
    return claim


def inherit_claim(
    path: StrPath, descriptors: tuple[int, int, int], *, card: bytes, mode: int = 0o600, backlog: int = 1024
) -> Claim:
    """Prepare to own a name that its living owner passes on. Nothing changes before `Claim.assume`.

    Args:
        path: The name.
        descriptors: Copies of the owner's `Claim.descriptors`; they are the claim's from here on, also on failure.
        card: See `claim_socket`, as for the others.
        mode: Permissions of the name.
        backlog: How many connections may wait.

    Returns:
        The claim; closing it before it was assumed leaves the name to its owner.

    Raises:
        NameTaken: They are not of the owner of this name.
        NameNotFound: The name has been removed under its owner.
        WrongKind: Something else is there.
    """
    left = set(descriptors)
    try:
        claim = _unowned(path, card, mode, backlog)
        claim.give()
        try:
            left.discard(descriptors[2])  # the lock's from the first line on
            with translating(claim.path, "take it over"):
                claim._inherit(*descriptors)
            left.clear()
        except BaseException:
            claim.close()
            raise
        return claim
    finally:
        for fd in left:
            os.close(fd)


def _unowned(path: StrPath, card: bytes, mode: int, backlog: int) -> Claim:
    check_path(path, kind="socket")
    check_mode(mode)
    if len(card) > LONGEST_CARD_BYTES:
        raise DeclarationError(f"{os.fspath(path)}: the card has {len(card)} bytes, {LONGEST_CARD_BYTES} are allowed")
    place = Place(path, make_directory=True)
    try:
        return Claim(place, card, mode, backlog)
    except BaseException:
        place.close()
        raise


def refuse_living_or_other(place: Place, lock: NameLock) -> None:
    """Raise unless the name is free, or is a socket whose owner has died. To be called under the lock.

    No owner of ours lives, or it would hold the lock; but a program which knows no lock may have put its
    socket there.
    """
    status = place.status()
    if status is None:
        return
    refuse_other_kind(status, "socket", place.path)
    record = lock.record()
    if record is not None and record.describes(status) and not record.kept:
        return  # our own left-over; its dying owner's listener may still answer for some microseconds
    if _answers(place):
        raise NameTaken(
            f"{place.path}: a program listens there which does not lock its name; end it first, or choose another path"
        )


def remove_left_over(place: Place) -> None:
    """Remove the sockets which a killed owner had beside the name. The lock proves that nobody needs them."""
    for name in (new_name(place.name), handover_name(place.name)):
        status = place.status(name)
        if status is None:
            continue
        if not stat.S_ISSOCK(status.st_mode):
            where = os.path.join(os.path.dirname(place.path), name)
            raise WrongKind(f"{where}: is {kind_of(status)}, but this name is needed for a socket; remove it")
        place.unlink(name)


def _answers(place: Place) -> bool:
    try:
        fd = place.open(place.name, os.O_PATH)
    except FileNotFoundError:
        return False
    probe = lowlevel.unix_socket()
    try:
        probe.setblocking(False)
        lowlevel.connect_at(probe, fd)
    except ConnectionRefusedError:
        return False
    except OSError as error:
        # A full backlog, or a socket of another type: somebody is there.
        if error.errno in {errno.EAGAIN, errno.EPROTOTYPE}:
            return True
        raise
    finally:
        probe.close()
        os.close(fd)
    return True
