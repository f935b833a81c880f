"""Processes on the real kernel: which one it is, whether it runs still, and its end."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from namedipc import lowlevel

from .conftest import Children
from .lowlevel_support import fails_with, without_privileges

pytestmark = pytest.mark.usefixtures("no_leaks")

SLEEP = "print('ready', flush=True); input()"


@contextmanager
def pidfd_of(pid: int) -> Iterator[int]:
    """Open a process for the body."""
    fd = lowlevel.open_pidfd(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def test_a_pidfd_tells_the_end_of_a_process(child: Children) -> None:
    """It is close-on-exec, takes a signal, and is readable once the process has ended."""
    other = child(SLEEP)
    other.expect("ready")
    with pidfd_of(other.pid) as pidfd:
        assert not os.get_inheritable(pidfd)
        lowlevel.signal_pidfd(pidfd, 0)
        assert not lowlevel.wait_ready(pidfd, timeout_seconds=0)
        lowlevel.signal_pidfd(pidfd, signal.SIGTERM)
        assert lowlevel.wait_ready(pidfd, timeout_seconds=30)
        assert other.wait() == -signal.SIGTERM
        with fails_with(errno.ESRCH):
            lowlevel.signal_pidfd(pidfd, signal.SIGTERM)
    with fails_with(errno.ESRCH):
        lowlevel.open_pidfd(other.pid)
    with fails_with(errno.EINVAL):
        lowlevel.open_pidfd(0)


def test_a_process_is_told_from_a_later_one(child: Children) -> None:
    """With another time of its start the same number is another process."""
    mine = lowlevel.process_start_time(os.getpid())
    assert lowlevel.process_alive(os.getpid(), mine)
    assert not lowlevel.process_alive(os.getpid(), mine - 1)
    other = child(SLEEP)
    other.expect("ready")
    theirs = lowlevel.process_start_time(other.pid)
    assert theirs >= mine
    assert lowlevel.process_alive(other.pid, theirs)


def test_the_start_is_counted_from_the_boot(child: Children) -> None:
    """In clock ticks, between the boot and now."""
    other = child(SLEEP)
    other.expect("ready")
    uptime_seconds = float(Path("/proc/uptime").read_text().split()[0])
    started_seconds = lowlevel.process_start_time(other.pid) / os.sysconf("SC_CLK_TCK")
    assert uptime_seconds - 60 < started_seconds <= uptime_seconds


def test_a_name_with_blanks_and_parentheses_does_not_confuse() -> None:
    """A program may call itself what it likes, also what looks like the fields after the name."""
    comm = Path("/proc/self/comm")
    name, before = comm.read_text(), lowlevel.process_start_time(os.getpid())
    comm.write_text("a) Z 1 (b")
    try:
        assert lowlevel.process_start_time(os.getpid()) == before
        assert lowlevel.process_alive(os.getpid(), before)
    finally:
        comm.write_text(name)


def test_a_process_that_has_ended_is_not_alive(child: Children) -> None:
    """Neither before it was waited for, when /proc still has it, nor after."""
    other = child(SLEEP)
    other.expect("ready")
    started = lowlevel.process_start_time(other.pid)
    with pidfd_of(other.pid) as pidfd:
        os.kill(other.pid, signal.SIGKILL)
        assert lowlevel.wait_ready(pidfd, timeout_seconds=30)
    assert lowlevel.process_start_time(other.pid) == started
    assert not lowlevel.process_alive(other.pid, started)
    with fails_with(errno.ESRCH):
        lowlevel.process_executable(other.pid)
    other.wait()
    assert not lowlevel.process_alive(other.pid, started)
    with fails_with(errno.ESRCH):
        lowlevel.process_start_time(other.pid)


def test_the_program_of_a_process_is_told(child: Children) -> None:
    """The file itself, no link that leads to it."""
    other = child(SLEEP)
    assert lowlevel.process_executable(os.getpid()) == os.path.realpath(sys.executable)
    other.expect("ready")
    assert lowlevel.process_executable(other.pid) == os.path.realpath(sys.executable)


@pytest.mark.skipif(os.stat("/proc/1").st_uid != 0, reason="the first process here belongs to this user")
def test_another_user_s_program_is_not_told() -> None:
    """That of root's first process, to an ordinary user."""
    with without_privileges(), fails_with(errno.EACCES):
        lowlevel.process_executable(1)


@pytest.mark.parametrize("pid", [0, -1, 2**31 - 1])
def test_a_number_that_no_process_has(pid: int) -> None:
    """ProcessLookupError which names it, and not alive."""
    with fails_with(errno.ESRCH, filename=str(pid)):
        lowlevel.process_start_time(pid)
    assert not lowlevel.process_alive(pid, 1)
