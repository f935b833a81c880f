"""Frames: any split of the byte stream gives the same frames, and a limit holds before anything is kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._errors import ProtocolError
from namedipc._protocol.frames import (
    CALL,
    DEADLINE_FLAG,
    DESCRIPTORS_FLAG,
    ERROR,
    GOODBYE,
    HEADER,
    HEADER_BYTES,
    HEADERS_FLAG,
    JSON_FLAG,
    KNOWN_FLAGS,
    LONGEST_ERROR_BYTES,
    MESSAGE,
    ONE_WAY_FLAG,
    Flag,
    Frame,
    FrameReader,
    Kind,
    pack_call,
    pack_frame,
    split_deadline,
    split_headers,
    with_headers,
)

LIMIT_BYTES = 40

frames = st.tuples(
    st.sampled_from([int(kind) for kind in Kind]),
    st.integers(0, 255),
    st.integers(0, 65_535),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=LIMIT_BYTES),
)


def packed(frame: Frame) -> bytes:
    """Return a frame as it travels."""
    kind, flags, method, number, body = frame
    return pack_frame(kind, body, flags=flags, method=method, id=number)


def all_frames(reader: FrameReader) -> list[Frame]:
    """Take what is whole by now."""
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame)
    return found


def fed_in_pieces(reader: FrameReader, stream: bytes, cuts: list[int]) -> Iterator[int]:
    """Feed bytes, cut at these places; say after each piece how many that were so far."""
    for begin, end in pairwise([0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]):
        if begin < end:
            reader.feed(stream[begin:end])
        yield end


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_any_split_of_the_stream_gives_the_same_frames(sent: list[Frame], cuts: list[int], eager: bool) -> None:
    """Wherever the kernel cuts, and whether frames are taken at once or at the end."""
    stream = b"".join(map(packed, sent))
    reader = FrameReader(LIMIT_BYTES)
    received: list[Frame] = []
    for _ in fed_in_pieces(reader, stream, cuts):
        if eager:
            received += all_frames(reader)
    received += all_frames(reader)
    assert received == sent
    assert not reader.unfinished


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    st.lists(st.sampled_from([0, 3, 4096, 9000, 65_535, 65_536, 70_000]), max_size=4),
    st.lists(st.integers(0, 150_000) | st.integers(0, 9_000), max_size=30),
    st.booleans(),
)
def test_long_frames_in_pieces(sizes: list[int], cuts: list[int], eager: bool) -> None:
    """Long and short pieces, which hold the end of one and the beginning of the next."""
    sent: list[Frame] = [(MESSAGE, 0, 1, at, bytes([at]) * size) for at, size in enumerate(sizes)]
    stream = b"".join(map(packed, sent))
    reader = FrameReader(70_000)
    received: list[Frame] = []
    for end in fed_in_pieces(reader, stream, cuts):
        if eager:
            received += all_frames(reader)
            taken = sum(HEADER_BYTES + len(frame[4]) for frame in received)
            assert reader.waiting_bytes == end - taken
            assert reader.unfinished == (end > taken) is not reader.is_empty
            if reader.missing:
                assert len(sent[len(received)][4]) == end + reader.missing - taken - HEADER_BYTES
    received += all_frames(reader)
    assert received == sent
    assert (reader.is_empty, reader.waiting_bytes, reader.missing) == (True, 0, 0)


def test_a_long_frame_byte_by_byte_takes_no_object_for_each() -> None:
    """What has come of it is as long as it is."""
    size = 200_000
    reader = FrameReader(size)
    reader.feed(HEADER.pack(size, MESSAGE, 0, 0, 0))
    assert reader.next_frame() is None
    assert reader.missing == size
    tracemalloc.start()
    try:
        for _ in range(size - 1):
            reader.feed(b"x")
        assert reader.next_frame() is None
        assert tracemalloc.get_traced_memory()[1] < 2 * size
    finally:
        tracemalloc.stop()
    reader.feed(b"y")
    assert reader.next_frame() == (MESSAGE, 0, 0, 0, b"x" * (size - 1) + b"y")


def test_every_two_cuts() -> None:
    """With frames taken in between: also where what was read ends one frame and begins the next."""
    sent: list[Frame] = [(MESSAGE, 0, 0, number, b"abcd"[:number]) for number in range(4)]
    stream = b"".join(map(packed, sent))
    for first, second in combinations(range(1, len(stream)), 2):
        reader = FrameReader(LIMIT_BYTES)
        received: list[Frame] = []
        for piece in (stream[:first], stream[first:second], stream[second:]):
            reader.feed(piece)
            received += all_frames(reader)
        assert received == sent


def test_a_byte_at_a_time() -> None:
    """A frame is there with its last byte, not before, and the next one begins where it ended."""
    stream = packed((MESSAGE, 1, 2, 3, b"abc")) + packed((GOODBYE, 0, 0, 0, b""))
    reader = FrameReader(LIMIT_BYTES)
    seen: list[tuple[int, Frame]] = []
    for at in range(len(stream)):
        reader.feed(stream[at : at + 1])
        seen += [(at + 1, frame) for frame in all_frames(reader)]
        assert reader.unfinished == (at + 1 not in {HEADER_BYTES + 3, len(stream)})
    assert seen == [(HEADER_BYTES + 3, (MESSAGE, 1, 2, 3, b"abc")), (len(stream), (GOODBYE, 0, 0, 0, b""))]


def test_the_hello_before_the_frames() -> None:
    """`take` waits for all of it, and leaves the rest to the frames."""
    reader = FrameReader(LIMIT_BYTES)
    reader.feed(b"NI")
    assert reader.take(4) is None
    assert reader.peek(8) == b"NI"
    reader.feed(b"PC" + packed((MESSAGE, 0, 0, 0, b"x")))
    assert reader.take(4) == b"NIPC"
    assert reader.next_frame() == (MESSAGE, 0, 0, 0, b"x")


@pytest.mark.parametrize("length", [LIMIT_BYTES + 1, 2**31, 2**32 - 1])
def test_a_length_above_the_limit_is_refused_with_its_header(length: int) -> None:
    """Before a byte of the body is there, and nothing of that size is allocated."""
    reader = FrameReader(LIMIT_BYTES)
    reader.feed(HEADER.pack(length, MESSAGE, 0, 0, 0))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=f"{length} bytes was announced; the limit is {LIMIT_BYTES}"):
            reader.next_frame()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_itself_is_allowed() -> None:
    """The longest body is accepted, and one byte more is not."""
    reader = FrameReader(LIMIT_BYTES)
    reader.feed(packed((MESSAGE, 0, 0, 0, bytes(LIMIT_BYTES))))
    assert reader.next_frame() == (MESSAGE, 0, 0, 0, bytes(LIMIT_BYTES))


def test_an_error_may_be_longer_than_the_limit() -> None:
    """Why a connection ends can be told to a peer with a small limit, too; but that has a bound of its own."""
    reader = FrameReader(1)
    reader.feed(pack_frame(ERROR, bytes(LONGEST_ERROR_BYTES)))
    frame = reader.next_frame()
    assert frame is not None
    assert len(frame[4]) == LONGEST_ERROR_BYTES
    reader.feed(HEADER.pack(LONGEST_ERROR_BYTES + 1, ERROR, 0, 0, 0))
    with pytest.raises(ProtocolError):
        reader.next_frame()


@pytest.mark.parametrize("deadline", [None, 0.0, 12345.678])
def test_a_call_carries_its_deadline(deadline: float | None) -> None:
    """And without one its body is the arguments alone."""
    reader = FrameReader(LIMIT_BYTES)
    reader.feed(pack_call(7, 9, b"arguments", deadline))
    frame = reader.next_frame()
    assert frame is not None
    kind, flags, method, number, body = frame
    assert (kind, method, number) == (CALL, 7, 9)
    assert split_deadline(flags, body) == (deadline, b"arguments")


def test_a_deadline_that_is_too_short() -> None:
    """A call which announces a deadline has to hold one."""
    with pytest.raises(ProtocolError, match="too short"):
        split_deadline(Flag.DEADLINE, b"1234567")


@pytest.mark.parametrize("deadline", [None, 2.5])
@pytest.mark.parametrize("headers", [b"", b"headers", bytes(65_535)])
def test_a_call_carries_its_headers(deadline: float | None, headers: bytes) -> None:
    """Behind the deadline and before the arguments."""
    reader = FrameReader(1 << 20)
    reader.feed(pack_call(7, 9, with_headers(headers, b"arguments"), deadline, HEADERS_FLAG))
    frame = reader.next_frame()
    assert frame is not None
    _, flags, _, _, body = frame
    found, rest = split_deadline(flags, body)
    assert found == deadline
    assert split_headers(flags, rest) == (headers, b"arguments")


def test_a_call_without_headers_is_all_arguments() -> None:
    """Whatever they look like."""
    assert split_headers(0, b"\1\0xarguments") == (b"", b"\1\0xarguments")


@pytest.mark.parametrize("body", [b"", b"\0"])
def test_headers_that_are_too_short(body: bytes) -> None:
    """A call which announces headers has to hold their length."""
    with pytest.raises(ProtocolError, match=r"^a call announces headers and is too short to hold any$"):
        split_headers(Flag.HEADERS, body)


@pytest.mark.parametrize("body", [b"\1\0", b"\4\0abc", b"\xff\xff" + bytes(65_534)])
def test_headers_that_are_too_long(body: bytes) -> None:
    """They end within the call, at its very end if there are no arguments."""
    with pytest.raises(ProtocolError, match=r"^a call announces headers which are longer than the call$"):
        split_headers(Flag.HEADERS, body)
    assert split_headers(Flag.HEADERS, body + b"x") == (body[2:] + b"x", b"")


def test_numbers_of_the_wire() -> None:
    """They may not change: each kind, and each flag has a bit of its own."""
    assert [int(kind) for kind in Kind] == list(range(1, 17))
    assert (DEADLINE_FLAG, HEADERS_FLAG, JSON_FLAG, ONE_WAY_FLAG, DESCRIPTORS_FLAG) == (1, 2, 4, 8, 16)
    assert KNOWN_FLAGS == 15
