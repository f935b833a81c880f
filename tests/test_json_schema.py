"""The JSON Schema of an interface: what the codec sends is valid, what it refuses by its shape is not."""

from __future__ import annotations

import enum
import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated, Any, Literal, Protocol

import attrs
import jsonschema
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from namedipc import one_way, raises
from namedipc._codec import Codec
from namedipc._errors import DeclarationError, InvalidMessage
from namedipc._json_schema import DIALECT, _Writer, json_schema
from namedipc._schema import Schema

from .message_types import (
    SAMPLES,
    Card,
    Color,
    Left,
    Odd,
    Order,
    Page,
    Plate,
    Refund,
    Right,
    Row,
    Seat,
    Size,
    Ticket,
    Tree,
    message_types,
    union,
)


class Light(enum.Flag):
    """Travels as a number."""

    RED = 1
    BLUE = 2


def document(tp: object) -> dict[str, Any]:
    """The schema of one type, as a document of its own."""
    writer = _Writer()
    written = writer.write(Codec[Any](tp).node)
    return {"$schema": DIALECT, **written, "$defs": writer.definitions}


def is_valid(tp: object, value: object) -> bool:
    """Whether the schema of a type takes a JSON value."""
    schema = document(tp)
    jsonschema.Draft202012Validator.check_schema(schema)
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def shown(tp: object) -> dict[str, Any]:
    """What the schema says at its top."""
    schema = document(tp)
    del schema["$schema"], schema["$defs"]
    return schema


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(message_types, st.data())
def test_what_is_sent_is_valid(made: tuple[Any, st.SearchStrategy[Any]], data: st.DataObject) -> None:
    """Values of any type, as the codec writes them; a type that JSON cannot carry takes no value."""
    tp, values = made
    value = data.draw(values)
    try:
        text = Codec[Any](tp, encoding="json").encode(value)
    except (DeclarationError, InvalidMessage):
        return
    assert is_valid(tp, json.loads(text))


def test_each_sample_is_valid_and_no_other_shape_is() -> None:
    """Each type takes its own sample; and of the samples of all types every one that the codec takes."""
    texts = [Codec[Any](tp, encoding="json").encode(value) for tp, value in SAMPLES]
    for tp, _ in SAMPLES:
        codec = Codec[Any](tp, encoding="json")
        schema = jsonschema.Draft202012Validator(document(tp))
        for (other, _), text in zip(SAMPLES, texts, strict=True):
            try:
                codec.decode(text)
            except InvalidMessage:
                continue
            assert schema.is_valid(json.loads(text)), (tp, other, text)


def test_every_pair_of_types_is_valid_in_a_union() -> None:
    """Tagged or not."""
    for index, (one, value) in enumerate(SAMPLES):
        for other, _ in SAMPLES[index::9]:
            tp = union([one, other])
            assert is_valid(tp, json.loads(Codec[Any](tp, encoding="json").encode(value)))


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (int, "1"),
        (int, True),
        (int, 1.5),
        (int, 2**64),
        (int, None),
        (float, "1"),
        (str, 1),
        (bool, 1),
        (None, 0),
        (bytes, [1]),
        (Order, {"table": 1}),
        (Order, {"table": "1", "dish": "soup"}),
        (Order, [1, "soup"]),
        (Order | Refund, {"table": 1, "dish": "soup"}),
        (Order | Refund, ["Bill", {"table": 1, "dish": "soup"}]),
        (Order | Refund, ["Order", {"table": 1}]),
        (Order | Refund, ["Order", {"table": 1, "dish": "soup"}, 0]),
        (bytes | str, "red"),
        (bytes | str, ["str"]),
        (Plate, {"mark": "red"}),
        (Seat, ["1"]),
        (Seat, []),
        (Seat, [1, "free", 2]),
        (Row, [["str", "red"], "1"]),
        (Card, {"price": "1"}),
        (Left | Right, {"type": "Middle", "number": 1}),
        (Left | Right, {"type": "Right", "mark": "red"}),
        (Left | Right, {"number": 1}),
        (Left, {"type": "Right", "number": 1}),
        (Color, "green"),
        (Color, "RED"),
        (Size, 3),
        (Odd, "two"),
        (Literal["red", 1, True, None], False),
        (Literal[b"red", Odd.ONE, 2], "red"),
        (Tree, {"mark": ["str", ""], "children": [{"mark": ""}]}),
        (list[int], ["1"]),
        (list[int], {"0": 1}),
        (tuple[int, str], [1]),
        (tuple[int, str], [1, "red", 2]),
        (tuple[()], [1]),
        (dict[str, int], {"a": "1"}),
        (dict[int, int], {"a": 1}),
        (dict[Color, int], {"green": 1}),
        (dict[Size, int], {"3": 1}),
        (dict[Light, int], {"RED": 1}),
        (Page[int], {"items": ["1"]}),
        (npt.NDArray[np.float64], [1.0]),
        (Annotated[int, msgspec.Meta(ge=1)], 0),
        (Annotated[int, msgspec.Meta(lt=1)], 1),
        (Annotated[float, msgspec.Meta(le=1, gt=0)], 0),
        (Annotated[int, msgspec.Meta(multiple_of=2)], 3),
        (Annotated[str, msgspec.Meta(max_length=2)], "red"),
        (Annotated[str, msgspec.Meta(min_length=4)], "red"),
        (Annotated[str, msgspec.Meta(pattern="^r")], "green"),
        (Annotated[bytes, msgspec.Meta(max_length=3)], "AAAAAAAA"),
        (Annotated[bytes, msgspec.Meta(min_length=4)], "AAAA"),
        (Annotated[list[int], msgspec.Meta(min_length=1)], []),
        (Annotated[dict[str, int], msgspec.Meta(max_length=1)], {"a": 1, "b": 2}),
        (dict[Annotated[str, msgspec.Meta(max_length=1)], int], {"ab": 2}),
    ],
)
def test_what_does_not_fit_is_not_valid(tp: object, value: object) -> None:
    """Nor does the codec take it."""
    assert not is_valid(tp, value)
    with pytest.raises(InvalidMessage):
        Codec[Any](tp, encoding="json").decode(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (float, 1),
        (Order, {"table": 1, "dish": "soup", "more": None}),
        (Plate, {"mark": ["bytes", "AA=="]}),
        (Seat, [1]),
        (Row, [["str", "red"], 1, "more"]),
        (Card, {}),
        (Left, {"number": 1}),
        (Left | Right | str, {"type": "Left", "number": 1}),
        (Ticket | None, None),
        (Order | Refund | None, None),
        (Tree, {"mark": ["str", ""], "children": [{"mark": ["str", ""]}], "other": None}),
        (dict[int, int], {"-1": 1}),
        (dict[float, int], {"1.5": 1}),
        (dict[Light, int], {"3": 1}),
        (Light, 3),
        (tuple[()], []),
        (npt.NDArray[np.uint8], ["|u1", [2, 1], "AQI="]),
        (Annotated[bytes, msgspec.Meta(min_length=2, max_length=4)], "AAAAAA=="),
        (Annotated[list[int], msgspec.Meta(max_length=1)], [1]),
        (Annotated[float, msgspec.Meta(ge=0)] | None, 0.5),
    ],
)
def test_what_fits_is_valid(tp: object, value: object) -> None:
    """What may be left out, what is ignored, and the bounds themselves."""
    assert is_valid(tp, value)
    Codec[Any](tp, encoding="json").decode(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("tp", "written"),
    [
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (int, {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}),
        (Annotated[int, msgspec.Meta(ge=1)], {"type": "integer", "minimum": 1, "maximum": 2**64 - 1}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (Color, {"title": "Color", "enum": ["red", "blue"]}),
        (Literal["a", None], {"enum": ["a", None]}),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Order, {"$ref": "#/$defs/Order"}),
        (Page[bytes | str], {"$ref": "#/$defs/Page_bytes_str"}),
    ],
)
def test_what_is_written(tp: object, written: object) -> None:
    """Types in the words of JSON Schema."""
    assert shown(tp) == written


def test_keys_that_json_cannot_carry_take_no_value() -> None:
    """The schema says why, and what to declare instead; the rest of the interface can be described."""
    written = document(list[dict[bool, int]])
    assert written["items"]["not"] == {}
    assert written["items"]["description"].endswith("write list[tuple[bool, int]]")
    assert not is_valid(dict[bool, int], {"true": 1})


def test_fields_that_may_be_unset_are_not_required() -> None:
    """msgspec's UNSET is a field that is not there."""

    class Slip(msgspec.Struct):
        number: int | msgspec.UnsetType = msgspec.UNSET
        text: str | msgspec.UnsetType | None = msgspec.UNSET

    (slip,) = document(Slip)["$defs"].values()
    assert slip["required"] == []
    assert slip["properties"]["number"]["type"] == "integer"
    assert len(slip["properties"]["text"]["anyOf"]) == 2


def test_classes_of_one_name_have_a_definition_each() -> None:
    """And a generic class one for each of its parameters; each class only once."""
    assert set(document(tuple[Page[int], Page[str], Order, list[Order]])["$defs"]) == {"Page_int", "Page_str", "Order"}
    writer: Any = _Writer()
    references = [
        writer.write(Codec[Any](cls).node)
        for cls in (msgspec.defstruct("Slip", [("a", int)]), msgspec.defstruct("Slip", [("b", str)]))
    ]
    assert references == [{"$ref": "#/$defs/Slip"}, {"$ref": "#/$defs/Slip_1"}]
    assert [list(slip["properties"]) for slip in (writer.definitions["Slip"], writer.definitions["Slip_1"])] == [
        ["a"],
        ["b"],
    ]


@attrs.define
class Sold(Exception):
    """A declared exception with fields."""

    order: Order
    left: int = 0


class Closed(Exception):
    """A declared exception with a text."""


class Bar(Protocol):
    """An interface with streams and marks."""

    def both(self, one: AsyncIterable[int], two: AsyncIterable[bytes], *, count: int = 1) -> AsyncIterator[str]: ...

    @raises(Sold, Closed)
    async def order(self, order: Order) -> None: ...

    @one_way
    async def ring(self, text: str) -> None: ...


class Kitchen(Protocol):
    """An interface."""

    async def cook(self, order: Order, count: int = 1, *, mark: bytes | str = "") -> list[Order]: ...

    async def close(self) -> None: ...


KITCHEN = json_schema(Schema(Kitchen, frame_globals=globals(), frame_locals={}))


def test_an_interface_is_one_document() -> None:
    """Parameters by name, their order, and the result; the whole is valid JSON and a valid schema."""
    schema = json.loads(json.dumps(KITCHEN))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "Kitchen"
    assert schema["methods"]["close"] == {
        "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        "order": [],
        "result": {"type": "null"},
    }
    cook = schema["methods"]["cook"]
    assert cook["order"] == ["order", "count", "mark"]
    assert cook["parameters"]["required"] == ["order"]
    assert cook["result"] == {"type": "array", "items": {"$ref": "#/$defs/Order"}}
    assert list(schema["$defs"]) == ["Order"]


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        ({"order": {"table": 1, "dish": "soup"}}, True),
        ({"order": {"table": 1, "dish": "soup"}, "count": 2, "mark": ["bytes", ""]}, True),
        ({"count": 2}, False),
        ({"order": {"table": 1, "dish": "soup"}, "salt": True}, False),
        ({"order": {"table": 1, "dish": "soup"}, "mark": ""}, False),
    ],
)
def test_arguments_are_tried_before_they_are_sent(arguments: object, valid: bool) -> None:
    """By a reference into the document; and the codec agrees."""
    schema = {**KITCHEN, "$ref": "#/methods/cook/parameters"}
    assert jsonschema.Draft202012Validator(schema).is_valid(arguments) == valid
    cook = Schema(Kitchen, frame_globals=globals(), frame_locals={}).by_name["cook"]
    try:
        cook.arguments.decode_json(json.dumps(arguments).encode())
    except InvalidMessage:
        assert not valid
    else:
        assert valid


def test_streams_and_exceptions_have_words_of_their_own() -> None:
    """A stream has items in place of a result, and its number among the parameters; what is raised has a name."""
    document = json_schema(Schema(Bar, frame_globals=globals(), frame_locals={}))
    jsonschema.Draft202012Validator.check_schema(document)
    methods: Any = document["methods"]
    both = methods["both"]
    assert both["items"] == shown(str)
    assert "result" not in both
    assert both["requests"] == {"one": shown(int), "two": shown(bytes)}
    assert list(both["requests"]) == ["one", "two"]
    assert both["order"] == ["one", "two", "count"]
    parameters = jsonschema.Draft202012Validator(both["parameters"])
    assert parameters.is_valid({"one": 0, "two": 1, "count": 5})
    assert not parameters.is_valid({"one": 1, "two": 0})
    assert methods["order"]["raises"] == {"Sold": {"$ref": "#/$defs/Sold"}, "Closed": shown(str)}
    assert methods["order"]["result"] == shown(None)
    definitions: Any = document["$defs"]
    assert definitions["Sold"]["required"] == ["order"]
    assert methods["ring"].keys() == {"parameters", "order"}
