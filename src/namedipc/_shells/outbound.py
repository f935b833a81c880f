"""What waits to be sent, because a socket is full.

The law: what is long is kept as it came, and is not copied again; what is short is put together, so that ten thousand
short pieces are not ten thousand objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, TypeAlias, final

from .._protocol.frames import LONG_BYTES

Piece: TypeAlias = bytes | bytearray | memoryview

MOST_PIECES: Final = 64
"""How many leave at once, at most."""


@final
class Outbound:
    """Bytes in their order, in pieces. Its length is how many bytes wait."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: deque[bytearray | memoryview] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, pieces: Sequence[Piece], sent: int = 0) -> None:
        """Keep pieces behind what waits, but for so many bytes at their front which have been sent."""
        for piece in pieces:
            left = len(piece) - sent
            if left <= 0:
                sent -= len(piece)
                continue
            if left >= LONG_BYTES:
                self._pieces.append(memoryview(piece)[sent:])
            else:
                self._add_short(memoryview(piece)[sent:])
            self._size += left
            sent = 0

    def _add_short(self, piece: memoryview) -> None:
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def first(self) -> list[Piece]:
        """What may leave next; it is to be dropped before `sent` is called."""
        return list(islice(self._pieces, MOST_PIECES))

    def sent(self, count: int) -> None:
        """Drop so many bytes at the front."""
        self._size -= count
        while count:
            first = self._pieces[0]
            if count >= len(first):
                count -= len(first)
                self._pieces.popleft()
                continue
            if isinstance(first, bytearray):
                del first[:count]  # without a copy of what is behind
            else:
                self._pieces[0] = first[count:]
            return

    def clear(self) -> None:
        """Drop all."""
        self._pieces.clear()
        self._size = 0
