"""Several values as one array: what one call makes is what many would have made, and each way back finds it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc import InvalidMessage
from namedipc._batches import LONGEST_START_BYTES, array_count, array_start, join, longest_of, split
from namedipc._codec import Codec


@attrs.frozen
class Dish:
    """A record."""

    name: str
    price: float


@attrs.frozen
class Wine:
    """Another one, for a union, whose values are packed."""

    name: str


MENU = [Dish("soup", 4.5), Dish("fish", 12.0)]
VALUES: tuple[tuple[object, Sequence[object]], ...] = (
    (Dish, MENU),
    (Dish | Wine, [*MENU, Wine("red")]),
    (int, [0, -1, 1 << 63]),
    (bytes, [b"", b"x" * 300]),
    (list[int], [[], [1, 2]]),
    (Dish | None, [None, *MENU]),
)


@pytest.mark.parametrize(("tp", "values"), VALUES)
def test_together_is_one_by_one(tp: object, values: Sequence[object]) -> None:
    """The same bytes, whichever way; and the same values, types included."""
    codec = Codec[object](tp)
    array = codec.in_batches().encode(values)
    one_by_one = [codec.encode(value) for value in values]
    assert array == join(one_by_one)
    assert split(array) == one_by_one
    assert longest_of(array) == max(map(len, one_by_one))
    back = codec.in_batches().decode(array)
    assert back == list(values)
    assert [type(value) for value in back] == [type(value) for value in values]
    assert codec.in_batches() is codec.in_batches()


@settings(max_examples=30, derandomize=True)
@given(st.lists(st.integers(0, 9), max_size=40), st.sampled_from([1, 2_000, 33_000]))
def test_arrays_of_any_length(values: list[int], times: int) -> None:
    """The count before the items has the form that it should."""
    values = values * times
    codec = Codec[int](int)
    array = codec.in_batches().encode(values)
    assert array.startswith(array_start(len(values)))
    assert len(array) == len(array_start(len(values))) + len(values)
    assert len(array_start(len(values))) <= LONGEST_START_BYTES
    assert array_count(array) == len(values)
    assert codec.in_batches().decode(array) == values


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x82\x01\x01\x02\x02", b"\xdc\x01", b"\xdd\x01\x01\x01", b"\xc0"])
def test_the_count_of_what_is_no_array(data: bytes) -> None:
    """Neither of other types, nor of a start which is cut off."""
    assert array_count(data) == 0


def test_what_does_not_fit_is_refused_on_both_sides() -> None:
    """By the name of the place that the values belong to."""
    batches = Codec[object](Dish).named("/run/news").in_batches()
    for values in ([*MENU, "soup"], [*MENU, Dish("soup", "dear")]):  # type: ignore[arg-type]  # what a checker refuses
        with pytest.raises(InvalidMessage, match=r"/run/news.*Dish"):
            batches.decode(batches.encode(values))
    for data in (b"", b"\xc1", msgspec.msgpack.encode([1]), msgspec.msgpack.encode(1), array_start(2) + b"\x01"):
        with pytest.raises(InvalidMessage, match="/run/news"):
            batches.decode(data)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xdd\xff\xff\xff\xff", array_start(2) + b"\x01", b"\x91\x01\x01"])
def test_what_is_no_array_is_not_split(data: bytes) -> None:
    """Be it cut short, too long, or a count that nothing follows."""
    with pytest.raises(InvalidMessage, match="several messages"):
        split(data)


def test_subclasses_and_wrong_values_are_told_apart_by_the_slow_way() -> None:
    """What is not exactly of the type is looked at one by one."""
    codec = Codec[object](float)
    assert codec.in_batches().decode(codec.in_batches().encode([1.5, 2])) == [1.5, 2.0]
    with pytest.raises(InvalidMessage, match="True"):
        codec.in_batches().encode([1.5, True])
