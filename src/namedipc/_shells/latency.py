"""How long calls take: a histogram of durations, of a fixed size however many are recorded.

The law: recording costs an append. What was recorded is counted some hundred at a time, and by then sorting and a
search for each bucket that is met cost a tenth of a logarithm for each duration. (Compiled code counts at once: its
search costs less than to make a float of the duration.) Buckets grow by 5 %, so that a
quantile is right to 2.6 % of itself and a microsecond together; what takes longer than 1 000 seconds counts as that.

Source: the idea of HdrHistogram, buckets of equal relative width.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from math import ceil, exp2, log2
from typing import Final

LONGEST_SECONDS: Final = 1000.0
GATHERED: Final = 256
"""How many durations are gathered before it is time to count them."""

_FLOOR_SECONDS: Final = 1e-6  # is added to each duration: below it buckets are hardly narrower, and 0 has a logarithm
_PER_OCTAVE: Final = 14  # a bucket's width is 2 ** (1 / 14) = 1.051
_OFFSET: Final = -_PER_OCTAVE * log2(_FLOOR_SECONDS)
_BUCKETS: Final = int(_PER_OCTAVE * log2(LONGEST_SECONDS) + _OFFSET) + 2  # the last one is for all that takes longer


def _seconds_at(bucket: float) -> float:
    return exp2((bucket - _OFFSET) / _PER_OCTAVE) - _FLOOR_SECONDS


ENDS: Final = array("d", (_seconds_at(bucket + 1) for bucket in range(_BUCKETS - 1)))
"""Where each bucket ends, in seconds, but for the last one, which has no end."""


class Latencies:
    """Durations, as counts of the buckets they fell into: 420 integers.

    Attributes:
        counts: How many fell into each bucket, of those which have been counted.
        record: Take a duration, in seconds; never negative, as a monotonic clock has it.
        gathered: Those which have not been counted; whoever records has them counted once they are GATHERED.
    """

    __slots__ = ("counts", "gathered", "record")

    def __init__(self) -> None:
        self.counts: array[int] = array("q", bytes(8 * _BUCKETS))
        self.gathered: list[float] = []
        self.record: Callable[[float], object] = self.gathered.append

    def count_gathered(self) -> None:
        """Count what was recorded."""
        durations = sorted(self.gathered)
        self.gathered.clear()
        at = 0
        while at < len(durations):
            bucket = bisect_right(ENDS, durations[at])
            end = bisect_left(durations, ENDS[bucket], at) if bucket < len(ENDS) else len(durations)
            self.counts[bucket] += end - at
            at = end

    @property
    def count(self) -> int:
        """How many have been recorded."""
        return sum(self.counts) + len(self.gathered)

    def quantile(self, q: float) -> float:
        """Return the duration, in seconds, which a share `q` of all does not exceed; 0 where none was recorded.

        Args:
            q: Between 0 (the shortest) and 1 (the longest).
        """
        if not 0 <= q <= 1:
            raise ValueError(f"quantile({q!r}): a share is between 0 and 1")
        self.count_gathered()
        totals = list(accumulate(self.counts))
        rank = max(1, ceil(q * totals[-1]))
        bucket = next((index for index, total in enumerate(totals) if total >= rank), None)
        return 0.0 if bucket is None else min(LONGEST_SECONDS, _seconds_at(bucket + 0.5))
