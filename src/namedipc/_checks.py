"""Whether a value belongs to a type: at its top, as `send` asks; all through, where a union must choose.

The law: isinstance, with three exceptions. A bool is no int and a datetime is no date, since the other side
would refuse them; and an int is a float, as type checkers have it.
"""

from __future__ import annotations

import datetime
from typing import Any

from ._fd import Fd
from ._nodes import Array, Choice, Descriptor, End, Enumeration, Fixed, Items, Node, Record, Scalar, Table, Union, View


def exact_types(node: Node) -> frozenset[type]:
    """The classes whose direct instances belong to the type, whatever their value."""
    if isinstance(node, Union):
        return frozenset().union(*map(exact_types, node.members))
    if isinstance(node, Items):
        return frozenset(_accepted(node))
    if isinstance(node, Table) or (isinstance(node, Record) and node.style == "typeddict"):
        return frozenset([dict])
    if isinstance(node, Scalar):
        return frozenset([int, float] if node.cls is float else [node.cls])
    if isinstance(node, Descriptor | View):
        return frozenset([Fd if isinstance(node, Descriptor) else memoryview])
    return frozenset([node.cls] if isinstance(node, Record | Enumeration) else [])


def admits(node: Node, value: object) -> bool:  # noqa: PLR0911  # one return a kind of type
    """Whether a value belongs to the type at its top; what it contains is not looked at."""
    if isinstance(node, Union):
        return any(admits(member, value) for member in node.members)
    if isinstance(node, Choice):
        return _chosen(node, value)
    if isinstance(node, Fixed):
        return isinstance(value, tuple) and len(value) == len(node.items)
    if isinstance(node, Items):
        return isinstance(value, _accepted(node))
    if isinstance(node, Array):
        return _is_array(node, value)
    if isinstance(node, End):
        return isinstance(value, node.cls) and value.carries(node.item.form)
    if isinstance(node, Record) and node.style == "struct":
        return type(value) is node.cls  # a subclass may be laid out otherwise
    if isinstance(node, Scalar):
        return _is_scalar(node.cls, value)
    return bool(exact_types(node)) and isinstance(value, tuple(exact_types(node)))


def fits(node: Node, value: object, *, strict: bool) -> bool:
    """Whether a value belongs to the type all through; `strict`: no subclass, no int for a float."""
    if isinstance(node, Union):
        return any(fits(member, value, strict=strict) for member in node.members)
    if strict and not _is_exactly(node, value):
        return False
    return admits(node, value) and all(fits(inner, part, strict=strict) for inner, part in _inside(node, value))


def _is_exactly(node: Node, value: object) -> bool:
    if isinstance(node, Scalar):
        return type(value) is node.cls
    if isinstance(node, Fixed):
        return type(value) is tuple
    exact = exact_types(node)
    if exact and type(value) not in exact:
        return False
    if isinstance(node, Record) and isinstance(value, dict):
        required = {field.name for field in node.fields if field.presence == "required"}
        return required <= value.keys() <= {field.name for field in node.fields}
    return True


def _inside(node: Node, value: Any) -> list[tuple[Node, object]]:
    """What the value contains, each with its declared type."""
    if isinstance(node, Items):
        return [(node.item, item) for item in value]
    if isinstance(node, Fixed):
        return list(zip(node.items, value, strict=True))
    if isinstance(node, Table):
        return [pair for key, held in value.items() for pair in ((node.key, key), (node.value, held))]
    if isinstance(node, Record):
        if isinstance(value, dict):
            return [(field.node, value[field.name]) for field in node.fields if field.name in value]
        return [(field.node, getattr(value, field.name)) for field in node.fields]
    return []


def _accepted(node: Items) -> tuple[type, ...]:
    if node.abstract is None:
        return (node.cls,)
    return (list, tuple) if node.cls is list else (set, frozenset)


def _is_scalar(cls: type, value: object) -> bool:
    if isinstance(value, bool):
        return cls is bool
    if isinstance(value, datetime.datetime):
        return cls is datetime.datetime
    return isinstance(value, (float, int) if cls is float else cls)


def _chosen(node: Choice, value: object) -> bool:
    return any(type(value) is type(choice) and value == choice for choice in node.values)


def _is_array(node: Array, value: Any) -> bool:
    is_plain = type(value) is node.cls
    if not is_plain:
        return False  # a subclass, such as a masked array, holds more than its numbers
    import numpy as np

    dtype = value.dtype
    is_same = dtype.type is node.scalar or dtype.newbyteorder("=") == np.dtype(node.scalar)
    return is_same and node.dimensions in {None, value.ndim}
