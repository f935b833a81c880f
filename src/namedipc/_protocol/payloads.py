"""Large payloads beside frames, as far as no memory is concerned: which buffers there are, and who may write them.

Each side has buffers of its own, which it has announced to the other (BUFFER) and lends for one message at a time. The
law: a lent buffer is not written until the other side has said that nobody looks at it any more (RELEASE); and what a
peer says of a buffer is believed only if it fits what it has said before.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, Protocol, TypeAlias, final

import attrs

from .._descriptors import close_all
from .._errors import ProtocolError
from .attachments import Span, Views, descriptors_of
from .frames import RELEASE, Frame, pack_frame

MOST_BUFFERS: Final = 64
"""How many buffers one side may have at the other at once, however small: each costs a descriptor there."""
LARGEST_ID: Final = (1 << 32) - 1
_ALIGNMENT: Final = 64  # what numpy and vector instructions like best
_PAGE_BYTES: Final = 4096
_STEPS: Final = 8
"""Sizes are rounded up to a multiple of their highest power of two divided by this: at most an eighth is wasted."""
_FAR_TOO_LARGE: Final = 4
_SIZE: Final = Struct("<Q")
_ID_BYTES: Final = 4

Layout: TypeAlias = tuple[list[Span], int]
"""Where each payload is in the buffer, and how many bytes all need."""


def lay_out(sizes: Sequence[int]) -> Layout:
    """Place payloads of these sizes one behind the other."""
    spans: list[Span] = []
    end = 0
    for size in sizes:
        begin = -(-end // _ALIGNMENT) * _ALIGNMENT
        spans.append((begin, size))
        end = begin + size
    return spans, end


def rounded(size_bytes: int) -> int:
    """Return the size of a buffer for so many bytes, so that others of nearly this size fit too."""
    step = max(_PAGE_BYTES, (1 << (size_bytes - 1).bit_length()) // (2 * _STEPS))
    return -(-size_bytes // step) * step


@attrs.frozen
class Lent:
    """A buffer that is lent for a message.

    Attributes:
        id: Which.
        size_bytes: Its size.
        is_new: It has to be made, and announced.
        given_up: Others, which make room for it.
    """

    id: int
    size_bytes: int
    is_new: bool = False
    given_up: tuple[int, ...] = ()


@final
class Lending:
    """The buffers of the sending end. Each is free, or lent.

    Args:
        limit_bytes: How many bytes all may have together.

    Attributes:
        limit_bytes: The lower one of this and of what the other side maps; None until it has said that.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._own_limit: Final = limit_bytes
        self.limit_bytes: int | None = None
        self._free: dict[int, int] = {}  # sizes; the one that was given back last is the last
        self._lent: dict[int, int] = {}
        self._last_id = 0

    def greeted(self, their_bytes: int) -> None:
        """The other side has said how many bytes it maps."""
        self.limit_bytes = min(self._own_limit, their_bytes)

    def lend(self, size_bytes: int, *, may_grow: bool = True) -> Lent | None:
        """Lend a buffer of so many bytes: a free one, or else a new one; None while there is no room for it.

        Args:
            size_bytes: How many.
            may_grow: Whether it may be a new one.
        """
        limit = self.limit_bytes or 0
        if size_bytes > limit:
            return None
        fitting = min(((size, id_) for id_, size in self._free.items() if size >= size_bytes), default=None)
        if fitting is not None and fitting[0] <= _FAR_TOO_LARGE * size_bytes:
            return self._lend_again(fitting[1])
        if not may_grow:
            return None
        wanted = min(rounded(size_bytes), limit)
        given_up = self._making_room(wanted, limit)
        if given_up is None:
            return None if fitting is None else self._lend_again(fitting[1])
        for id_ in given_up:
            del self._free[id_]
        new = self._new_id()
        self._lent[new] = wanted
        return Lent(new, wanted, is_new=True, given_up=given_up)

    def _lend_again(self, id: int) -> Lent:  # noqa: A002
        self._lent[id] = self._free.pop(id)
        return Lent(id, self._lent[id])

    def _making_room(self, wanted: int, limit: int) -> tuple[int, ...] | None:
        """Which free ones have to go for a new one; None if that is not enough."""
        used = sum(self._free.values()) + sum(self._lent.values())
        count = len(self._free) + len(self._lent)
        given_up: list[int] = []
        for id_, size in self._free.items():
            if used + wanted <= limit and count < MOST_BUFFERS:
                break
            given_up.append(id_)
            used -= size
            count -= 1
        return tuple(given_up) if used + wanted <= limit and count < MOST_BUFFERS else None

    def _new_id(self) -> int:
        id_ = self._last_id
        while True:
            id_ = id_ + 1 if id_ < LARGEST_ID else 1
            if id_ not in self._free and id_ not in self._lent:
                self._last_id = id_
                return id_

    def back(self, id: int) -> None:  # noqa: A002
        """What it was lent for does not leave."""
        if id in self._lent:
            self._free[id] = self._lent.pop(id)

    def unmade(self, id: int) -> None:  # noqa: A002
        """It could not be made."""
        del self._lent[id]

    def released(self, ids: Sequence[int]) -> None:
        """The other side is done with these.

        Raises:
            ProtocolError: One is not lent.
        """
        for id_ in ids:
            if id_ not in self._lent:
                raise ProtocolError(f"buffer {id_} was released, and is not lent")
            self._free[id_] = self._lent.pop(id_)


@final
class Borrowing:
    """The buffers of the other side, at the receiving end. Each is idle, or in use.

    Args:
        limit_bytes: How many bytes all may have together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes: Final = limit_bytes
        self._sizes: dict[int, int] = {}
        self._in_use: set[int] = set()

    def announced(self, id: int, size_bytes: int) -> None:  # noqa: A002
        """There is a new one.

        Raises:
            ProtocolError: Its id is another's, it has no bytes, or there are too many, or too many bytes.
        """
        if id in self._sizes or not id:
            raise ProtocolError(f"a buffer was announced as {id}, which is reserved or still in use")
        if not size_bytes:
            raise ProtocolError("a buffer without bytes was announced")
        if len(self._sizes) >= MOST_BUFFERS:
            raise ProtocolError(f"more than {MOST_BUFFERS} buffers were announced")
        if sum(self._sizes.values()) + size_bytes > self._limit_bytes:
            raise ProtocolError(
                f"a buffer of {size_bytes} bytes was announced; with it there were more than {self._limit_bytes}"
            )
        self._sizes[id] = size_bytes

    def given_up(self, id: int) -> None:  # noqa: A002
        """One goes.

        Raises:
            ProtocolError: There is no such, or it is in use.
        """
        if id not in self._sizes or id in self._in_use:
            raise ProtocolError(f"buffer {id} was given up, which is unknown or in use")
        del self._sizes[id]

    def used(self, id: int, spans: Sequence[Span]) -> None:  # noqa: A002
        """A message has come whose payloads are there.

        Raises:
            ProtocolError: There is no such buffer, it is in use, or the payloads overlap or lie beyond it.
        """
        if id not in self._sizes or id in self._in_use:
            raise ProtocolError(f"a message has its payloads in buffer {id}, which is unknown or in use")
        end = 0
        for begin, size in sorted(spans):
            if begin < end:
                raise ProtocolError(f"the payloads of a message overlap in buffer {id}")
            end = begin + size
        if end > self._sizes[id]:
            raise ProtocolError(f"the payloads of a message lie beyond buffer {id} of {self._sizes[id]} bytes")
        self._in_use.add(id)

    def released(self, id: int) -> None:  # noqa: A002
        """Nobody looks at it any more."""
        self._in_use.discard(id)


# ---------------------------------------------------------------- frames


class Pool(Protocol):
    """The sending end, as a session sees it."""

    def greeted(self, their_bytes: int) -> None:
        """The other side has said how many bytes it maps; 0 if it takes no payloads beside messages."""

    def released(self, ids: Sequence[int]) -> None:
        """The other side is done with these buffers. Raises ProtocolError."""


class Windows(Views, Protocol):
    """The receiving end, as a session sees it."""

    def announced(self, id: int, size_bytes: int, fd: int) -> None:  # noqa: A002
        """There is a new buffer; the descriptor belongs to the callee. Raises ProtocolError."""

    def given_up(self, id: int) -> None:  # noqa: A002
        """A buffer goes. Raises ProtocolError."""


class PayloadEnds(Protocol):
    """Both ends of one connection, as its session sees them."""

    @property
    def limit_bytes(self) -> int:
        """How many bytes of the other side's buffers are mapped here."""
        ...

    @property
    def pool(self) -> Pool:
        """What is sent."""
        ...

    @property
    def windows(self) -> Windows:
        """What is received."""
        ...


def pack_size(size_bytes: int) -> bytes:
    """Return the body of the BUFFER that announces one."""
    return _SIZE.pack(size_bytes)


def pack_release(ids: Sequence[int]) -> bytes:
    """Return the frame which says that nobody looks at these buffers any more."""
    return pack_frame(RELEASE, b"".join(id_.to_bytes(_ID_BYTES, "little") for id_ in ids))


def take_payload_frame(frame: Frame, payloads: PayloadEnds) -> None:
    """Act on a BUFFER or a RELEASE.

    Raises:
        ProtocolError: It is malformed, or does not fit what was said before.
    """
    kind, _flags, _method, id_, body = frame
    if kind == RELEASE:
        if not body or len(body) % _ID_BYTES:
            raise ProtocolError(f"RELEASE holds a list of 32-bit numbers, not {len(body)} bytes")
        payloads.pool.released(
            [int.from_bytes(body[at : at + _ID_BYTES], "little") for at in range(0, len(body), _ID_BYTES)]
        )
        return
    descriptors = descriptors_of(body)
    if not body and not descriptors:
        payloads.windows.given_up(id_)
    elif len(body) == _SIZE.size and len(descriptors) == 1:
        payloads.windows.announced(id_, _SIZE.unpack(body)[0], descriptors[0])
    else:
        close_all(descriptors)
        raise ProtocolError(f"BUFFER has a size and one descriptor, not {len(body)} bytes and {len(descriptors)}")
