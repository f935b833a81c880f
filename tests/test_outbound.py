"""What waits to be sent: whole, in order, and copied no more than need be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from namedipc._protocol.frames import LONG_BYTES
from namedipc._shells.outbound import MOST_PIECES, Outbound


def taken(outbound: Outbound) -> bytes:
    """All that waits, a few bytes at a time."""
    data = b""
    while outbound:
        first = b"".join(outbound.first())
        count = min(len(first), 50_000)
        data += first[:count]
        outbound.sent(count)
    return data


def test_long_pieces_are_kept_and_short_ones_put_together() -> None:
    """Whatever of the first has been sent."""
    outbound = Outbound()
    piece = bytes(LONG_BYTES) + b"x"
    outbound.add([b"ab", b"c", piece, b"d", b"e"], 2)
    outbound.add([b"f"])
    first = outbound.first()
    assert list(map(bytes, first)) == [b"c", piece, b"def"]
    assert isinstance(first[1], memoryview)
    assert first[1].obj is piece
    assert len(outbound) == LONG_BYTES + 5


def test_what_is_left_of_a_long_piece_may_be_short() -> None:
    """Then it is copied: it must not hold the memory of all of it."""
    outbound = Outbound()
    outbound.add([bytes(LONG_BYTES) + b"ab"], LONG_BYTES)
    assert outbound.first() == [bytearray(b"ab")]


def test_nothing_is_nothing() -> None:
    """Before, behind and after it."""
    outbound = Outbound()
    outbound.add([])
    outbound.add([b"", b"ab", b""], 2)
    assert not outbound
    assert outbound.first() == []
    outbound.sent(0)
    outbound.add([b"ab"])
    outbound.clear()
    assert len(outbound) == 0
    assert outbound.first() == []


def test_few_leave_at_once() -> None:
    """Not more than the kernel takes, nor than is worth making a list of."""
    outbound = Outbound()
    outbound.add([bytes(LONG_BYTES)] * (MOST_PIECES + 1))
    assert len(outbound.first()) == MOST_PIECES


sizes = st.one_of(st.integers(0, 9), st.just(LONG_BYTES), st.integers(LONG_BYTES - 2, LONG_BYTES + 2))


steps_ = st.tuples(st.lists(sizes, max_size=4), st.integers(0, 2 * LONG_BYTES), st.integers(0, 90_000))


@given(st.lists(steps_, max_size=8))
def test_whatever_is_added_and_sent_comes_out_in_order(steps: list[tuple[list[int], int, int]]) -> None:
    """As a string of bytes would do it."""
    outbound = Outbound()
    model = b""
    number = 0
    for add, before, send in steps:
        pieces = []
        for size in add:
            number += 1
            pieces.append(bytes([number % 251]) * size)
        outbound.add(pieces, before)
        model += b"".join(pieces)[before:]
        count = min(send, sum(map(len, outbound.first())))
        assert b"".join(outbound.first())[:count] == model[:count]
        outbound.sent(count)
        model = model[count:]
        assert len(outbound) == len(model)
    assert taken(outbound) == model
