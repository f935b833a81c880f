"""Room for frames which come, or leave, in several pieces."""

from __future__ import annotations

from typing import Final

from .. import lowlevel

COPIES: Final = 4
"""How often a body is in memory at most: what has come of it, itself, the value, and another one on its way out."""


def keep_room(frame_bytes: int) -> None:
    """Have the memory of such a frame kept for the next one."""
    lowlevel.keep_heap(COPIES * frame_bytes)
