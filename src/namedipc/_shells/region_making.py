"""How a region comes to be open: made, kept, replaced, found; what its creator's death means for its name.

The law: a region has its name only when it is whole, with its first value in it and its creator's mark on it. A
region whose creator was killed, and which was not to persist, is nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import suppress
from secrets import token_bytes
from typing import Final, final

from .. import _names, lowlevel
from .._errors import NameNotFound, NameTaken, NotAllowed, ProtocolError
from .._protocol import records
from .._protocol.file_header import NO_FLAGS, Flag
from .._protocol.records import Header
from .._values import IfExists, StrPath
from .connecting import Pause
from .region_file import RegionFile, refuse_larger
from .shared_file import Contents, World, write_all
from .shared_lock import OWNING, open_again
from .shared_making import NewFile, boot_id, header_if_sound, open_shared, waiting_for_name
from .shared_sidecar import needs_sidecar, remove_sidecar

FIRST_VERSION: Final = 1


def create_region(
    path: StrPath,
    contents: Contents,
    initial: bytes,
    *,
    capacity_bytes: int,
    if_exists: IfExists,
    persist: bool,
    mode: int,
    world: World,
) -> RegionFile:
    """Make a region with its first value, or open the one which is there, as `if_exists` says.

    Raises:
        NameTaken: It is there, with `"fail"`: its creator lives, or it was made to persist.
        TooLarge: The first value, or the filesystem has no room.
        WrongKind: Something else is there; it is not touched.
        SchemaMismatch: It is there, with `"keep"`, and holds another type.
        NotAllowed: The permissions of the directory, or of what is there.
    """
    where = _names.absolute(path)
    refuse_larger(initial, capacity_bytes, where=where)
    flags = contents.flags
    flags |= (Flag.PERSIST if persist else NO_FLAGS) | (Flag.SIDECAR if needs_sidecar(mode) else NO_FLAGS)
    header = Header(
        fingerprint=contents.fingerprint,
        capacity_bytes=capacity_bytes,
        uuid=token_bytes(16),
        boot_id=boot_id(),
        description=contents.packed(),
        flags=flags,
    )
    maker = _Maker(where, header, initial, mode, world)
    if if_exists == "keep":
        return maker.keep(contents)
    if if_exists == "replace":
        return maker.replace()
    while True:
        try:
            return maker.make("fail")
        except NameTaken as taken:
            made = maker.make_after_dead_creator(taken)
            if made is not None:
                return made


def opening(
    path: StrPath, contents: Contents, *, writable: bool, wait_seconds: float, world: World
) -> Generator[Pause, None, RegionFile]:
    """Open the region under a name, waiting for it where it is not there yet; errors as those of `open_shared`."""

    def open_now() -> RegionFile:
        return open_region(path, contents, writable=writable, world=world)

    return waiting_for_name(path, open_now, wait_seconds=wait_seconds)


def open_region(path: StrPath, contents: Contents | None, *, writable: bool, world: World) -> RegionFile:
    """Open the region under a name; arguments and errors as those of `open_shared`."""
    return RegionFile(*open_shared(path, Header, contents, writable=writable, busy=world.busy), world=world)


def _tell_of_successor(old_fd: int) -> None:
    """Write into a region that it has been replaced, which wakes whoever watches it."""
    with suppress(OSError):  # it may be read only: whoever asks is told by the name
        fd = open_again(old_fd)
        try:
            os.pwrite(fd, records.SUCCEEDED, records.SUCCESSOR_OFFSET)
        finally:
            os.close(fd)


@final
class _Maker:
    """One region on its way to its name."""

    def __init__(self, path: str, header: Header, initial: bytes, mode: int, world: World) -> None:
        self._path = path
        self._header = header
        self._initial = initial
        self._world = world
        self._new = NewFile(path, header, self._fill, self._mark, mode=mode, busy=world.busy)

    def make(self, if_exists: IfExists) -> RegionFile:
        """Publish the region under its name."""
        file = RegionFile(*self._new.publish(if_exists), world=self._world)
        if not self._header.flags & Flag.PERSIST:
            file.take_name()
        return file

    def replace(self) -> RegionFile:
        """Put the region into the place of the one which is there. Whoever has that one open keeps it."""
        try:
            old_fd = _names.open_file(self._path, writable=False)
        except NameNotFound:
            return self.make("replace")
        try:
            old = header_if_sound(old_fd, Header, self._path)
            file = self.make("replace")
            if old is not None:
                remove_sidecar(self._path, old)
                _tell_of_successor(old_fd)
        finally:
            os.close(old_fd)
        return file

    def keep(self, contents: Contents) -> RegionFile:
        """Open the region which is there, or make it."""
        while True:
            try:
                file = open_region(self._path, contents, writable=True, world=self._world)
            except NameNotFound:
                try:
                    return self.make("fail")
                except NameTaken:
                    continue  # somebody was first since we looked
            persist = (file.header.flags | self._header.flags) & Flag.PERSIST
            if not persist and file.lock.own():
                file.take_name()  # its creator has died: somebody has to remove it at the end
            return file

    def make_after_dead_creator(self, taken: NameTaken) -> RegionFile | None:
        """Replace a region whose creator was killed before it could remove the name.

        Returns:
            None where the name has changed meanwhile, so that it has to be looked at again.

        Raises:
            NameTaken: Its creator lives, or it was made to persist.
        """
        try:
            old = open_region(self._path, None, writable=True, world=self._world)
        except NameNotFound:
            return None
        except (NotAllowed, ProtocolError):
            raise taken from None
        try:
            if old.header.flags & Flag.PERSIST or not old.lock.own():
                raise taken
            # Who holds the dead creator's mark, and finds the name unchanged, is the only one who may go on.
            return self.replace() if old.has_name() else None
        finally:
            old.close()

    def _fill(self, fd: int) -> None:
        head = bytearray(self._header.pack())
        commit = records.pack_commit(FIRST_VERSION, self._initial)
        offset = records.record_offset(FIRST_VERSION)
        head[offset : offset + len(commit)] = commit
        write_all(fd, self._initial, self._header.slot_offset(FIRST_VERSION))
        write_all(fd, bytes(head), 0)

    def _mark(self, lock_fd: int) -> None:
        if not self._header.flags & Flag.PERSIST:
            lowlevel.lock_ofd(lock_fd, exclusive=True, start=OWNING, length=1)
