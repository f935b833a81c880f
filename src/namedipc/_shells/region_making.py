"""How a region comes to be open: made, kept, replaced, found, waited for; and how its name is removed.

The law: a region has its name only when it is whole, with its first value in it and its creator's mark on it; and what
is no region of ours is never touched. The mark is a lock which the kernel takes off when the creator dies.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Generator
from contextlib import suppress
from secrets import token_bytes
from time import monotonic
from typing import Final, final, get_args

from namedipc import _names, lowlevel
from namedipc._errors import DeclarationError, NameNotFound, NameTaken, NotAllowed, ProtocolError
from namedipc._protocol import records
from namedipc._protocol.records import NO_FLAGS, Flag, Header
from namedipc._values import IfExists, StrPath

from .connecting import Pause
from .region_file import Contents, RegionFile, World, is_same, read_header, refuse_larger, write_all
from .region_lock import OWNING, RegionLock, open_again
from .region_sidecar import needs_sidecar, open_lock_file, remove_sidecar, sidecar_path, writers_only

FIRST_VERSION: Final = 1
FIRST_PAUSE_SECONDS: Final = 0.002
LONGEST_PAUSE_SECONDS: Final = 1.0


def check_making(if_exists: IfExists, mode: int) -> None:
    """Raise DeclarationError where what a region is to be made with means nothing."""
    if if_exists not in get_args(IfExists):
        raise DeclarationError(f"if_exists={if_exists!r}: 'fail', 'keep' or 'replace'")
    if mode & 0o600 != 0o600 or not 0 <= mode <= 0o777:
        raise DeclarationError(f"mode={mode:#o}: between 0o600 and 0o777, the owner reading and writing")


def opening(
    path: StrPath, contents: Contents, *, writable: bool, wait_seconds: float, world: World
) -> Generator[Pause, None, RegionFile]:
    """Open the region under a name, waiting for it where it is not there yet.

    Raises:
        NameNotFound: Nothing is there, and `wait_seconds` have passed; or the directory is missing.
        WrongKind: Something else is there.
        SchemaMismatch: It holds another type.
        NotAllowed: Its permissions, or its owner.
    """
    until = monotonic() + wait_seconds
    pause = FIRST_PAUSE_SECONDS
    watch: _names.NameWatch | None = None
    try:
        while True:
            try:
                return open_region(path, contents, writable=writable, world=world)
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
        boot_id=_boot_id(),
        description=json.dumps(contents.description, sort_keys=True, separators=(",", ":")).encode(),
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


def open_region(path: StrPath, contents: Contents | None, *, writable: bool, world: World) -> RegionFile:
    """Open the region under a name.

    Args:
        path: The name.
        contents: The type it has to hold; None for any.
        writable: To read and write; otherwise to read only, which needs read permission only.
        world: Whose errors it raises.

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
            header = read_header(fd, where=where)
            if contents is not None:
                contents.refuse_other(header, where=where)
            lock = _lock_of(fd, where, header, world) if writable else None
        except BaseException:
            os.close(fd)
            raise
        if lock is not None or not writable:
            return RegionFile(where, fd, header, lock, world=world)
        os.close(fd)  # removed or replaced since it was opened: look again


def _lock_of(fd: int, path: str, header: Header, world: World) -> RegionLock | None:
    """Return the lock of an open region; None where the region has lost its name, and its lock file with it."""
    try:
        return RegionLock(open_lock_file(fd, path, header), where=path, busy=world.busy)
    except FileNotFoundError as error:
        if not is_same(path, fd):
            return None
        raise NotAllowed(
            f"{path}: its lock file {sidecar_path(path, header)} is missing, without which nobody may write; "
            "remove the region and create it anew"
        ) from error


def remove_region(path: StrPath, *, missing_ok: bool) -> None:
    """Remove a region's name, and the lock file beside it.

    Raises:
        NameNotFound: Nothing is there, unless `missing_ok`.
        WrongKind: Something else is there; it is not touched.
        NotAllowed: It belongs to somebody else.
    """
    where = _names.absolute(path)
    header: Header | None = None
    try:
        fd = _names.open_file(where, writable=False, any_owner=True)
    except NameNotFound:
        pass  # said, or not, below
    else:
        try:
            header = _header_if_sound(fd, where)
        finally:
            os.close(fd)
    _names.remove_name(where, kind="file", missing_ok=missing_ok)
    if header is not None:
        remove_sidecar(where, header)


def _tell_of_successor(old_fd: int, old: Header) -> None:
    """Write into a mapped memory that it has been replaced, which wakes whoever watches it."""
    if old.flags & Flag.MAPPED:
        with suppress(OSError):  # it may be read only: whoever asks is told by the name
            fd = open_again(old_fd)
            try:
                os.pwrite(fd, records.SUCCEEDED, records.SUCCESSOR_OFFSET)
            finally:
                os.close(fd)


def _header_if_sound(fd: int, where: str) -> Header | None:
    """Return the header; None where it is a region of ours but damaged, which may be removed all the same."""
    try:
        return read_header(fd, where=where)
    except ProtocolError:
        return None


@final
class _Maker:
    """One region on its way to its name."""

    def __init__(self, path: str, header: Header, initial: bytes, mode: int, world: World) -> None:
        self._path = path
        self._header = header
        self._initial = initial
        self._mode = mode
        self._world = world
        self._lock_fd = -1

    def make(self, if_exists: IfExists) -> RegionFile:
        """Publish the region under its name."""
        try:
            fd = _names.publish_file(
                self._path,
                mode=self._mode,
                if_exists=if_exists,
                size_bytes=self._header.file_bytes,
                fill=self._fill,
            )
        except BaseException:
            self._drop()
            raise
        lock_fd, self._lock_fd = self._lock_fd, -1
        lock = RegionLock(lock_fd, where=self._path, busy=self._world.busy)
        file = RegionFile(self._path, fd, self._header, lock, world=self._world)
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
            old = _header_if_sound(old_fd, self._path)
            file = self.make("replace")
            if old is not None:
                remove_sidecar(self._path, old)
                _tell_of_successor(old_fd, old)
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
        """Write the whole content, and take the owner's mark, before anybody can see the file."""
        self._drop()  # of an attempt before, which somebody else was faster than
        head = bytearray(self._header.pack())
        commit = records.pack_commit(FIRST_VERSION, self._initial)
        offset = records.record_offset(FIRST_VERSION)
        head[offset : offset + len(commit)] = commit
        write_all(fd, self._initial, self._header.slot_offset(FIRST_VERSION))
        write_all(fd, bytes(head), 0)
        if self._header.flags & Flag.SIDECAR:
            self._make_sidecar()
        else:
            self._lock_fd = open_again(fd)
        if not self._header.flags & Flag.PERSIST:
            lowlevel.lock_ofd(self._lock_fd, exclusive=True, start=OWNING, length=1)

    def _make_sidecar(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock_fd = os.open(sidecar_path(self._path, self._header), flags, 0o600)
        os.fchmod(self._lock_fd, writers_only(self._mode))

    def _drop(self) -> None:
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            lowlevel.unlock_ofd(fd, start=OWNING, length=1)
            os.close(fd)
            remove_sidecar(self._path, self._header)


def _owner_of_directory(path: str) -> frozenset[int]:
    """Whose region may be used besides one's own and root's: that of the directory's only writer."""
    try:
        status = os.stat(os.path.dirname(path))
    except OSError:
        return frozenset()  # said when the name is looked up
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return frozenset() if others_write else frozenset((status.st_uid,))


def _boot_id() -> bytes:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return bytes.fromhex(file.read().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)  # no /proc: only a note for whoever looks at the file
