"""Polling: bounded, adaptive by its own success, and absent where it does not pay. Counted with a clock of the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from namedipc._shells import polling
from namedipc._shells.polling import (
    DOZE_SECONDS,
    LARGEST_GAP,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    SOUND_SLEEP_SECONDS,
    TAKEN_AWAY_SECONDS,
    Dozer,
    Spinner,
)

STEP_SECONDS = 1e-6


class Clock:
    """A clock which a poll moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.polls = 0

    def __call__(self) -> float:
        """The time, as perf_counter tells it."""
        return self.now

    def poll(self, *, after: float = float("inf"), step: float = STEP_SECONDS) -> Callable[[], str | None]:
        """A poll which takes `step` seconds, and finds something once `after` seconds have passed."""
        start = self.now

        def poll() -> str | None:
            self.polls += 1
            self.now += step
            return "found" if self.now - start >= after else None

        return poll


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that a Spinner reads."""
    clock = Clock()
    monkeypatch.setattr(polling, "perf_counter", clock)
    return clock


def lose(spinner: Spinner, clock: Clock) -> bool:
    """An occasion where nothing comes; whether it was polled at all."""
    polls = clock.polls
    assert spinner.wait(clock.poll()) is None
    return clock.polls > polls


def polled_seconds(spinner: Spinner, clock: Clock) -> float:
    """How long it polls where nothing comes."""
    start = clock.now
    assert lose(spinner, clock)
    return clock.now - start


def test_what_is_there_is_found_at_once(clock: Clock) -> None:
    """One poll, which is a win."""
    spinner = Spinner()
    assert spinner.wait(clock.poll(after=0)) == "found"
    assert (clock.polls, spinner.wins, spinner.losses) == (1, 1, 0)


def test_what_comes_soon_is_waited_for(clock: Clock) -> None:
    """The poll is asked again until it finds something."""
    spinner = Spinner()
    assert spinner.wait(clock.poll(after=100e-6)) == "found"
    assert clock.polls == pytest.approx(100, abs=2)
    assert (spinner.wins, spinner.losses) == (1, 0)


def test_the_longest_is_the_bound(clock: Clock) -> None:
    """A new one polls for that long and no longer, and has lost."""
    spinner = Spinner()
    assert polled_seconds(spinner, clock) == pytest.approx(LONGEST_SECONDS, abs=3 * STEP_SECONDS)
    assert (spinner.wins, spinner.losses) == (0, 1)


def test_after_one_loss_there_is_a_second_try(clock: Clock) -> None:
    """Two probes of two processes would never meet otherwise; again for the longest time."""
    spinner = Spinner()
    for _ in range(100):
        spinner.wait(clock.poll(after=0))
    polled_seconds(spinner, clock)
    assert polled_seconds(spinner, clock) == pytest.approx(LONGEST_SECONDS, abs=3 * STEP_SECONDS)
    assert spinner.losses == 2


def test_losses_make_it_sit_out_more_and_more(clock: Clock) -> None:
    """From the second loss in a row: 1, 2, 4, ... occasions, up to the largest gap, and it stays there."""
    spinner = Spinner()
    assert lose(spinner, clock)
    gaps = []
    for _ in range(13):
        assert lose(spinner, clock)
        gap = 0
        while spinner._skip:
            assert not lose(spinner, clock)
            gap += 1
        gaps.append(gap)
    assert gaps == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
    assert LARGEST_GAP == 1024
    assert spinner.losses == 14


def test_sitting_out_asks_nothing(clock: Clock) -> None:
    """Not one poll, and no look at the clock: what is there is left to the sleep, which returns at once."""
    spinner = Spinner()
    lose(spinner, clock)
    lose(spinner, clock)
    polls, now = clock.polls, clock.now
    assert spinner.wait(clock.poll(after=0)) is None
    assert (clock.polls, clock.now, spinner.wins, spinner.losses) == (polls, now, 0, 2)
    assert spinner.wait(clock.poll(after=0)) == "found"


def test_a_win_makes_it_begin_anew(clock: Clock) -> None:
    """The next losses sit out 1, 2, ... again."""
    spinner = Spinner()
    for _ in range(20):
        lose(spinner, clock)
    while spinner.wait(clock.poll(after=0)) is None:
        pass
    assert lose(spinner, clock)
    assert lose(spinner, clock)
    assert [lose(spinner, clock) for _ in range(5)] == [False, True, False, False, True]


def test_the_time_follows_what_it_has_needed(clock: Clock) -> None:
    """Eight times the usual, between the shortest and the longest; it takes some wins to believe it."""
    spinner = Spinner()
    for _ in range(100):
        assert spinner.wait(clock.poll(after=4.5e-6)) == "found"
    assert polled_seconds(spinner, clock) == pytest.approx(8 * 5e-6, abs=3 * STEP_SECONDS)


def test_the_shortest_is_a_bound_too(clock: Clock) -> None:
    """Answers that are always there already do not make it give up at once."""
    spinner = Spinner()
    for _ in range(100):
        assert spinner.wait(clock.poll(after=0, step=1e-9)) == "found"
    assert polled_seconds(spinner, clock) == pytest.approx(SHORTEST_SECONDS, abs=3 * STEP_SECONDS)


def test_slow_answers_do_not_raise_the_bound(clock: Clock) -> None:
    """Nor does what was found as late as a poll may be."""
    spinner = Spinner()
    for _ in range(100):
        assert spinner.wait(clock.poll(after=0, step=0.9 * TAKEN_AWAY_SECONDS)) == "found"
    assert polled_seconds(spinner, clock) <= LONGEST_SECONDS + 3 * STEP_SECONDS


def test_it_ends_where_the_core_is_taken_away(clock: Clock) -> None:
    """An iteration that took long means that somebody else ran here: the peer may need this very core."""
    spinner = Spinner()
    assert spinner.wait(clock.poll(step=1.5 * TAKEN_AWAY_SECONDS)) is None
    assert (clock.polls, spinner.losses) == (1, 1)
    assert spinner.wait(clock.poll(step=0.5 * TAKEN_AWAY_SECONDS)) is None
    assert clock.polls > 10


def test_what_was_found_while_the_core_was_away_is_no_win(clock: Clock) -> None:
    """It is handed on; but on a shared core the peer itself had the core, and sleeping would have been quicker."""
    spinner = Spinner()
    assert spinner.wait(clock.poll(after=0, step=1.5 * TAKEN_AWAY_SECONDS)) == "found"
    assert (spinner.wins, spinner.losses) == (0, 1)


def test_idleness_costs_little(clock: Clock) -> None:
    """Of ten thousand occasions without an answer about twenty are polled."""
    spinner = Spinner()
    polled = sum(lose(spinner, clock) for _ in range(10_000))
    assert polled == spinner.losses
    assert 15 <= polled <= 25


def test_a_poll_that_raises_is_neither() -> None:
    """The error goes to the caller, and the next occasion is as any other."""
    spinner = Spinner()

    def poll() -> str:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        spinner.wait(poll)
    assert (spinner.wins, spinner.losses) == (0, 0)
    assert spinner.wait(lambda: "found") == "found"


# ---------------------------------------------------------------- dozing


def doze(dozer: Dozer, clock: Clock, *, seconds: float, found: str | None) -> tuple[str | None, bool]:
    """An occasion on which something comes after so many seconds, or nothing; what was found, and whether it slept."""
    slept: list[float] = []

    def sleep(most: float) -> str | None:
        slept.append(most)
        clock.now += min(seconds, most)
        return found

    result = dozer.wait(sleep)
    assert slept in ([], [DOZE_SECONDS])
    return result, bool(slept)


def test_a_doze_that_is_ended_soon_is_a_win(clock: Clock) -> None:
    """It is done again at the next occasion."""
    dozer = Dozer()
    for _ in range(3):
        assert doze(dozer, clock, seconds=50e-6, found="call") == ("call", True)
    assert (dozer.wins, dozer.losses) == (3, 0)


def test_dozing_in_vain_ends_by_itself(clock: Clock) -> None:
    """After 1, 2, 4, ... up to 1024 occasions it is tried again; a win begins anew."""
    dozer = Dozer()
    occasions = 20_000
    slept = sum(doze(dozer, clock, seconds=1, found=None)[1] for _ in range(occasions))
    assert slept == dozer.losses == 11 + (occasions - 2048) // 1025 + 1
    while not doze(dozer, clock, seconds=50e-6, found="call")[1]:
        pass
    assert dozer.wins == 1
    assert doze(dozer, clock, seconds=1, found=None) == (None, True)
    assert doze(dozer, clock, seconds=1, found=None) == (None, False)
    assert doze(dozer, clock, seconds=1, found=None) == (None, True)


def test_what_comes_late_is_taken_and_is_a_loss(clock: Clock) -> None:
    """Others have been kept waiting for it."""
    dozer = Dozer()
    assert doze(dozer, clock, seconds=2 * SOUND_SLEEP_SECONDS, found="call") == ("call", True)
    assert (dozer.wins, dozer.losses) == (0, 1)
    assert doze(dozer, clock, seconds=50e-6, found="call") == (None, False)


def test_who_sits_out_says_so(clock: Clock) -> None:
    """So that another way of waiting can take its place."""
    spinner = Spinner()
    told = []
    for _ in range(3):
        told.append((spinner.sits_out, lose(spinner, clock)))
    assert told == [(False, True), (False, True), (True, False)]
