"""Lines through a FIFO without I/O: how much is taken of what lies there, and what comes of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._errors import TooLarge
from namedipc._protocol import fifo_lines
from namedipc._protocol.fifo_lines import LINE_BYTES, Event, LineAssembler, Unfit, one_write
from namedipc._protocol.fragments import LARGEST_MESSAGE_BYTES, OtherType, Splitter, Writer

few = settings(max_examples=100, derandomize=True, deadline=None)
line_lists = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=6)


def packets(message: bytes, nonce: bytes = b"a writer") -> list[bytes]:
    """The packets of a message in frames."""
    return list(Splitter(Writer(nonce, 100, 7, 0), b"type").split(message))


class Pipe:
    """What lies in a FIFO, and a reader of it."""

    def __init__(self, data: bytes, *, skips_blank: bool = False) -> None:
        self.data = data
        self.lines = LineAssembler(skips_blank=skips_blank)

    def read(self, most: int = 1, look: int = 4096) -> list[Event]:
        """Look, take what is to be taken, and return what it gives."""
        extent = self.lines.extent(self.data[:look], most)
        assert 0 < extent <= look
        taken, self.data = self.data[:extent], self.data[extent:]
        return self.lines.feed(taken)

    def read_all(self, most: int = 1, look: int = 4096) -> list[Event]:
        """Do so until it is empty."""
        events = []
        while self.data:
            events += self.read(most, look)
        return events


def test_a_line_is_one_write() -> None:
    """With its newline 4096 bytes at most, which the kernel keeps together; otherwise it says what to do."""
    assert list(one_write(b"line")) == [b"line\n"]
    assert [len(data) for data in one_write(bytes(LINE_BYTES))] == [4096]
    with pytest.raises(TooLarge, match=r"^a line of 4096 bytes: 4095 at most.*framing='frames'"):
        one_write(bytes(LINE_BYTES + 1))


@few
@given(line_lists, st.integers(1, 4), st.integers(1, 60))
def test_lines_come_out_as_they_went_in(lines: list[bytes], most: int, look: int) -> None:
    """However little is seen at once, and however many are asked for."""
    pipe = Pipe(b"".join(line + b"\n" for line in lines))
    assert pipe.read_all(most, look) == lines
    assert not pipe.lines.has_begun
    assert pipe.lines.end() is None


@few
@given(line_lists, st.integers(1, 4))
def test_no_more_is_taken_than_is_asked_for(lines: list[bytes], most: int) -> None:
    """The rest lies there for the next reader, a part of a line too."""
    pipe = Pipe(b"".join(line + b"\n" for line in lines) + b"rest")
    while len(lines) > 0:
        assert pipe.read(most) == lines[:most]
        lines = lines[most:]
        assert pipe.data == b"".join(line + b"\n" for line in lines) + b"rest"
    assert not pipe.lines.has_begun
    assert pipe.read() == []
    assert pipe.lines.has_begun


def test_blank_lines_are_taken_along() -> None:
    """With the line behind them, not with the one before."""
    pipe = Pipe(b"\n\r\n1\n \n2\n\n\n", skips_blank=True)
    assert pipe.read() == [b"1"]
    assert pipe.data == b" \n2\n\n\n"
    assert pipe.read(2) == [b"2"]
    assert pipe.data == b""
    assert not pipe.lines.has_begun


def test_blank_lines_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take no memory, and are no error."""
    monkeypatch.setattr(fifo_lines, "LARGEST_MESSAGE_BYTES", 100_000)
    pipe = Pipe(b"", skips_blank=True)
    for _ in range(3):
        pipe.data = b"\n" * 65536
        assert pipe.read(1, 65536) == []
    assert pipe.lines.dropped == 0


def test_a_line_in_pieces() -> None:
    """What there is of it is taken; it ends where its newline comes, and not one byte later."""
    pipe = Pipe(b"beg")
    for piece, events in ((b"", []), (b"in", []), (b" end\nnext\n", [b"begin end"])):
        pipe.data += piece
        assert pipe.read() == events
    assert pipe.data == b"next\n"


def test_the_longest_line() -> None:
    """16 MiB pass; one byte more is dropped up to its newline, told once, and what follows is whole."""
    longest = random.Random(1).randbytes(LARGEST_MESSAGE_BYTES).replace(b"\n", b".")
    lines = LineAssembler(skips_blank=False)
    for data, events in ((longest + b"\n", [longest]), (longest + b".\nnext\n", [Unfit.TOO_LONG, b"next"])):
        pieces = [data[at : at + 65536] for at in range(0, len(data), 65536)]
        assert [event for piece in pieces for event in lines.feed(piece)] == events
    assert lines.dropped == 1


def test_a_line_that_is_too_long_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it goes on; and while it does, it has begun, so that its rest goes to no other reader."""
    monkeypatch.setattr(fifo_lines, "LARGEST_MESSAGE_BYTES", 10_000)
    lines = LineAssembler(skips_blank=False)
    for _ in range(100):
        assert lines.feed(bytes(1000)) == []
        assert lines.has_begun
        assert lines._lines.begun_bytes <= 10_000
    assert lines.feed(b"\nnext\nbegun") == [Unfit.TOO_LONG, b"next"]
    assert lines.has_begun


def test_the_end_in_the_middle() -> None:
    """Told once; a blank beginning of JSON is nothing."""
    lines = LineAssembler(skips_blank=False)
    lines.feed(b"cut")
    assert lines.end() is Unfit.CUT
    assert lines.end() is None
    assert not lines.has_begun
    assert lines.dropped == 1
    blank = LineAssembler(skips_blank=True)
    blank.feed(b"\n  ")
    assert blank.end() is None


def test_the_end_in_the_middle_of_one_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """One word for both."""
    monkeypatch.setattr(fifo_lines, "LARGEST_MESSAGE_BYTES", 10)
    lines = LineAssembler(skips_blank=False)
    assert lines.feed(bytes(20)) == []
    assert lines.end() is Unfit.CUT
    assert lines.end() is None


@pytest.mark.parametrize("message", [b"short", b"with\nnewlines\n", bytes(20_000), b"\n" * 20_000])
@pytest.mark.parametrize("before", [b"", b"line\n", b"line\nbegun", b"begun"])
@pytest.mark.parametrize("most", [1, 5])
def test_messages_in_frames(message: bytes, before: bytes, most: int) -> None:
    """They are cut out wherever they lie, told once, and the lines around them are whole."""
    pipe = Pipe(before + b"".join(packets(message)) + b" goes on\nnext\n")
    events = pipe.read_all(most)
    *early, last = before.split(b"\n")
    assert [event for event in events if isinstance(event, bytes)] == [*early, last + b" goes on", b"next"]
    (other,) = [event for event in events if not isinstance(event, bytes)]
    assert isinstance(other, OtherType)
    assert other.writer.pid == 100


def test_a_packet_that_is_seen_in_part() -> None:
    """What lies before it is taken, and the next look begins with it."""
    packet = packets(b"x\n" * 1000)[0]
    for look in range(1, len(packet)):
        pipe = Pipe(b"begun" + packet + b"...\n")
        assert pipe.read(1, look) == []
        if look < 5:
            assert pipe.read() == []
        assert isinstance(pipe.read()[0], OtherType)
        assert pipe.read() == [b"begun..."]


def test_what_only_looks_like_a_packet() -> None:
    """Bytes are lines then, also at the end of what is seen."""
    damaged = bytearray(packets(b"damaged")[0])
    damaged[-1] ^= 1
    pipe = Pipe(b"a" + bytes(damaged) + b"\nb\n")
    assert pipe.read_all() == [b"a" + bytes(damaged), b"b"]


@pytest.mark.parametrize("text", [b"\x89NIF", b"a \x89NIF is no packet", b"\xc3\x89", b"\x89NIF\1\0" + b"\xff" * 6])
def test_a_line_with_a_packets_first_bytes(text: bytes) -> None:
    """It is taken whole in one go, as every line; at the end of what is there it may take two."""
    pipe = Pipe(text + b"\n")
    assert pipe.read() == [text]
    pipe = Pipe(text)
    while pipe.data:
        assert pipe.read() == []
    assert pipe.lines.feed(b"\n") == [text]


def test_less_was_read_than_seen() -> None:
    """A program that knows of no turn has taken the rest: what was read counts, and what comes next goes on from it."""
    lines = LineAssembler(skips_blank=False)
    assert lines.extent(b"first\n", 1) == 6
    assert lines.feed(b"fir") == []
    assert lines.feed(b"other\n") == [b"firother"]
    assert lines.feed(packets(b"message")[0] + b"line\n")[1] == b"line"
