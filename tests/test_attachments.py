"""Descriptors are matched to frames by order and count; what matches none is closed."""

from __future__ import annotations

import os

import pytest

from namedipc._descriptors import Descriptors, close_all
from namedipc._errors import ProtocolError
from namedipc._protocol.attachments import (
    Arrivals,
    Parcel,
    Shipment,
    join_frames,
    pack_parcel,
    split_count,
    with_count,
)
from namedipc._protocol.frames import CALL, DESCRIPTORS_FLAG, HEADER, MESSAGE, FrameReader, pack_frame

pytestmark = pytest.mark.usefixtures("no_leaks")


def new(count: int) -> list[int]:
    """Return descriptors, as a read brings them."""
    return [os.dup(0) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 253])
def test_the_count_comes_first(count: int) -> None:
    """Only where the flag says so."""
    body = with_count(count, b"body")
    assert body == bytes([count]) + b"body"
    assert split_count(DESCRIPTORS_FLAG | 1, body) == (count, b"body")
    assert split_count(1, body) == (0, body)


@pytest.mark.parametrize(("body", "said"), [(b"", "nothing"), (b"\x00x", "0"), (b"\xfe", "254"), (b"\xff", "255")])
def test_a_count_that_cannot_be(body: bytes, said: str) -> None:
    """None, no number, and more than the kernel carries."""
    with pytest.raises(ProtocolError, match=f"a frame with descriptors says that they are {said}"):
        split_count(DESCRIPTORS_FLAG, body)


@pytest.mark.parametrize(("kind", "flags", "more"), [(MESSAGE, 16, 1), (CALL, 17, 9), (CALL, 16, 1), (MESSAGE, 0, 0)])
def test_the_count_is_not_counted(kind: int, flags: int, more: int) -> None:
    """The limit is one of what is said: the longest message has room for descriptors."""
    reader = FrameReader(10)
    reader.feed(pack_frame(kind, bytes(10 + more), flags=flags))
    assert reader.next_frame() == (kind, flags, 0, 0, bytes(10 + more))
    reader.feed(HEADER.pack(11 + more, kind, flags, 0, 0))
    with pytest.raises(ProtocolError, match="the limit is 10"):
        reader.next_frame()


def test_each_frame_gets_its_own() -> None:
    """In the order in which they came, however many reads that took; none is left."""
    arrivals = Arrivals()
    first, second, third = new(2), new(1), new(253)
    arrivals.add(first)
    arrivals.settle(unfinished=True)
    arrivals.add(second)
    assert arrivals.take(2) == first
    assert arrivals.take(0) == []
    arrivals.settle(unfinished=True)
    assert arrivals.take(1) == second
    arrivals.settle(unfinished=False)
    arrivals.add(third)
    arrivals.settle(unfinished=True)
    assert arrivals.take(253) == third
    arrivals.settle(unfinished=False)
    close_all(first + second + third)


def test_a_frame_that_says_too_much() -> None:
    """Those which have come are closed, whosever they were."""
    arrivals = Arrivals()
    arrivals.add(new(2))
    with pytest.raises(ProtocolError, match="a frame says that it has 3 descriptors; 2 have come"):
        arrivals.take(3)
    arrivals.settle(unfinished=False)


@pytest.mark.parametrize(("count", "unfinished"), [(1, False), (254, True)])
def test_descriptors_of_no_frame(count: int, unfinished: bool) -> None:
    """Where no frame has begun, or more have come than it can have."""
    arrivals = Arrivals()
    arrivals.add(new(count))
    with pytest.raises(ProtocolError, match="descriptors have come which belong to no frame"):
        arrivals.settle(unfinished=unfinished)


def test_more_and_more() -> None:
    """Who reads on without looking at frames holds no more than two reads bring; and it is told then."""
    arrivals = Arrivals()
    for _ in range(4):
        arrivals.add(new(253))
    with pytest.raises(ProtocolError, match="belong to no frame"):
        arrivals.settle(unfinished=True)


def test_given_up() -> None:
    """A connection that ends closes what no frame has taken; twice is safe."""
    arrivals = Arrivals()
    arrivals.add(new(3))
    arrivals.close()
    arrivals.close()
    arrivals.settle(unfinished=False)


def test_frames_are_joined() -> None:
    """Several are one piece, with each descriptor at its place; what was joined owns nothing any more."""
    first, second = Descriptors([os.dup(0)]), Descriptors([os.dup(0)])
    parts = [
        pack_parcel(MESSAGE, Parcel(b"a", first)),
        pack_parcel(MESSAGE, Parcel(b"b", Descriptors())),
        pack_parcel(MESSAGE, Parcel(b"c", second)),
    ]
    whole = join_frames(parts)
    assert isinstance(whole, Shipment)
    assert whole == b"".join(parts)
    assert whole.attached == [(0, first), (27, second)]
    assert [getattr(part, "attached", []) for part in parts] == [[], [], []]
    whole.close()
    assert whole.attached == []
    assert type(join_frames([b"a", b"b"])) is bytes
