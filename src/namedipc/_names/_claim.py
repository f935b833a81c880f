"""The claim: how a process becomes the one owner of a socket name.

The law: everything is done under the lock (`_lock.py`), and the socket gets its name, by `rename`, only when
it listens. So a second owner is refused, a killed owner's name is free at once, and there is no instant in
which the name is there and nobody listens. Left behind by a kill: `.NAME.lock`, and NAME or `.NAME.new`; the
next owner takes over both.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from contextlib import suppress
from typing import Final, final

from namedipc import lowlevel
from namedipc._errors import DeclarationError, NameTaken, WrongKind
from namedipc._values import StrPath

from ._attach import refuse_other_kind
from ._lock import LONGEST_CARD_BYTES, NameLock, Record, new_name
from ._place import Place, check_mode, check_path
from ._trouble import kind_of, translating


@final
class Claim:
    """The ownership of a socket name, for as long as it is open.

    A child made by fork inherits nothing of it: its copies are closed at birth, and the name is left alone.

    Attributes:
        path: The name, from the root on, as of when it was claimed.
        listener: The listening socket, non-blocking; the claim closes it.
    """

    __slots__ = ("__weakref__", "_lock", "_name_fd", "_pid", "_place", "listener", "path")

    def __init__(self, place: Place) -> None:
        """Begin with nothing but the place, which becomes the claim's own; `claim_socket` does the rest."""
        self.path: Final = place.path
        self._place: Final = place
        self._pid: Final = os.getpid()
        self._lock: Final = NameLock(place)
        self._name_fd = -1
        with translating(place.path, "claim it"):
            self.listener: Final = lowlevel.unix_socket()
        _claims.add(self)

    def close(self) -> None:
        """Remove the name if it is still ours, stop listening, and give the lock away. Safe to repeat."""
        if os.getpid() != self._pid:
            self._forget()
            return
        with suppress(OSError):  # the directory may have gone, or have become read-only: nothing can be removed then
            if self._name_fd >= 0 and self._place.is_same(self._place.name, self._name_fd):
                self._place.unlink(self._place.name)
        self.listener.close()
        with suppress(OSError):
            self._lock.release()
        self._forget()

    def _forget(self) -> None:
        """Close every descriptor, and remove nothing."""
        self.listener.close()
        self._lock.abandon()
        fd, self._name_fd = self._name_fd, -1
        if fd >= 0:
            os.close(fd)
        self._place.close()
        _claims.discard(self)

    def _take(self, card: bytes, mode: int, backlog: int) -> None:
        self._lock.take()
        refuse_living_or_other(self._place, self._lock)
        remove_left_over(self._place)
        new = new_name(self._place.name)
        try:
            self._bind(new, mode)
            self.listener.listen(backlog)
            status = os.fstat(self._name_fd)
            self._lock.write(Record(status.st_ino, status.st_mtime_ns, self._pid, card))
            fd = self._place.directory_fd
            os.rename(new, self._place.name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            with suppress(OSError):
                self._place.unlink(new)
            raise

    def _bind(self, new: str, mode: int) -> None:
        """Bind with no more than the owner's permissions from the first instant; then the mode exactly."""
        self.listener.setblocking(False)
        os.fchmod(self.listener.fileno(), mode & 0o600)
        lowlevel.bind_at(self.listener, self._place.directory_fd, new)
        self._name_fd = self._place.open(new, os.O_PATH)
        status = os.fstat(self._name_fd)
        refuse_other_kind(status, "socket", self.path)
        if stat.S_IMODE(status.st_mode) != mode:
            os.chmod(f"/proc/self/fd/{self._name_fd}", mode)


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
    check_path(path, kind="socket")
    check_mode(mode)
    if len(card) > LONGEST_CARD_BYTES:
        raise DeclarationError(f"{os.fspath(path)}: the card has {len(card)} bytes, {LONGEST_CARD_BYTES} are allowed")
    place = Place(path, make_directory=True)
    try:
        claim = Claim(place)
    except BaseException:
        place.close()
        raise
    try:
        with translating(claim.path, "claim it"):
            claim._take(card, mode, backlog)
    except BaseException:
        claim.close()
        raise
    return claim


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
    if record is not None and record.describes(status):
        return  # our own left-over; its dying owner's listener may still answer for some microseconds
    if _answers(place):
        raise NameTaken(
            f"{place.path}: a program listens there which does not lock its name; end it first, or choose another path"
        )


def remove_left_over(place: Place) -> None:
    """Remove the socket which a killed owner was about to rename. The lock proves that nobody needs it."""
    name = new_name(place.name)
    status = place.status(name)
    if status is None:
        return
    if not stat.S_ISSOCK(status.st_mode):
        where = os.path.join(os.path.dirname(place.path), name)
        raise WrongKind(f"{where}: is {kind_of(status)}, but this name is needed for a moment; remove it")
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
