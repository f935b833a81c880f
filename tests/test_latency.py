"""Latencies: quantiles of a small histogram beside those of the whole list."""

from __future__ import annotations

import sys
from math import ceil, nextafter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._shells.latency import ENDS, GATHERED, LONGEST_SECONDS, Latencies

SHARES = (0.0, 0.25, 0.5, 0.9, 0.99, 1.0)
durations = st.floats(0, LONGEST_SECONDS) | st.floats(-7, 3).map(lambda exponent: float(10.0**exponent))


def recorded(seconds: list[float]) -> Latencies:
    """A histogram of these durations."""
    latencies = Latencies()
    for each in seconds:
        latencies.record(each)
    return latencies


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(durations, min_size=1, max_size=60), st.sampled_from(SHARES))
def test_quantiles_are_those_of_the_sorted_list(seconds: list[float], share: float) -> None:
    """To half the width of a bucket, from nothing to 1 000 seconds."""
    latencies = recorded(seconds)
    exact = sorted(seconds)[max(1, ceil(share * len(seconds))) - 1]
    assert latencies.count == len(seconds)
    assert abs(latencies.quantile(share) - exact) <= 0.026 * (exact + 1e-6)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(durations, min_size=1, max_size=30))
def test_a_larger_share_is_no_shorter(seconds: list[float]) -> None:
    """Quantiles rise with their share."""
    quantiles = [recorded(seconds).quantile(share) for share in SHARES]
    assert quantiles == sorted(quantiles)


def test_nothing_recorded_is_no_time() -> None:
    """A service which was not called yet has quantiles all the same."""
    assert Latencies().count == 0
    assert Latencies().quantile(0.5) == 0.0


def test_what_takes_longer_counts_as_the_longest() -> None:
    """A call may wait for a day."""
    latencies = recorded([1e-3, 86_400.0])
    assert latencies.quantile(1.0) == LONGEST_SECONDS
    assert latencies.quantile(0.5) == pytest.approx(1e-3, rel=0.026)


def test_the_size_does_not_grow() -> None:
    """However many are recorded."""
    latencies = Latencies()
    size = sys.getsizeof(latencies.counts)
    for n in range(10_000):
        latencies.record(n * 1e-4)
        if len(latencies.gathered) >= GATHERED:
            latencies.count_gathered()
    assert latencies.count == 10_000
    assert len(latencies.gathered) < GATHERED
    assert sys.getsizeof(latencies.counts) == size < 4096


def test_a_duration_at_the_end_of_a_bucket_is_counted_once() -> None:
    """Whatever rounding does: every end, and the floats beside it."""
    durations = [near for end in ENDS for near in (nextafter(end, 0), end, nextafter(end, 2 * end))]
    latencies = recorded(durations)
    assert latencies.quantile(1.0) == LONGEST_SECONDS
    assert latencies.gathered == []
    assert latencies.count == len(durations)


def test_what_was_recorded_is_counted_when_it_is_asked_for() -> None:
    """The gathered ones belong to a quantile as the counted ones do."""
    latencies = recorded([1.0, 1.0])
    latencies.count_gathered()
    latencies.record(3.0)
    assert latencies.count == 3
    assert latencies.quantile(1.0) == pytest.approx(3.0, rel=0.026)
    assert latencies.quantile(0.5) == pytest.approx(1.0, rel=0.026)


@pytest.mark.parametrize("share", [-0.1, 1.1, 50.0, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    """A percentage is told from a share."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        Latencies().quantile(share)
