"""Both ends of the large payloads of one connection, and what they have to say to the other side."""

from __future__ import annotations

from typing import Final, final

from .._values import Peer
from .payload_pool import PayloadPool
from .payload_windows import PayloadWindows


@final
class Payloads:
    """What one connection sends, and what it receives.

    Args:
        where: How errors call the connection: the path of its name.
        limit_bytes: How many bytes the buffers of either direction may have together.
    """

    def __init__(self, where: str, limit_bytes: int) -> None:
        self.limit_bytes: Final = limit_bytes
        self.pool: Final = PayloadPool(where, limit_bytes)
        self.windows: Final = PayloadWindows(limit_bytes)

    def trust(self, peer: Peer) -> None:
        """Say who is at the other end."""
        self.windows.trust(peer)

    @property
    def has_unsaid(self) -> bool:
        """Whether the other side has to be told something."""
        return self.pool.has_unsaid or self.windows.are_due

    def unsaid(self) -> list[bytes]:
        """Return the frames which the other side has to be told, those for a message that was placed among them."""
        return self.pool.unsaid() + self.windows.release()

    def close(self) -> None:
        """Let go of all memory, and say nothing more. Safe to call twice, and in a forked child."""
        self.pool.close()
        self.windows.close()
