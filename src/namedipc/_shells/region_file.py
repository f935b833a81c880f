"""A region's open file: read without a lock, written under it. What the trio and the blocking region share.

The law: a value is published by one write, of its commit record; nothing before it can be seen, nothing after
it is needed. That write is also the bell (`bell.py`).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final, final

from .. import lowlevel
from .._errors import ProtocolError, TooLarge
from .._protocol import records
from .._protocol.file_header import Flag
from .._protocol.records import Commit, Header
from .shared_file import SharedFile, World
from .shared_lock import WRITING, FileLock, open_again
from .watching import Superseded

READ_ATTEMPTS: Final = 64
"""How often a value is read without a lock. Only two commits within one copy of it disturb a reader."""
LOCKED_ATTEMPTS: Final = 64
"""How often it is tried under a shared lock afterwards: who holds the lock commits once meanwhile."""
LOCKED_PAUSE_SECONDS: Final = 10e-6
"""Before the second attempt, and once more before each later one: 20 ms in all. To yield the core instead would take
until all who want it have had their turn, each time."""


@final
class RegionFile(SharedFile[Header]):
    """One open region."""

    def __init__(self, path: str, fd: int, header: Header, lock: FileLock | None, *, world: World) -> None:
        super().__init__(path, fd, header, lock, world=world)
        self._slots: Final = (header.slot_offset(0), header.slot_offset(1))
        self._seen = 0

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

    def newer(self, version: int) -> int | None:
        """Return the latest version if it is newer than `version`.

        Raises:
            Superseded: It is not, and none will come: the name has been given to another file.
        """
        latest = self.version()
        if latest <= version and self._has_successor():
            latest = self.version()  # once more: it may have been made before the name was given away
            if latest <= version:
                raise Superseded
        return latest if latest > version else None

    def read_newer(self, version: int) -> tuple[int, bytes] | None:
        """Return the latest version and value if it is newer than `version`; errors as those of `newer` and `read`."""
        return None if self.newer(version) is None else self.read()

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
            if payload:  # mapped memory has none
                self.write_quietly(payload, self._slots[version & 1])
            # The only commit, and the bell: 20 bytes of one page, which no signal can split.
            os.pwrite(self._fd, records.pack_commit(version, payload), records.record_offset(version))
        return version

    def _has_successor(self) -> bool:
        with self.gate:
            word = os.pread(self.whole_fd(), len(records.SUCCEEDED), records.SUCCESSOR_OFFSET)
        return word == records.SUCCEEDED

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
        for attempt in range(LOCKED_ATTEMPTS):
            time.sleep(attempt * LOCKED_PAUSE_SECONDS)
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


def refuse_larger(payload: bytes, capacity_bytes: int, *, where: str) -> None:
    """Raise TooLarge where a value does not fit."""
    if len(payload) > capacity_bytes:
        raise TooLarge(
            f"{where}: the value has {len(payload)} bytes encoded, the region takes {capacity_bytes}; "
            "create it with a larger capacity_bytes"
        )
