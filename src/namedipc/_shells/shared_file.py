"""An open file in shared memory: what regions and broadcasts have in common. Their bytes are not looked at here.

The pages of the file are the shared memory, copied out by pread, and in by pwrite or as `quiet_write.py` does it. A
file that somebody has cut short is then an error, where to touch a mapping would end the process by SIGBUS.

The law: a descriptor is used only where its handle is open, and whoever waits for a file is woken when it is closed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from threading import Lock
from typing import Final, Generic, TypeAlias, TypeVar
from weakref import WeakSet

import attrs

from .. import _names
from .._errors import Busy, Closed, ProtocolError, SchemaMismatch, WrongKind
from .._protocol.file_header import NO_FLAGS, PAGE_BYTES, FileHeader, Flag
from .._types import Description, difference
from .bell import Listener
from .in_child import forget_in_child
from .polling import Spinner
from .quiet_write import LONGEST_BYTES, QuietWriter
from .shared_lock import FileLock
from .shared_sidecar import remove_sidecar

HeaderT = TypeVar("HeaderT", bound=FileHeader)
HeaderT_co = TypeVar("HeaderT_co", bound=FileHeader, covariant=True)


@attrs.frozen
class Contents:
    """What kind of value a file holds.

    Attributes:
        fingerprint: Of the description.
        description: The type as its codec describes it, or the layout of the memory.
        flags: What every file of this kind has.
        difference: Compares two descriptions.
    """

    fingerprint: bytes
    description: Description
    flags: Flag = NO_FLAGS
    difference: Callable[[Description, Description], str | None] = difference

    def packed(self) -> bytes:
        """Return the description as a header has it."""
        return json.dumps(self.description, sort_keys=True, separators=(",", ":")).encode()

    def refuse_other(self, header: FileHeader, *, where: str) -> None:
        """Raise where a file was made for another type.

        Raises:
            WrongKind: It is mapped memory, and should be a snapshot region, or the other way round.
            SchemaMismatch: It was; the message has the first difference.
        """
        is_mapped = header.flags & Flag.MAPPED
        if is_mapped != self.flags & Flag.MAPPED:
            kinds = "mapped memory, not a SharedRegion" if is_mapped else "a SharedRegion, not mapped memory"
            raise WrongKind(f"{where}: is {kinds}; it was not touched: open it as what it is, or choose another path")
        if header.fingerprint == self.fingerprint:
            return
        theirs = _description_of(header)
        # It is read and written by both sides, so each must be able to read the other's values.
        first = self.difference(self.description, theirs) or self.difference(theirs, self.description)
        if first is not None:
            raise SchemaMismatch(
                f"{where}: it holds another type: {first}. Use the same type in every process, "
                "or another path, or create it anew with if_exists='replace'"
            )


def _description_of(header: FileHeader) -> Description:
    loaded: Description = json.loads(header.description)
    return loaded


@attrs.frozen
class World:
    """How a file is used.

    Attributes:
        closed: This error of the world in which it is; in trio it is trio's own as well.
        busy: And this one.
        spin: Whether who waits for a change polls for a moment before sleeping.
    """

    closed: type[Closed] = Closed
    busy: type[Busy] = Busy
    spin: bool = True

    def spinning(self, spin: bool) -> World:
        """Return the same, with or without polling."""
        return self if spin == self.spin else attrs.evolve(self, spin=spin)


BLOCKING: Final = World()


class SharedFile(Generic[HeaderT_co]):
    """One open file. Owns its descriptors, and the name if it has taken it."""

    def __init__(self, path: str, fd: int, header: HeaderT_co, lock: FileLock | None, *, world: World) -> None:
        self.path: Final = path
        self.header: Final = header
        self.world: Final = world
        self._file_bytes: Final = header.file_bytes
        self._fd = fd
        self._lock = lock
        self._is_owner = False
        self.spinner: Spinner | None = Spinner() if world.spin else None
        self._quiet: QuietWriter | None = None
        self._may_be_quiet = True
        # Between a close and a write in another thread: the descriptor's number may be another file's then.
        self.gate: Lock = Lock()
        self._listeners: Final[WeakSet[Listener]] = WeakSet()
        forget_in_child(self)

    @property
    def lock(self) -> FileLock:
        """The write lock; only of a file opened to write."""
        self.refuse_closed()
        assert self._lock is not None
        return self._lock

    def whole_fd(self) -> int:
        """Return the descriptor of a file that is as long as it has to be, for as long as the caller holds `gate`.

        Raises:
            ProtocolError: The file was cut short.
            Closed: It was closed.
        """
        self.refuse_closed()
        if os.fstat(self._fd).st_size < self._file_bytes:
            raise self._cut_short()
        return self._fd

    def write_quietly(self, data: bytes, offset: int) -> None:
        """Write all of it; whoever watches the file is not woken by that, if it can be helped.

        The caller holds `gate`, and has looked at the size of the file.

        Raises:
            ProtocolError: The file was cut short meanwhile.
        """
        quiet = self._quiet_writer() if len(data) <= LONGEST_BYTES else None
        if quiet is None:
            write_all(self._fd, data, offset)
            return
        try:
            quiet.write(data, offset)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            raise self._cut_short() from None

    def _quiet_writer(self) -> QuietWriter | None:
        if self._quiet is None and self._may_be_quiet:
            try:
                self._quiet = QuietWriter(self._fd, self._file_bytes)
            except (OSError, OverflowError, ValueError):  # no descriptor is left, or no room for such a mapping
                self._may_be_quiet = False
        return self._quiet

    def refuse_closed(self) -> None:
        """Raise Closed where it was closed, or opened before a fork."""
        if self._fd < 0:
            raise self.closed()

    def closed(self) -> Closed:
        """Return the error for whoever uses it after that."""
        return self.world.closed(f"{self.path}: it was closed here, or opened before a fork; open it again")

    def listen(self) -> Listener:
        """Return a listener for changes of the file, which the caller closes."""
        self.refuse_closed()
        listener = Listener(self._fd)
        self._listeners.add(listener)
        return listener

    def has_name(self) -> bool:
        """Whether the name still stands for this file."""
        return is_same(self.path, self._fd)

    def take_name(self) -> None:
        """Have `close` remove the name: the caller has made the file, or has taken it over."""
        self._is_owner = True

    def close(self) -> None:
        """Close it, wake whoever waits for it, and remove the name if this handle owns it. Safe to repeat.

        Raises:
            NotAllowed: The name may not be removed any more.
        """
        try:
            if self._is_owner and self._fd >= 0 and _names.remove_published(self.path, self._fd):
                remove_sidecar(self.path, self.header)
        finally:
            with self.gate:
                self._close()
            for listener in list(self._listeners):
                listener.ring()

    def forget(self) -> None:
        """Close the descriptor in a forked child; the name stays the parent's."""
        self.gate = Lock()  # another thread of the parent may have held it
        self._close_quiet_writer()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _close_quiet_writer(self) -> None:
        quiet, self._quiet = self._quiet, None
        if quiet is not None:
            quiet.close()

    def _close(self) -> None:
        self._close_quiet_writer()
        if self._lock is not None:
            self._lock.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _cut_short(self) -> ProtocolError:
        return _cut_short(self.path, self.header.noun)


AnyFile: TypeAlias = SharedFile[FileHeader]
"""A file of whatever kind."""


def read_header(fd: int, kind: type[HeaderT], *, where: str) -> HeaderT:
    """Return the header of an open file, if it is of the kind and whole.

    Raises:
        WrongKind: It is of another kind.
        ProtocolError: It is of another version, cut short, or damaged.
    """
    page = os.pread(fd, PAGE_BYTES, 0)
    length = kind.length_in(page, where=where)
    header = kind.unpack(os.pread(fd, length, 0), where=where)
    if os.fstat(fd).st_size < header.file_bytes:
        raise _cut_short(where, kind.noun)
    return header


def _cut_short(where: str, noun: str) -> ProtocolError:
    return ProtocolError(f"{where}: somebody has cut the {noun}'s file short; remove it and create it anew")


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write all of it; a signal may come between two pages."""
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)


def is_same(path: str, fd: int) -> bool:
    """Whether a path stands for this very file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except OSError:
        return False
