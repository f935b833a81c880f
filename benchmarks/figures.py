"""The arithmetic: samples of rounds become a median, two medians a ratio, a ratio a verdict.

The law: nothing in here measures anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from enum import Enum

import attrs


class Better(Enum):
    """Which way a figure should go."""

    LOWER = "at most"
    HIGHER = "at least"


@attrs.frozen
class Sample:
    """One round.

    Attributes:
        value: The mean, in the work's unit.
        seconds: How long the operations took, without what goes before the first and after the last.
        p99: The 99th percentile, where single operations were timed.
    """

    value: float
    seconds: float
    p99: float | None = None


@attrs.frozen
class Summary:
    """All rounds of a contender: the median of their means, and of their 99th percentiles."""

    median: float
    p99: float | None
    rounds: int


def p99_of(values: Sequence[float]) -> float:
    """The 99th percentile: of every hundred at most one is greater."""
    return sorted(values)[len(values) * 99 // 100]


def summary_of(samples: Sequence[Sample]) -> Summary:
    """Sum up the rounds, of which there is at least one."""
    slowest = [sample.p99 for sample in samples if sample.p99 is not None]
    return Summary(
        statistics.median(sample.value for sample in samples),
        statistics.median(slowest) if slowest else None,
        len(samples),
    )


def is_met(figure: float, bound: float, better: Better) -> bool:
    """Whether a figure is at most, or at least, what is demanded."""
    return figure <= bound if better is Better.LOWER else figure >= bound


def count_for(seconds: float, *, count: int, took: float) -> int:
    """How many operations fill so many seconds, if `count` of them took `took`."""
    return max(1, round(count * seconds / max(took, 1e-9)))
