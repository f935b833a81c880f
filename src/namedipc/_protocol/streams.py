"""Flow control of one stream, at both of its ends. Numbers and bytes only: nothing here touches a descriptor.

The law: a sender has sent no more than the receiver's window allows, in count and in bytes, beyond what the receiver
has given back by CREDIT; so a receiver never keeps more than the window and one item. An item may be sent while any
byte of the window is left, however long it is: so a window smaller than an item does not stop the stream.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

from .._errors import ProtocolError

_CREDIT: Final = Struct("<II")  # items, bytes


class Outflow:
    """The sending end: what has been sent and not been given back.

    Attributes:
        window_items: How many items the receiver keeps; 0 while that is not known.
        window_bytes: How many bytes it keeps.
    """

    __slots__ = ("_bytes", "_items", "window_bytes", "window_items")

    def __init__(self, window_items: int, window_bytes: int) -> None:
        self.window_items: int = window_items
        self.window_bytes: int = window_bytes
        self._items = 0
        self._bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether the next item may be sent."""
        return self._items < self.window_items and self._bytes < self.window_bytes

    def sent(self, size_bytes: int) -> None:
        """Account for an item."""
        self._items += 1
        self._bytes += size_bytes

    def credited(self, body: bytes) -> None:
        """Take the body of a CREDIT.

        Raises:
            ProtocolError: It is malformed, or gives back more than was sent.
        """
        if len(body) != _CREDIT.size:
            raise ProtocolError(f"CREDIT has {_CREDIT.size} bytes, not {len(body)}")
        items, size_bytes = _CREDIT.unpack(body)
        if items > self._items or size_bytes > self._bytes:
            raise ProtocolError(f"CREDIT for {items} items of {size_bytes} bytes, which were not sent")
        self._items -= items
        self._bytes -= size_bytes


class Inflow:
    """The receiving end: the items that have come and were not taken yet, in order.

    Attributes:
        items: The bodies which wait.
        ended: Whether no more will come.
    """

    __slots__ = ("_bytes", "_count", "_taken_bytes", "_taken_items", "_window_bytes", "_window_items", "ended", "items")

    def __init__(self, window_items: int, window_bytes: int) -> None:
        self._window_items = window_items
        self._window_bytes = window_bytes
        self._count = 0  # of items received and not given back, taken ones included
        self._bytes = 0
        self._taken_items = 0
        self._taken_bytes = 0
        self.items: deque[bytes] = deque()
        self.ended: bool = False

    def arrived(self, body: bytes) -> None:
        """Take in an item.

        Raises:
            ProtocolError: It comes after the end, or the sender had no credit for it.
        """
        if self.ended:
            raise ProtocolError("an item of a stream came after its end")
        if self._count >= self._window_items or self._bytes >= self._window_bytes:
            raise ProtocolError(
                f"an item was sent without credit: the window is {self._window_items} items, {self._window_bytes} bytes"
            )
        self._count += 1
        self._bytes += len(body)
        self.items.append(body)

    def end(self) -> None:
        """No more will come."""
        if self.ended:
            raise ProtocolError("a stream ended twice")
        self.ended = True

    def take(self) -> bytes:
        """Return the next item; there must be one."""
        body = self.items.popleft()
        self._taken_items += 1
        self._taken_bytes += len(body)
        return body

    def credit(self) -> bytes | None:
        """Return the body of the CREDIT that is due; None while less than half of the window could be given back."""
        few = self._taken_items < (self._window_items + 1) // 2 and self._taken_bytes < (self._window_bytes + 1) // 2
        if few or self.ended:
            return None
        body = _CREDIT.pack(self._taken_items, self._taken_bytes)
        self._count -= self._taken_items
        self._bytes -= self._taken_bytes
        self._taken_items = 0
        self._taken_bytes = 0
        return body
