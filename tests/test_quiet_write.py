"""Bytes that go into a shared file without waking anybody."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from namedipc import ProtocolError, lowlevel
from namedipc._protocol.records import RECORD_BYTES
from namedipc._protocol.ring import ENTRY_BYTES
from namedipc._region_blocking import BlockingRegion
from namedipc._shells.bell import Listener
from namedipc._shells.quiet_write import LONGEST_BYTES, QuietWriter

from .conftest import open_descriptors
from .memory_support import PAIR
from .region_support import BOARD, NEWS, Entry, advance, forked

pytestmark = pytest.mark.usefixtures("no_leaks")

FILE_BYTES = 1 << 18


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file, open to read and write."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    lowlevel.allocate(opened, FILE_BYTES)
    yield opened
    os.close(opened)


@pytest.fixture
def quiet(fd: int) -> Iterator[QuietWriter]:
    """What writes into it quietly."""
    writer = QuietWriter(fd, FILE_BYTES)
    yield writer
    writer.close()
    writer.close()


def has_rung(listener: Listener) -> bool:
    """Whether whoever waits would be woken; not a second time."""
    rung = lowlevel.wait_ready(listener.fileno(), timeout_seconds=0)
    listener.drain()
    return bool(rung)


def test_the_bytes_are_there_and_nobody_is_woken(fd: int, quiet: QuietWriter) -> None:
    """Across pages, at both ends of the file, short after long; a write by the other way rings."""
    listener = Listener(fd)
    for offset, data in ((0, b"a" * LONGEST_BYTES), (4090, b"b" * 12), (FILE_BYTES - 3, b"end"), (5, b"")):
        quiet.write(data, offset)
        assert os.pread(fd, len(data), offset) == data
    assert os.pread(fd, 14, 4089) == b"a" + b"b" * 12 + b"a"
    assert not has_rung(listener)
    os.pwrite(fd, b"!", 0)
    assert has_rung(listener)
    listener.close()


def test_a_file_cut_short_is_an_error_not_a_signal(fd: int, quiet: QuietWriter) -> None:
    """Behind the end nothing can be written; what lies before it has been."""
    os.ftruncate(fd, 4096)
    for offset in (4090, 8192):
        with pytest.raises(OSError, match="Bad address") as caught:
            quiet.write(b"x" * 12, offset)
        assert caught.value.errno == errno.EFAULT
    assert os.pread(fd, 12, 4090) == b"x" * 6


def test_what_cannot_be_opened_leaves_nothing(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is shorter than said, or no descriptor for what is our own."""
    with pytest.raises(OSError, match="fewer"):
        QuietWriter(fd, FILE_BYTES + 1)

    def none_left(name: str, size_bytes: int) -> int:
        raise OSError(errno.EMFILE, "none left")

    monkeypatch.setattr(lowlevel, "create_memfd", none_left)
    with pytest.raises(OSError, match="none left"):
        QuietWriter(fd, FILE_BYTES)


def test_closed_in_the_middle_of_a_write(quiet: QuietWriter) -> None:
    """As in a forked child, whose parent's other thread was writing: no error, and nothing can be written any more."""
    place = quiet._view[:10]
    quiet.close()
    assert len(place) == 10
    with pytest.raises(OSError, match="Bad file descriptor"):
        quiet.write(b"x", 0)


# --- what uses it


@pytest.fixture
def board(tmp_path: Path) -> Iterator[BlockingRegion[Entry]]:
    """A region with room for values that are written quietly, and for longer ones."""
    with BOARD.at(tmp_path / "board").create(Entry.of(0), capacity_bytes=2 * LONGEST_BYTES) as opened:
        yield opened


def writes_of(change: Callable[[], object], path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each write(2) had that a change has made to a file: each of them wakes whoever watches."""
    sizes: list[int] = []
    write = os.pwrite

    def noted(fd: int, data: bytes, offset: int) -> int:
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            sizes.append(len(data))
        return write(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", noted)
        change()
    return sizes


def test_one_change_of_a_region_wakes_once(
    board: BlockingRegion[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its record; the value before it wakes only where it is long."""
    assert writes_of(lambda: board.write(Entry.of(1)), tmp_path / "board", monkeypatch) == [RECORD_BYTES]
    long = Entry(1, "x" * LONGEST_BYTES)
    assert len(writes_of(lambda: board.write(long), tmp_path / "board", monkeypatch)) == 2
    assert board.read() == long


def test_one_change_of_a_memory_wakes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its record, and not by its mark."""
    with PAIR.at(tmp_path / "pair").create() as memory:

        def change() -> None:
            with memory.lock() as pair:
                pair.advance()

        assert writes_of(change, tmp_path / "pair", monkeypatch) == [RECORD_BYTES]


def test_one_message_wakes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its entry; many at once by that of their batch."""
    with NEWS.at(tmp_path / "news").writer() as news, NEWS.at(tmp_path / "news").reader() as reader:
        entries = [Entry.of(number) for number in range(3)]
        assert writes_of(lambda: news.send(entries[0]), tmp_path / "news", monkeypatch) == [ENTRY_BYTES]
        assert writes_of(lambda: news.send_many(entries), tmp_path / "news", monkeypatch) == [ENTRY_BYTES]
        assert reader.receive_many() == [entries[0], *entries]


def test_where_it_cannot_be_quiet_it_is_not(
    board: BlockingRegion[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor left the value is written all the same; it is not tried again."""
    tried: list[str] = []

    def none_left(name: str, size_bytes: int) -> int:
        tried.append(name)
        raise OSError(errno.EMFILE, "none left")

    monkeypatch.setattr(lowlevel, "create_memfd", none_left)
    for _ in range(2):
        assert len(writes_of(lambda: board.update(advance), tmp_path / "board", monkeypatch)) == 2
    assert board.read() == Entry.of(2)
    assert len(tried) == 1


def test_cut_short_in_the_instant_before_the_write(
    board: BlockingRegion[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been looked at, and was whole: the same error. Any other is raised as it is."""
    board.write(Entry.of(1))
    quiet = QuietWriter.write

    def cut(writer: QuietWriter, data: bytes, offset: int) -> None:
        os.truncate(tmp_path / "board", 4096)
        quiet(writer, data, offset)

    def fail(writer: QuietWriter, data: bytes, offset: int) -> None:
        raise OSError(errno.EIO, "a fault of the disk")

    monkeypatch.setattr(QuietWriter, "write", fail)
    with pytest.raises(OSError, match="a fault of the disk"):
        board.write(Entry.of(2))
    assert board.read() == Entry.of(1)
    monkeypatch.setattr(QuietWriter, "write", cut)
    with pytest.raises(ProtocolError, match="cut the region's file short"):
        board.write(Entry.of(2))


def test_a_forked_child_lets_go_of_it(board: BlockingRegion[Entry]) -> None:
    """Its copy of what the parent has opened is closed; the parent goes on."""
    board.write(Entry.of(1))
    assert any("memfd:namedipc" in name for name in open_descriptors().values())

    def in_child() -> None:
        assert not any("memfd:namedipc" in name for name in open_descriptors().values())

    assert forked(in_child) == 0
    board.write(Entry.of(2))
    assert board.read() == Entry.of(2)
