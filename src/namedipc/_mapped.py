"""What the names of mapped memory have in common: they are made, opened and removed alike, whatever is in them.

The law: a verb opens nothing; `with` does. The memory is there, in full, before its name is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from . import _names, lowlevel
from ._mapped_blocking import BlockingMemory, opened
from ._name import Name
from ._opening import Opening
from ._protocol.file_header import Flag
from ._protocol.layouts import Layout, difference
from ._protocol.records import Header
from ._shells.connecting import Pause
from ._shells.region_file import RegionFile
from ._shells.region_making import create_region, opening
from ._shells.shared_file import BLOCKING, Contents, World
from ._shells.shared_making import check_making, remove_shared
from ._values import IfExists, StrPath

if TYPE_CHECKING:
    from ._mapped_trio import Memory

C = TypeVar("C")


class MappedName(Name, Generic[C]):
    """A name for memory which every process maps that opens it."""

    __slots__ = ("_contents", "_size_bytes", "_view")

    _kind: ClassVar[_names.Kind] = "file"
    _contents: Contents
    _size_bytes: int
    _view: Callable[[lowlevel.Mapping], C]

    def __init__(self, path: StrPath, layout: Layout, view: Callable[[lowlevel.Mapping], C]) -> None:
        super().__init__(path)
        contents = Contents(layout.fingerprint, layout.description, Flag.MAPPED, difference)
        object.__setattr__(self, "_contents", contents)
        object.__setattr__(self, "_size_bytes", layout.size_bytes)
        object.__setattr__(self, "_view", view)

    def create(
        self, *, if_exists: IfExists = "fail", persist: bool = False, mode: int = 0o600, spin: bool = True
    ) -> Opening[Memory[C], BlockingMemory[C]]:
        """Make the memory, filled with zeros, or take the one which is there.

        Args:
            if_exists: Where the memory is there already: `"fail"`, unless its creator was killed and it was not to
                persist; `"keep"` opens it as it is; `"replace"` puts a new one into its place in one step, of whatever
                layout: whoever has the old one open keeps it, and its `watch` ends.
            persist: Leave the name behind; otherwise it is removed when `with` is left.
            mode: Permissions. To open it takes permission to read and to write.
            spin: Whether who waits for a change here polls for a moment before sleeping, as far as that has been
                paying.

        Returns:
            What `async with` or `with` opens.

        Raises:
            DeclarationError: An argument is out of its range.
            TooLarge: When entered: the filesystem has no room for it. As for the next, nothing is left behind.
            NameTaken: When entered: it is there, and `"fail"`.
            WrongKind: When entered: something else is there; it is not touched.
            SchemaMismatch: When entered: it is there, with `"keep"`, and has another layout.
            NameNotFound: When entered: the directory is missing.
            NotAllowed: When entered: the permissions of the directory, or of what is there.

        Cancellation: The memory is there and open, or nothing is.
        """
        check_making(if_exists, mode)

        def plan(world: World) -> Generator[Pause, None, RegionFile]:
            yield from ()  # there is nothing to wait for
            return create_region(
                self._path,
                self._contents,
                b"",  # a commit of no bytes; the content is what a file has that nobody has written to: zeros
                capacity_bytes=self._size_bytes,
                if_exists=if_exists,
                persist=persist,
                mode=mode,
                world=world,
            )

        return self._opening("create", plan, spin)

    def open(self, *, wait_seconds: float = 0.0, spin: bool = True) -> Opening[Memory[C], BlockingMemory[C]]:
        """Open the memory which is there. Leaving it removes nothing.

        Args:
            wait_seconds: How long to wait for it to appear.
            spin: As for `create`.

        Returns:
            What `async with` or `with` opens.

        Raises:
            NameNotFound: When entered: nothing is there, and the time has passed; or the directory is missing.
            WrongKind: When entered: something else is there.
            SchemaMismatch: When entered: it has another layout; the message names the first field that differs.
            ProtocolError: When entered: its file was cut short.
            NotAllowed: When entered: it may not be written, or it is the file of a user who is not expected.

        Cancellation: Leaves nothing behind.
        """

        def plan(world: World) -> Generator[Pause, None, RegionFile]:
            return opening(self._path, self._contents, writable=True, wait_seconds=wait_seconds, world=world)

        return self._opening("open", plan, spin)

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the memory's name. Whoever has it open goes on with it.

        Args:
            missing_ok: Say nothing where nothing is there.

        Raises:
            NameNotFound: Nothing is there, unless `missing_ok`.
            WrongKind: Something else is there, be it only another file; it is not touched.
            NotAllowed: It belongs to somebody else.
        """
        remove_shared(self._path, Header, missing_ok=missing_ok)

    def _opening(
        self, verb: str, plan: Callable[[World], Generator[Pause, None, RegionFile]], spin: bool
    ) -> Opening[Memory[C], BlockingMemory[C]]:
        def in_trio() -> AbstractAsyncContextManager[Memory[C]]:
            from . import _mapped_trio
            from ._region_trio import TRIO

            return _mapped_trio.opened(plan(TRIO.spinning(spin)), self._view)

        def in_blocking() -> AbstractContextManager[BlockingMemory[C]]:
            return opened(plan(BLOCKING.spinning(spin)), self._view)

        return Opening(f"{self!r}.{verb}(...)", in_trio, in_blocking)
