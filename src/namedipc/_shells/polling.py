"""A moment of waiting before an event loop is asked to wait: where what is awaited comes sooner than a trip through it.

Two ways. A `Spinner` polls, for a peer on another core that answers before a wake-up would be done. A `Dozer` sleeps in
the kernel, for a peer that needs this very core, or is a little slower: the trip through the event loop, which takes
longer than to be woken, is saved.

The law: bounded (a poll by 200 us, a doze by 1 ms), adaptive by its own success, absent when nothing is expected. Each
ends by itself where it does not pay: after losses in a row it sits out 1, 2, 4, ... up to 1024 occasions.
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
DOZE_SECONDS: Final = 0.001
"""What poll(2) and epoll_wait(2) can be asked for at least."""
SOUND_SLEEP_SECONDS: Final = 300e-6
"""Longer than that the event loop's other tasks should not be kept waiting for one that does nothing."""


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

    @property
    def sits_out(self) -> bool:
        """Whether the next occasion is one that it sits out."""
        return self._skip > 0

    def wait(self, poll: Callable[[], R]) -> R | None:
        """Call `poll` until it returns something true, for a moment; return that, or None if it is time to sleep."""
        budget = self.begin()
        if not budget:
            return None
        start = last = perf_counter()
        while True:
            found = poll()
            now = perf_counter()
            if now - last > TAKEN_AWAY_SECONDS:
                # Whoever had the core meanwhile may have been the peer itself: what it left is no win.
                self.lost()
                return found or None
            if found:
                self.won(now - start)
                return found
            if now - start > budget:
                self.lost()
                return None
            last = now

    def begin(self) -> float:
        """Return for how many seconds to poll now; 0 if this occasion is one that it sits out, which counts.

        Who polls by itself, as `wait` does, says then whether it has `won` or `lost`.
        """
        if self._skip:
            self._skip -= 1
            return 0.0
        if self._misses:
            return LONGEST_SECONDS
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, 8 * self._typical_seconds))

    def won(self, seconds: float) -> None:
        """What was polled for has come after so many seconds."""
        self.wins += 1
        self._misses = 0
        self._gap = 1
        self._typical_seconds += (seconds - self._typical_seconds) / 8

    def lost(self) -> None:
        """It has not come, or the core was somebody else's meanwhile."""
        self.losses += 1
        self._misses += 1
        if self._misses >= 2:
            self._skip = self._gap
            self._gap = min(2 * self._gap, LARGEST_GAP)


class Dozer:
    """Decides whether to sleep for a moment where an event loop would be asked to; counts its wins and losses."""

    __slots__ = ("_gap", "_skip", "losses", "wins")

    def __init__(self) -> None:
        self.wins: int = 0
        self.losses: int = 0
        self._skip = 0
        self._gap = 1

    def wait(self, sleep: Callable[[float], R]) -> R | None:
        """Call `sleep` once, with the seconds it may take; return what it returns if that is true, else None.

        Only what comes soon is a win: what comes late has kept others waiting, and is as good as nothing.
        """
        if not self.begin():
            return None
        start = perf_counter()
        found = sleep(DOZE_SECONDS)
        self.ended(perf_counter() - start, has_found=bool(found))
        return found or None

    def begin(self) -> bool:
        """Return whether to sleep now; if not, this occasion is one that it sits out, which counts.

        Who sleeps by itself, as `wait` does, says then how that has `ended`.
        """
        if self._skip:
            self._skip -= 1
            return False
        return True

    def ended(self, seconds: float, *, has_found: bool) -> None:
        """What was slept for has come after so many seconds, or has not."""
        if has_found and seconds < SOUND_SLEEP_SECONDS:
            self.wins += 1
            self._gap = 1
            return
        self.losses += 1
        self._skip = self._gap
        self._gap = min(2 * self._gap, LARGEST_GAP)
