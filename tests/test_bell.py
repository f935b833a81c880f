"""The bell: one inotify instance for all listeners of a process, none of which misses a change."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from namedipc import lowlevel
from namedipc._shells import bell
from namedipc._shells.bell import Listener

from .conftest import open_descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two open files."""
    pair = tuple(os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("a", "b"))
    yield pair[0], pair[1]
    for fd in pair:
        os.close(fd)


def heard(listener: Listener) -> bool:
    """Whether it is rung; what has happened is taken off."""
    ready = lowlevel.wait_ready(listener.fileno(), timeout_seconds=0)
    listener.drain()
    return ready


def instances() -> int:
    """How many inotify instances this process has."""
    return sum(target == "anon_inode:inotify" for target in open_descriptors().values())


def test_a_write_rings_and_a_store_of_nothing_does_not(files: tuple[int, int]) -> None:
    """A change of the file wakes its listener once; silence does not."""
    listener = Listener(files[0])
    assert not heard(listener)
    os.pwrite(files[0], b"", 0)
    assert not heard(listener)
    os.pwrite(files[0], b"x", 0)
    assert heard(listener)
    assert not heard(listener)
    listener.close()


def test_a_change_through_another_descriptor_is_heard(files: tuple[int, int], tmp_path: Path) -> None:
    """The file is watched, not the descriptor; a name which is gone changes nothing."""
    listener = Listener(files[0])
    other = os.open(tmp_path / "a", os.O_WRONLY)
    os.unlink(tmp_path / "a")
    os.pwrite(other, b"x", 0)
    assert heard(listener)
    os.close(other)
    listener.close()


def test_whoever_takes_the_events_rings_the_others(files: tuple[int, int]) -> None:
    """Three listeners of two files share one queue: the first to drain passes on what concerns the rest."""
    mine, same, other = Listener(files[0]), Listener(files[0]), Listener(files[1])
    assert instances() == 1
    os.pwrite(files[0], b"x", 0)
    os.pwrite(files[1], b"x", 0)
    mine.drain()
    assert not lowlevel.wait_ready(mine.fileno(), timeout_seconds=0)
    assert heard(same)
    assert heard(other)
    assert not heard(mine)
    for listener in (mine, same, other):
        listener.close()
    assert instances() == 0
    assert instances() == 0


def test_a_listener_that_leaves_takes_nothing_from_the_others(files: tuple[int, int]) -> None:
    """Closing one of two listeners of a file leaves the other its watch."""
    first, second = Listener(files[0]), Listener(files[0])
    first.close()
    first.close()
    os.pwrite(files[0], b"x", 0)
    assert heard(second)
    del second  # dropping it is closing it
    assert instances() == 0
    assert instances() == 0


def test_dropped_events_ring_everybody(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel's queue has overflown, nobody knows who was meant, so everybody looks."""
    first, second = Listener(files[0]), Listener(files[1])
    os.pwrite(files[0], b"x", 0)
    lost = [lowlevel.WatchEvent(-1, lowlevel.Watch.Q_OVERFLOW, 0, "")]
    with monkeypatch.context() as patch:
        patch.setattr(lowlevel, "read_watch", lambda fd: lost)
        first.drain()
    first.drain()
    assert heard(second)
    first.close()
    second.close()


def test_events_taken_off_are_passed_on_also_when_a_signal_interrupts(
    files: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the read of the queue and the ringing loses no wake-up of another listener."""
    first, second = Listener(files[0]), Listener(files[1])
    os.pwrite(files[1], b"x", 0)
    read = lowlevel.read_watch

    def read_and_interrupt(fd: int) -> list[lowlevel.WatchEvent]:
        read(fd)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lowlevel, "read_watch", read_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            first.drain()
    assert heard(second)
    first.close()
    second.close()


def test_a_change_and_a_ring_together_are_taken_off_one_after_the_other(files: tuple[int, int]) -> None:
    """A listener may be woken once too often, never too seldom, and not for ever."""
    listener = Listener(files[0])
    os.pwrite(files[0], b"x", 0)
    listener.ring()
    assert heard(listener)
    assert heard(listener)
    assert not heard(listener)
    listener.close()


def test_more_changes_than_are_taken_off_at_once(files: tuple[int, int]) -> None:
    """Who listens alone does not look at them; what it leaves there wakes it again."""
    listener = Listener(files[0])
    mine = Listener(files[1])
    for _ in range(bell.LITTLE_BYTES // 16):  # two events that differ are never made one
        os.pwrite(files[0], b"x", 0)
        os.pwrite(files[1], b"x", 0)
    mine.close()  # one more, that its watch is gone
    assert heard(listener)
    assert heard(listener)
    assert heard(listener)
    assert not heard(listener)
    listener.close()


def test_rung_by_hand_wakes_one(files: tuple[int, int]) -> None:
    """A ring, and a stop, wake the listener without a change of the file."""
    listener = Listener(files[0])
    listener.ring()
    assert heard(listener)
    listener.stop()
    assert listener.is_stopped
    assert heard(listener)
    listener.close()
    listener.ring()  # nobody there any more: nothing happens


@pytest.mark.parametrize("call", ["create_inotify", "add_watch", "eventfd"])
def test_without_inotify_a_listener_is_polled(
    files: tuple[int, int], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Where the user's instances, watches or descriptors are used up, the listener says that it is to be polled."""

    def refuse(*arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(lowlevel, call, refuse)
        listener = Listener(files[0])
    assert listener.is_polling
    listener.drain()
    listener.close()
    assert instances() == 0
    assert instances() == 0


def test_another_failure_is_raised(files: tuple[int, int]) -> None:
    """A file that cannot be watched at all is an error, and leaves nothing open."""
    with pytest.raises(OSError, match=r"Bad file|No such file"):
        Listener(999_999)
    assert instances() == 0
    assert instances() == 0


def test_a_forked_child_lets_go_of_the_parents_queue(files: tuple[int, int]) -> None:
    """The child's copies are closed before it does anything, and its own listener gets an instance of its own."""
    listener = Listener(files[0])
    os.pwrite(files[0], b"x", 0)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            listener.drain()
            listener.close()
            own = Listener(files[1])
            os.pwrite(files[1], b"x", 0)
            status = 0 if instances() == 1 and heard(own) and bell._bell._listeners else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert heard(listener)
    listener.close()


async def test_in_trio_a_thread_closes_the_queue(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take 50 ms for it: the loop's own thread does not."""
    closed_by: list[int] = []
    close = os.close

    def seen(fd: int) -> None:
        if open_descriptors().get(fd) == "anon_inode:inotify":
            closed_by.append(threading.get_ident())
        close(fd)

    monkeypatch.setattr(os, "close", seen)
    Listener(files[0]).close()
    with trio.fail_after(20):
        while instances():
            await trio.sleep(0.001)
    assert len(closed_by) == 1
    assert closed_by[0] != threading.get_ident()
