"""Wire types: the type itself wherever msgspec does right by it, and the same bytes however a class is made."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple, TypedDict

import attrs
import msgspec
import pytest

from namedipc._codec import Codec
from namedipc._types import read
from namedipc._wire import build_wire

from .message_types import Left, Order, Page, Plate, Refund, Seat, Ticket, Tree, of


@pytest.mark.parametrize(
    "tp",
    [
        int,
        None,
        Order,
        list[Order],
        Order | str | None,
        Page[Order],
        Seat,
        Ticket | None,
        Annotated[int, msgspec.Meta(ge=0)],
        dict[tuple[int, int], set[str]],
    ],
)
def test_what_needs_no_help_is_its_own_wire_type(tp: Any) -> None:
    """The usual types go to msgspec as they are: there is nothing to pack and to unpack."""
    wire = build_wire(read(tp))
    assert wire.type == (type(None) if tp is None else tp)
    assert wire.pack is None
    assert wire.unpack is None


@pytest.mark.parametrize("tp", [bytes | str, Plate, list[Plate], Tree, dict[bytes | str, int] | None])
def test_what_needs_help_is_packed(tp: Any) -> None:
    """A type which msgspec would refuse or confuse has a way to its wire type and one back."""
    wire = build_wire(read(tp))
    assert wire.pack is not None
    assert wire.unpack is not None
    assert wire.type != tp


def test_bytes_do_not_depend_on_how_a_class_is_made() -> None:
    """The same fields give the same message in every style which sends them by name."""

    @attrs.frozen
    class Slotted:
        a: int
        b: list[int]

    @attrs.frozen(slots=False)
    class Unslotted:
        a: int
        b: list[int]

    @dataclasses.dataclass
    class Data:
        a: int
        b: list[int]

    class Struct(msgspec.Struct):
        a: int
        b: list[int]

    class Typed(TypedDict):
        a: int
        b: list[int]

    received = [
        msgspec.msgpack.decode(Codec[Any](cls).encode(cls(a=1, b=[2])))
        for cls in (Slotted, Unslotted, Data, Struct, Typed)
    ]
    assert received == [{"a": 1, "b": [2]}] * 5


class Fancy(msgspec.Struct, rename="camel", tag="fancy", tag_field="kind", forbid_unknown_fields=True):
    """Every option of a struct, and a field that needs help."""

    the_mark: bytes | str
    how_many: int | msgspec.UnsetType = msgspec.UNSET
    or_else: bytes | str | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct, array_like=True, tag=3):
    """Travels by position, with a tag."""

    mark: bytes | str
    count: int = 1


class Pair(NamedTuple):
    """Travels by position."""

    mark: bytes | str
    amount: int = 1


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (Fancy("x"), {"kind": "fancy", "theMark": ["str", "x"]}),
        (
            Fancy(b"x", 2, "y"),
            {"kind": "fancy", "theMark": ["bytes", b"x"], "howMany": 2, "orElse": ["str", "y"]},
        ),
        (Row("x"), [3, ["str", "x"], 1]),
        (Pair("x"), [["str", "x"], 1]),
    ],
)
def test_a_shadow_is_laid_out_as_its_record(value: Any, wire: object) -> None:
    """Names, tags, positions and omissions of a struct hold also where a shadow travels in its place."""
    codec: Codec[Any] = Codec(type(value))
    assert msgspec.msgpack.decode(codec.encode(value)) == wire
    assert codec.decode(codec.encode(value)) == value


def test_a_closed_shadow_refuses_unknown_fields() -> None:
    """A struct that forbids unknown fields does so through its shadow; a NamedTuple takes no more positions."""
    from namedipc._errors import InvalidMessage

    surplus: list[tuple[type, object]] = [
        (Fancy, {"kind": "fancy", "theMark": ["str", "x"], "more": 1}),
        (Pair, [["str", "x"], 1, 2]),
    ]
    for cls, message in surplus:
        with pytest.raises(InvalidMessage):
            Codec[Any](cls).decode(msgspec.msgpack.encode(message))


def test_shadows_in_unions() -> None:
    """Records with shadows are members of unions like others, whether these are tagged or not."""
    cases: list[tuple[Any, list[Any]]] = [
        (Plate | str | None, [Plate("x"), "y", None]),
        (Plate | Refund, [Plate(b"x", 2), Refund(1, "x")]),
        (Fancy | Left, [Fancy("x"), Left(1)]),
        (of(list, Row | Plate), [[Row("x"), Plate("y")]]),
        (Annotated[list[bytes | str], msgspec.Meta(max_length=2)], [["x", b"y"]]),
        (Annotated[bytes | str, msgspec.Meta(max_length=2)] | int, ["x", b"y", 3]),
    ]
    for tp, values in cases:
        codec: Codec[Any] = Codec(tp)
        for value in values:
            assert codec.decode(codec.encode(value)) == value
