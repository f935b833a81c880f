"""Polling for a moment before sleeping: where the answer comes sooner than a wake-up would, and nowhere else.

The law: bounded (at most 200 us), adaptive by its own success, absent when nothing is expected. On a shared core, or
with a slow peer, it ends by itself: after two losses in a row it sits out 1, 2, 4, ... up to 1024 occasions.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final, TypeVar

R = TypeVar("R")

SHORTEST_SECONDS: Final = 20e-6
LONGEST_SECONDS: Final = 200e-6  # longer than a sleeping peer needs to wake up, else two probes never meet
TAKEN_AWAY_SECONDS: Final = 20e-6  # one iteration takes 1 us; above this the core was somebody else's meanwhile
LARGEST_GAP: Final = 1024


class Spinner:
    """Decides whether and how long to poll; counts its wins and losses, which tests and statistics read."""

    __slots__ = ("_gap", "_misses", "_skip", "_typical_seconds", "losses", "wins")

    def __init__(self) -> None:
        self.wins: int = 0
        self.losses: int = 0
        self._misses = 0
        self._skip = 0
        self._gap = 1
        self._typical_seconds = LONGEST_SECONDS

    def wait(self, poll: Callable[[], R]) -> R | None:
        """Call `poll` until it returns something true, for a moment; return that, or None if it is time to sleep."""
        if self._skip:
            self._skip -= 1
            return None
        budget = self._budget_seconds()
        start = last = perf_counter()
        while True:
            found = poll()
            now = perf_counter()
            if now - last > TAKEN_AWAY_SECONDS:
                # Whoever had the core meanwhile may have been the peer itself: what it left is no win.
                self._lost()
                return found or None
            if found:
                self._won(now - start)
                return found
            if now - start > budget:
                self._lost()
                return None
            last = now

    def _budget_seconds(self) -> float:
        if self._misses:
            return LONGEST_SECONDS
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, 8 * self._typical_seconds))

    def _won(self, seconds: float) -> None:
        self.wins += 1
        self._misses = 0
        self._gap = 1
        self._typical_seconds += (seconds - self._typical_seconds) / 8

    def _lost(self) -> None:
        self.losses += 1
        self._misses += 1
        if self._misses >= 2:
            self._skip = self._gap
            self._gap = min(2 * self._gap, LARGEST_GAP)
