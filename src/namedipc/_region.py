"""SharedRegion: a name for the latest value of a type, in shared memory.

The law: a verb checks what can be checked without touching anything, and opens nothing; `with` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, final

from typing_extensions import TypeForm

from . import _names
from ._codec import Codec, declared
from ._errors import DeclarationError
from ._name import Name
from ._opening import Opening
from ._protocol.records import LARGEST_CAPACITY_BYTES, Header
from ._region_blocking import BlockingRegion, BlockingRegionView, opened, viewed
from ._shells.connecting import Pause
from ._shells.region_file import RegionFile, refuse_larger
from ._shells.region_making import create_region, opening
from ._shells.shared_file import BLOCKING, Contents, World
from ._shells.shared_making import check_making, remove_shared
from ._values import IfExists, StrPath

if TYPE_CHECKING:
    from ._region_trio import Region, RegionView

T = TypeVar("T")


@final
class SharedRegion(Name, Generic[T]):
    """The latest value of a type, in shared memory: whole snapshots, read without a lock.

    Any number of processes read and write it. A reader never waits and keeps nobody waiting; a value is never
    seen half written, not even if its writer is killed in the middle, and the lock is free again at once.

    Whoever may write the file is trusted in full; whoever may only read it can disturb nobody
    (`docs/region.md`).
    """

    __slots__ = ("_codec", "_contents", "_value")

    _kind: ClassVar[_names.Kind] = "file"
    _value: object
    _codec: Codec[T]
    _contents: Contents

    def __init__(self, path: StrPath, value: TypeForm[T]) -> None:
        """Declare a region; nothing is opened, and nothing has to be there.

        Args:
            path: A filesystem path; in `/dev/shm` or `runtime_path()` it costs no disk.
            value: The type of the value, the same in every process.

        Raises:
            DeclarationError: The path cannot be a name, or the type cannot be carried.
        """
        super().__init__(path)
        where = f"SharedRegion({os.fspath(path)!r})"
        codec: Codec[T]
        resolved, codec = declared(where, path, value, sys._getframe(1))
        codec.refuse_descriptors(where)
        object.__setattr__(self, "_value", resolved)
        object.__setattr__(self, "_codec", codec)
        object.__setattr__(self, "_contents", Contents(codec.fingerprint, codec.description))

    def create(
        self,
        initial: T,
        /,
        *,
        capacity_bytes: int = 1 << 16,
        if_exists: IfExists = "fail",
        persist: bool = False,
        mode: int = 0o600,
        spin: bool = True,
    ) -> Opening[Region[T], BlockingRegion[T]]:
        """Make the region, or take the one which is there.

        Args:
            initial: Its first value.
            capacity_bytes: The longest value, encoded, in bytes; twice as much is allocated, at once.
            if_exists: Where the region is there already: `"fail"`, unless its creator was killed and it was
                not to persist; `"keep"` opens it as it is; `"replace"` puts a new one into its place in one
                step, and whoever has the old one open goes on with the old one.
            persist: Leave the name behind; otherwise it is removed when `with` is left.
            mode: Permissions. With some who may read but not write, writers lock a file `.NAME.….lock` beside
                it.
            spin: Whether who waits for a change here polls for a moment before sleeping, as far as that has been
                paying.

        Returns:
            What `async with` or `with` opens.

        Raises:
            DeclarationError: An argument is out of its range.
            InvalidMessage: `initial` does not fit the type.
            TooLarge: It is larger than `capacity_bytes`. When entered: the filesystem has no room for the
                region.
            NameTaken: When entered: it is there, and `"fail"`.
            WrongKind: When entered: something else is there; it is not touched.
            SchemaMismatch: When entered: it is there, with `"keep"`, and holds another type.
            NameNotFound: When entered: the directory is missing.
            NotAllowed: When entered: the permissions of the directory, or of what is there.

        Cancellation: The region is there and open, or nothing is.
        """
        _check_options(capacity_bytes, if_exists, mode)
        payload = self._codec.encode(initial)
        refuse_larger(payload, capacity_bytes, where=os.fspath(self._path))

        def plan(world: World) -> Generator[Pause, None, RegionFile]:
            yield from ()  # there is nothing to wait for
            return create_region(
                self._path,
                self._contents,
                payload,
                capacity_bytes=capacity_bytes,
                if_exists=if_exists,
                persist=persist,
                mode=mode,
                world=world,
            )

        def in_trio() -> AbstractAsyncContextManager[Region[T]]:
            from . import _region_trio

            return _region_trio.opened(plan(_region_trio.TRIO.spinning(spin)), self._codec)

        def in_blocking() -> AbstractContextManager[BlockingRegion[T]]:
            return opened(plan(BLOCKING.spinning(spin)), self._codec)

        return Opening(f"{self!r}.create(...)", in_trio, in_blocking)

    def open(self, *, wait_seconds: float = 0.0, spin: bool = True) -> Opening[Region[T], BlockingRegion[T]]:
        """Open the region which is there, to read and to write. Leaving it removes nothing.

        Args:
            wait_seconds: How long to wait for it to appear.
            spin: As for `create`.

        Returns:
            What `async with` or `with` opens.

        Raises:
            NameNotFound: When entered: nothing is there, and the time has passed; or the directory is
                missing.
            WrongKind: When entered: something else is there.
            SchemaMismatch: When entered: it holds another type.
            NotAllowed: When entered: it may not be written, or it is the file of a user who is not expected.

        Cancellation: Leaves nothing behind.
        """

        def in_trio() -> AbstractAsyncContextManager[Region[T]]:
            from . import _region_trio

            return _region_trio.opened(self._open(True, wait_seconds, _region_trio.TRIO.spinning(spin)), self._codec)

        def in_blocking() -> AbstractContextManager[BlockingRegion[T]]:
            return opened(self._open(True, wait_seconds, BLOCKING.spinning(spin)), self._codec)

        return Opening(f"{self!r}.open(...)", in_trio, in_blocking)

    def view(self, *, wait_seconds: float = 0.0, spin: bool = True) -> Opening[RegionView[T], BlockingRegionView[T]]:
        """Open the region which is there, to read. Needs read permission only.

        Args:
            wait_seconds: How long to wait for it to appear.
            spin: As for `create`.

        Returns:
            What `async with` or `with` opens.

        Raises:
            NameNotFound, WrongKind, SchemaMismatch, NotAllowed: As `open`.

        Cancellation: Leaves nothing behind.
        """

        def in_trio() -> AbstractAsyncContextManager[RegionView[T]]:
            from . import _region_trio

            return _region_trio.viewed(self._open(False, wait_seconds, _region_trio.TRIO.spinning(spin)), self._codec)

        def in_blocking() -> AbstractContextManager[BlockingRegionView[T]]:
            return viewed(self._open(False, wait_seconds, BLOCKING.spinning(spin)), self._codec)

        return Opening(f"{self!r}.view(...)", in_trio, in_blocking)

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the region's name, and the lock file beside it. Whoever has it open goes on with it.

        Args:
            missing_ok: Say nothing where nothing is there.

        Raises:
            NameNotFound: Nothing is there, unless `missing_ok`.
            WrongKind: Something else is there, be it only another file; it is not touched.
            NotAllowed: It belongs to somebody else.
        """
        remove_shared(self._path, Header, missing_ok=missing_ok)

    def _open(self, writable: bool, wait_seconds: float, world: World) -> Generator[Pause, None, RegionFile]:
        return opening(self._path, self._contents, writable=writable, wait_seconds=wait_seconds, world=world)

    def _arguments(self) -> tuple[object, ...]:
        return (self._value,)


def _check_options(capacity_bytes: int, if_exists: IfExists, mode: int) -> None:
    if not 0 < capacity_bytes <= LARGEST_CAPACITY_BYTES:
        raise DeclarationError(
            f"capacity_bytes={capacity_bytes}: between 1 and {LARGEST_CAPACITY_BYTES}, and twice as much is allocated"
        )
    check_making(if_exists, mode)
