"""The tree of a type: what it says of the type, and nothing of how it was written."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from namedipc._nodes import Array, Enumeration, Union, bounded, reachable
from namedipc._types import read

from .message_types import LEAVES, SAMPLES, Card, Left, Odd, Order, Page, Right, Seat, Ticket, Tree, of, union


class Mask(enum.Flag):
    """Any combination is a member."""

    READ = 1
    WRITE = 2


class Huge(enum.Enum):
    """Its value does not fit 64 bits."""

    ONE = 2**64


@pytest.mark.parametrize(
    ("tp", "label"),
    [
        (None, "None"),
        (Order | None, "Order | None"),
        (str | Order | None | bytes, "Order | bytes | str | None"),
        (Page[str | bytes], "Page[bytes | str]"),
        (Sequence[int], "list[int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (Literal["b", "a", 1, Odd.ONE], "Literal['a', 'b', 1, Odd.ONE]"),
        (npt.NDArray[np.float64], "NDArray[float64]"),
        (int | msgspec.UnsetType, "UnsetType | int"),
        (Annotated[int, msgspec.Meta(ge=0)], "int"),
    ],
)
def test_a_label_depends_on_the_type_only(tp: object, label: str) -> None:
    """Labels name no module, and unions and literals have one order, however they were written."""
    assert read(tp).label == label


@pytest.mark.parametrize("tp", [tp for tp, _ in [*LEAVES, *SAMPLES]])
def test_a_form_reads_as_itself(tp: Any) -> None:
    """The form of a tree is the type itself, and reading it gives the same form."""
    form = read(tp).form
    assert form == (type(None) if tp is None else tp)
    assert read(form).form == form


def test_forms_keep_their_bounds() -> None:
    """Bounds belong to the form; those of a union are those of its members."""
    positive = Annotated[int, msgspec.Meta(ge=0, description="not on the wire")]
    assert read(positive).form == positive
    assert read(positive).limits == {"ge": 0}
    assert bounded(int, ()) is int
    several = read(Annotated[list[int] | str | None, msgspec.Meta(min_length=1, pattern="a")])
    assert isinstance(several, Union)
    assert [member.limits for member in several.members] == [
        {"min_length": 1},
        {"min_length": 1, "pattern": "a"},
        {},
    ]
    assert read(Annotated[int, msgspec.Meta(description="only words")]).limits == {}
    for tp, meta in [(bytes, msgspec.Meta(max_length=3)), (Sequence[int], msgspec.Meta(min_length=1))]:
        assert read(Annotated[tp, meta]).limits


@pytest.mark.parametrize(
    ("members", "tagged"),
    [
        ([int, float, bool, str, Order, list[int], None], False),
        ([bytes, str], True),
        ([Order, dict[str, int]], True),
        ([Order, Card], True),
        ([Seat, list[int]], True),
        ([Seat, Order], True),
        ([Literal[1], int], True),
        ([Literal["a"], int], False),
        ([Mask, str], False),
        ([Mask, int], True),
        ([Huge, int], False),
        ([Odd, str], True),
        ([Left, Right], False),
        ([Left, Right, Ticket], True),
        ([npt.NDArray[np.int8], list[int]], True),
        ([npt.NDArray[np.int8], Order], True),
        ([npt.NDArray[np.int8], dict[str, int]], False),
    ],
)
def test_unions_whose_members_look_alike_are_tagged(members: list[Any], tagged: bool) -> None:
    """Whether a union is tagged depends on what its members look like on the wire."""
    node = read(union(members))
    assert isinstance(node, Union)
    assert node.tagged is tagged


def test_enumerations_travel_by_value_where_they_can() -> None:
    """Values which are all text, or all numbers of 64 bits, travel; otherwise names do."""
    found = {}
    for cls in (Mask, Huge, Odd):
        node = read(cls)
        assert isinstance(node, Enumeration)
        found[cls] = node.by_value
    assert found == {Mask: True, Huge: False, Odd: False}


def test_what_is_reachable_ends_also_where_a_class_contains_itself() -> None:
    """Every type inside is found once, the root first."""
    labels = [node.label for node in reachable(read(of(list, Tree)))]
    assert labels[:2] == ["list[Tree]", "Tree"]
    assert labels.count("Tree") == 1
    assert "Refund" in labels


def test_arrays_know_their_dimensions() -> None:
    """A declared shape of fixed length counts dimensions; others do not."""
    matrix = read(np.ndarray[tuple[int, int], np.dtype[np.int8]])
    anything = read(npt.NDArray[np.int8])
    assert isinstance(matrix, Array)
    assert isinstance(anything, Array)
    assert (matrix.dimensions, anything.dimensions) == (2, None)
    assert read(matrix.form).form == matrix.form
