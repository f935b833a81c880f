"""Fd: an open file descriptor as a value, for the fields and results that carry one.

The law: each Fd has one owner and one descriptor of its own, close-on-exec; to give the descriptor away leaves the Fd
empty, and what is never closed is closed with a warning.
"""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import BinaryIO, Final, NoReturn, Protocol, Self, cast, final

from . import lowlevel
from ._errors import Closed

_MODES: Final = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}
_EMPTY: Final = -1


class HasFileno(Protocol):
    """Whatever has a descriptor: a file, a socket, another `Fd`."""

    def fileno(self) -> int:
        """Return the descriptor's number."""


@final
class Fd:
    """An open file descriptor as a field or a result of messages.

    `Fd(file)` duplicates: it and what it was made of are closed each by itself, and share what lies behind (the offset
    of a file, for example). One that was received belongs to the receiver, who closes it (`with`), or takes it out by
    `open` or `detach`. Two are equal only if they are the same object; an `Fd` neither pickles nor copies.

    Args:
        file: The number of an open descriptor, or something that has one.

    Raises:
        OSError: EBADF where it is not open, EMFILE where this process has no descriptor left.

    Source: unix(7) "SCM_RIGHTS", dup(2).
    """

    __slots__ = ("__weakref__", "_number", "_where_it_went")
    _number: int
    _where_it_went: str

    def __init__(self, file: int | HasFileno, /) -> None:
        self._number = _EMPTY  # for __del__, if the next line fails
        self._where_it_went = "has been closed"
        self._number = os.dup(file if isinstance(file, int) else file.fileno())

    def __repr__(self) -> str:
        return f"<Fd {self._number}>" if self._number != _EMPTY else f"<Fd: {self._where_it_went}>"

    def fileno(self) -> int:
        """Return the descriptor's number; it still belongs to this.

        Raises:
            Closed: It has been closed, or taken out.
        """
        if self._number == _EMPTY:
            raise Closed(f"this Fd {self._where_it_went}")
        return self._number

    def open(self) -> BinaryIO:
        """Take the descriptor out as a file object, which closes it.

        Returns:
            A binary file, for reading, writing or both, as the descriptor allows; buffered, unless it allows both and
            cannot seek, as a socket. The caller closes it.

        Raises:
            Closed: It has been closed, or taken out.
            OSError: It is no file that can be read or written: EISDIR for a directory. It stays here.
        """
        number = self.fileno()
        mode = _MODES.get(lowlevel.access_mode(number), "rb")  # the fourth value allows neither
        buffering = -1 if mode != "r+b" or _can_seek(number) else 0
        file = cast("BinaryIO", os.fdopen(number, mode, buffering))
        self._take_out("open")
        return file

    def detach(self) -> int:
        """Take the descriptor out as a number.

        Returns:
            The number; the caller closes it.

        Raises:
            Closed: It has been closed, or taken out.
        """
        return self._take_out("detach")

    def close(self) -> None:
        """Close the descriptor. Safe to call twice, and after it was taken out."""
        number, self._number = self._number, _EMPTY
        if number != _EMPTY:
            os.close(number)

    def __enter__(self) -> Self:
        self.fileno()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._number != _EMPTY:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Fd belongs to this process; it travels as part of a message, and Fd(fd) duplicates it")

    def _take_out(self, how: str) -> int:
        number = self.fileno()
        self._number, self._where_it_went = _EMPTY, f"has given its descriptor away by {how}()"
        return number


def adopt(number: int) -> Fd:
    """Return an Fd which owns this very descriptor."""
    fd = Fd.__new__(Fd)
    fd._number = number
    fd._where_it_went = "has been closed"
    return fd


def is_empty(fd: Fd) -> bool:
    """Whether its descriptor has been closed, or taken out."""
    return fd._number == _EMPTY


def _can_seek(number: int) -> bool:
    try:
        os.lseek(number, 0, os.SEEK_CUR)
    except OSError:
        return False
    return True
