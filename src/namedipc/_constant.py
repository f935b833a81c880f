"""Whether values of a type can change once they are made: those which cannot may as well be encoded a little later.

The law: whatever is not known to be constant may change.
"""

from __future__ import annotations

from typing import Any

from ._nodes import Choice, Enumeration, Fixed, Items, Node, Record, Scalar, Union, Unset, reachable


def is_constant(root: Node) -> bool:
    """Whether values of a type, and all that they hold, stay what they are."""
    return all(map(_is_constant_itself, reachable(root)))


def _is_constant_itself(node: Node) -> bool:
    if isinstance(node, Scalar):
        return node.cls is not bytearray
    if isinstance(node, Items):
        return node.cls in {tuple, frozenset} and node.abstract is None
    if isinstance(node, Record):
        return _is_frozen(node)
    return isinstance(node, Choice | Enumeration | Fixed | Union | Unset)


def _is_frozen(node: Record) -> bool:
    cls: Any = node.cls
    if node.style == "attrs":
        return bool(getattr(getattr(cls, "__attrs_props__", None), "is_frozen", False))  # attrs 25.4 and later say so
    if node.style == "dataclass":
        return bool(cls.__dataclass_params__.frozen)
    if node.style == "struct":
        return bool(cls.__struct_config__.frozen)
    return node.style == "namedtuple"
