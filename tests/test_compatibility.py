"""No difference means that both sides really read each other; a difference names the place."""

from __future__ import annotations

import enum
import json
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._arguments import ArgumentsCodec, Parameter
from namedipc._codec import Codec
from namedipc._compatibility import difference, fingerprint
from namedipc._errors import InvalidMessage
from namedipc._fd import Fd
from namedipc._types import describe

from .message_types import Color, Left, Odd, Order, Page, Refund, Seat, Tree, of, union


def record(name: str, **fields: Any) -> Any:
    """An attrs class; a field given as a pair has a default."""
    made = {}
    for field, tp in fields.items():
        kind, default = tp if isinstance(tp, tuple) else (tp, attrs.NOTHING)
        made[field] = attrs.field(type=kind, default=default)
    cls: Any = attrs.make_class(name, made, frozen=True)
    cls.__annotations__ = {field: attribute.type for field, attribute in attrs.fields_dict(cls).items()}
    return cls


def differ(mine: object, theirs: object) -> str | None:
    """The difference of two types, after a journey as JSON."""
    return difference(describe(mine), json.loads(json.dumps(describe(theirs))))


A = record("Order", table=int)
B = record("Order", table=int, dish=(str, "soup"))
D = record("Order", dish=(str, "soup"), table=(int, 1))
E = record("Order", table=(int, 1), mark=(bytes | str, b""))


@attrs.frozen
class Lending:
    """An order with a descriptor, deep inside, which need not be given."""

    table: int
    others: dict[str, list[Fd] | None] = attrs.field(factory=dict)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Allows no other fields."""

    table: int


class Row(msgspec.Struct, array_like=True):
    """Fields by position."""

    a: int


class LongRow(msgspec.Struct, array_like=True):
    """One more at the end, with a default."""

    a: int
    b: int = 3


class OtherRow(msgspec.Struct, array_like=True):
    """Its field has another name."""

    z: int


LongRow.__name__ = OtherRow.__name__ = "Row"


class LongSeat(NamedTuple):
    """One more than a Seat."""

    row: int
    name: str = "free"
    side: int = 0


LongSeat.__name__ = "Seat"


class Some(TypedDict):
    """A field that may be left out."""

    a: NotRequired[int]


class All(TypedDict):
    """None may be left out."""

    a: int


class Defaulted(msgspec.Struct):
    """Always sends, need not receive."""

    a: int = 0


class Omitting(msgspec.Struct, omit_defaults=True):
    """Sends only what differs from the default."""

    a: int = 0


All.__name__ = Defaulted.__name__ = Omitting.__name__ = "Some"


class LessColor(enum.Enum):
    """Lacks a color."""

    RED = "red"


LessColor.__name__ = "Color"

DIFFERENT: list[tuple[Any, Any, str]] = [
    (int, str, "int here, str there"),
    (int, int | None, "int here, int | None there"),
    (list[int], list[str], "[...]: int here, str there"),
    (list[int], set[int], "list[int] here, set[int] there"),
    (tuple[int, str], tuple[int, bytes], "[1]: str here, bytes there"),
    (tuple[int, str], tuple[int], "tuple[int, str] here, tuple[int] there"),
    (tuple[int, ...], tuple[()], "tuple[int, ...] here, tuple[()] there"),
    (dict[str, int], dict[int, int], "[key]: str here, int there"),
    (dict[str, int], dict[str, float], "[value]: int here, float there"),
    (Order, Refund, "Order here, Refund there"),
    (Order, record("Order", table=str, dish=str), "Order.table: int here, str there"),
    (Page[Order], Page[int], "Page[Order] here, Page[int] there"),
    (of(list, A), of(list, record("Order", table=list[str])), "[...]: Order.table: int here, list[str] there"),
    (A, record("Order", table=int, dish=str), "Order.dish: a field without a default there, no such field here"),
    (record("Order", table=int, dish=str), A, "Order.dish: a field without a default here, no such field there"),
    (Strict, record("Strict", table=int, x=(int, 1)), "Strict.x: a field there, and no other fields are allowed here"),
    (Row, OtherRow, "Row, position 0: a here, z there"),
    (Seat, LongSeat, "Seat.side: a field there, and no other fields are allowed here"),
    (All, Some, "Some.a: required here, optional there"),
    (All, Omitting, "Some.a: required here, optional there"),
    (Order | str, Order | str | None, "Order | str here, Order | str | None there"),
    (Color, LessColor, "Color('blue', 'red') here, Color('red') there"),
    (Color, Odd, "Color('blue', 'red') here, Odd(ONE, TWO) there"),
    (Literal["a"], Literal["a", "b"], "Literal['a'] here, Literal['a', 'b'] there"),
    (Annotated[int, msgspec.Meta(ge=0)], int, "ge=0 here, no ge there"),
    (Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=1)], "ge=0 here, ge=1 there"),
    (npt.NDArray[np.float64], npt.NDArray[np.float32], "NDArray[float64] here, NDArray[float32] there"),
    (
        np.ndarray[tuple[int, int], np.dtype[np.float64]],
        npt.NDArray[np.float64],
        "NDArray[float64] of 2 dimensions here, NDArray[float64] there",
    ),
    (Left, record("Left", number=int), "Left: fields by name, tag ['type', 'Left'] here, fields by name there"),
    (Row, record("Row", a=int), "Row: fields by position here, fields by name there"),
]


@pytest.mark.parametrize(("mine", "theirs", "sentence"), DIFFERENT)
def test_a_difference_is_a_sentence(mine: object, theirs: object, sentence: str) -> None:
    """The first incompatible difference names the path, what is here and what is there; it shows from both sides."""
    assert differ(mine, theirs) == sentence
    assert differ(theirs, mine) is not None
    assert fingerprint(describe(mine)) != fingerprint(describe(theirs))


COMPATIBLE: list[tuple[Any, Any, Any, Any]] = [
    (A, A(1), B, B(1, "stew")),
    (D, D("a", 2), E, E(4, "x")),
    (of(list, union([A, str])), [A(1), "x"], of(list, union([str, B])), ["x", B(2)]),
    (union([A, Refund]), A(1), union([Refund, B]), B(2, "stew")),
    (Row, Row(1), LongRow, LongRow(1, 2)),
    (Some, {"a": 1}, Defaulted, Defaulted(2)),
    (Some, {}, Omitting, Omitting(0)),
    (All, {"a": 1}, Defaulted, Defaulted(2)),
    (of(dict, str, of(Page, A)), {"x": Page([A(1)])}, of(dict, str, of(Page, B)), {"x": Page([B(1)])}),
]


@pytest.mark.parametrize(("mine", "my_value", "theirs", "their_value"), COMPATIBLE)
def test_compatible_sides_really_read_each_other(mine: Any, my_value: Any, theirs: Any, their_value: Any) -> None:
    """A field with a default may be added; each side decodes what the other sends."""
    assert differ(mine, theirs) is None
    assert differ(theirs, mine) is None
    one: Codec[Any] = Codec(mine)
    other: Codec[Any] = Codec(theirs)
    other.decode(one.encode(my_value))
    one.decode(other.encode(their_value))


def test_what_cannot_be_read_is_a_difference() -> None:
    """The cases reported as incompatible are so: one side refuses what the other sends."""
    refused: list[tuple[Any, Any, Any]] = [
        (A, record("Order", table=int, dish=str), A(1)),
        (LongSeat, Seat, LongSeat(1)),
        (Omitting, All, Omitting(0)),
        (record("Strict", table=int, x=(int, 1)), Strict, record("Strict", table=int, x=(int, 1))(1)),
        (int | None, int, None),
        (Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=1)], 0),
    ]
    for sender, receiver, value in refused:
        assert differ(sender, receiver) is not None
        one: Codec[Any] = Codec(sender)
        other: Codec[Any] = Codec(receiver)
        with pytest.raises(InvalidMessage):
            other.decode(one.encode(value))


def test_module_names_and_order_of_fields_do_not_count() -> None:
    """Two processes which declare the same have one fingerprint, wherever their classes are defined."""
    one = record("Order", table=int, dish=(str, "soup"))
    other = record("Order", table=int, dish=(str, "stew"))
    other.__module__ = "shop.orders"
    assert "shop" not in json.dumps(describe(other))
    assert fingerprint(describe(one)) == fingerprint(describe(other))
    assert fingerprint(describe(int | str | None)) == fingerprint(describe(str | None | int))


def test_recursive_classes_are_compared_once() -> None:
    """A class which contains itself is described by name; a difference inside is found."""
    again = record("Tree", mark=bytes | str, children=list[int])
    assert differ(Tree, Tree) is None
    assert differ(list[Tree], of(list, again)) is not None
    assert differ(Tree, again) == "Tree.children[...]: Tree here, int there"


def test_two_classes_of_one_name_are_kept_apart() -> None:
    """Classes which share a name but not their fields are two records of the description."""
    other = record("Order", number=int)
    both = of(tuple, Order, other)
    assert describe(both)["records"].keys() == {"Order", "Order'"}  # type: ignore[attr-defined]  # a dict
    assert differ(both, both) is None
    assert differ(both, tuple[Order, Order]) is not None


def arguments(*parameters: Parameter) -> dict[str, object]:
    """The description of parameters."""
    return ArgumentsCodec("K.m", parameters).description


TABLE = Parameter(name="table", type=int)
DISH = Parameter(name="dish", type=str, has_default=True)
DISH_REQUIRED = Parameter(name="dish", type=str)
SALT = Parameter(name="salt", type=bool, has_default=True, keyword_only=True)
SALT_REQUIRED = Parameter(name="salt", type=bool, keyword_only=True)


@pytest.mark.parametrize(
    ("caller", "service", "expected"),
    [
        ((TABLE,), (TABLE,), None),
        ((TABLE,), (TABLE, DISH), None),
        ((TABLE, DISH), (TABLE,), None),
        ((TABLE, DISH_REQUIRED), (TABLE, DISH), None),
        ((TABLE, DISH), (TABLE, DISH_REQUIRED), "parameter 'dish': may be left out here, required there"),
        ((TABLE,), (TABLE, DISH_REQUIRED), "parameter 'dish': unknown here, required there"),
        ((TABLE, SALT_REQUIRED), (TABLE,), "parameter 'salt': required here, unknown there"),
        ((TABLE, SALT), (TABLE, DISH, SALT), "parameter 2: 'salt' here, 'dish' there"),
        ((TABLE,), (Parameter(name="table", type=str),), "parameter 'table': int here, str there"),
        ((Parameter(name="o", type=A),), (Parameter(name="o", type=B),), None),
        (
            (Parameter(name="o", type=A),),
            (Parameter(name="o", type=record("Order", table=str)),),
            "parameter 'o': Order.table: int here, str there",
        ),
    ],
)
def test_parameters(caller: tuple[Parameter, ...], service: tuple[Parameter, ...], expected: str | None) -> None:
    """One list of parameters begins with the other; what only one side knows may be left out."""
    assert difference(arguments(*caller), arguments(*service)) == expected


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {"type": 5, "records": {}},
        {"type": {}, "records": {}},
        {"type": {"type": []}, "records": {}},
        {"records": 5},
    ],
)
def test_a_description_that_cannot_be_read_is_a_difference(theirs: dict[str, object]) -> None:
    """Whatever the other side sends as its description, comparing it raises nothing."""
    for mine in (describe(Order), arguments(TABLE)):
        assert "cannot be read" in str(difference(mine, theirs))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["record", "Order", "union", "list"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "name", "fields", "items", "members", "Order"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(JSON, JSON)
def test_hostile_descriptions_raise_nothing(tp: Any, records: Any) -> None:
    """Random JSON in the place of a description is a difference."""
    for mine in (Order, list[Order], Order | Refund, tuple[int, str], dict[str, int], Color, Row):
        assert difference(describe(mine), {"type": tp, "records": records}) is not None
        described = describe(Order)
        assert isinstance(described["records"], dict)
        difference(described, {"type": described["type"], "records": {"Order": records}})


def test_an_endless_description_is_a_difference() -> None:
    """A description that is nested without end is refused, not followed."""
    theirs: dict[str, object] = {"type": "list"}
    theirs["items"] = theirs
    mine: dict[str, object] = {"type": "list"}
    mine["items"] = mine
    found = difference({"type": mine, "records": {}}, {"type": theirs, "records": {}})
    assert found is not None
    assert "RecursionError" in found


def test_descriptors_are_a_type_of_their_own() -> None:
    """No number, though they travel as one; and a field that holds some needs somebody who takes them."""
    assert differ(Fd, Fd) is None
    assert differ(Fd, int) == "Fd here, int there"
    assert differ(list[Fd], list[str]) == "[...]: Fd here, str there"
    lending, plain = Lending, record("Lending", table=int)
    assert differ(lending, lending) is None
    assert differ(lending, plain) == (
        "Lending.others: a field that holds descriptors here, and nobody to close them there"
    )
    assert differ(plain, lending) == (
        "Lending.others: a field that holds descriptors there, and nobody to close them here"
    )
