"""What a caller without the Python types needs to know: a JSON Schema of every method of an interface.

The law: it says what the JSON encoding carries, as far as JSON Schema has words for it. What the codec sends is valid,
and what it takes is valid too, but for a set that names an item twice. Words are lacking for `1.0`, which JSON Schema
calls an integer, and for the bounds of numbers that are keys; `format` and `contentEncoding` are notes for people.

Source: JSON Schema, draft 2020-12.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import types
import uuid
from typing import Any, Final, TypeAlias

from ._methods import Method
from ._nodes import (
    Array,
    Choice,
    Enumeration,
    Fixed,
    Items,
    Node,
    Record,
    Scalar,
    Table,
    Union,
    Unset,
    View,
    literal_is_native,
    trouble_in_json,
    value_label,
)
from ._schema import Schema

JsonSchema: TypeAlias = dict[str, object]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_BYTES: Final[JsonSchema] = {"type": "string", "contentEncoding": "base64"}
_SCALARS: Final[dict[type, JsonSchema]] = {
    types.NoneType: {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: _BYTES,
    bytearray: _BYTES,
    uuid.UUID: {"type": "string", "format": "uuid"},
    decimal.Decimal: {"type": ["string", "number"], "format": "decimal"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    datetime.timedelta: {"type": "string", "format": "duration"},
}
_NUMBER_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXT_BOUNDS: Final = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_INTEGER_KEY: Final = "^-?[0-9]+$"


def json_schema(schema: Schema[Any]) -> JsonSchema:
    """Describe an interface.

    Returns:
        `methods`: by name, each with `parameters` (an object schema), `order` (the parameters' names as an array of
        arguments gives them) and what answers it: `result`; or `items`, those of a stream; or neither, one way.
        Where there are any: `requests`, the items of each parameter that is a stream, and `raises`, the fields of each
        exception. And `$defs`, the records, to which these refer. The whole is one schema document, so that
        `#/methods/NAME/result` can be referred to.
    """
    writer = _Writer()
    methods = {method.name: writer.method(method) for method in schema.methods}
    return {"$schema": DIALECT, "title": schema.name, "methods": methods, "$defs": writer.definitions}


class _Writer:
    """Writes nodes; records are written once, among the definitions, so that they may contain themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, JsonSchema] = {}
        self._names: dict[object, str] = {}

    def method(self, method: Method) -> JsonSchema:
        """Describe a method which is answered with a result, or with a stream of items, or with nothing."""
        parameters = method.arguments.parameters
        written: JsonSchema = {
            "parameters": {
                "type": "object",
                "properties": self._properties(method),
                "required": [parameter.name for parameter in parameters if not parameter.has_default],
                "additionalProperties": False,
            },
            "order": [parameter.name for parameter in parameters],
        }
        if method.requests:
            written["requests"] = {stream.name: self.write(stream.item.node) for stream in method.requests}
        if not method.is_one_way:
            written["items" if method.is_stream else "result"] = self.write(method.result.node)
        if method.errors.nodes:
            written["raises"] = {name: self.write(node) for name, node in method.errors.nodes.items()}
        return written

    def _properties(self, method: Method) -> JsonSchema:
        """The parameters; in the place of each stream there is its number."""
        written: JsonSchema = {
            parameter.name: self.write(node)
            for parameter, node in zip(method.arguments.parameters, method.arguments.nodes, strict=True)
        }
        for number, stream in enumerate(method.requests):
            written[stream.name] = {"const": number, "description": "the number of a stream, of which 'requests' tells"}
        return written

    def write(self, node: Node) -> JsonSchema:
        """Write one type."""
        trouble = trouble_in_json(node)
        if trouble is not None:
            return {"not": {}, "description": trouble}
        return {**self._plain(node), **_bounds(node)}

    def _plain(self, node: Node) -> JsonSchema:  # noqa: PLR0911  # one return a kind of type
        if isinstance(node, Record):
            return {"$ref": f"#/$defs/{self._record(node)}"}
        if isinstance(node, Union):
            return self._union(node)
        if isinstance(node, Items):
            is_set = node.cls in {set, frozenset}
            return {"type": "array", "items": self.write(node.item), **({"uniqueItems": True} if is_set else {})}
        if isinstance(node, Fixed):
            return _sequence([self.write(item) for item in node.items])
        if isinstance(node, Table):
            return {
                "type": "object",
                "propertyNames": self._keys(node.key),
                "additionalProperties": self.write(node.value),
            }
        if isinstance(node, Choice | Enumeration):
            return _choice(node)
        if isinstance(node, Array):
            return _array(node)
        if isinstance(node, View):
            return _BYTES
        assert isinstance(node, Scalar)
        return _SCALARS[node.cls]

    def _union(self, node: Union) -> JsonSchema:
        written = [
            self._member(member, node)
            for member in node.members
            if not isinstance(member, Unset)  # left out, it is not there
        ]
        return written[0] if len(written) == 1 else {"anyOf": written}

    def _member(self, member: Node, union: Union) -> JsonSchema:
        written = self.write(member)
        if union.tagged:
            is_plain = isinstance(member, Scalar) and member.cls is types.NoneType
            return written if is_plain else _sequence([{"const": member.label}, written])
        own_tags = [other.tag for other in union.members if isinstance(other, Record) and other.tag]
        if isinstance(member, Record) and member.tag and not member.array and len(own_tags) > 1:
            return {**written, "required": [member.tag[0]]}
        return written

    def _keys(self, node: Node) -> JsonSchema:
        """What the keys of an object are: always text."""
        if isinstance(node, Choice | Enumeration):
            values = _choice(node).get("enum")
            return {"enum": [str(value) for value in values]} if isinstance(values, list) else {"pattern": _INTEGER_KEY}
        if isinstance(node, Scalar) and node.cls is int:
            return {"pattern": _INTEGER_KEY}
        return {} if isinstance(node, Scalar) and node.cls is float else self.write(node)

    def _record(self, record: Record) -> str:
        # Told apart by class and arguments: one class may have been read more than once.
        key = (record.cls, record.arguments)
        if key not in self._names:
            name = plain = re.sub(r"\W+", "_", record.label).strip("_")
            while name in self.definitions:
                name = f"{plain}_{len(self.definitions)}"
            self._names[key] = name
            self.definitions[name] = {}  # taken, also while its fields are written
            self.definitions[name] = {"title": record.label, **self._fields(record)}
        return self._names[key]

    def _fields(self, record: Record) -> JsonSchema:
        if record.array:
            return self._positions(record)
        # A struct's own tag may be left out where there is nothing to tell it from.
        properties: JsonSchema = {record.tag[0]: {"const": record.tag[1]}} if record.tag else {}
        properties.update((field.wire_name, self.write(field.node)) for field in record.fields)
        required = [field.wire_name for field in record.fields if field.presence == "required"]
        written: JsonSchema = {"type": "object", "properties": properties, "required": required}
        return {**written, "additionalProperties": False} if record.closed else written

    def _positions(self, record: Record) -> JsonSchema:
        tag: list[JsonSchema] = [{"const": record.tag[1]}] if record.tag else []
        must = [index for index, field in enumerate(record.fields, len(tag) + 1) if field.presence == "required"]
        fields = [*tag, *(self.write(field.node) for field in record.fields)]
        return _sequence(fields, least=must[-1] if must else len(tag), closed=record.closed)


def _sequence(items: list[JsonSchema], *, least: int | None = None, closed: bool = True) -> JsonSchema:
    written: JsonSchema = {"type": "array", "minItems": len(items) if least is None else least}
    if items:
        written["prefixItems"] = items
    return {**written, "items": False} if closed else written


def _choice(node: Choice | Enumeration) -> JsonSchema:
    if isinstance(node, Choice):
        return {"enum": list(node.values) if literal_is_native(node) else list(map(value_label, node.values))}
    if issubclass(node.cls, enum.Flag):
        return {"title": node.label, "type": "integer"}
    return {"title": node.label, "enum": [member.value if node.by_value else member.name for member in node.cls]}


def _array(node: Array) -> JsonSchema:
    axes: JsonSchema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    if node.dimensions is not None:
        axes |= {"minItems": node.dimensions, "maxItems": node.dimensions}
    return {"title": node.label, **_sequence([{"type": "string"}, axes, _BYTES])}


def _bounds(node: Node) -> JsonSchema:
    limits = node.limits
    if isinstance(node, Scalar) and node.cls in {int, float}:
        return {_NUMBER_BOUNDS[name]: value for name, value in limits.items()}
    if isinstance(node, Scalar) and node.cls is str:
        return {_TEXT_BOUNDS[name]: value for name, value in limits.items()}
    if isinstance(node, Scalar) and node.cls in {bytes, bytearray}:
        return {_TEXT_BOUNDS[name]: _base64_length(value) for name, value in limits.items()}
    if isinstance(node, Items | Table):
        kind = "Items" if isinstance(node, Items) else "Properties"
        return {f"{name.removesuffix('_length')}{kind}": value for name, value in limits.items()}
    return {}


def _base64_length(length: object) -> int:
    assert isinstance(length, int)
    return -(-length // 3) * 4
