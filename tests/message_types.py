"""Message types for tests: every style of record, and a strategy that makes types together with their values."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypedDict, TypeVar

import attrs
import msgspec
from hypothesis import strategies as st

T = TypeVar("T")


@attrs.frozen
class Order:
    """What most tests send."""

    table: int
    dish: str


@attrs.frozen
class Refund:
    """Has the fields of an Order."""

    table: int
    dish: str


@dataclasses.dataclass(frozen=True)
class Plate:
    """A dataclass with a field that needs a tag."""

    mark: bytes | str
    count: int = 1


class Seat(NamedTuple):
    """Travels by position."""

    row: int
    name: str = "free"


class Card(TypedDict, total=False):
    """A dict with known keys."""

    price: float
    note: bytes | str


class Ticket(msgspec.Struct, frozen=True):
    """A struct of msgspec."""

    number: int


class Left(msgspec.Struct, tag=True, frozen=True):
    """A struct with a tag of its own."""

    number: int


class Right(msgspec.Struct, tag=True, frozen=True):
    """Another."""

    mark: bytes | str


class Row(msgspec.Struct, array_like=True, frozen=True):
    """A struct which travels by position."""

    mark: bytes | str
    count: int = 1


class Color(enum.Enum):
    """Travels by its value."""

    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    """Travels by its value, a number."""

    SMALL = 1
    LARGE = 2


class Odd(enum.Enum):
    """Travels by its name, for its values are of two kinds."""

    ONE = 1
    TWO = "two"


@attrs.frozen
class Page(Generic[T]):
    """A generic record."""

    items: list[T]


@attrs.frozen
class Tree:
    """Contains itself, and a field that needs a tag."""

    mark: bytes | str
    children: list[Tree] = attrs.field(factory=list)
    other: Tree | Refund | None = None


texts = st.text(max_size=3)
numbers = st.integers(-(2**63), 2**64 - 1)
moments = (st.datetimes() | st.datetimes(timezones=st.just(datetime.UTC))).map(lambda moment: moment.replace(fold=0))
marks = st.binary(max_size=3) | texts
trees = st.recursive(
    st.builds(Tree, marks),
    lambda inner: st.builds(
        Tree, marks, st.lists(inner, max_size=2), st.none() | inner | st.builds(Refund, numbers, texts)
    ),
    max_leaves=4,
)

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (None, st.none()),
    (bool, st.booleans()),
    (int, numbers),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, texts),
    (bytes, st.binary(max_size=3)),
    (bytearray, st.binary(max_size=3).map(bytearray)),
    (datetime.datetime, moments),
    (datetime.date, st.dates()),
    (datetime.time, st.times().map(lambda t: t.replace(fold=0))),
    (datetime.timedelta, st.timedeltas()),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False)),
    (Order, st.builds(Order, numbers, texts)),
    (Refund, st.builds(Refund, numbers, texts)),
    (Plate, st.builds(Plate, marks, numbers)),
    (Seat, st.builds(Seat, numbers, texts)),
    (Card, st.fixed_dictionaries({}, optional={"price": st.floats(allow_nan=False), "note": marks})),
    (Ticket, st.builds(Ticket, numbers)),
    (Row, st.builds(Row, marks)),
    (Left, st.builds(Left, numbers)),
    (Right, st.builds(Right, marks)),
    (Color, st.sampled_from(Color)),
    (Size, st.sampled_from(Size)),
    (Odd, st.sampled_from(Odd)),
    (Literal["red", 1, True, None], st.sampled_from(["red", 1, True, None])),
    (Literal[b"red", Odd.ONE, 2], st.sampled_from([b"red", Odd.ONE, 2])),
    (Tree, trees),
]
"""Types without parameters, each with a strategy for its values."""

SAMPLES: list[tuple[Any, Any]] = [
    (None, None),
    (bool, True),
    (int, 1),
    (float, 1.0),
    (str, "red"),
    (bytes, b"red"),
    (bytearray, bytearray(b"red")),
    (datetime.datetime, datetime.datetime(2026, 1, 2, 3)),
    (datetime.datetime, datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)),
    (datetime.date, datetime.date(2026, 1, 2)),
    (datetime.time, datetime.time(1, 2)),
    (datetime.timedelta, datetime.timedelta(1)),
    (uuid.UUID, uuid.UUID(int=1)),
    (decimal.Decimal, decimal.Decimal(1)),
    (Order, Order(1, "red")),
    (Refund, Refund(1, "red")),
    (Plate, Plate(b"red")),
    (Seat, Seat(1)),
    (Card, {"price": 1.0}),
    (Ticket, Ticket(1)),
    (Row, Row("red")),
    (Left, Left(1)),
    (Right, Right("red")),
    (Color, Color.RED),
    (Size, Size.SMALL),
    (Odd, Odd.ONE),
    (Literal["red", 1, True, None], 1),
    (Literal["red", 1, True, None], "red"),
    (Literal[b"red", Odd.ONE, 2], b"red"),
    (Tree, Tree("red", [Tree(b"")])),
    (list[int], [1]),
    (list[str], ["red"]),
    (set[int], {1}),
    (frozenset[int], frozenset([1])),
    (tuple[int, ...], (1,)),
    (tuple[int, str], (1, "red")),
    (dict[str, float], {"price": 1.0}),
    (dict[int, bytes | str], {1: "red"}),
    (Page[int], Page([1])),
    (Page[str], Page(["red"])),
]
"""A value of each type, as alike as they can be."""

_MUTABLE = (bytearray, Card, Tree)


def _is_hashable(leaf: tuple[Any, st.SearchStrategy[Any]]) -> bool:
    return leaf[0] not in _MUTABLE


leaves = st.sampled_from(LEAVES)
hashable = st.sampled_from([leaf for leaf in LEAVES if _is_hashable(leaf)])


Made: TypeAlias = tuple[Any, st.SearchStrategy[Any]]


def of(origin: Any, *parameters: Any) -> Any:
    """A generic type with parameters which are made at run time."""
    return origin[parameters if len(parameters) > 1 else parameters[0]]


def _pair(made: tuple[Made, Made]) -> Made:
    (one, ones), (other, others) = made
    return of(tuple, one, other), st.tuples(ones, others)


def _dict(made: tuple[Made, Made]) -> Made:
    (key, keys_), (value, values) = made
    return of(dict, key, value), st.dictionaries(keys_, values, max_size=2)


def _keys(inner: st.SearchStrategy[Made]) -> st.SearchStrategy[Made]:
    """Types whose values can be keys."""
    return st.one_of(
        st.tuples(inner, inner).map(_pair),
        inner.map(lambda made: (of(frozenset, made[0]), st.frozensets(made[1], max_size=2))),
        st.lists(inner, min_size=2, max_size=3).map(_unite),
    )


def union(members: list[Any]) -> Any:
    """The union of types which are made at run time."""
    return typing.Union[tuple(members)]  # noqa: UP007


def _unite(members: list[Made]) -> Made:
    return union([form for form, _ in members]), st.one_of([values for _, values in members])


keys = st.recursive(hashable, _keys, max_leaves=3)


def _larger(inner: st.SearchStrategy[Made]) -> st.SearchStrategy[Made]:
    """Types made of smaller ones."""
    return st.one_of(
        inner.map(lambda made: (of(list, made[0]), st.lists(made[1], max_size=2))),
        inner.map(lambda made: (of(tuple, made[0], ...), st.lists(made[1], max_size=2).map(tuple))),
        inner.map(lambda made: (of(Page, made[0]), st.builds(Page, st.lists(made[1], max_size=2)))),
        keys.map(lambda made: (of(set, made[0]), st.sets(made[1], max_size=2))),
        keys.map(lambda made: (of(frozenset, made[0]), st.frozensets(made[1], max_size=2))),
        st.tuples(inner, inner).map(_pair),
        st.tuples(keys, inner).map(_dict),
    )


def _unions(inner: st.SearchStrategy[Made]) -> st.SearchStrategy[Made]:
    return st.lists(inner, min_size=2, max_size=4).map(_unite)


message_types = st.recursive(leaves, lambda inner: _larger(inner) | _unions(inner), max_leaves=5)
"""Pairs of a type and a strategy for its values."""


def same(one: object, other: object) -> bool:
    """Whether two values are equal and of the same classes all through."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return same(set(one), set(other)) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, set | frozenset) and isinstance(other, set | frozenset):
        return all(any(same(each, its) for its in other) for each in one)
    if isinstance(one, Page | Tree):
        return all(same(getattr(one, name), getattr(other, name)) for name in one.__annotations__)
    return True


json_bytes = st.binary(max_size=24) | st.lists(
    st.sampled_from(
        ["[", "]", "{", "}", ",", ":", '"order"', '"salt"', '"p3"', "1", "null", "true", "1e9", "-", "9" * 20, "\\u00"]
    ),
    max_size=12,
).map(lambda words: "".join(words).encode())
"""Random bytes, and random words of JSON."""
