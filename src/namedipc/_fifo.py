"""Fifo and RawFifo: a name through which messages, or bytes, go one way.

The law: a verb checks what can be checked without touching anything, and opens nothing; `with` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from math import inf, isnan
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, final

from typing_extensions import TypeForm

from . import _fifo_blocking, _names, lowlevel
from ._codec import Codec
from ._errors import DeclarationError
from ._framing import Framing, declared_in
from ._name import Name
from ._opening import Opening
from ._protocol.fifo_lines import one_write
from ._protocol.fragments import Splitter, Writer
from ._shells.connecting import Pause
from ._shells.fifo_end import ReadingEnd, WritingEnd
from ._shells.fifo_lines import LineReceiver
from ._shells.fifo_messages import MessageReceiver, MessageSender
from ._shells.fifo_opening import open_reading, opening_writing
from ._shells.fifo_receiving import Receiver
from ._shells.process_identity import namespaces
from ._values import StrPath

if TYPE_CHECKING:
    from ._fifo_blocking import (
        BlockingFifoReader,
        BlockingFifoWriter,
        BlockingRawFifoReader,
        BlockingRawFifoWriter,
    )
    from ._fifo_trio import FifoReader, FifoWriter, RawFifoReader, RawFifoWriter

T = TypeVar("T")


@final
class Fifo(Name, Generic[T]):
    """Whole typed messages one way, from any number of writers; each reaches exactly one reader, at most once.

    At most once: a message lies in the FIFO until a reader takes it. Nobody says that it was taken, or dealt
    with. It is lost if its reader is killed, or if the last reader and the last writer leave before it was
    taken. Where that matters use a `Service`, whose calls are answered, or `Channel`.

    With several readers each takes what comes when it asks, whole, also messages which are larger than the
    4096 bytes that the kernel keeps together. The messages of one writer reach one reader in their order
    (`docs/fifo.md`).
    """

    __slots__ = ("_codec", "_framing", "_message")

    _kind: ClassVar[_names.Kind] = "fifo"
    _message: object
    _codec: Codec[T]
    _framing: Framing

    def __init__(self, path: StrPath, message: TypeForm[T], *, framing: Framing = "frames") -> None:
        """Declare a FIFO; nothing is opened, and nothing has to be there.

        Args:
            path: A filesystem path.
            message: The type of the messages, the same in every process; a union for several.
            framing: "frames" between programs that use namedipc; "lines" (of `str` or `bytes`) or "json-lines" (of what
                JSON can carry) where other programs read or write: then a message is a line (`docs/fifo.md`).

        Raises:
            DeclarationError: The path cannot be a name, or the type cannot be carried.
        """
        super().__init__(path)
        where = f"Fifo({os.fspath(path)!r})"
        codec: Codec[T]
        resolved, codec = declared_in(framing, where, path, message, sys._getframe(1))
        codec.refuse_descriptors(where)
        object.__setattr__(self, "_message", resolved)
        object.__setattr__(self, "_codec", codec)
        object.__setattr__(self, "_framing", framing)

    def writer(
        self,
        *,
        wait_seconds: float = inf,
        create: bool = True,
        mode: int = 0o600,
        capacity_bytes: int | None = None,
    ) -> Opening[FifoWriter[T], BlockingFifoWriter[T]]:
        """Open the FIFO to send; wait for a reader.

        Args:
            wait_seconds: How long to wait for the first reader, or for the name if it is not to be made.
            create: Make the FIFO if it is not there. It stays, until `remove()` or `reader(remove=True)`.
            mode: Its permissions, if it is made.
            capacity_bytes: How much it is to hold; a wish. Each message takes 4096 bytes of it at least,
                unless it is a line; the kernel's usual 64 KiB hold 16 messages.

        Returns:
            What `async with` or `with` opens.

        Raises:
            DeclarationError: An argument is out of its range.
            NoServer: When entered, as for the rest: nobody reads, with `wait_seconds=0`.
            TimedOut: Nobody has come to read.
            NameNotFound: The directory is missing; or the FIFO is, with `create=False`, and the time has passed.
            WrongKind: Something else is there; it is not touched.
            NotAllowed: The permissions, or the owner of the FIFO, refuse it.

        Cancellation: A FIFO that was made stays; nothing is open.
        """
        _check_options(mode, wait_seconds, capacity_bytes)

        def plan() -> Generator[Pause, None, MessageSender[T]]:
            end = yield from opening_writing(
                self._path, create=create, mode=mode, wait_seconds=wait_seconds, capacity_bytes=capacity_bytes
            )
            if self._framing != "frames":
                return MessageSender(end, self._codec.encode, one_write)
            end.use_packets()
            return MessageSender(end, self._codec.encode, Splitter(_this_writer(), self._codec.fingerprint).split)

        def in_trio() -> AbstractAsyncContextManager[FifoWriter[T]]:
            from . import _fifo_trio

            return _fifo_trio.writing(plan())

        def in_blocking() -> AbstractContextManager[BlockingFifoWriter[T]]:
            return _fifo_blocking.writing(plan())

        return Opening(f"{self!r}.writer(...)", in_trio, in_blocking)

    def reader(
        self,
        *,
        create: bool = True,
        mode: int = 0o600,
        until_writers_gone: bool = False,
        remove: bool = False,
    ) -> Opening[FifoReader[T], BlockingFifoReader[T]]:
        """Open the FIFO to receive. Does not wait for a writer.

        Args:
            create: Make the FIFO if it is not there. It stays, unless `remove`.
            mode: Its permissions, if it is made.
            until_writers_gone: End when the last writer has left, after the first has come; otherwise the
                reader stays, and with it what was not received. A reader which stays counts as a writer for
                one which is to end.
            remove: Remove the name at the close, if it is still this FIFO's.

        Returns:
            What `async with` or `with` opens.

        Raises:
            DeclarationError: An argument is out of its range.
            NameNotFound: When entered, as for the rest: the directory is missing; or the FIFO is, with
                `create=False`.
            WrongKind: Something else is there; it is not touched.
            NotAllowed: The permissions, or the owner of the FIFO, refuse it.

        Cancellation: A FIFO that was made stays; nothing is open.
        """
        _check_options(mode)

        def open_now() -> Receiver[T]:
            end = open_reading(
                self._path, create=create, mode=mode, until_writers_gone=until_writers_gone, remove=remove
            )
            if self._framing != "frames":
                return LineReceiver(end, self._codec.decode, skips_blank=self._framing == "json-lines")
            return MessageReceiver(end, self._codec.decode, self._codec.fingerprint)

        def in_trio() -> AbstractAsyncContextManager[FifoReader[T]]:
            from . import _fifo_trio

            return _fifo_trio.reading(open_now)

        def in_blocking() -> AbstractContextManager[BlockingFifoReader[T]]:
            return _fifo_blocking.reading(open_now)

        return Opening(f"{self!r}.reader(...)", in_trio, in_blocking)

    def _arguments(self) -> tuple[object, ...]:
        return (self._message,)

    def _options(self) -> Mapping[str, object]:
        return {} if self._framing == "frames" else {"framing": self._framing}


@final
class RawFifo(Name):
    """A FIFO as `cat`, `echo >` and the chapter's C programs see it: bytes, without messages or types."""

    __slots__ = ()

    _kind: ClassVar[_names.Kind] = "fifo"

    def __init__(self, path: StrPath) -> None:
        """Declare a FIFO; nothing is opened, and nothing has to be there.

        Args:
            path: A filesystem path.

        Raises:
            DeclarationError: The path cannot be a name.
        """
        super().__init__(path)

    def writer(
        self,
        *,
        wait_seconds: float = inf,
        create: bool = True,
        mode: int = 0o600,
        capacity_bytes: int | None = None,
    ) -> Opening[RawFifoWriter, BlockingRawFifoWriter]:
        """Open the FIFO to write; wait for a reader. Arguments and errors as in `Fifo.writer`.

        Returns:
            What `async with` or `with` opens.
        """
        _check_options(mode, wait_seconds, capacity_bytes)

        def plan() -> Generator[Pause, None, WritingEnd]:
            return opening_writing(
                self._path, create=create, mode=mode, wait_seconds=wait_seconds, capacity_bytes=capacity_bytes
            )

        def in_trio() -> AbstractAsyncContextManager[RawFifoWriter]:
            from . import _fifo_trio

            return _fifo_trio.writing_bytes(plan())

        def in_blocking() -> AbstractContextManager[BlockingRawFifoWriter]:
            return _fifo_blocking.writing_bytes(plan())

        return Opening(f"{self!r}.writer(...)", in_trio, in_blocking)

    def reader(
        self,
        *,
        create: bool = True,
        mode: int = 0o600,
        until_writers_gone: bool = True,
        remove: bool = False,
    ) -> Opening[RawFifoReader, BlockingRawFifoReader]:
        """Open the FIFO to read. Does not wait for a writer. Arguments and errors as in `Fifo.reader`.

        Of several readers each gets what it happens to read.

        Returns:
            What `async with` or `with` opens.
        """
        _check_options(mode)

        def open_now() -> ReadingEnd:
            return open_reading(
                self._path, create=create, mode=mode, until_writers_gone=until_writers_gone, remove=remove
            )

        def in_trio() -> AbstractAsyncContextManager[RawFifoReader]:
            from . import _fifo_trio

            return _fifo_trio.reading_bytes(open_now)

        def in_blocking() -> AbstractContextManager[BlockingRawFifoReader]:
            return _fifo_blocking.reading_bytes(open_now)

        return Opening(f"{self!r}.reader(...)", in_trio, in_blocking)


def _this_writer() -> Writer:
    pid = os.getpid()
    return Writer(os.urandom(8), pid, lowlevel.process_start_time(pid), namespaces())


def _check_options(mode: int, wait_seconds: float = inf, capacity_bytes: int | None = None) -> None:
    if not 0 <= mode <= 0o777 or not mode & 0o600:
        raise DeclarationError(f"mode={mode:#o}: between 0 and 0o777, the owner reading or writing")
    if isnan(wait_seconds) or wait_seconds < 0:
        raise DeclarationError(f"wait_seconds={wait_seconds}: 0 or more seconds; inf is for ever")
    if capacity_bytes is not None and capacity_bytes < 1:
        raise DeclarationError(f"capacity_bytes={capacity_bytes}: at least 1")
