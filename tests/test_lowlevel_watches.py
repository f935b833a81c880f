"""Waiting on the real kernel: inotify, eventfd, poll, epoll."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import lowlevel
from namedipc.lowlevel import Watch, WatchEvent, _watches

from .lowlevel_support import fails_with

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def inotify() -> Iterator[int]:
    """A queue of changes, nothing watched yet."""
    fd = lowlevel.create_inotify()
    yield fd
    os.close(fd)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: its reading and its writing end."""
    reader, writer = lowlevel.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_closing_a_queue_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread does that; where there is none to be had, it is closed all the same."""
    begun: list[tuple[object, tuple[int, ...]]] = []

    def note(function: object, arguments: tuple[int, ...]) -> None:
        begun.append((function, arguments))

    def refuse(function: object, arguments: tuple[int, ...]) -> None:
        raise RuntimeError("can't start new thread")

    fd = lowlevel.create_inotify()
    lowlevel.add_watch(fd, tmp_path, Watch.CREATE)
    with monkeypatch.context() as patched:
        patched.setattr(_watches, "start_new_thread", note)
        lowlevel.close_inotify(fd)
    assert begun == [(os.close, (fd,))]
    with monkeypatch.context() as patched:
        patched.setattr(_watches, "start_new_thread", refuse)
        lowlevel.close_inotify(fd)
    with fails_with(errno.EBADF):
        os.close(fd)
    lowlevel.close_inotify(lowlevel.create_inotify())  # that it is gone soon, `no_leaks` sees


def changes(fd: int) -> list[tuple[Watch, str]]:
    """Return what has happened, and to which names."""
    return [(event.mask, event.name) for event in lowlevel.read_watch(fd)]


def test_nothing_has_happened_yet(inotify: int, tmp_path: Path) -> None:
    """The queue is non-blocking and close-on-exec."""
    lowlevel.add_watch(inotify, tmp_path, Watch.CREATE)
    assert not os.get_inheritable(inotify)
    with pytest.raises(BlockingIOError):
        lowlevel.read_watch(inotify)


def test_a_name_appears_and_goes(inotify: int, tmp_path: Path) -> None:
    """Each kind of name that a directory gets or loses is told, oldest first, also one that is no UTF-8."""
    watch = lowlevel.add_watch(inotify, tmp_path, Watch.CREATE | Watch.DELETE | Watch.ONLYDIR)
    odd = os.fsdecode(b"caf\xe9")
    (tmp_path / odd).touch()
    lowlevel.make_fifo(tmp_path / "fifo")
    lowlevel.unix_listen(tmp_path / "socket").close()
    (tmp_path / "directory").mkdir()
    (tmp_path / odd).unlink()
    events = lowlevel.read_watch(inotify)
    assert {event.descriptor for event in events} == {watch}
    assert [(event.mask, event.name) for event in events] == [
        (Watch.CREATE, odd),
        (Watch.CREATE, "fifo"),
        (Watch.CREATE, "socket"),
        (Watch.CREATE | Watch.ISDIR, "directory"),
        (Watch.DELETE, odd),
    ]


def test_both_sides_of_a_rename_have_one_cookie(inotify: int, tmp_path: Path) -> None:
    """By it they are told to belong together."""
    (tmp_path / "old").touch()
    watch = lowlevel.add_watch(inotify, tmp_path, Watch.MOVED_FROM | Watch.MOVED_TO)
    (tmp_path / "old").rename(tmp_path / "new")
    left, came = lowlevel.read_watch(inotify)
    assert left == WatchEvent(watch, Watch.MOVED_FROM, left.cookie, "old")
    assert came == WatchEvent(watch, Watch.MOVED_TO, left.cookie, "new")
    assert left.cookie != 0


def test_a_write_rings_and_an_empty_one_does_not(inotify: int, tmp_path: Path) -> None:
    """A file's own watch has no name; an open file is watched by its link in /proc."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    lowlevel.add_watch(inotify, f"/proc/self/fd/{fd}", Watch.MODIFY)
    os.pwrite(fd, b"x", 0)
    assert changes(inotify) == [(Watch.MODIFY, "")]
    os.pwrite(fd, b"", 0)
    with pytest.raises(BlockingIOError):
        lowlevel.read_watch(inotify)
    os.close(fd)


def test_every_flag_means_what_the_kernel_means(inotify: int, tmp_path: Path) -> None:
    """A file's life, as a watch for all of it tells it."""
    path = tmp_path / "file"
    path.touch()
    lowlevel.add_watch(
        inotify,
        path,
        Watch.OPEN
        | Watch.ACCESS
        | Watch.ATTRIB
        | Watch.CLOSE_WRITE
        | Watch.CLOSE_NOWRITE
        | Watch.MOVE_SELF
        | Watch.DELETE_SELF,
    )
    path.write_bytes(b"x")
    path.read_bytes()
    path.chmod(0o640)
    path.rename(tmp_path / "other")
    (tmp_path / "other").unlink()
    seen = [mask for mask, name in changes(inotify)]
    assert seen == [
        Watch.OPEN,
        Watch.CLOSE_WRITE,
        Watch.OPEN,
        Watch.ACCESS,
        Watch.CLOSE_NOWRITE,
        Watch.ATTRIB,
        Watch.MOVE_SELF,
        Watch.ATTRIB,  # the number of links
        Watch.DELETE_SELF,
        Watch.IGNORED,
    ]


def test_one_inode_has_one_watch(inotify: int, tmp_path: Path) -> None:
    """A second one replaces its mask, adds to it, or is refused, as is asked for."""
    watch = lowlevel.add_watch(inotify, tmp_path, Watch.CREATE)
    assert lowlevel.add_watch(inotify, tmp_path, Watch.DELETE) == watch
    assert lowlevel.add_watch(inotify, tmp_path, Watch.MOVED_TO | Watch.MASK_ADD) == watch
    with fails_with(errno.EEXIST):
        lowlevel.add_watch(inotify, tmp_path, Watch.CREATE | Watch.MASK_CREATE)
    (tmp_path / "file").touch()
    (tmp_path / "file").rename(tmp_path / "other")
    (tmp_path / "other").unlink()
    assert changes(inotify) == [(Watch.MOVED_TO, "other"), (Watch.DELETE, "other")]


def test_a_watch_ends(inotify: int, tmp_path: Path) -> None:
    """When it is removed, or after one event; both are told."""
    watch = lowlevel.add_watch(inotify, tmp_path, Watch.CREATE)
    lowlevel.remove_watch(inotify, watch)
    (tmp_path / "unseen").touch()
    assert changes(inotify) == [(Watch.IGNORED, "")]
    with fails_with(errno.EINVAL):
        lowlevel.remove_watch(inotify, watch)
    lowlevel.add_watch(inotify, tmp_path, Watch.CREATE | Watch.ONESHOT)
    (tmp_path / "seen").touch()
    (tmp_path / "unseen too").touch()
    assert changes(inotify) == [(Watch.CREATE, "seen"), (Watch.IGNORED, "")]


def test_what_cannot_be_watched_is_told(inotify: int, tmp_path: Path) -> None:
    """The error has the kernel's number and the caller's path."""
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.touch()
    with fails_with(errno.ENOENT, filename=str(missing)):
        lowlevel.add_watch(inotify, missing, Watch.CREATE)
    with fails_with(errno.ENOTDIR):
        lowlevel.add_watch(inotify, file, Watch.CREATE | Watch.ONLYDIR)
    with fails_with(errno.EINVAL):
        lowlevel.add_watch(inotify, file, Watch(0))
    with pytest.raises(ValueError, match="null byte"):
        lowlevel.add_watch(inotify, f"{tmp_path}\0hidden", Watch.CREATE)


def test_an_overflow_is_told(inotify: int, tmp_path: Path) -> None:
    """Changes that nobody reads are dropped from a certain number on, and the last event says so."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 200_000:
        pytest.skip(f"filling a queue of {most} events would take too long")
    fds = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("a", "b")]
    lowlevel.add_watch(inotify, tmp_path, Watch.MODIFY)
    for _ in range(most // 2 + 1):
        for fd in fds:  # in turn, as the kernel merges equal events in succession
            os.pwrite(fd, b"x", 0)
    for fd in fds:
        os.close(fd)
    events: list[WatchEvent] = []
    while not events or events[-1].mask != Watch.Q_OVERFLOW:
        events += lowlevel.read_watch(inotify)
    assert events[-1] == WatchEvent(-1, Watch.Q_OVERFLOW, 0, "")


def test_a_counter_wakes() -> None:
    """It is non-blocking and close-on-exec; reading takes everything."""
    fd = lowlevel.eventfd()
    assert not os.get_inheritable(fd)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fd)
    os.eventfd_write(fd, 2)
    os.eventfd_write(fd, 3)
    assert lowlevel.wait_ready(fd)
    assert os.eventfd_read(fd) == 5
    os.close(fd)
    started = lowlevel.eventfd(7)
    assert os.eventfd_read(started) == 7
    os.close(started)


def test_waiting_ends_with_the_time(pipe: tuple[int, int]) -> None:
    """False where nothing has come; a time that has passed already only looks."""
    reader, writer = pipe
    for seconds in (0.002, 0.0, -1.0):
        assert lowlevel.wait_ready(reader, timeout_seconds=seconds) is False
    os.write(writer, b"x")
    for limit in (0.0, -1.0, 30.0, math.inf, 1e12, None):
        assert lowlevel.wait_ready(reader, timeout_seconds=limit) is True


def test_waiting_wakes_when_something_comes(pipe: tuple[int, int]) -> None:
    """Another thread of the process can run meanwhile and write."""
    reader, writer = pipe
    thread = threading.Thread(target=os.write, args=(writer, b"x"))
    thread.start()
    assert lowlevel.wait_ready(reader, timeout_seconds=30)
    thread.join()


def test_waiting_ends_when_the_bell_rings(pipe: tuple[int, int]) -> None:
    """Whatever the descriptor does; a closed bell is an error, not a silence."""
    reader, writer = pipe
    bell = lowlevel.eventfd()
    assert not lowlevel.wait_ready(reader, timeout_seconds=0, bell=bell)
    os.eventfd_write(bell, 1)
    assert lowlevel.wait_ready(reader, timeout_seconds=30, bell=bell)
    os.close(bell)
    os.write(writer, b"x")
    with fails_with(errno.EBADF):
        lowlevel.wait_ready(reader, timeout_seconds=30, bell=bell)


def test_room_to_write_is_waited_for(pipe: tuple[int, int]) -> None:
    """A full pipe is not ready, an emptied one is."""
    reader, writer = pipe
    capacity = lowlevel.pipe_capacity(writer)
    assert lowlevel.wait_ready(writer, read=False, write=True)
    os.write(writer, bytes(capacity))
    assert not lowlevel.wait_ready(writer, read=False, write=True, timeout_seconds=0)
    os.read(reader, capacity)
    assert lowlevel.wait_ready(writer, read=False, write=True, timeout_seconds=0)


def test_a_lost_other_end_is_ready() -> None:
    """For whatever one waits, also for nothing else; the next read or write tells."""
    left, right = lowlevel.socket_pair()
    with left:
        assert not lowlevel.wait_ready(left.fileno(), read=False, timeout_seconds=0)
        right.close()
        assert lowlevel.wait_ready(left.fileno(), read=False)
        assert lowlevel.wait_ready(left.fileno())


def test_a_closed_descriptor_is_an_error() -> None:
    """It is not waited for, for ever."""
    fd = os.dup(0)
    os.close(fd)
    with fails_with(errno.EBADF):
        lowlevel.wait_ready(fd)
    sock = lowlevel.unix_socket()
    sock.close()
    with fails_with(errno.EBADF):
        lowlevel.wait_ready(sock.fileno())


def test_a_poll_is_asked_again_and_again(pipe: tuple[int, int]) -> None:
    """It tells of what can be read, as long as it can."""
    reader, writer = pipe
    poll = lowlevel.poll_readable(reader)
    assert not poll.poll(0)
    os.write(writer, b"x")
    assert poll.poll(0)
    assert poll.poll(0)
    os.read(reader, 1)
    assert not poll.poll(0)


def test_epoll_is_python_s(pipe: tuple[int, int]) -> None:
    """The class and the bits come from here, so that no other layer needs select."""
    reader, writer = pipe
    with lowlevel.Epoll() as epoll:
        assert not os.get_inheritable(epoll.fileno())
        epoll.register(reader, lowlevel.EPOLLIN)
        epoll.register(writer, lowlevel.EPOLLOUT)
        os.write(writer, b"x")
        assert sorted(epoll.poll(30)) == sorted([(reader, lowlevel.EPOLLIN), (writer, lowlevel.EPOLLOUT)])
    left, right = lowlevel.socket_pair()
    with left, right, lowlevel.Epoll() as epoll:
        epoll.register(left, lowlevel.EPOLLIN | lowlevel.EPOLLRDHUP)
        lowlevel.shutdown_write(right)
        assert epoll.poll(30) == [(left.fileno(), lowlevel.EPOLLIN | lowlevel.EPOLLRDHUP)]
        right.close()
        (ready,) = epoll.poll(30)
        assert ready[1] & lowlevel.EPOLLHUP
    broken, writer_end = lowlevel.pipe()
    with lowlevel.Epoll() as epoll:
        epoll.register(writer_end, 0)
        os.close(broken)
        assert epoll.poll(30) == [(writer_end, lowlevel.EPOLLERR)]
    os.close(writer_end)
