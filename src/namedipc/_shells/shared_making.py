"""How a file in shared memory comes to be open: made, found, waited for; and how its name is removed.

The law: a file has its name only when it is whole, with its maker's mark on it; and what is no file of ours, or is of
another kind, is never touched. The mark is a lock which the kernel takes off when its holder dies.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from time import monotonic
from typing import Final, Generic, NamedTuple, TypeVar, final, get_args

from .. import _names, lowlevel
from .._errors import Busy, DeclarationError, NameNotFound, NotAllowed, ProtocolError
from .._protocol.file_header import FileHeader, Flag
from .._values import IfExists, StrPath
from .connecting import Pause
from .shared_file import Contents, HeaderT, is_same, read_header
from .shared_lock import OWNING, FileLock, open_again
from .shared_sidecar import open_lock_file, remove_sidecar, sidecar_path, writers_only

R = TypeVar("R")

FIRST_PAUSE_SECONDS: Final = 0.002
LONGEST_PAUSE_SECONDS: Final = 1.0


def check_making(if_exists: IfExists, mode: int) -> None:
    """Refuse arguments which mean nothing.

    Raises:
        DeclarationError: One does not.
    """
    if if_exists not in get_args(IfExists):
        raise DeclarationError(f"if_exists={if_exists!r}: 'fail', 'keep' or 'replace'")
    if mode & 0o600 != 0o600 or not 0 <= mode <= 0o777:
        raise DeclarationError(f"mode={mode:#o}: between 0o600 and 0o777, the owner reading and writing")


class Opened(NamedTuple, Generic[HeaderT]):
    """What an open file is made of; whoever takes it owns the descriptor and the lock."""

    path: str
    fd: int
    header: HeaderT
    lock: FileLock | None

    def close(self) -> None:
        """Close what it is made of, where nobody takes it."""
        if self.lock is not None:
            self.lock.close()
        os.close(self.fd)


def waiting_for_name(path: StrPath, open_now: Callable[[], R], *, wait_seconds: float) -> Generator[Pause, None, R]:
    """Open what is under a name, waiting for it where it is not there yet.

    Raises:
        NameNotFound: Nothing is there, and `wait_seconds` have passed; or the directory is missing.
    """
    until = monotonic() + wait_seconds
    pause = FIRST_PAUSE_SECONDS
    watch: _names.NameWatch | None = None
    try:
        while True:
            try:
                return open_now()
            except NameNotFound:
                left = until - monotonic()
                if left <= 0:
                    raise
                if watch is None:
                    watch = _names.NameWatch(path)
                    continue
            yield Pause(watch.fileno(), min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            watch.drain()
    finally:
        if watch is not None:
            watch.close()


def open_shared(
    path: StrPath, kind: type[HeaderT], contents: Contents | None, *, writable: bool, busy: type[Busy] = Busy
) -> Opened[HeaderT]:
    """Open the file under a name.

    Args:
        path: The name.
        kind: The header of what has to be there.
        contents: The type it has to hold; None for any.
        writable: To read and write; otherwise to read only, which needs read permission only.
        busy: What its lock raises for whoever holds it.

    Raises:
        NameNotFound: Nothing is there, or the directory is missing.
        WrongKind: Something else is there.
        SchemaMismatch: It holds another type.
        NotAllowed: Its permissions, or its owner.
    """
    where = _names.absolute(path)
    while True:
        fd = _names.open_file(where, writable=writable, allowed_uids=_owner_of_directory(where))
        try:
            header = read_header(fd, kind, where=where)
            if contents is not None:
                contents.refuse_other(header, where=where)
            lock = _lock_of(fd, where, header, busy) if writable else None
        except BaseException:
            os.close(fd)
            raise
        if lock is not None or not writable:
            return Opened(where, fd, header, lock)
        os.close(fd)  # removed or replaced since it was opened: look again


def _lock_of(fd: int, path: str, header: FileHeader, busy: type[Busy]) -> FileLock | None:
    """Return the lock of an open file; None where the file has lost its name, and its lock file with it."""
    try:
        return FileLock(open_lock_file(fd, path, header), where=path, busy=busy)
    except FileNotFoundError as error:
        if not is_same(path, fd):
            return None
        raise NotAllowed(
            f"{path}: its lock file {sidecar_path(path, header)} is missing, without which nobody may write; "
            f"remove the {header.noun} and create it anew"
        ) from error


def remove_shared(path: StrPath, kind: type[FileHeader], *, missing_ok: bool) -> None:
    """Remove a file's name, and the lock file beside it.

    Raises:
        NameNotFound: Nothing is there, unless `missing_ok`.
        WrongKind: Something else is there; it is not touched.
        NotAllowed: It belongs to somebody else.
    """
    where = _names.absolute(path)
    header: FileHeader | None = None
    try:
        fd = _names.open_file(where, writable=False, any_owner=True)
    except NameNotFound:
        pass  # said, or not, below
    else:
        try:
            header = header_if_sound(fd, kind, where)
        finally:
            os.close(fd)
    _names.remove_name(where, kind="file", missing_ok=missing_ok)
    if header is not None:
        remove_sidecar(where, header)


def header_if_sound(fd: int, kind: type[HeaderT], where: str) -> HeaderT | None:
    """Return the header; None where it is of the kind but damaged, so that it may be removed all the same."""
    try:
        return read_header(fd, kind, where=where)
    except ProtocolError:
        return None


@final
class NewFile(Generic[HeaderT]):
    """One file on its way to its name."""

    def __init__(
        self,
        path: str,
        header: HeaderT,
        fill: Callable[[int], None],
        mark: Callable[[int], None],
        *,
        mode: int,
        busy: type[Busy] = Busy,
    ) -> None:
        """Prepare it; nothing is made yet.

        Args:
            path: The name, from the root on.
            header: With `Flag.SIDECAR` where `mode` needs it.
            fill: Writes the whole content.
            mark: Takes the maker's mark on the descriptor of the lock.
            mode: Permissions.
            busy: What its lock raises for whoever holds it.
        """
        self.path: Final = path
        self.header: Final = header
        self._fill = fill
        self._mark = mark
        self._mode = mode
        self._busy = busy
        self._lock_fd = -1

    def publish(self, if_exists: IfExists) -> Opened[HeaderT]:
        """Make it, and give it its name.

        Raises:
            NameTaken, WrongKind, NameNotFound, NotAllowed, TooLarge: As `publish_file`.
        """
        try:
            fd = _names.publish_file(
                self.path,
                mode=self._mode,
                if_exists=if_exists,
                size_bytes=self.header.file_bytes,
                fill=self._prepare,
            )
        except BaseException:
            self._drop()
            raise
        lock_fd, self._lock_fd = self._lock_fd, -1
        return Opened(self.path, fd, self.header, FileLock(lock_fd, where=self.path, busy=self._busy))

    def _prepare(self, fd: int) -> None:
        """Write the whole content, and take the maker's mark, before anybody can see the file."""
        self._drop()  # of an attempt before, which somebody else was faster than
        self._fill(fd)
        if self.header.flags & Flag.SIDECAR:
            self._make_sidecar()
        else:
            self._lock_fd = open_again(fd)
        self._mark(self._lock_fd)

    def _make_sidecar(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock_fd = os.open(sidecar_path(self.path, self.header), flags, 0o600)
        os.fchmod(self._lock_fd, writers_only(self._mode))

    def _drop(self) -> None:
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            lowlevel.unlock_ofd(fd, start=OWNING, length=1)
            os.close(fd)
            remove_sidecar(self.path, self.header)


def _owner_of_directory(path: str) -> frozenset[int]:
    """Whose file may be used besides one's own and root's: that of the directory's only writer."""
    try:
        status = os.stat(os.path.dirname(path))
    except OSError:
        return frozenset()  # said when the name is looked up
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return frozenset() if others_write else frozenset((status.st_uid,))


def boot_id() -> bytes:
    """Return which run of the machine this is; 16 bytes."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return bytes.fromhex(file.read().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)  # no /proc: only a note for whoever looks at the file
