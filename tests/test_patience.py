"""How long a peer may owe what it owes: what counts, and what does not."""

from __future__ import annotations

from math import inf

import pytest

from namedipc._shells import patience as module
from namedipc._shells.patience import MIDFRAME, NO_HELLO, Patience


class Time:
    """A clock that goes when the test says so, and counts who looks."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looks = 0

    def monotonic(self) -> float:
        """Stands in for the real one."""
        self.looks += 1
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The module's clock."""
    made = Time()
    monkeypatch.setattr(module, "monotonic", made.monotonic)
    return made


def wait(patience: Patience, time: Time, seconds: float) -> None:
    """Let it wait."""
    with patience.counting():
        time.now += seconds


def test_nothing_is_owed(time: Time) -> None:
    """Then there is no time to be left, and nobody looks at a clock; the same where there are no limits."""
    assert Patience(5, 30).left(agreed=True, unfinished=False, number=0) is None
    assert Patience(inf, 30).left(agreed=False, unfinished=False, number=0) is None
    for unfinished in (False, True):
        assert Patience().left(agreed=False, unfinished=unfinished, number=0) is None
    assert time.looks == 0


def test_only_waiting_counts(time: Time) -> None:
    """What passes in between does not; and the wait counts that was broken off."""
    patience = Patience(5, 30)
    wait(patience, time, 1)  # before anything was owed
    assert patience.left(agreed=False, unfinished=False, number=0) == 5
    wait(patience, time, 2)
    time.now += 1000
    assert patience.left(agreed=False, unfinished=True, number=0) == 3
    with pytest.raises(KeyError), patience.counting():
        time.now += 2
        raise KeyError
    assert patience.left(agreed=False, unfinished=True, number=0) == 1
    wait(patience, time, 2)
    assert patience.left(agreed=False, unfinished=True, number=0) == 0
    assert (patience.owed, patience.seconds) == (NO_HELLO, 5)


def test_each_frame_has_its_own_time(time: Time) -> None:
    """Only its end ends it: bytes renew nothing."""
    patience = Patience(5, 30)
    patience.left(agreed=False, unfinished=True, number=0)
    wait(patience, time, 4)
    assert patience.left(agreed=True, unfinished=True, number=0) == 30
    for second in range(10):
        assert patience.left(agreed=True, unfinished=True, number=0) == 30 - second
        wait(patience, time, 1)
    assert patience.left(agreed=True, unfinished=False, number=1) is None
    assert patience.left(agreed=True, unfinished=True, number=1) == 30
    assert (patience.owed, patience.seconds) == (MIDFRAME, 30)


def test_the_rest_of_a_hello_without_a_time_for_the_whole(time: Time) -> None:
    """Whoever has connected waits for ever to be accepted; once the hello has begun it is a frame like another."""
    patience = Patience(inf, 30)
    assert patience.left(agreed=False, unfinished=True, number=0) == 30
    assert patience.owed == MIDFRAME
