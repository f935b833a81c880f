"""The memory of large payloads at the sending end: memfds which are mapped once, and written again once released.

The law: payloads are copied once, into a buffer that nobody else looks at; the other side gets the descriptor of a
buffer once. What does not find a place goes within its message if that may be so long, and waits otherwise.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, final

from .. import lowlevel
from .._descriptors import Descriptors
from .._errors import TooLarge
from .._protocol.attachments import Parcel, pack_parcel, pack_table
from .._protocol.frames import BUFFER, pack_frame
from .._protocol.payloads import Lending, Lent, lay_out, pack_size
from .compiled import compiled

_SEALS: Final = lowlevel.Seal.SHRINK | lowlevel.Seal.GROW | lowlevel.Seal.SEAL


def copy_payload(memory: memoryview, begin: int, payload: memoryview) -> None:
    """Copy a contiguous payload to where it begins in a buffer."""
    memory[begin : begin + payload.nbytes] = payload.cast("B")


_copy_payload: Callable[[memoryview, int, memoryview], None] = compiled("payload_copy", "copy_payload") or copy_payload


@final
class PayloadPool:
    """The buffers of one connection, lent for one message at a time. Any thread may place; one lets frames leave.

    Args:
        where: How errors call the connection: the path of its name.
        limit_bytes: How many bytes all buffers may have together.

    Attributes:
        when_released: Is called when there may be room: the other side has released a buffer, or has said how many
            bytes it maps, or a message was taken back; from any thread and at any line, as garbage is collected.
    """

    def __init__(self, where: str, limit_bytes: int) -> None:
        self._where = where
        self._lending = Lending(limit_bytes)
        self._lock = threading.Lock()
        self._memory: dict[int, memoryview] = {}
        self._unsaid: deque[bytes] = deque()
        self._returned: deque[int] = deque()
        self.when_released: Callable[[], object] | None = None

    # ------------------------------------------------------------ for the session

    def greeted(self, their_bytes: int) -> None:
        """The other side has said how many bytes it maps."""
        self._lending.greeted(their_bytes)
        self._tell_released()

    def released(self, ids: Sequence[int]) -> None:
        """The other side is done with these buffers. Raises ProtocolError."""
        with self._lock:
            self._lending.released(ids)
        self._tell_released()

    def _tell_released(self) -> None:
        if self.when_released is not None:
            self.when_released()

    # ------------------------------------------------------------ for the sender

    def place(self, parcel: Parcel, message_bytes: int, *, may_grow: bool = True) -> Parcel | None:
        """Find a place for the payloads of a message, and copy them there.

        What `unsaid` gives then has to leave before the message.

        Args:
            parcel: The message, whose payloads have none yet.
            message_bytes: How long it may be with its payloads within.
            may_grow: Whether a new buffer may be made, or the payloads go within. What the other side has said by now
                should have been heard before that.

        Returns:
            The message as it can be sent; None as long as there is no room: try again after `when_released`.

        Raises:
            TooLarge: There never will be.
            OSError: No descriptor or no memory is left for a buffer.
        """
        limit = self._lending.limit_bytes
        if limit is None:
            return None
        payloads = parcel.descriptors.payloads
        spans, size_bytes = lay_out([payload.nbytes for payload in payloads])
        lent = self._lend(size_bytes, may_grow=may_grow)
        if lent is not None:
            parcel.descriptors.loan = _Loan(self, lent.id)
            memory = self._memory[lent.id]
            for (begin, _), payload in zip(spans, payloads, strict=True):
                _copy_payload(memory, begin, payload)
            return Parcel(parcel, parcel.descriptors, table=pack_table(lent.id, spans))
        if not may_grow:
            return None
        if len(parcel) + size_bytes <= message_bytes and parcel.within is not None:
            within = parcel.within()
            if len(within) <= message_bytes:
                return Parcel(within, parcel.descriptors, table=b"")
        if size_bytes > limit:
            raise TooLarge(
                f"{self._where}: payloads of {size_bytes} bytes in one message; this connection carries {limit}. Send "
                "less at once, or give both sides a larger Limits(payload_bytes=...)"
            )
        return None

    def _lend(self, size_bytes: int, *, may_grow: bool) -> Lent | None:
        with self._lock:
            while self._returned:
                self._lending.back(self._returned.popleft())
            lent = self._lending.lend(size_bytes, may_grow=may_grow)
            if lent is None:
                return None
            for id_ in lent.given_up:
                del self._memory[id_]
                self._unsaid.append(pack_frame(BUFFER, id=id_))
            if lent.is_new:
                try:
                    self._make(lent)
                except BaseException:
                    self._lending.unmade(lent.id)
                    raise
            return lent

    def _make(self, lent: Lent) -> None:
        fd = lowlevel.create_memfd("namedipc payloads", lent.size_bytes)
        descriptors = Descriptors([fd])
        lowlevel.add_seals(fd, _SEALS)
        self._memory[lent.id] = memoryview(lowlevel.map_shared(fd, lent.size_bytes, writable=True))
        self._unsaid.append(pack_parcel(BUFFER, Parcel(pack_size(lent.size_bytes), descriptors), id=lent.id))

    def back(self, id: int) -> None:  # noqa: A002
        """The message for which a buffer was lent will not leave."""
        self._returned.append(id)  # this may be garbage that is collected under the very lock
        self._tell_released()

    @property
    def has_unsaid(self) -> bool:
        """Whether the other side has to be told of buffers."""
        return bool(self._unsaid)

    def unsaid(self) -> list[bytes]:
        """Return the frames which have to leave before any message that was placed."""
        frames = []
        while self._unsaid:
            frames.append(self._unsaid.popleft())
        return frames

    def close(self) -> None:
        """Let go of the memory: in a forked child too, as nothing is written to it."""
        self._memory.clear()
        self._unsaid.clear()  # and with it descriptors which have not left


@final
class _Loan:
    """A buffer that is lent for one message."""

    __slots__ = ("_id", "_pool")

    def __init__(self, pool: PayloadPool, id: int) -> None:  # noqa: A002
        self._pool = pool
        self._id = id

    def back(self) -> None:
        """The message will not leave."""
        self._pool.back(self._id)
