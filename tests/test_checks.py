"""Whether a value belongs to a type: at its top, and all through."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import attrs
import numpy as np
import numpy.typing as npt
import pytest

from namedipc._checks import admits, exact_types, fits
from namedipc._types import read

from .message_types import SAMPLES, Card, Color, Left, Order, Page, Refund, Seat, Size, Tree


@attrs.frozen
class Large(Order):
    """More than an Order."""

    size: int = 2


@pytest.mark.parametrize(("tp", "value"), SAMPLES)
def test_each_sample_belongs_to_its_type(tp: Any, value: object) -> None:
    """A value of a type belongs to it, at its top and all through."""
    node = read(tp)
    assert admits(node, value)
    assert fits(node, value, strict=True)
    assert fits(node, value, strict=False)


@pytest.mark.parametrize(
    ("tp", "value", "expected"),
    [
        (int, True, False),
        (float, True, False),
        (bool, 1, False),
        (float, 1, True),
        (int, 1.0, False),
        (int, Size.SMALL, True),
        (datetime.date, datetime.datetime(2026, 1, 2), False),
        (bytes, bytearray(), False),
        (Order, Large(1, "a"), True),
        (Order, Refund(1, "a"), False),
        (Left, object(), False),
        (Card, {}, True),
        (Card, [], False),
        (Seat, (1, "free"), False),
        (tuple[int, str], Seat(1), True),
        (tuple[int, str], (1, "a", 2), False),
        (Sequence[int], (1,), True),
        (Sequence[str], "text", False),
        (AbstractSet[int], frozenset([1]), True),
        (list[int], ["not looked at"], True),
        (Literal["red"], Color.RED, False),
        (Literal[1], True, False),
        (Order | None, None, True),
        (npt.NDArray[np.int64], np.array([1], np.longlong), True),
        (npt.NDArray[np.float64], np.array([1], np.float32), False),
    ],
)
def test_the_top_of_a_value(tp: Any, value: object, expected: bool) -> None:
    """isinstance, save for bool, datetime and float."""
    assert admits(read(tp), value) is expected


@pytest.mark.parametrize(
    ("tp", "value", "strictly", "loosely"),
    [
        (list[int], [1, "a"], False, False),
        (list[float], [1], False, True),
        (list[Order], [Large(1, "a")], False, True),
        (dict[str, int], {"a": 1}, True, True),
        (dict[str, int], {1: 1}, False, False),
        (tuple[int, str], (1, 2), False, False),
        (tuple[int, int], Seat(1, "a"), False, False),
        (Order, Order(1, b"wrong"), False, False),  # type: ignore[arg-type]  # wrong on purpose
        (Page[int], Page(["a"]), False, False),
        (Card, {"price": 1.0, "more": 1}, False, True),
        (Card, {"price": "a"}, False, False),
        (Tree, Tree("a", [Tree(b"")]), True, True),
        (list[int | str], [1, "a"], True, True),
        (list[Literal["a"]], ["b"], False, False),
    ],
)
def test_all_of_a_value(tp: Any, value: object, strictly: bool, loosely: bool) -> None:
    """Strictly: the very classes that were declared; loosely: whatever `admits` takes, at every level."""
    node = read(tp)
    assert fits(node, value, strict=True) is strictly
    assert fits(node, value, strict=False) is loosely


def test_exact_types_decide_without_a_look_at_the_value() -> None:
    """Only types whose direct instances all belong have exact types."""
    assert exact_types(read(Order | int | None)) == {Order, int, type(None)}
    assert exact_types(read(float)) == {int, float}
    assert exact_types(read(Sequence[int])) == {list, tuple}
    assert exact_types(read(Card)) == {dict}
    assert exact_types(read(Literal["a"])) == frozenset()
    assert exact_types(read(tuple[int, str])) == frozenset()
    assert exact_types(read(npt.NDArray[np.float64])) == frozenset()
