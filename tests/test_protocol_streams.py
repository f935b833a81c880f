"""Credit of one stream: never more than the window and one item, never a deadlock, and no credit that was not given."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._errors import ProtocolError
from namedipc._protocol.streams import Inflow, Outflow

windows = st.integers(1, 7)
sizes = st.lists(st.integers(0, 60), max_size=40)


def credit(items: int, size_bytes: int) -> bytes:
    """The body of a CREDIT."""
    return struct.pack("<II", items, size_bytes)


def filled(*bodies: bytes, items: int = 4, size_bytes: int = 100) -> Inflow:
    """A receiver where these items have come."""
    inflow = Inflow(items, size_bytes)
    for body in bodies:
        inflow.arrived(body)
    return inflow


# --- both ends together


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(items=windows, size_bytes=st.integers(1, 50), sizes=sizes, turns=st.lists(st.integers(0, 5), max_size=60))
def test_no_windows_and_no_items_stop_a_stream(items: int, size_bytes: int, sizes: list[int], turns: list[int]) -> None:
    """Whoever's turn it is: the receiver holds the window and one item at most, and once all was taken all was sent."""
    outflow, inflow = Outflow(items, size_bytes), Inflow(items, size_bytes)
    bodies = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    to_send, taken = list(bodies), list[bytes]()
    turns = [*turns, *[9] * (len(bodies) + 1)]  # in the end the receiver takes whatever it gets
    for turn in turns:
        while to_send and outflow.is_open:
            outflow.sent(len(to_send[0]))
            inflow.arrived(to_send.pop(0))
        assert len(inflow.items) <= items
        held = [len(body) for body in inflow.items]
        assert sum(held[:-1]) < size_bytes
        for _ in range(min(turn, len(inflow.items))):
            taken.append(inflow.take())
            body = inflow.credit()
            if body is not None:
                outflow.credited(body)
    assert not to_send
    assert taken == bodies


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(items=windows, size_bytes=st.integers(1, 50), sizes=sizes)
def test_credit_is_given_seldom(items: int, size_bytes: int, sizes: list[int]) -> None:
    """Each gives back half of a window or more: so there is a CREDIT for several items, not for each."""
    outflow, inflow = Outflow(items, size_bytes), Inflow(items, size_bytes)
    for size in sizes:
        outflow.sent(size)
        inflow.arrived(bytes(size))
        inflow.take()
        body = inflow.credit()
        if body is not None:
            given_items, given_bytes = struct.unpack("<II", body)
            assert 2 * given_items >= items or 2 * given_bytes >= size_bytes
            outflow.credited(body)


# --- the sending end


def test_a_sender_is_closed_until_the_window_is_known() -> None:
    """Before the other side's hello nothing may be sent."""
    outflow = Outflow(0, 0)
    before = outflow.is_open
    outflow.window_items, outflow.window_bytes = 1, 1
    assert (before, outflow.is_open) == (False, True)


def test_a_sender_counts_items_and_bytes() -> None:
    """Whichever is used up first; an item longer than the window may go while any of it is left."""
    outflow = Outflow(2, 10)
    steps: list[Callable[[], None]] = [
        lambda: outflow.sent(0),
        lambda: outflow.sent(0),
        lambda: outflow.credited(credit(2, 0)),
        lambda: outflow.sent(1000),
        lambda: outflow.credited(credit(0, 990)),
        lambda: outflow.credited(credit(0, 1)),
    ]
    seen = []
    for step in steps:
        step()
        seen.append(outflow.is_open)
    assert seen == [True, False, True, False, False, True]


@pytest.mark.parametrize("body", [credit(2, 0), credit(0, 6), credit(1, 6), credit((1 << 32) - 1, (1 << 32) - 1)])
def test_credit_for_what_was_not_sent_is_refused(body: bytes) -> None:
    """A receiver cannot widen its window; what was refused has changed nothing."""
    outflow = Outflow(1, 100)
    outflow.sent(5)
    items, size_bytes = struct.unpack("<II", body)
    with pytest.raises(ProtocolError, match=f"^CREDIT for {items} items of {size_bytes} bytes, which were not sent$"):
        outflow.credited(body)
    outflow.credited(credit(1, 5))


@pytest.mark.parametrize("body", [b"", credit(0, 0)[:-1], credit(0, 0) + b"\0"])
def test_a_malformed_credit_is_refused(body: bytes) -> None:
    """It has eight bytes."""
    with pytest.raises(ProtocolError, match=f"^CREDIT has 8 bytes, not {len(body)}$"):
        Outflow(1, 1).credited(body)


def test_credit_for_nothing_is_harmless() -> None:
    """It changes nothing."""
    outflow = Outflow(1, 1)
    outflow.credited(credit(0, 0))
    assert outflow.is_open


# --- the receiving end


def test_items_come_out_in_order() -> None:
    """As they came, empty ones among them."""
    inflow = filled(b"a", b"", b"c")
    assert [inflow.take() for _ in range(3)] == [b"a", b"", b"c"]
    assert not inflow.items


@pytest.mark.parametrize("bodies", [(b"",) * 4, (b"x" * 100,), (b"x" * 1000,), (b"x" * 99, b"x")])
def test_an_item_without_credit_is_refused(bodies: tuple[bytes, ...]) -> None:
    """More items than the window has, or one after its bytes were used up; also if what came has been taken."""
    for count in range(len(bodies) + 1):
        inflow = filled(*bodies)
        for _ in range(count):
            inflow.take()
        with pytest.raises(ProtocolError, match=r"without credit: the window is 4 items, 100 bytes$"):
            inflow.arrived(b"")


def test_what_was_given_back_may_be_sent_again() -> None:
    """Half of the window at a time."""
    inflow = filled(b"1", b"2", b"3", b"4")
    inflow.take()
    assert inflow.credit() is None
    inflow.take()
    assert inflow.credit() == credit(2, 2)
    assert inflow.credit() is None
    inflow.arrived(b"5")
    inflow.arrived(b"6")
    with pytest.raises(ProtocolError):
        inflow.arrived(b"7")


def test_half_of_the_bytes_is_enough() -> None:
    """Long items are given back before half of the items have come."""
    inflow = filled(b"x" * 49)
    inflow.take()
    assert inflow.credit() is None
    inflow.arrived(b"x")
    inflow.take()
    assert inflow.credit() == credit(2, 50)


def test_nothing_follows_the_end() -> None:
    """Neither an item nor another end; what has come before is taken, and nothing is given back any more."""
    inflow = filled(b"1", b"2")
    inflow.end()
    with pytest.raises(ProtocolError, match="an item of a stream came after its end"):
        inflow.arrived(b"")
    with pytest.raises(ProtocolError, match="a stream ended twice"):
        inflow.end()
    assert [inflow.take(), inflow.take()] == [b"1", b"2"]
    assert inflow.credit() is None
