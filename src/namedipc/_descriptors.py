"""What travels beside one message, on its way out and on its way in: descriptors, and large payloads.

The law: descriptors are duplicates on the way out, and whoever holds them closes them: unless they have left, or have
reached a value which owns them. Payloads are views: of the sender's memory on the way out, of what has arrived on the
way in. Nothing is copied here. The codec's steps meet both in the middle of a message, so that which message it is is
kept for the thread; nothing waits meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Protocol, TypeVar, final

from ._fd import Fd, adopt
from ._held import Held

End = TypeVar("End")

MOST_DESCRIPTORS: Final = 253
"""What one message carries at most. Source: unix(7), SCM_MAX_FD."""
MOST_PAYLOADS: Final = 255
"""How many payloads of one message travel beside it; further ones are within."""
LARGE_BYTES: Final = 128 << 10
"""From this size on a payload travels beside its message: below, a copy through the socket is as fast."""


class Loan(Protocol):
    """Memory that is lent for the payloads of one message."""

    def back(self) -> None:
        """The message will not leave: the memory is free again."""


@final
class Descriptors:
    """Owns the descriptors of one message, in the order in which the message counts them: until they leave with it, or
    until it is decoded. Closes what is dropped. Its large payloads are here too.

    Of those that leave they are duplicates, but for those of ends, which are lent. Call `sent` when they have left, or
    `close` when they will not.

    Args:
        numbers: Those that have come.
        payloads: Those that have come.
        consume: Take the descriptors of the values themselves instead of duplicates: the values are given away.
        takes_payloads: Whether large payloads are put beside the message.

    Attributes:
        numbers: What to give to the kernel.
        payloads: Views of the large payloads, in the order in which the message counts them.
        loan: Where the payloads have been put to leave with the message.
    """

    __slots__ = ("__weakref__", "_again", "_consume", "_lent", "loan", "numbers", "payloads", "takes_payloads")
    numbers: list[int]
    payloads: list[memoryview]
    loan: Loan | None

    def __init__(
        self,
        numbers: list[int] | None = None,
        payloads: list[memoryview] | None = None,
        *,
        consume: bool = False,
        takes_payloads: bool = False,
    ) -> None:
        self.numbers = [] if numbers is None else numbers
        self.payloads = [] if payloads is None else payloads
        self.takes_payloads: bool = takes_payloads
        self.loan = None
        self._consume = consume
        self._again: int | None = None
        self._lent: list[Held] = []

    def __len__(self) -> int:
        return len(self.numbers)

    def collecting(self) -> _Collecting:
        """Have `attach` add to these. An exception closes them."""
        return _Collecting(self)

    @contextmanager
    def collecting_again(self) -> Iterator[None]:
        """Have the same value encoded once more, with its payloads within: its descriptors are here already."""
        before, _current.outgoing = _current.outgoing, self
        self._again, self.takes_payloads = 0, False
        try:
            yield
        finally:
            _current.outgoing = before

    def add(self, fd: Fd) -> int:
        """Add the descriptor of a value, or a duplicate of it; return its place."""
        if self._again is not None:
            return self._next_place()
        number = fd.fileno()
        self._check_room()
        self.numbers.append(fd.detach() if self._consume else os.dup(number))
        return len(self.numbers) - 1

    def borrow(self, held: Held) -> int:
        """Add that of an end; return its place."""
        if self._again is not None:
            return self._next_place()
        self._check_room()
        self.numbers.append(held.lend())
        self._lent.append(held)
        return len(self.numbers) - 1

    def _next_place(self) -> int:
        assert self._again is not None
        self._again += 1
        return self._again - 1

    def _check_room(self) -> None:
        if len(self.numbers) == MOST_DESCRIPTORS:
            raise ValueError(f"more than {MOST_DESCRIPTORS} descriptors in one message")

    def sent(self) -> None:
        """They have left with the first byte of their message: those here are of no more use."""
        self.loan = None  # until the other side releases it
        self._let_go(Held.sent)

    def close(self) -> None:
        """Close the duplicates, and give back what is lent. Safe to call twice."""
        loan, self.loan = self.loan, None
        if loan is not None:
            loan.back()
        self._let_go(Held.back)

    def _let_go(self, of_end: Callable[[Held], None]) -> None:
        lent, self._lent = self._lent, []
        duplicates = set(self.detach()) - {held.number for held in lent}
        for held in lent:
            of_end(held)
        close_all(duplicates)

    def detach(self) -> list[int]:
        """Return the numbers, which belong to the caller then."""
        numbers, self.numbers = self.numbers, []
        return numbers

    def take_payloads(self) -> list[memoryview]:
        """Return the payloads, and keep none: what is kept is not released."""
        payloads, self.payloads = self.payloads, []
        return payloads

    def __del__(self) -> None:
        self.close()


@final
class Received:
    """What came beside a message. Owns each descriptor until a value takes it over.

    Args:
        numbers: The descriptors, in the order of the wire.
        payloads: The large payloads likewise.
    """

    __slots__ = ("_ends", "_numbers", "_payloads", "_taken")

    def __init__(self, numbers: list[int], payloads: Sequence[memoryview] = ()) -> None:
        self._numbers = numbers
        self._payloads: list[memoryview | None] = [*payloads]
        self._taken: dict[int, Fd] = {}
        self._ends: list[object] = []

    def handing_out(self) -> _HandingOut:
        """Have `claim` take from these. An exception closes them, also those that were taken."""
        return _HandingOut(self)

    def take(self, index: int) -> Fd:
        """Return one of them as a value that owns it."""
        if index >= len(self._numbers):
            raise ValueError(f"descriptor {index} is spoken of, and {len(self._numbers)} have come")
        if index in self._taken:
            raise ValueError(f"descriptor {index} is spoken of twice")
        fd = self._taken[index] = adopt(self._numbers[index])
        return fd

    def take_payload(self, index: int) -> memoryview:
        """Return one of the payloads."""
        if index >= len(self._payloads):
            raise ValueError(f"payload {index} is spoken of, and {len(self._payloads)} have come")
        payload, self._payloads[index] = self._payloads[index], None
        if payload is None:
            raise ValueError(f"payload {index} is spoken of twice")
        return payload

    def keep(self, end: object) -> None:
        """Hold what was made of one of them until the message is whole: dropped earlier it would complain."""
        self._ends.append(end)

    @property
    def unclaimed(self) -> str:
        """What nothing has taken, in words; empty if all was."""
        descriptors = len(self._numbers) - len(self._taken)
        payloads = sum(payload is not None for payload in self._payloads)
        return f"{descriptors} descriptors" if descriptors else f"{payloads} payloads" if payloads else ""

    def close(self) -> None:
        """Close them all, as far as what has taken them has not given them away."""
        numbers, self._numbers = self._numbers, []
        taken, self._taken = self._taken, {}
        close_all([number for index, number in enumerate(numbers) if index not in taken])
        for fd in taken.values():
            fd.close()
        self._ends.clear()


class _Collecting:
    """What `with` makes of `Descriptors.collecting`: by hand, as it is in the way of every message."""

    __slots__ = ("_before", "_collector")

    def __init__(self, collector: Descriptors) -> None:
        self._collector = collector

    def __enter__(self) -> None:
        self._before, _current.outgoing = _current.outgoing, self._collector

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        _current.outgoing = self._before
        if kind is not None:
            self._collector.close()


class _HandingOut:
    """Likewise of `Received.handing_out`."""

    __slots__ = ("_before", "_received")

    def __init__(self, received: Received) -> None:
        self._received = received

    def __enter__(self) -> None:
        self._before, _current.incoming = _current.incoming, self._received

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        _current.incoming = self._before
        if kind is not None:
            self._received.close()


class _Current(threading.local):
    """What this thread works on; another message inside (in a destructor, or a signal handler) has its own turn."""

    outgoing: Descriptors | None = None
    incoming: Received | None = None


_current: Final = _Current()


def attach(fd: Fd) -> int:
    """Let a descriptor travel with the message that is being encoded; return its place there."""
    return _collector().add(fd)


def attach_end(held: Held) -> int:
    """Let an end travel with the message that is being encoded; return its place there."""
    return _collector().borrow(held)


def _collector() -> Descriptors:
    if _current.outgoing is None:
        raise TypeError("open descriptors, which this kind of name does not carry; Channel and Service do")
    return _current.outgoing


def claim(index: int) -> Fd:
    """Take over a descriptor that came with the message that is being decoded."""
    return _received(index).take(index)


def claim_end(index: int, make: Callable[[Fd], End]) -> End:
    """Take over a descriptor that came with the message that is being decoded, as an end."""
    received = _received(index)
    end = make(received.take(index))
    received.keep(end)
    return end


def takes_payload(size_bytes: int) -> bool:
    """Whether bytes of the message that is being encoded, so many, are to be put beside it."""
    outgoing = _current.outgoing
    if size_bytes < LARGE_BYTES or outgoing is None or not outgoing.takes_payloads:
        return False
    return len(outgoing.payloads) < MOST_PAYLOADS


def attach_payload(view: memoryview) -> int:
    """Let bytes travel beside the message that is being encoded; return their place there."""
    payloads = _collector().payloads
    payloads.append(view)
    return len(payloads) - 1


def claim_payload(index: int) -> memoryview:
    """Take bytes that came beside the message that is being decoded."""
    if _current.incoming is None:
        raise ValueError(f"payload {index} is spoken of, and this kind of name carries none")
    return _current.incoming.take_payload(index)


def _received(index: int) -> Received:
    if _current.incoming is None:
        raise ValueError(f"descriptor {index} is spoken of, and this kind of name carries none")
    return _current.incoming


def close_all(numbers: Iterable[int]) -> None:
    """Close descriptors."""
    for number in numbers:
        os.close(number)
