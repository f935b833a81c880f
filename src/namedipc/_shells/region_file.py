"""A region's open file: read without a lock, written under it. What the trio and the blocking region share.

Nothing is mapped here: the pages of the file are the shared memory, and values are copied in and out by pread and
pwrite. A file that somebody has cut short is then a short read and an error, where a mapping would end the
process by SIGBUS.

The law: a value is published by one write, of its commit record; nothing before it can be seen, nothing after
it is needed. That write is also the bell (`bell.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Final, final
from weakref import WeakSet

import attrs

from namedipc import _names, lowlevel
from namedipc._errors import (
    Busy,
    Closed,
    ProtocolError,
    SchemaMismatch,
    TooLarge,
    WrongKind,
)
from namedipc._protocol import records
from namedipc._protocol.records import NO_FLAGS, Commit, Flag, Header
from namedipc._types import Description, difference

from .bell import Listener
from .in_child import forget_in_child
from .region_lock import WRITING, RegionLock, open_again
from .region_sidecar import remove_sidecar

READ_ATTEMPTS: Final = 64
"""How often a value is read without a lock. Only two commits within one copy of it disturb a reader."""
LOCKED_ATTEMPTS: Final = 64
"""How often it is tried under a shared lock afterwards: who holds the lock commits once meanwhile."""


@attrs.frozen
class Contents:
    """What kind of value a region holds.

    Attributes:
        fingerprint: Of the description.
        description: The type as its codec describes it, or the layout of the memory.
        flags: What every region of this kind has.
        difference: Compares two descriptions.
    """

    fingerprint: bytes
    description: Description
    flags: Flag = NO_FLAGS
    difference: Callable[[Description, Description], str | None] = difference

    def refuse_other(self, header: Header, *, where: str) -> None:
        """Raise where a region was made for another type.

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
        # A region is read and written by both sides, so each must be able to read the other's values.
        first = self.difference(self.description, theirs) or self.difference(theirs, self.description)
        if first is not None:
            raise SchemaMismatch(
                f"{where}: it holds another type: {first}. Use the same type in every process, "
                "or another path, or create it anew with if_exists='replace'"
            )


def _description_of(header: Header) -> Description:
    loaded: Description = json.loads(header.description)
    return loaded


@attrs.frozen
class World:
    """The errors of the world in which a region is used: in trio they are trio's own as well."""

    closed: type[Closed] = Closed
    busy: type[Busy] = Busy


BLOCKING: Final = World()


@final
class RegionFile:
    """One open region. Owns its descriptors, and the name if it has made it."""

    def __init__(self, path: str, fd: int, header: Header, lock: RegionLock | None, *, world: World) -> None:
        self.path: Final = path
        self.header: Final = header
        self.world: Final = world
        self._file_bytes: Final = header.file_bytes
        self._slots: Final = (header.slot_offset(0), header.slot_offset(1))
        self._fd = fd
        self._lock = lock
        self._seen = 0
        self._is_owner = False
        # Between a close and a write in another thread: the descriptor's number may be another file's then.
        self.gate: Lock = Lock()
        self._listeners: Final[WeakSet[Listener]] = WeakSet()
        forget_in_child(self)

    @property
    def lock(self) -> RegionLock:
        """The write lock; only of a region opened to write."""
        self.refuse_closed()
        assert self._lock is not None
        return self._lock

    def version(self) -> int:
        """Return the version of the latest value."""
        return self._live().version

    def read(self) -> tuple[int, bytes]:
        """Return the latest version and its value, encoded. Never waits; takes no lock but in great distress.

        Raises:
            Busy: Writers have overtaken this reader over and over.
            ProtocolError: The file was cut short or damaged.
            Closed: The region was closed.
        """
        for _ in range(READ_ATTEMPTS):
            commit = self._live()
            payload = os.pread(self._fd, commit.length_bytes, self._slots[commit.version & 1])
            if commit.matches(payload) and commit.version >= self._seen:
                self._seen = commit.version
                return commit.version, payload
        return self._read_locked()

    def read_newer(self, version: int) -> tuple[int, bytes] | None:
        """Return the latest version and value if it is newer than `version`."""
        return self.read() if self.version() > version else None

    def refuse_larger(self, payload: bytes) -> None:
        """Raise where a value does not fit.

        Raises:
            TooLarge: It is longer than the region's capacity.
        """
        refuse_larger(payload, self.header.capacity_bytes, where=self.path)

    def publish(self, payload: bytes) -> int:
        """Make a value the latest. The caller holds the lock.

        Returns:
            Its version.

        Raises:
            TooLarge: It is longer than the region's capacity; nothing has changed.
            ProtocolError: The file was cut short; nothing has changed.
            Closed: The region was closed.
        """
        self.refuse_larger(payload)
        with self.gate:
            self.whole_fd()
            version = self._live().version + 1
            write_all(self._fd, payload, self._slots[version & 1])
            # The only commit, and the bell: 20 bytes of one page, which no signal can split.
            os.pwrite(self._fd, records.pack_commit(version, payload), records.record_offset(version))
        return version

    def whole_fd(self) -> int:
        """Return the descriptor of a file that is as long as it has to be, for as long as the caller holds `gate`.

        Raises:
            ProtocolError: The file was cut short.
            Closed: The region was closed.
        """
        self.refuse_closed()
        if os.fstat(self._fd).st_size < self._file_bytes:
            raise self._cut_short()
        return self._fd

    def refuse_closed(self) -> None:
        """Raise Closed where the region was closed, or opened before a fork."""
        if self._fd < 0:
            raise self.closed()

    def listen(self) -> Listener:
        """Return a listener for changes of the value, which the caller closes."""
        self.refuse_closed()
        listener = Listener(self._fd)
        self._listeners.add(listener)
        return listener

    def has_name(self) -> bool:
        """Whether the name still stands for this region."""
        return is_same(self.path, self._fd)

    def take_name(self) -> None:
        """Have `close` remove the name: the caller has made the region, or has taken it over."""
        self._is_owner = True

    def close(self) -> None:
        """Close it, wake whoever waits for it, and remove the name if this process owns it. Safe to repeat.

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
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _close(self) -> None:
        if self._lock is not None:
            self._lock.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _live(self) -> Commit:
        fd = self._fd
        if fd < 0:
            raise self.closed()
        for _ in range(READ_ATTEMPTS):
            found = os.pread(fd, records.RECORDS_BYTES, records.RECORDS_OFFSET)
            commit = records.live(found)
            if commit is not None and commit.length_bytes <= self.header.capacity_bytes:
                return commit
            if len(found) < records.RECORDS_BYTES:
                raise self._cut_short()
        raise ProtocolError(f"{self.path}: the region has no valid value; remove it and create it anew")

    def _read_locked(self) -> tuple[int, bytes]:
        for _ in range(LOCKED_ATTEMPTS):
            os.sched_yield()
            with suppress(BlockingIOError):
                return self._read_once_locked()
        raise self.world.busy(f"{self.path}: writers overtake this reader all the time; try again")

    def _read_once_locked(self) -> tuple[int, bytes]:
        """Read while no writer can write, or raise BlockingIOError where one does."""
        fd = open_again(self._fd, writable=False)
        try:
            if not self.header.flags & Flag.SIDECAR:
                lowlevel.lock_ofd(fd, exclusive=False, start=WRITING, length=1)
            commit = self._live()
            payload = os.pread(fd, commit.length_bytes, self._slots[commit.version & 1])
            if commit.matches(payload):
                self._seen = max(self._seen, commit.version)
                return commit.version, payload
            if self.header.flags & Flag.SIDECAR:
                raise BlockingIOError  # a writer may be at it: whoever may only read cannot hold one off
            if os.fstat(fd).st_size < self._file_bytes:
                raise self._cut_short()
            raise ProtocolError(f"{self.path}: the value in the region is damaged; write a new one")
        finally:
            lowlevel.unlock_ofd(fd, start=WRITING, length=1)
            os.close(fd)

    def closed(self) -> Closed:
        """Return the error for whoever uses it after that."""
        return self.world.closed(f"{self.path}: it was closed here, or opened before a fork; open it again")

    def _cut_short(self) -> ProtocolError:
        return ProtocolError(f"{self.path}: somebody has cut the region's file short; remove it and create it anew")


def read_header(fd: int, *, where: str) -> Header:
    """Return the header of an open file, if it is a region whose file is whole.

    Raises:
        WrongKind: It is no region.
        ProtocolError: It is of another version, cut short, or damaged.
    """
    page = os.pread(fd, records.PAGE_BYTES, 0)
    length = records.header_length(page, where=where)
    header = records.unpack_header(os.pread(fd, length, 0), where=where)
    if os.fstat(fd).st_size < header.file_bytes:
        raise ProtocolError(f"{where}: somebody has cut the region's file short; remove it and create it anew")
    return header


def refuse_larger(payload: bytes, capacity_bytes: int, *, where: str) -> None:
    """Raise TooLarge where a value does not fit."""
    if len(payload) > capacity_bytes:
        raise TooLarge(
            f"{where}: the value has {len(payload)} bytes encoded, the region takes {capacity_bytes}; "
            "create it with a larger capacity_bytes"
        )


def write_all(fd: int, data: bytes, offset: int) -> None:
    written = os.pwrite(fd, data, offset)
    while written < len(data):  # a signal may come between two pages
        written += os.pwrite(fd, data[written:], offset + written)


def is_same(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except OSError:
        return False
