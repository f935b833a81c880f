"""Whether values can change: only what certainly cannot is constant, all through."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple, TypedDict

import attrs
import msgspec
import pytest

from namedipc._constant import is_constant
from namedipc._types import read


class Size(enum.Enum):
    """Members are what they are."""

    SMALL = 1


@attrs.frozen
class Dish:
    """Constant, as far as its fields are."""

    name: str
    size: Size


@attrs.frozen
class Menu:
    """Holds what can change."""

    dishes: list[Dish]


@attrs.define
class Order:
    """Can change."""

    table: int


@attrs.frozen
class Course:
    """Holds itself."""

    dish: Dish
    then: Course | None


@dataclass(frozen=True)
class Wine:
    """Constant."""

    year: int


@dataclass
class Bottle:
    """Can change."""

    year: int


class Guest(msgspec.Struct, frozen=True):
    """Constant."""

    name: str


class Seat(msgspec.Struct):
    """Can change."""

    number: int


class Bill(NamedTuple):
    """Constant."""

    total: float


class Tip(TypedDict):
    """Is a dict."""

    total: float


@pytest.mark.parametrize(
    "tp",
    [
        int,
        str,
        bytes,
        None,
        float | None,
        Literal["a", "b"],
        Decimal,
        uuid.UUID,
        datetime.datetime,
        Size,
        tuple[int, str],
        tuple[int, ...],
        frozenset[int],
        Wine,
        Guest,
        Bill,
    ],
)
def test_what_cannot_change_is_constant(tp: object) -> None:
    """Scalars, enumerations, tuples, frozen records, and unions of these."""
    assert is_constant(read(tp))


@pytest.mark.parametrize("tp", [Dish, Course, tuple[Dish, ...], Dish | Wine])
def test_frozen_attrs_classes_are_constant(tp: object) -> None:
    """Where attrs says that they are."""
    says_so = hasattr(Dish, "__attrs_props__")  # since attrs 25.4
    assert is_constant(read(tp)) == says_so


@pytest.mark.parametrize(
    "tp",
    [
        bytearray,
        memoryview,
        list[int],
        set[int],
        dict[str, int],
        Sequence[int],
        Menu,
        Order,
        Bottle,
        Seat,
        Tip,
        tuple[list[int], int],
        tuple[Order, ...],
        int | list[int],
    ],
)
def test_what_can_change_is_not(tp: object) -> None:
    """Also where it is inside of something that cannot."""
    assert not is_constant(read(tp))
