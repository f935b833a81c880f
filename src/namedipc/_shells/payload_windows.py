"""The memory of large payloads at the receiving end: the other side's buffers, mapped once, and who looks at them.

The law: what is received from this very user is a view of the mapping, and the buffer is released when the last view of
the message is gone, wherever that happens; what another user has sent is copied first, and released at once. A view
keeps its memory, also when the connection, or the process at the other end, has gone.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, final

from .. import lowlevel
from .._errors import ProtocolError
from .._protocol.attachments import Span
from .._protocol.payloads import Borrowing, pack_release
from .._values import Peer


@final
class PayloadWindows:
    """The buffers of the other side of one connection.

    Args:
        limit_bytes: How many bytes all may have together.

    Attributes:
        when_due: Is called when buffers have to be released: from any thread, and at any line, as garbage is collected.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._borrowing: Final = Borrowing(limit_bytes)
        self._mappings: dict[int, lowlevel.Mapping] = {}
        self._leases: dict[int, weakref.ref[object]] = {}
        self._due: deque[int] = deque()
        self._is_trusted = False
        self.when_due: Callable[[], object] | None = None

    def trust(self, peer: Peer) -> None:
        """Say who is at the other end: only this very user may change what is being looked at."""
        self._is_trusted = peer.uid == os.geteuid()

    # ------------------------------------------------------------ for the session

    def announced(self, id: int, size_bytes: int, fd: int) -> None:  # noqa: A002
        """Map a new buffer; the descriptor is closed in any case.

        Raises:
            ProtocolError: It cannot be one, or there are too many.
        """
        try:
            self._borrowing.announced(id, size_bytes)
            self._mappings[id] = _map(fd, size_bytes)
        finally:
            os.close(fd)

    def given_up(self, id: int) -> None:  # noqa: A002
        """Let go of a buffer. Raises ProtocolError: there is no such, or it is in use."""
        self._borrowing.given_up(id)
        self._leases.pop(id, None)
        del self._mappings[id]

    def views(self, id: int, spans: Sequence[Span]) -> list[memoryview]:  # noqa: A002
        """Return the payloads of a message: until the last view of them is gone, the buffer is in use.

        Raises:
            ProtocolError: There is no such buffer, or they are not in it.
        """
        self._borrowing.used(id, spans)
        lease = lowlevel.lend_mapping(self._mappings[id])
        whole = memoryview(lease).cast("B")
        views = [whole[begin : begin + size] for begin, size in spans]
        if self._is_trusted:
            self._leases[id] = weakref.ref(lease, lambda _: self._done(id))
            return views
        copies = [memoryview(bytearray(view)) for view in views]
        self._done(id)
        return copies

    # ------------------------------------------------------------ for whoever sends

    def _done(self, id: int) -> None:  # noqa: A002
        self._due.append(id)
        if self.when_due is not None:
            self.when_due()

    @property
    def are_due(self) -> bool:
        """Whether buffers have to be released."""
        return bool(self._due)

    def release(self) -> list[bytes]:
        """Return the frame which releases what is due, if anything is."""
        ids = []
        while self._due:
            ids.append(self._due.popleft())
            self._borrowing.released(ids[-1])
        return [pack_release(ids)] if ids else []

    def close(self) -> None:
        """Let go of the memory, as far as nobody looks at it; of the rest nobody has to be told any more."""
        self.when_due = None
        self._leases.clear()
        self._mappings.clear()
        self._due.clear()


def _map(fd: int, size_bytes: int) -> lowlevel.Mapping:
    try:
        if not lowlevel.seals(fd) & lowlevel.Seal.SHRINK:
            raise ProtocolError("a buffer was announced that could be cut short under its reader")
        return lowlevel.map_shared(fd, size_bytes, writable=True)
    except (OSError, OverflowError, ValueError) as error:
        raise ProtocolError(f"a buffer of {size_bytes} bytes was announced, and cannot be mapped: {error}") from error
