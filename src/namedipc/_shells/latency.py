"""How long calls take: a histogram of durations, of a fixed size however many are recorded.

The law: recording costs one logarithm and one addition, and allocates nothing that stays. Buckets grow by 5 %, so that
a quantile is right to 2.6 % of itself and a microsecond together; what takes longer than 1 000 seconds counts as that.

Source: the idea of HdrHistogram, buckets of equal relative width.
"""

from __future__ import annotations

from itertools import accumulate
from math import ceil, exp2, log2
from typing import Final

LONGEST_SECONDS: Final = 1000.0

_FLOOR_SECONDS: Final = 1e-6  # is added to each duration: below it buckets are hardly narrower, and 0 has a logarithm
_PER_OCTAVE: Final = 14  # a bucket's width is 2 ** (1 / 14) = 1.051
_OFFSET: Final = -_PER_OCTAVE * log2(_FLOOR_SECONDS)
_BUCKETS: Final = int(_PER_OCTAVE * log2(LONGEST_SECONDS) + _OFFSET) + 2  # the last one is for all that takes longer


class Latencies:
    """Durations, as counts of the buckets they fell into: 420 integers."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS

    def record(self, seconds: float) -> None:
        """Count a duration, in seconds; never negative, as a monotonic clock has it."""
        try:
            self._counts[int(log2(seconds + _FLOOR_SECONDS) * _PER_OCTAVE + _OFFSET)] += 1
        except IndexError:
            self._counts[-1] += 1

    @property
    def count(self) -> int:
        """How many have been recorded."""
        return sum(self._counts)

    def quantile(self, q: float) -> float:
        """Return the duration, in seconds, which a share `q` of all does not exceed; 0 where none was recorded.

        Args:
            q: Between 0 (the shortest) and 1 (the longest).
        """
        if not 0 <= q <= 1:
            raise ValueError(f"quantile({q!r}): a share is between 0 and 1")
        totals = list(accumulate(self._counts))
        rank = max(1, ceil(q * totals[-1]))
        bucket = next((index for index, total in enumerate(totals) if total >= rank), None)
        return 0.0 if bucket is None else _middle_seconds(bucket)


def _middle_seconds(bucket: int) -> float:
    return min(LONGEST_SECONDS, exp2((bucket + 0.5 - _OFFSET) / _PER_OCTAVE) - _FLOOR_SECONDS)
