"""Descriptors of processes, as /proc tells them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from namedipc import lowlevel

from .conftest import Children
from .lowlevel_support import fails_with, without_privileges

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_each_kind_of_descriptor_says_what_it_is(tmp_path: Path) -> None:
    """A file by its path, everything else by its kind."""
    before = lowlevel.descriptors()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    memfd = lowlevel.create_memfd("menu", 1)
    reader, writer = lowlevel.pipe()
    inotify, counter = lowlevel.create_inotify(), lowlevel.eventfd()
    left, right = lowlevel.socket_pair()
    found = lowlevel.descriptors()
    assert found[file] == str(tmp_path / "file")
    assert found[memfd] == "/memfd:menu (deleted)"
    assert found[reader] == found[writer]
    assert found[reader].startswith("pipe:[")
    assert found[inotify] in {"anon_inode:inotify", "anon_inode:[inotify]"}
    assert found[counter] == "anon_inode:[eventfd]"
    assert found[left.fileno()].startswith("socket:[")
    mine = {file, memfd, reader, writer, inotify, counter}
    assert found.keys() - before.keys() == mine | {left.fileno(), right.fileno()}
    assert list(found) == sorted(found)
    left.close()
    right.close()
    for fd in mine:
        os.close(fd)


def test_the_listing_does_not_tell_itself() -> None:
    """Two in succession are equal, though each opens the directory."""
    assert lowlevel.descriptors() == lowlevel.descriptors() == lowlevel.descriptors(os.getpid())


def test_another_process_is_told(tmp_path: Path, child: Children) -> None:
    """Where it has what open, as the chapter lists it."""
    other = child(
        """
        import os, sys
        print(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600), flush=True)
        input()
        """,
        str(tmp_path / "file"),
    )
    fd = int(other.read_line())
    assert lowlevel.descriptors(other.pid)[fd] == str(tmp_path / "file")


def test_a_process_that_is_not_there() -> None:
    """ProcessLookupError, which names it."""
    with fails_with(errno.ESRCH, filename="-1"):
        lowlevel.descriptors(-1)


@pytest.mark.skipif(os.stat("/proc/1").st_uid != 0, reason="the first process here belongs to this user")
def test_another_user_s_process_is_not_told() -> None:
    """That of root, to an ordinary user."""
    with without_privileges(), fails_with(errno.EACCES):
        lowlevel.descriptors(1)


def test_what_a_descriptor_may_be_used_for(tmp_path: Path) -> None:
    """The access mode alone, whatever other flags it was opened with."""
    for mode in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        fd = os.open(tmp_path / "file", mode | os.O_CREAT | os.O_APPEND, 0o600)
        assert lowlevel.access_mode(fd) == mode
        os.close(fd)
    with fails_with(errno.EBADF):
        lowlevel.access_mode(fd)
