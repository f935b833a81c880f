"""The rows of the chapter's table, in the chapter's order, and namedipc."""

from __future__ import annotations

from ._files import FILES, SHARED_MEMORY
from ._pipes import FIFOS, PIPES
from ._sides import Mechanism
from ._sockets import NAMEDIPC, SOCKETS

MECHANISMS: tuple[Mechanism, ...] = (FILES, SHARED_MEMORY, PIPES, FIFOS, SOCKETS, NAMEDIPC)


def mechanism_named(title: str) -> Mechanism:
    """The mechanism with this title."""
    return next(mechanism for mechanism in MECHANISMS if mechanism.title == title)
