"""Two sides compare what they have declared: a description of a type, its fingerprint, the first difference.

The law: no difference means that each side reads whatever the other may send; and two processes which declare
the same describe it the same, whatever their modules are called. What comes from the other side may be
anything: a description that cannot be read is a difference, never an exception.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from ._nodes import (
    LIMITS,
    Array,
    Choice,
    Descriptor,
    End,
    Enumeration,
    Field,
    Fixed,
    Items,
    Node,
    Record,
    Table,
    Union,
    value_label,
)

Description: TypeAlias = dict[str, object]
"""A type as JSON can hold it: `type`, and the `records` that it refers to by name."""

_FINGERPRINT_BYTES: Final = 16  # half a SHA-256: accidents are out of the question, and it is no defence against malice


def describe_node(node: Node) -> Description:
    """Describe one type."""
    writer = _Writer()
    return {"type": writer.write(node), "records": writer.records}


def describe_parameters(parameters: Sequence[tuple[str, Node, bool, bool]]) -> Description:
    """Describe parameters in order: name, type, may be left out, by name only."""
    writer = _Writer()
    described = [
        {"name": name, "type": writer.write(node), "default": has_default, "keyword_only": keyword_only}
        for name, node, has_default, keyword_only in parameters
    ]
    return {"parameters": described, "records": writer.records}


def fingerprint(description: Mapping[str, object]) -> bytes:
    """16 bytes which are equal for equal descriptions, in whatever order their fields were declared."""
    text = json.dumps(description, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:_FINGERPRINT_BYTES]


def difference(mine: Mapping[str, object], theirs: Mapping[str, object]) -> str | None:
    """The first incompatible difference, as a sentence; None where each side reads what the other sends.

    Args:
        mine: A description made here; of parameters: the caller's.
        theirs: One from the other side; of parameters: the service's.

    Returns:
        For example `Order.table: int here, str there`.
    """
    try:
        comparison = _Comparison(_records(mine), _records(theirs))
        if "parameters" in mine:
            return comparison.parameters(_list(mine["parameters"]), _list(theirs["parameters"]))
        return comparison.types(mine["type"], theirs["type"], "")
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        return f"the other side's description cannot be read ({type(error).__name__}: {error})"


class _Writer:
    """Writes nodes; records are written once, under their name, so that they may contain themselves."""

    def __init__(self) -> None:
        self.records: dict[str, object] = {}
        self.names: dict[object, str] = {}

    def write(self, node: Node) -> Description:
        return {**self._plain(node), **node.limits}

    def _plain(self, node: Node) -> Description:  # noqa: PLR0911  # one return a kind of type
        if isinstance(node, Record):
            return {"type": "record", "name": self._record(node)}
        if isinstance(node, Items):
            return {"type": node.cls.__name__, "items": self.write(node.item)}
        if isinstance(node, Fixed):
            return {"type": "fixed", "items": [self.write(item) for item in node.items]}
        if isinstance(node, Table):
            return {"type": "dict", "keys": self.write(node.key), "values": self.write(node.value)}
        if isinstance(node, Union):
            members = sorted(node.members, key=lambda member: (member.label == "None", member.label))
            return {
                "type": "union",
                "tagged": node.tagged,
                "members": [self.write(member) for member in members],
            }
        if isinstance(node, Choice):
            return {"type": "literal", "values": sorted(map(value_label, node.values))}
        if isinstance(node, Enumeration):
            return {
                "type": "enum",
                "name": node.label,
                "by_value": node.by_value,
                "values": _enum_values(node),
            }
        if isinstance(node, Array):
            return {"type": "array", "dtype": node.scalar.__name__, "dimensions": node.dimensions}
        if isinstance(node, End):
            return {"type": "end", "of": node.cls.__name__, "message": self.write(node.item)}
        return {"type": "fd" if isinstance(node, Descriptor) else node.label}

    def _record(self, record: Record) -> str:
        # Told apart by class and arguments: one class may have been read more than once.
        key = (record.cls, record.arguments)
        if key in self.names:
            return self.names[key]
        name = record.label
        while name in self.records:
            name += "'"
        self.names[key] = name
        self.records[name] = None
        self.records[name] = {
            "array": record.array,
            "closed": record.closed,
            "tag": list(record.tag) if record.tag else None,
            "fields": list(self._fields(record)) if record.array else {f["name"]: f for f in self._fields(record)},
        }
        return name

    def _fields(self, record: Record) -> Iterator[Description]:
        for field in record.fields:
            yield {
                "name": field.wire_name,
                "type": self.write(field.node),
                "presence": _presence(field, record),
            }


def _presence(field: Field, record: Record) -> str:
    # What travels by position is always sent.
    return "default" if record.array and field.presence == "optional" else field.presence


def _enum_values(node: Enumeration) -> list[str]:
    if node.by_value:
        return sorted(repr(member.value) for member in node.cls)
    return sorted(member.name for member in node.cls)


@attrs.define
class _Comparison:
    """Compares two descriptions. A pair of records under way counts as equal; it is being compared."""

    mine: Mapping[str, Any]
    theirs: Mapping[str, Any]
    seen: set[tuple[str, str]] = attrs.field(factory=set)

    def types(self, mine: Any, theirs: Any, path: str) -> str | None:
        if _shape(mine) != _shape(theirs):
            return _sentence(path, text(mine), text(theirs))
        for name in LIMITS:
            if mine.get(name) != theirs.get(name):
                return _sentence(path, _bound_text(mine, name), _bound_text(theirs, name))
        if mine["type"] == "record":
            return self._records(str(mine["name"]), str(theirs["name"]), path)
        for place, one, other in _parts(mine, theirs):
            different = self.types(one, other, path + place)
            if different:
                return different
        return None

    def _records(self, mine: str, theirs: str, path: str) -> str | None:
        if (mine, theirs) in self.seen:
            return None
        self.seen.add((mine, theirs))
        one, other = self.mine[mine], self.theirs[theirs]
        path = f"{path}: {mine}" if path else mine
        if (one["array"], one["tag"]) != (other["array"], other["tag"]):
            return _sentence(path, _layout(one), _layout(other))
        if one["array"]:
            return self._positions(one, other, path)
        return self._names(one, other, path)

    def _names(self, mine: Any, theirs: Any, path: str) -> str | None:
        for name, field in mine["fields"].items():
            if name in theirs["fields"]:
                different = self._field(field, theirs["fields"][name], f"{path}.{name}")
            else:
                different = self._lonely(field, theirs, f"{path}.{name}", "here", "there")
            if different:
                return different
        for name, field in theirs["fields"].items():
            different = None if name in mine["fields"] else self._lonely(field, mine, f"{path}.{name}", "there", "here")
            if different:
                return different
        return None

    def _positions(self, mine: Any, theirs: Any, path: str) -> str | None:
        pairs = zip(mine["fields"], theirs["fields"], strict=False)
        for index, (one, other) in enumerate(pairs):
            if one["name"] != other["name"]:
                return _sentence(f"{path}, position {index}", one["name"], other["name"])
            different = self._field(one, other, f"{path}.{one['name']}")
            if different:
                return different
        shared = min(len(mine["fields"]), len(theirs["fields"]))
        for field in mine["fields"][shared:]:
            different = self._lonely(field, theirs, f"{path}.{field['name']}", "here", "there")
            if different:
                return different
        for field in theirs["fields"][shared:]:
            different = self._lonely(field, mine, f"{path}.{field['name']}", "there", "here")
            if different:
                return different
        return None

    def _field(self, mine: Any, theirs: Any, path: str) -> str | None:
        if {mine["presence"], theirs["presence"]} == {"required", "optional"}:
            return _sentence(path, mine["presence"], theirs["presence"])
        return self.types(mine["type"], theirs["type"], path)

    def _lonely(self, field: Any, other: Any, path: str, has: str, lacks: str) -> str | None:
        """A field that one side only knows: it needs a default there, and a place that ignores it here."""
        if field["presence"] == "required":
            return f"{path}: a field without a default {has}, no such field {lacks}"
        if other["closed"]:
            return f"{path}: a field {has}, and no other fields are allowed {lacks}"
        if _holds_descriptors(field["type"], self.mine if has == "here" else self.theirs, set()):
            return f"{path}: a field that holds descriptors {has}, and nobody to close them {lacks}"
        return None

    def parameters(self, mine: Sequence[Any], theirs: Sequence[Any]) -> str | None:
        """The caller's parameters against the service's: one list begins with the other."""
        for index, (one, other) in enumerate(zip(mine, theirs, strict=False)):
            path = f"parameter '{one['name']}'"
            if one["name"] != other["name"]:
                return _sentence(f"parameter {index + 1}", f"'{one['name']}'", f"'{other['name']}'")
            different = self.types(one["type"], other["type"], path)
            if different:
                return different
            if one["default"] and not other["default"]:
                return _sentence(path, "may be left out", "required")
        for lonely in mine[len(theirs) :]:
            if not lonely["default"]:
                return _sentence(f"parameter '{lonely['name']}'", "required", "unknown")
        for lonely in theirs[len(mine) :]:
            if not lonely["default"]:
                return _sentence(f"parameter '{lonely['name']}'", "unknown", "required")
        return None


def _holds_descriptors(described: Any, records: Mapping[str, Any], seen: set[str]) -> bool:
    """Whether values of a described type may hold descriptors."""
    if described["type"] in {"fd", "end"}:
        return True
    if described["type"] != "record":
        return any(_holds_descriptors(part, records, seen) for _, part, _ in _parts(described, described))
    name = described["name"]
    if name in seen:
        return False
    seen.add(name)
    fields = records[name]["fields"]
    every = fields if isinstance(fields, list) else fields.values()
    return any(_holds_descriptors(field["type"], records, seen) for field in every)


def _shape(described: Any) -> object:
    """What must be equal at the top of two types before their parts are compared."""
    kind = described["type"]
    if kind == "record":
        return kind, described["name"].rstrip("'")
    if kind == "fixed":
        return kind, len(described["items"])
    if kind == "union":
        return kind, described["tagged"], [text(member) for member in described["members"]]
    if kind in {"literal", "enum", "array"}:
        return tuple(described[key] for key in sorted(described) if key not in LIMITS)
    return kind


def _parts(mine: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    kind = mine["type"]
    if kind in {"list", "set", "frozenset", "tuple"}:
        yield "[...]", mine["items"], theirs["items"]
    elif kind == "fixed":
        for index, (one, other) in enumerate(zip(mine["items"], theirs["items"], strict=True)):
            yield f"[{index}]", one, other
    elif kind == "end":
        yield "[message]", mine["message"], theirs["message"]
    elif kind == "dict":
        yield "[key]", mine["keys"], theirs["keys"]
        yield "[value]", mine["values"], theirs["values"]
    elif kind == "union":
        for one, other in zip(mine["members"], theirs["members"], strict=True):
            yield "", one, other


def text(described: Any) -> str:  # noqa: PLR0911  # one return a kind of type
    """A described type as Python writes it, for a sentence."""
    kind = described["type"]
    if kind in {"record", "enum"}:
        name = str(described["name"])
        return f"{name}({', '.join(described['values'])})" if kind == "enum" else name.rstrip("'")
    if kind in {"list", "set", "frozenset"}:
        return f"{kind}[{text(described['items'])}]"
    if kind == "tuple":
        return f"tuple[{text(described['items'])}, ...]"
    if kind == "fixed":
        return f"tuple[{', '.join(map(text, described['items'])) or '()'}]"
    if kind == "dict":
        return f"dict[{text(described['keys'])}, {text(described['values'])}]"
    if kind == "union":
        return " | ".join(map(text, described["members"]))
    if kind == "literal":
        return f"Literal[{', '.join(described['values'])}]"
    if kind == "end":
        return f"{described['of']}[{text(described['message'])}]"
    if kind == "array":
        axes = described["dimensions"]
        return f"NDArray[{described['dtype']}]" + ("" if axes is None else f" of {axes} dimensions")
    return "Fd" if kind == "fd" else str(kind)


def _bound_text(described: Any, name: str) -> str:
    return f"{name}={described[name]!r}" if name in described else f"no {name}"


def _layout(record: Any) -> str:
    layout = "fields by position" if record["array"] else "fields by name"
    return f"{layout}, tag {record['tag']}" if record["tag"] else layout


def _sentence(path: str, mine: object, theirs: object) -> str:
    return f"{path}: {mine} here, {theirs} there" if path else f"{mine} here, {theirs} there"


def _records(description: Mapping[str, object]) -> Mapping[str, Any]:
    records = description["records"]
    if not isinstance(records, Mapping):
        raise TypeError("'records' is no object")
    return records


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("'parameters' is no list")
    return value
