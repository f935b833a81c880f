"""A lock that tells when it is free, and what wakes a thread."""

from __future__ import annotations

import pytest

from namedipc import lowlevel
from namedipc._shells.telling_lock import TellingLock, Waker

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_it_tells_each_time() -> None:
    """Without the lock; and not if that is asked for."""
    seen: list[bool] = []

    def after() -> None:
        seen.append(lock.acquire(blocking=False))
        lock.release_quietly()

    lock = TellingLock(after)
    with lock:
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.001)
        assert seen == []
    assert seen == [True]
    assert lock.acquire()
    lock.release_quietly()
    assert seen == [True]


def test_a_waker_wakes_whoever_is_armed() -> None:
    """What was rung before is forgotten, and what is rung while nobody waits makes nothing."""
    waker = Waker()
    waker.ring()
    bell = waker.arm()
    assert bell is not None
    assert not lowlevel.wait_ready(bell, timeout_seconds=0)
    waker.ring()
    waker.ring()
    assert lowlevel.wait_ready(bell, timeout_seconds=0)
    assert waker.arm() == bell
    assert not lowlevel.wait_ready(bell, timeout_seconds=0)
    waker.disarm()
    waker.ring()
    assert not lowlevel.wait_ready(bell, timeout_seconds=0)
    waker.close()
    waker.close()
    assert waker.arm() is None
    waker.ring()
