"""Frames which come, or leave, in several pieces: room for them, and few pieces.

The law: memory is taken for what has come, never for what was announced.
"""

from __future__ import annotations

from typing import Final, Protocol

from .. import lowlevel

READ_BYTES: Final = 65536
"""What a read asks for, as a rule."""
LARGEST_READ_BYTES: Final = 1 << 18
"""What it asks for at most, of a frame that is longer: somewhat more than a socket holds."""
COPIES: Final = 4
"""How often a body is in memory at most: what has come of it, itself, the value, and another one on its way out."""


class Incoming(Protocol):
    """What frames are put together in."""

    @property
    def missing(self) -> int:
        """How many bytes have not come yet of one that is long and has begun; 0 for none."""

    @property
    def waiting_bytes(self) -> int:
        """How many have come."""


def keep_room(frame_bytes: int) -> None:
    """Have the memory of such a frame kept for the next one."""
    lowlevel.keep_heap(COPIES * frame_bytes)


def bytes_to_read(incoming: Incoming) -> int:
    """Return what to ask for next."""
    missing = incoming.missing
    if missing <= READ_BYTES:
        return READ_BYTES
    keep_room(incoming.waiting_bytes + missing)
    return min(missing, LARGEST_READ_BYTES)
