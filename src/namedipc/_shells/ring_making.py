"""How a broadcast comes to be open, and how long it lives.

It lives as long as it has writers: each holds a mark, which they share, and which the kernel takes off when one dies.
The last one to leave says in the file that this is the end, and removes the name. Where the last one was killed, the
name stays, and the next writer goes on with the ring, and with the readers who wait for it.

The law: what has ended is never written to again; its name is as good as gone. Who finds nobody's mark on a ring, and
takes it alone, is the only one who may end it, or put another one into its place.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from secrets import token_bytes
from time import monotonic
from typing import Final, final

from .. import _names, lowlevel
from .._errors import NameNotFound, NameTaken, NotAllowed, ProtocolError
from .._protocol.file_header import NO_FLAGS, Flag
from .._protocol.ring import Header
from .._values import IfExists, StrPath
from .connecting import Pause
from .ring_file import RingFile
from .shared_file import BLOCKING, Contents, World, write_all
from .shared_lock import OWNING
from .shared_making import NewFile, boot_id, open_shared, remove_shared
from .shared_sidecar import needs_sidecar, remove_sidecar

ENDING_PAUSE_SECONDS: Final = 0.002
ENDING_SECONDS: Final = 5.0
"""How long it is waited for a writer who is about to end the broadcast, which takes microseconds."""


def opening_writer(
    path: StrPath,
    contents: Contents,
    *,
    slots: int,
    message_bytes: int,
    if_exists: IfExists,
    persist: bool,
    mode: int,
) -> Generator[Pause, None, RingFile]:
    """Make a broadcast, or open the one which is there, as `if_exists` says.

    Raises:
        NameTaken: It is there, with `"fail"`, and has a writer, or was made to persist.
        TooLarge: The filesystem has no room.
        WrongKind: Something else is there; it is not touched.
        SchemaMismatch: It is there, with `"keep"`, and holds another type.
        NotAllowed: The permissions of the directory, or of what is there.
    """
    flags = (Flag.PERSIST if persist else NO_FLAGS) | (Flag.SIDECAR if needs_sidecar(mode) else NO_FLAGS)
    header = Header(
        fingerprint=contents.fingerprint,
        slots=slots,
        message_bytes=message_bytes,
        uuid=token_bytes(16),
        boot_id=boot_id(),
        description=contents.packed(),
        flags=flags,
    )
    maker = _Maker(_names.absolute(path), header, contents, mode)
    step = {"fail": maker.make, "keep": maker.keep, "replace": maker.replace}[if_exists]
    until = monotonic() + ENDING_SECONDS
    while True:
        file = step()
        if file is not None:
            return file
        if monotonic() > until:
            raise NameTaken(f"{maker.path}: a writer is about to end the broadcast, and does not come to it")
        yield Pause(None, ENDING_PAUSE_SECONDS)


def open_reader(path: StrPath, contents: Contents, world: World) -> RingFile:
    """Open the broadcast under a name, to read.

    Raises:
        NameNotFound: Nothing is there, or what is there has ended.
        WrongKind, SchemaMismatch, NotAllowed: As `open_shared`.
    """
    file = RingFile(*open_shared(path, Header, contents, writable=False), world=world)
    try:
        if file.ended_after() is not None:
            raise NameNotFound(f"{file.path}: its last writer has left; the next one makes it anew")
    except BaseException:
        file.close()
        raise
    return file


def remove_broadcast(path: StrPath, *, missing_ok: bool) -> None:
    """Remove a broadcast's name; where nobody writes to it, its readers come to the end.

    Raises:
        NameNotFound: Nothing is there, unless `missing_ok`.
        WrongKind: Something else is there; it is not touched.
        NotAllowed: It belongs to somebody else.
    """
    with _opened_if_sound(_names.absolute(path)) as old:
        remove_shared(path, Header, missing_ok=missing_ok)
        if old is not None:
            old.end_if_unused()


@contextmanager
def _opened_if_sound(where: str) -> Iterator[RingFile | None]:
    """Have a broadcast open without being one of its writers; None where that cannot be done."""
    file: RingFile | None = None
    with suppress(NameNotFound, NotAllowed, ProtocolError):
        file = RingFile(*open_shared(where, Header, None, writable=True), world=BLOCKING)
    try:
        yield file
    finally:
        if file is not None:
            file.close()


@final
class _Maker:
    """One broadcast on its way to its name. A step returns None where the name has to be looked at again."""

    def __init__(self, path: str, header: Header, contents: Contents, mode: int) -> None:
        self.path: Final = path
        self._header = header
        self._contents = contents
        self._new = NewFile(path, header, self._fill, _mark, mode=mode)

    def keep(self) -> RingFile | None:
        """Write to the broadcast which is there, or make it."""
        try:
            file = self._open(self._contents)
        except NameNotFound:
            with suppress(NameTaken):  # somebody was first since we looked
                return self._publish("fail")
            return None
        if file.ended_after() is not None:
            return self._successor_of(file)
        if file.join():
            return file
        file.close()
        return None

    def make(self) -> RingFile | None:
        """Make a broadcast, unless one is there which has writers, or is to persist.

        Raises:
            NameTaken: One is.
        """
        try:
            return self._publish("fail")
        except NameTaken as taken:
            try:
                old = self._open(None)
            except NameNotFound:
                return None
            except (NotAllowed, ProtocolError):
                raise taken from None
            is_over = old.ended_after() is not None
            if is_over or (not old.header.flags & Flag.PERSIST and old.lock.own()):
                return self._successor_of(old)
            old.close()
            raise

    def replace(self) -> RingFile:
        """Put a broadcast into the place of the one which is there. Whoever writes to that one goes on."""
        with _opened_if_sound(self.path) as old:
            file = self._publish("replace")
            if old is not None:
                old.end_if_unused()
                remove_sidecar(self.path, old.header)
        return file

    def _successor_of(self, old: RingFile) -> RingFile | None:
        """Put a broadcast into the place of one that nobody writes to, unless somebody else is about to."""
        try:
            # Who holds the mark alone, and finds the name unchanged, is the only one who may go on.
            if not (old.lock.own() and old.has_name()):
                return None
            file = self.replace()
            old.end_if_unused()
            return file
        finally:
            old.close()

    def _open(self, contents: Contents | None) -> RingFile:
        return RingFile(*open_shared(self.path, Header, contents, writable=True), world=BLOCKING)

    def _publish(self, if_exists: IfExists) -> RingFile:
        return RingFile(*self._new.publish(if_exists), world=BLOCKING).joined()

    def _fill(self, fd: int) -> None:
        write_all(fd, self._header.pack(), 0)


def _mark(lock_fd: int) -> None:
    lowlevel.lock_ofd(lock_fd, exclusive=False, start=OWNING, length=1)
