"""How long whoever receives waits for what its peer owes: its whole hello, and the end of a frame that has begun.

The law: only time counts in which somebody has waited, so a reader that does not read costs its peer nothing; and no
clock is read while nothing is owed. A byte now and then renews nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Final, final

NO_HELLO: Final = "no whole hello"
MIDFRAME: Final = "a frame that has begun does not end"


@final
class Patience:
    """What one connection's peer has left of its time.

    Args:
        handshake_seconds: For its hello and its schema, from when it was accepted on; infinite where it may not have
            been accepted yet.
        midframe_seconds: For a frame that has begun.

    Attributes:
        owed: What the peer has been waited for last.
        seconds: How long it may take altogether.
    """

    __slots__ = ("_handshake_seconds", "_midframe_seconds", "_number", "_waited_seconds", "owed", "seconds")

    def __init__(self, handshake_seconds: float = inf, midframe_seconds: float = inf) -> None:
        self._handshake_seconds: Final = handshake_seconds
        self._midframe_seconds: Final = midframe_seconds
        self.owed: str = ""
        self.seconds: float = inf
        self._number = 0
        self._waited_seconds = 0.0

    def left(self, *, agreed: bool, unfinished: bool, number: int) -> float | None:
        """Return the seconds which the peer has left; None where it owes nothing, or may take for ever.

        Args:
            agreed: Whether its hello is there, and its schema.
            unfinished: Whether a frame has begun and not ended.
            number: Which frame that is.
        """
        if not agreed and self._handshake_seconds != inf:
            owed, seconds = NO_HELLO, self._handshake_seconds
        elif unfinished and self._midframe_seconds != inf:
            owed, seconds = MIDFRAME, self._midframe_seconds
        else:
            return None
        if (owed, number) != (self.owed, self._number):
            self.owed, self._number, self.seconds = owed, number, seconds
            self._waited_seconds = 0.0
        return max(0.0, seconds - self._waited_seconds)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """The body waits for the peer. By the real clock, whatever another is used to end the wait."""
        began = monotonic()
        try:
            yield
        finally:
            self._waited_seconds += monotonic() - began
