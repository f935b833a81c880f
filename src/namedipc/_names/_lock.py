"""The claim lock: `.NAME.lock` beside a socket's name, and the record its holder leaves in it.

The law: whoever holds the lock owns the name. The lock is the open file description, which the kernel frees
when its holder is killed; the file is only where it is found. A holder may remove the file, because whoever
locks it compares what was locked with what the name stands for afterwards, and starts again if they differ.

The file holds one line (version, the socket's inode and time, the owner's pid, length and checksum) and then
the owner's card, which anybody who may read the file can read without the lock. The line tells a socket which
an owner of ours left behind from one that another program has put there since.
"""

from __future__ import annotations

import os
import stat
import zlib
from typing import Final, final

import attrs

from .. import lowlevel
from .._errors import NameTaken, NotAllowed, WrongKind
from ._place import Place
from ._trouble import kind_of, translating

LONGEST_CARD_BYTES: Final = 1 << 20
"""A card is a description of types; a megabyte is far beyond any."""

_LONGEST_BOUND_BYTES: Final = 72
"""With `/proc/self/fd/N/` before it and `.handover` behind, what fits into the 108 bytes of sun_path: unix(7)."""

_MAGIC: Final = b"namedipc-name-1"
_KEPT_MAGIC: Final = b"namedipc-kept-1"
_ATTEMPTS: Final = 1000  # each one means that another owner has come and gone meanwhile


@attrs.frozen
class Record:
    """What the owner of a socket name has written into its lock file.

    Attributes:
        inode: Inode number of the socket file.
        time_ns: When it was made: its modification time, in nanoseconds.
        pid: The owner's process id, in its own pid namespace.
        card: What the owner says of itself.
        kept: Whether the socket is another's, who keeps it when the owner has gone: the service manager's.
    """

    inode: int
    time_ns: int
    pid: int
    card: bytes
    kept: bool = False

    def pack(self) -> bytes:
        """Return the content of a lock file."""
        fields = (self.inode, self.time_ns, self.pid, len(self.card), zlib.crc32(self.card))
        return b"%b %d %d %d %d %d\n%b" % (_KEPT_MAGIC if self.kept else _MAGIC, *fields, self.card)

    @staticmethod
    def unpack(content: bytes) -> Record | None:
        """Return the record; None for anything else, such as one that is being written at this moment."""
        line, _, card = content.partition(b"\n")
        magic, *fields = line.split(b" ")
        if magic not in {_MAGIC, _KEPT_MAGIC} or len(fields) != 5 or not all(field.isdigit() for field in fields):
            return None
        inode, time_ns, pid, length, checksum = map(int, fields)
        if len(card) != length or zlib.crc32(card) != checksum:
            return None
        return Record(inode, time_ns, pid, card, magic == _KEPT_MAGIC)

    def describes(self, status: os.stat_result | None) -> bool:
        """Whether the socket of this status is the one that was recorded."""
        return status is not None and (status.st_ino, status.st_mtime_ns) == (self.inode, self.time_ns)


def lock_name(name: str) -> str:
    """Return the name of the lock file which belongs to `name`."""
    return f".{name}.lock"


def new_name(name: str) -> str:
    """Return the name under which the holder of the lock makes a socket before it gets `name`."""
    return f".{_bound_stem(name)}.new"


def handover_name(name: str) -> str:
    """Return the name of the socket at which the holder of the lock can be asked to hand `name` over."""
    return f".{_bound_stem(name)}.handover"


def _bound_stem(name: str) -> str:
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_BOUND_BYTES:
        return name
    import hashlib  # and OpenSSL with it: for so long a name only

    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


@final
class NameLock:
    """The lock of one name. It uses the place, and does not own it."""

    __slots__ = ("_fd", "_name", "_place")

    def __init__(self, place: Place) -> None:
        """Begin without the lock."""
        self._place: Final = place
        self._name: Final = lock_name(place.name)
        self._fd = -1

    @property
    def fd(self) -> int:
        """The locked file, which the lock keeps; -1 without the lock."""
        return self._fd

    def inherit(self, fd: int) -> None:
        """Have the lock by a copy of its holder's descriptor, which becomes this lock's own.

        Raises:
            NameTaken: The descriptor does not hold it, or is of another file than the lock file of now.
        """
        self._fd = fd
        try:
            lowlevel.flock(fd, exclusive=True)  # changes nothing where this very description has it
            held = self._place.is_same(self._name, fd)
        except BlockingIOError:
            held = False
        if not held:
            raise NameTaken(f"{self._place.path}: what its owner has handed over is not its lock; end that owner first")

    def take(self) -> None:
        """Take the lock at once, or not at all.

        Raises:
            NameTaken: Somebody holds it.
            NotAllowed: The lock file is another user's, or cannot be made here.
            WrongKind: Something which is no lock file has the lock file's name.
        """
        with translating(self._place.path, f"lock its lock file {self._name}"):
            for _ in range(_ATTEMPTS):
                if self._try():
                    return
        raise NameTaken(f"{self._place.path}: its owner changes all the time; try again")

    def _try(self) -> bool:
        self._fd = self._place.open(self._name, os.O_RDWR | os.O_CREAT)
        try:
            status = os.fstat(self._fd)
            self._check(status)
            lowlevel.flock(self._fd, exclusive=True)
            if self._place.is_same(self._name, self._fd):
                if stat.S_IMODE(status.st_mode) != 0o600 and status.st_uid == os.geteuid():
                    os.fchmod(self._fd, 0o600)
                return True
            self.abandon()
            return False
        except BlockingIOError as error:
            record = self.record()
            self.abandon()
            owner = f"process {record.pid}" if record is not None else "a process which is about to begin or to end"
            raise NameTaken(
                f"{self._place.path}: owned by {owner}; end that owner first, or choose another path"
            ) from error
        except BaseException:
            self.abandon()
            raise

    def _check(self, status: os.stat_result) -> None:
        where = os.path.join(os.path.dirname(self._place.path), self._name)
        if not stat.S_ISREG(status.st_mode):
            raise WrongKind(
                f"{where}: is {kind_of(status)}, but should be a lock file; remove it, or choose another path"
            )
        if status.st_uid not in {os.geteuid(), 0}:
            raise NotAllowed(f"{where}: belongs to uid {status.st_uid}; only that user or root can claim this name")
        if status.st_nlink > 1:
            # Somebody linked one of our files here, to have it overwritten.
            raise WrongKind(f"{where}: has a second name elsewhere, so it is no lock file; remove it")

    def record(self) -> Record | None:
        """Return what the holder, or the last one, has written."""
        return Record.unpack(os.pread(self._fd, LONGEST_CARD_BYTES + 256, 0))

    def write(self, record: Record) -> None:
        """Replace the record. A reader meanwhile finds none, never a mixture."""
        os.ftruncate(self._fd, 0)
        content, written_bytes = record.pack(), 0
        while written_bytes < len(content):  # a full disk takes what fits first, and says ENOSPC to the rest
            written_bytes += os.pwrite(self._fd, content[written_bytes:], written_bytes)

    def release(self) -> None:
        """Remove the lock file, if it is still this one, and let go. Safe to repeat."""
        if self._fd < 0:
            return
        try:
            if self._place.is_same(self._name, self._fd):
                self._place.unlink(self._name)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptor only: what the kernel does when the holder is killed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
