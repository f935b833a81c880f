"""The lock of a region or a memory: shared by readers, and the turn which keeps those who wait from being overtaken."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import Busy, lowlevel
from namedipc._shells.shared_lock import SOON_SECONDS, TURN, FileLock, Held, LockWait, open_again

pytestmark = pytest.mark.usefixtures("no_leaks")

SECONDS = 20.0


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[FileLock, FileLock]]:
    """Two handles of one file."""
    with open(tmp_path / "file", "wb+") as file:
        both = [FileLock(open_again(file.fileno()), where="file") for _ in range(2)]
    yield both[0], both[1]
    for lock in both:
        lock.close()


def is_free(lock: FileLock, *, exclusive: bool) -> bool:
    """Whether somebody else would get it now."""
    held = lock.take("somebody", exclusive=exclusive)
    if held is not None:
        held.release()
    return held is not None


def begin(wait: LockWait) -> threading.Thread:
    """Start a wait."""
    thread = threading.Thread(target=wait.run)
    thread.start()
    return thread


def wait_until_free(lock: FileLock, *, exclusive: bool, free: bool = True) -> None:
    """Wait until somebody else would get it, or would not; fail after some time."""
    deadline = time.monotonic() + SECONDS
    while is_free(lock, exclusive=exclusive) is not free:
        assert time.monotonic() < deadline
        os.sched_yield()


def test_readers_share_it_and_exclude_a_writer(locks: tuple[FileLock, FileLock]) -> None:
    """Any number, through one handle or several; the writer gets it when the last of them has gone."""
    first, second = locks
    held = [lock.take(number, exclusive=False) for number, lock in enumerate((first, first, second, second))]
    for one in held:
        assert one is not None
        assert not is_free(first, exclusive=True)
        assert not is_free(second, exclusive=True)
        one.release()
    assert is_free(first, exclusive=True)
    assert is_free(second, exclusive=True)


def test_a_writer_excludes_readers(locks: tuple[FileLock, FileLock]) -> None:
    """Through its own handle too."""
    held = locks[0].take("writer")
    assert held is not None
    assert not is_free(locks[0], exclusive=False)
    assert not is_free(locks[1], exclusive=False)
    held.release()
    assert is_free(locks[0], exclusive=False)


def test_a_reader_that_asks_again_is_told(locks: tuple[FileLock, FileLock]) -> None:
    """Through either handle; the other readers are not, and once it has given the lock back it may."""
    held = locks[0].take("me", exclusive=False)
    also = locks[0].take("you", exclusive=False)
    assert held is not None
    assert also is not None
    for lock in locks:
        with pytest.raises(Busy, match="held by the very task or thread"):
            lock.refuse_again("me")
    held.release()
    for lock in locks:
        lock.refuse_again("me")
        with pytest.raises(Busy):
            lock.refuse_again("you")
    also.release()


def test_a_waiting_writer_is_not_overtaken_by_readers(locks: tuple[FileLock, FileLock]) -> None:
    """While it waits for the present readers nobody joins them; given up, it stands in nobody's way."""
    present = locks[0].take("reader", exclusive=False)
    assert present is not None
    waits = [locks[1].wait("writer") for _ in range(3)]
    threads = []
    for wait in waits:
        threads.append(begin(wait))
        wait_until_free(locks[0], exclusive=False, free=False)
        assert not is_free(locks[1], exclusive=False)
        if wait is not waits[-1]:
            wait.abandon()
            assert is_free(locks[0], exclusive=False)
    present.release()
    threads[-1].join(SECONDS)
    assert not is_free(locks[0], exclusive=False), "the last writer has it"
    waits[-1].abandon()
    wait_until_free(locks[0], exclusive=True)
    for thread in threads:
        thread.join(SECONDS)


def has_turn(fd: int) -> bool:
    """Whether somebody who waits for the lock is the next."""
    try:
        lowlevel.lock_ofd(fd, exclusive=True, start=TURN, length=1)
    except BlockingIOError:
        return True
    lowlevel.unlock_ofd(fd, start=TURN, length=1)
    return False


@pytest.mark.parametrize("exclusive", [True, False])
def test_who_gives_it_back_and_asks_again_comes_after_who_waits(
    locks: tuple[FileLock, FileLock], exclusive: bool
) -> None:
    """However quickly: who waits has the turn, and keeps it until it has the lock."""
    turn = open_again(locks[0]._fd)
    for _ in range(5):
        held = locks[0].take("greedy")
        assert held is not None
        wait = locks[1].wait("waiting", exclusive=exclusive)
        thread = begin(wait)
        deadline = time.monotonic() + SECONDS
        while not has_turn(turn):
            assert time.monotonic() < deadline
            os.sched_yield()
        held.release()
        assert locks[0].take("greedy") is None
        thread.join(SECONDS)
        assert not is_free(locks[0], exclusive=True), "who has waited has it"
        wait.abandon()
    os.close(turn)


def test_a_wait_that_is_given_up_in_line_goes_without_the_lock(locks: tuple[FileLock, FileLock]) -> None:
    """Given up while another has the turn, it takes neither when the turn is free."""
    turn = open_again(locks[0]._fd)
    lowlevel.lock_ofd(turn, exclusive=True, start=TURN, length=1)
    wait = locks[1].wait("writer")
    thread = begin(wait)
    assert not is_free(locks[0], exclusive=True), "whoever does not have the turn does not get the lock"
    wait.abandon()
    lowlevel.unlock_ofd(turn, start=TURN, length=1)
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert is_free(locks[0], exclusive=True)
    os.close(turn)


def test_a_shared_wait_gets_it_when_the_writer_has_gone(locks: tuple[FileLock, FileLock]) -> None:
    """And shares it then."""
    held = locks[0].take("writer")
    assert held is not None
    wait = locks[1].wait("reader", exclusive=False)
    thread = begin(wait)
    held.release()
    thread.join(SECONDS)
    assert is_free(locks[0], exclusive=False)
    assert not is_free(locks[0], exclusive=True)
    wait.abandon()
    assert is_free(locks[0], exclusive=True)


def test_a_core_that_others_want_is_not_yielded_again_and_again(
    locks: tuple[FileLock, FileLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the core comes back late it is time to wait: with a look after the first time, and without a second."""
    yielded = tried = 0
    take = FileLock.take

    def late() -> None:
        nonlocal yielded
        yielded += 1
        time.sleep(2 * SOON_SECONDS)

    def counted(self: FileLock, me: object, *, exclusive: bool = True) -> Held | None:
        nonlocal tried
        tried += 1
        return take(self, me, exclusive=exclusive)

    holder, other = locks
    held = holder.take("holder")
    assert held is not None
    monkeypatch.setattr(os, "sched_yield", late)
    monkeypatch.setattr(FileLock, "take", counted)
    monkeypatch.setattr("namedipc._shells.shared_lock._holders", set())  # as if it were another process's
    assert other.take_soon("other") is None
    assert (tried, yielded) == (2, 1)
    held.release()
