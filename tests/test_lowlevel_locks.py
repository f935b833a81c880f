"""Locks on the real kernel: between descriptions and processes, ranges, and a holder that is killed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from namedipc import lowlevel

from .conftest import Children
from .lowlevel_support import fails_with

pytestmark = pytest.mark.usefixtures("no_leaks")


@attrs.frozen
class Family:
    """One of the two families of locks; `name` is its function."""

    name: str
    lock: Callable[[int, bool], None]
    unlock: Callable[[int], None]


def _lock_ofd(fd: int, exclusive: bool) -> None:
    lowlevel.lock_ofd(fd, exclusive=exclusive)


def _flock(fd: int, exclusive: bool) -> None:
    lowlevel.flock(fd, exclusive=exclusive)


FAMILIES = pytest.mark.parametrize(
    "family",
    [Family("lock_ofd", _lock_ofd, lowlevel.unlock_ofd), Family("flock", _flock, lowlevel.unflock)],
    ids=lambda family: str(family.name),
)

HOLD = """
import os, sys
from namedipc import lowlevel
fd = os.open(sys.argv[1], os.O_RDWR)
getattr(lowlevel, sys.argv[2])(fd, exclusive=True)
print("locked", flush=True)
input()
"""
"""Locks argv[1] by the function argv[2], and holds it until it is told to end or is killed."""

WAIT = """
import os, sys
from namedipc import lowlevel
fd = os.open(sys.argv[1], os.O_RDWR)
print("waiting", flush=True)
getattr(lowlevel, f"wait_{sys.argv[2]}")(fd, exclusive=True)
print(os.pread(fd, 100, 0).decode(), flush=True)
"""
"""Waits for the lock, and then tells what is in the file."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to lock."""
    path = tmp_path / "file"
    path.touch()
    return path


@pytest.fixture
def fds(path: Path) -> Iterator[tuple[int, int]]:
    """Two open file descriptions of one file."""
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    yield first, second
    os.close(first)
    os.close(second)


@FAMILIES
def test_an_exclusive_lock_excludes(fds: tuple[int, int], family: Family) -> None:
    """Also within one process; after the unlock the other has it."""
    first, second = fds
    family.lock(first, True)
    for exclusive in (True, False):
        with pytest.raises(BlockingIOError):
            family.lock(second, exclusive)
    family.unlock(first)
    family.lock(second, True)
    with pytest.raises(BlockingIOError):
        family.lock(first, False)
    family.unlock(second)
    family.unlock(second)


@FAMILIES
def test_shared_locks_share(fds: tuple[int, int], family: Family) -> None:
    """Readers beside readers; a writer waits for the last of them."""
    first, second = fds
    family.lock(first, False)
    family.lock(second, False)
    with pytest.raises(BlockingIOError):
        family.lock(first, True)
    family.unlock(first)
    family.lock(second, True)
    with pytest.raises(BlockingIOError):
        family.lock(first, False)


@FAMILIES
def test_a_killed_holder_frees_its_lock(path: Path, fds: tuple[int, int], child: Children, family: Family) -> None:
    """While the holder lives another process is refused; once it is dead the lock is free."""
    holder = child(HOLD, str(path), family.name)
    holder.expect("locked")
    with pytest.raises(BlockingIOError):
        family.lock(fds[0], True)
    holder.kill()
    family.lock(fds[0], True)


@FAMILIES
def test_a_waiting_process_gets_the_lock_next(
    path: Path, fds: tuple[int, int], child: Children, family: Family
) -> None:
    """It sees what was written before the unlock, so it has waited."""
    family.lock(fds[0], True)
    waiter = child(WAIT, str(path), family.name)
    waiter.expect("waiting")
    os.pwrite(fds[0], b"done", 0)
    family.unlock(fds[0])
    waiter.expect("done")
    assert waiter.wait() == 0


@FAMILIES
def test_a_waiting_process_gets_the_lock_of_a_killed_one(path: Path, child: Children, family: Family) -> None:
    """The kernel wakes it, nobody has to look."""
    holder = child(HOLD, str(path), family.name)
    holder.expect("locked")
    waiter = child(WAIT, str(path), family.name)
    waiter.expect("waiting")
    path.write_text("orphaned")
    holder.kill()
    waiter.expect("orphaned")


def test_the_families_do_not_see_each_other(fds: tuple[int, int]) -> None:
    """A file may be locked by both, by different owners."""
    lowlevel.lock_ofd(fds[0], exclusive=True)
    lowlevel.flock(fds[1], exclusive=True)


def test_ranges_are_locked_apart(fds: tuple[int, int]) -> None:
    """Ranges that touch do not overlap; a length of 0 goes to the end, wherever that will be."""
    first, second = fds
    lowlevel.lock_ofd(first, exclusive=True, start=10, length=10)
    lowlevel.lock_ofd(second, exclusive=True, start=0, length=10)
    lowlevel.wait_lock_ofd(second, exclusive=True, start=20)
    with pytest.raises(BlockingIOError):
        lowlevel.lock_ofd(second, exclusive=False, start=19, length=1)
    with pytest.raises(BlockingIOError):
        lowlevel.lock_ofd(first, exclusive=False, start=2**40, length=1)
    lowlevel.unlock_ofd(first, start=15, length=5)
    lowlevel.lock_ofd(second, exclusive=False, start=19, length=1)
    with pytest.raises(BlockingIOError):
        lowlevel.lock_ofd(second, exclusive=False, start=14, length=1)


def test_a_lock_is_converted(fds: tuple[int, int]) -> None:
    """Locking again what one has changes its kind."""
    first, second = fds
    lowlevel.wait_lock_ofd(first, exclusive=True)
    lowlevel.wait_lock_ofd(first, exclusive=False)
    lowlevel.lock_ofd(second, exclusive=False)
    lowlevel.wait_flock(first, exclusive=True)
    lowlevel.wait_flock(first, exclusive=False)
    lowlevel.flock(second, exclusive=False)


def test_another_descriptor_of_the_file_does_not_lose_the_lock(path: Path, fds: tuple[int, int]) -> None:
    """What POSIX locks lose, a lock of the description keeps: some descriptor of the file was closed."""
    first, second = fds
    lowlevel.lock_ofd(first, exclusive=True)
    os.close(os.open(path, os.O_RDWR))
    with pytest.raises(BlockingIOError):
        lowlevel.lock_ofd(second, exclusive=True)


def test_a_mapping_keeps_the_lock(path: Path, fds: tuple[int, int]) -> None:
    """Closing the descriptor does not free it while the file is mapped through it; unmapping does."""
    os.ftruncate(fds[0], 10)
    for lock in (lowlevel.lock_ofd, lowlevel.flock):
        holder = os.open(path, os.O_RDWR)
        lock(holder, exclusive=True)
        with lowlevel.map_shared(holder, 10, writable=True):
            os.close(holder)
            with pytest.raises(BlockingIOError):
                lock(fds[0], exclusive=True)
        lock(fds[0], exclusive=True)


def test_an_unlock_frees_in_spite_of_a_mapping(path: Path, fds: tuple[int, int]) -> None:
    """So an explicit unlock is always right."""
    os.ftruncate(fds[0], 10)
    lowlevel.lock_ofd(fds[0], exclusive=True)
    with lowlevel.map_shared(fds[0], 10, writable=True):
        lowlevel.unlock_ofd(fds[0])
        lowlevel.lock_ofd(fds[1], exclusive=True)


def test_a_lock_needs_its_right(path: Path) -> None:
    """An exclusive lock of the description needs a descriptor for writing; flock does not mind."""
    fd = os.open(path, os.O_RDONLY)
    with fails_with(errno.EBADF):
        lowlevel.lock_ofd(fd, exclusive=True)
    with fails_with(errno.EBADF):
        lowlevel.wait_lock_ofd(fd, exclusive=True)
    lowlevel.lock_ofd(fd, exclusive=False)
    lowlevel.flock(fd, exclusive=True)
    os.close(fd)


def test_a_fifo_and_a_directory_are_locked_too(tmp_path: Path) -> None:
    """By flock, which takes any file."""
    lowlevel.make_fifo(tmp_path / "fifo")
    for path, flags in ((tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK), (tmp_path, os.O_RDONLY)):
        first, second = os.open(path, flags), os.open(path, flags)
        lowlevel.flock(first, exclusive=True)
        with pytest.raises(BlockingIOError):
            lowlevel.flock(second, exclusive=True)
        os.close(first)
        lowlevel.flock(second, exclusive=True)
        os.close(second)
