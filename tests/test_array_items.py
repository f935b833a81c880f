"""Measuring the messages of an array: as msgspec's taking it apart does."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._batches import longest_of as longest_by_msgspec

from .compiled_support import find_compiled

longest_of = find_compiled("array_items", "longest_of")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner))
LONG: Sequence[object] = (
    [0] * 70_000,
    ["x" * 31, "x" * 32, "x" * 300, "x" * 70_000],
    [b"", b"x" * 300, b"x" * 70_000, b"y"],
    [dict.fromkeys(range(40)), dict.fromkeys(range(70_000)), [1] * 300, [[]] * 70_000],
    [msgspec.msgpack.Ext(1, b"x" * size) for size in (1, 2, 3, 4, 8, 16, 17, 300, 70_000)],
    [-1, -32, -33, -129, -40_000, -(1 << 40), 127, 128, 256, 70_000, 1 << 40, 1.5, None, True],
)


@settings(max_examples=200, derandomize=True)
@given(st.lists(VALUES, min_size=1))
def test_values_of_all_kinds(values: list[object]) -> None:
    """However they are nested."""
    array = msgspec.msgpack.encode(values)
    assert longest_of(array) == longest_by_msgspec(array)


@pytest.mark.parametrize("values", LONG)
def test_each_form_of_each_kind(values: Sequence[object]) -> None:
    """Also those that only many or long values have."""
    array = msgspec.msgpack.encode(values)
    assert longest_of(array) == longest_by_msgspec(array)
    for value in values[:20]:
        alone = msgspec.msgpack.encode([value])
        assert longest_of(alone) == longest_by_msgspec(alone)


@settings(max_examples=300, derandomize=True)
@given(st.binary(max_size=60))
def test_what_is_no_array_is_never_read_beyond_its_end(data: bytes) -> None:
    """Its size is the answer, or less: nothing else happens, whatever it is."""
    assert 0 <= longest_of(data) <= len(data)


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_cut_array_is_as_long_as_all_of_it(cut: int) -> None:
    """So that it is refused rather than believed."""
    array = msgspec.msgpack.encode([{"a": b"x" * 9}, [1.5, "soup"], "x" * 40])
    assert longest_of(array[:-cut]) == len(array) - cut
