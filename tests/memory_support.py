"""What the tests of mapped memory share: a structure whose halves agree when no change is under way."""

from __future__ import annotations

import ctypes

from namedipc import SharedStruct


class Pair(ctypes.Structure):
    """Two numbers; equal, unless a change has begun and not ended."""

    _fields_ = [("first", ctypes.c_uint64), ("second", ctypes.c_uint64)]
    first: int
    second: int

    def advance(self) -> None:
        """Add 1 to both, in two stores."""
        self.first += 1
        self.second += 1

    @property
    def both(self) -> tuple[int, int]:
        """Both numbers."""
        return self.first, self.second


class Wide(ctypes.Structure):
    """As `Pair`, but the second number is another type."""

    _fields_ = [("first", ctypes.c_uint64), ("second", ctypes.c_uint32)]


PAIR = SharedStruct("pair", Pair)
