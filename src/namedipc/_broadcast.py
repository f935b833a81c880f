"""Broadcast: a name through which every message reaches every reader, in shared memory.

The law: a verb checks what can be checked without touching anything, and opens nothing; `with` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, final, get_args

from typing_extensions import TypeForm

from . import _broadcast_blocking, _names
from ._codec import Codec, declared
from ._errors import DeclarationError
from ._name import Name
from ._opening import Opening
from ._protocol.ring import LARGEST_MESSAGE_BYTES, LARGEST_SLOTS
from ._shells.connecting import Pause
from ._shells.ring_file import RingFile
from ._shells.ring_making import open_reader, opening_writer, remove_broadcast
from ._shells.ring_messages import BroadcastReceiver, Start
from ._shells.shared_file import BLOCKING, Contents
from ._shells.shared_making import check_making, waiting_for_name
from ._values import IfExists, StrPath

if TYPE_CHECKING:
    from ._broadcast_blocking import BlockingBroadcastReader, BlockingBroadcastWriter
    from ._broadcast_trio import BroadcastReader, BroadcastWriter

T = TypeVar("T")


@final
class Broadcast(Name, Generic[T]):
    """Publish and subscribe: every reader sees every message, at its own pace; a lapped reader is told.

    The messages lie in a ring in shared memory, which keeps the last `slots` of them at least. A writer never waits for
    a reader, and a reader never for another one; who is slower than the writers by a whole round misses what
    was written over, and is told how many.

    It lives as long as it has writers. Whoever may write the file is trusted in full; whoever may only read it
    can disturb nobody (`docs/broadcast.md`).
    """

    __slots__ = ("_codec", "_contents", "_message")

    _kind: ClassVar[_names.Kind] = "file"
    _message: object
    _codec: Codec[T]
    _contents: Contents

    def __init__(self, path: StrPath, message: TypeForm[T]) -> None:
        """Declare a broadcast; nothing is opened, and nothing has to be there.

        Args:
            path: A filesystem path; in `/dev/shm` or `runtime_path()` it costs no disk.
            message: The type of the messages, the same in every process; a union for several.

        Raises:
            DeclarationError: The path cannot be a name, or the type cannot be carried.
        """
        super().__init__(path)
        where = f"Broadcast({os.fspath(path)!r})"
        codec: Codec[T]
        resolved, codec = declared(where, path, message, sys._getframe(1))
        codec.refuse_descriptors(where)
        object.__setattr__(self, "_message", resolved)
        object.__setattr__(self, "_codec", codec)
        object.__setattr__(self, "_contents", Contents(codec.fingerprint, codec.description))

    def writer(
        self,
        *,
        slots: int = 1024,
        message_bytes: int = 4096,
        if_exists: IfExists = "keep",
        persist: bool = False,
        mode: int = 0o600,
    ) -> Opening[BroadcastWriter[T], BlockingBroadcastWriter[T]]:
        """Open the broadcast to send; make it if it is not there. Does not wait for a reader.

        The last writer to leave removes the name, and readers come to the end. Where the last one was killed, the
        next one goes on, and so do the readers.

        Args:
            slots: How many messages it keeps at least; what `send_many` sends together takes one slot.
            message_bytes: The longest message, encoded, in bytes; `slots` times as much is allocated, at once.
            if_exists: Where the broadcast is there already: `"keep"` writes to it as it is, whatever its slots
                and its longest message; `"fail"`, unless it has no writer and was not to persist; `"replace"`
                puts a new one into its place in one step, and whoever writes to the old one goes on with that.
            persist: Leave the name behind, and let readers wait for the next writer; until `remove()`.
            mode: Permissions. With some who may read but not write, writers lock a file `.NAME.….lock` beside
                it.

        Returns:
            What `async with` or `with` opens.

        Raises:
            DeclarationError: An argument is out of its range.
            TooLarge: When entered, as for the rest: the filesystem has no room for it.
            NameTaken: It is there, and `"fail"`.
            WrongKind: Something else is there; it is not touched.
            SchemaMismatch: It is there, with `"keep"`, and carries another type.
            NameNotFound: The directory is missing.
            NotAllowed: The permissions of the directory, or of what is there.

        Cancellation: The broadcast is there and open, or nothing is.
        """
        _check_options(slots, message_bytes, if_exists, mode)

        def plan() -> Generator[Pause, None, RingFile]:
            return opening_writer(
                self._path,
                self._contents,
                slots=slots,
                message_bytes=message_bytes,
                if_exists=if_exists,
                persist=persist,
                mode=mode,
            )

        def in_trio() -> AbstractAsyncContextManager[BroadcastWriter[T]]:
            from . import _broadcast_trio

            return _broadcast_trio.writing(plan(), self._codec)

        def in_blocking() -> AbstractContextManager[BlockingBroadcastWriter[T]]:
            return _broadcast_blocking.writing(plan(), self._codec)

        return Opening(f"{self!r}.writer(...)", in_trio, in_blocking)

    def reader(
        self, *, start: Start = "new", wait_seconds: float = 0.0, spin: bool = True
    ) -> Opening[BroadcastReader[T], BlockingBroadcastReader[T]]:
        """Open the broadcast to receive. Needs read permission only; leaving it removes nothing.

        Args:
            start: With what to begin: `"new"`, the first message that is sent from now on; `"oldest"`, the oldest
                that is there.
            wait_seconds: How long to wait for the broadcast to appear.
            spin: Whether who waits for a message polls for a moment before sleeping, as far as that has been paying.

        Returns:
            What `async with` or `with` opens.

        Raises:
            DeclarationError: `start` is neither.
            NameNotFound: When entered, as for the rest: nothing is there, or its last writer has left, and the
                time has passed; or the directory is missing.
            WrongKind: Something else is there.
            SchemaMismatch: It carries another type.
            NotAllowed: It may not be read, or it is the file of a user who is not expected.

        Cancellation: Leaves nothing behind.
        """
        if start not in get_args(Start):
            raise DeclarationError(f"start={start!r}: 'new' or 'oldest'")

        def open_now() -> BroadcastReceiver[T]:
            file = open_reader(self._path, self._contents, BLOCKING.spinning(spin))
            try:
                return BroadcastReceiver(file, self._codec, start)
            except BaseException:
                file.close()
                raise

        def plan() -> Generator[Pause, None, BroadcastReceiver[T]]:
            return waiting_for_name(self._path, open_now, wait_seconds=wait_seconds)

        def in_trio() -> AbstractAsyncContextManager[BroadcastReader[T]]:
            from . import _broadcast_trio

            return _broadcast_trio.reading(plan())

        def in_blocking() -> AbstractContextManager[BlockingBroadcastReader[T]]:
            return _broadcast_blocking.reading(plan())

        return Opening(f"{self!r}.reader(...)", in_trio, in_blocking)

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the broadcast's name, and the lock file beside it. Whoever has it open goes on with it.

        Where nobody writes to it any more, its readers come to the end.

        Args:
            missing_ok: Say nothing where nothing is there.

        Raises:
            NameNotFound: Nothing is there, unless `missing_ok`.
            WrongKind: Something else is there, be it only another file; it is not touched.
            NotAllowed: It belongs to somebody else.
        """
        remove_broadcast(self._path, missing_ok=missing_ok)

    def _arguments(self) -> tuple[object, ...]:
        return (self._message,)


def _check_options(slots: int, message_bytes: int, if_exists: IfExists, mode: int) -> None:
    if not 0 < slots <= LARGEST_SLOTS:
        raise DeclarationError(f"slots={slots}: between 1 and {LARGEST_SLOTS}")
    if not 0 < message_bytes <= LARGEST_MESSAGE_BYTES:
        raise DeclarationError(
            f"message_bytes={message_bytes}: between 1 and {LARGEST_MESSAGE_BYTES}, and {slots} times as much "
            "is allocated"
        )
    check_making(if_exists, mode)
