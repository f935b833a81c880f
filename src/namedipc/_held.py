"""An unopened end that is a descriptor already: it is opened here, once, or sent to be opened by another process.

The law: it has one owner. Once opened, or sent, it is gone here; while a message with it waits to be sent it cannot be
opened; if it is dropped unopened its descriptor is closed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Final, NoReturn, Self, TypeVar, final

from . import lowlevel
from ._errors import Closed
from ._fd import Fd, is_empty
from ._opening import Opening

Async_co = TypeVar("Async_co", covariant=True)
Blocking_co = TypeVar("Blocking_co", covariant=True)


@final
class Held:
    """The descriptor of an end as long as it is neither opened nor sent.

    Args:
        what: How errors call the end.
        fd: A connected stream socket; it belongs to this.

    Attributes:
        gone: Why the end cannot be opened any more; empty while it can.
    """

    def __init__(self, what: str, fd: Fd) -> None:
        self.what = what
        self._fd = fd
        self.gone: str = ""

    @property
    def number(self) -> int:
        """The descriptor's number."""
        return self._fd.fileno()

    def check(self) -> None:
        """Raise Closed if the end is not here any more."""
        if self.gone:
            raise Closed(f"{self.what}: this end {self.gone}")

    def take(self) -> lowlevel.Socket:
        """Return the socket, non-blocking, to the one who opens the end."""
        self.check()
        self.gone = "has been opened before; an end of a pair is opened once"
        socket = lowlevel.adopt_socket(self._fd.detach())
        socket.setblocking(False)
        return socket

    def lend(self) -> int:
        """Return the descriptor's number for a message that is to be sent; `sent` or `back` follows."""
        self.check()
        self.gone = "is on its way in a message"
        return self.number

    def sent(self) -> None:
        """The message has left: the end is the receiver's."""
        self.gone = "has been sent; its receiver opens it"
        self._fd.close()

    def back(self) -> None:
        """The message will not leave: the end is here as before."""
        self.gone = ""

    def drop(self) -> bool:
        """Close what is still here; whether anything was."""
        if self.gone or is_empty(self._fd):  # empty: the rest of the message with which it came was invalid
            return False
        self.gone = "has been dropped"
        self._fd.close()
        return True


class HeldOpening(Opening[Async_co, Blocking_co]):
    """An end that is opened once, or sent. See `Opening` for the rest.

    Args:
        held: Its descriptor.
        message: The type of its messages: only a field of the same can carry it.
        open_trio: Opens it in trio.
        open_blocking: Opens it in blocking code.
    """

    def __init__(
        self,
        held: Held,
        message: object,
        open_trio: Callable[[], AbstractAsyncContextManager[Async_co]],
        open_blocking: Callable[[], AbstractContextManager[Blocking_co]],
    ) -> None:
        super().__init__(held.what, open_trio, open_blocking)
        self.held: Held = held
        self._message = message
        self._forks = _forks.count

    @classmethod
    def receiver(cls, message: object, label: str) -> Callable[[Fd], Self]:
        """Return what makes ends of descriptors that came in messages.

        Args:
            message: The type of their messages.
            label: How errors call them.
        """
        raise NotImplementedError

    def carries(self, message: object) -> bool:
        """Whether this type is that of its messages."""
        return self._message == message

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self._what}: an end belongs to this process; it travels in a message")

    def __repr__(self) -> str:
        return f"<{self._what}: {self.held.gone}>" if self.held.gone else super().__repr__()

    def __del__(self) -> None:
        # Of two ends which a fork has doubled each process drops the one that it does not use.
        if hasattr(self, "held") and self.held.drop() and self._forks == _forks.count:
            warnings.warn(f"{self._what}: an end was dropped, neither opened nor sent", ResourceWarning, stacklevel=2)

    def _refuse_second_entry(self) -> None:
        self.held.check()


class _Forks:
    """How often this process has forked, or was forked."""

    count: int = 0

    def add(self) -> None:
        self.count += 1


_forks: Final = _Forks()
os.register_at_fork(after_in_parent=_forks.add, after_in_child=_forks.add)
