"""Fd: one owner, one descriptor, and a clear word when it has gone."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from pathlib import Path

import pytest

from namedipc import lowlevel
from namedipc._errors import Closed
from namedipc._fd import Fd, adopt

from .lowlevel_support import fails_with

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a word in it."""
    path = tmp_path / "file"
    path.write_bytes(b"word")
    return path


def test_it_duplicates(path: Path) -> None:
    """Of a file, a number or another Fd: what it was made of is not its own, and may be closed before."""
    with path.open("rb") as file:
        first = Fd(file)
        second = Fd(file.fileno())
    third = Fd(first)
    numbers = [each.fileno() for each in (first, second, third)]
    assert len(set(numbers)) == 3
    for each in (first, second, third):
        assert not os.get_inheritable(each.fileno())
        assert os.pread(each.fileno(), 10, 0) == b"word"
        each.close()
    for number in numbers:
        with fails_with(errno.EBADF):
            os.fstat(number)


def test_what_is_not_open() -> None:
    """It is the kernel's error, and nothing is left."""
    with fails_with(errno.EBADF):
        Fd(-1)
    number = os.dup(0)
    os.close(number)
    with fails_with(errno.EBADF):
        Fd(number)


@pytest.mark.parametrize(
    ("flags", "mode"),
    [(os.O_RDONLY, "rb"), (os.O_WRONLY, "wb"), (os.O_RDWR, "rb+"), (os.O_WRONLY | os.O_APPEND, "wb")],
)
def test_as_a_file(path: Path, flags: int, mode: str) -> None:
    """It can be used for what the descriptor allows, nothing is truncated, and the file closes it."""
    fd = adopt(os.open(path, flags))
    with fd.open() as file:
        assert file.mode == mode
        assert file.readable() == (flags & os.O_ACCMODE != os.O_WRONLY)
        assert file.writable() == (flags & os.O_ACCMODE != os.O_RDONLY)
        assert path.read_bytes() == b"word"
        with pytest.raises(Closed, match=r"this Fd has given its descriptor away by open\(\)"):
            fd.fileno()
    fd.close()


def test_a_socket_as_a_file() -> None:
    """Both ways, without a buffer, for it cannot seek."""
    left, right = lowlevel.socket_pair()
    with adopt(left.detach()).open() as file, right:
        right.sendall(b"word")
        assert file.read(4) == b"word"
        file.write(b"back")
        assert right.recv(4) == b"back"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """It stays where it was, for those who use it otherwise."""
    with adopt(os.open(tmp_path, os.O_RDONLY)) as fd:
        with fails_with(errno.EISDIR):
            fd.open()
        assert os.listdir(fd.fileno()) == []


def test_taken_out_as_a_number() -> None:
    """It is the caller's then."""
    fd = Fd(0)
    number = fd.detach()
    fd.close()
    os.fstat(number)
    os.close(number)
    for use in (fd.fileno, fd.detach, fd.open, fd.__enter__):
        with pytest.raises(Closed, match=r"this Fd has given its descriptor away by detach\(\)"):
            use()
    assert repr(fd) == "<Fd: has given its descriptor away by detach()>"


def test_closing_twice() -> None:
    """The second time does nothing, though the number may be another's by then."""
    with Fd(0) as fd:
        number = fd.fileno()
        assert repr(fd) == f"<Fd {number}>"
    with Fd(0) as other:
        assert other.fileno() == number
        fd.close()
        os.fstat(other.fileno())
    with pytest.raises(Closed, match="this Fd has been closed"):
        fd.fileno()
    assert repr(fd) == "<Fd: has been closed>"


def test_dropped_without_being_closed() -> None:
    """It is closed, with a warning as of an unclosed file."""
    fd = Fd(0)
    number = fd.fileno()
    with pytest.warns(ResourceWarning, match=f"unclosed <Fd {number}>"):
        del fd
    with fails_with(errno.EBADF):
        os.fstat(number)


def test_it_is_no_ordinary_value() -> None:
    """Equal to itself only, hashable, and neither pickled nor copied by accident."""
    with Fd(0) as fd, Fd(fd) as other:
        assert fd != other
        assert len({fd, other, fd}) == 2
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="travels as part of a message"):
                attempt(fd)
