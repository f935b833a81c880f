"""An annotation becomes a checked, resolved type; two descriptions become "compatible" or the first difference.

The law: nothing becomes Any. What cannot be carried is refused where it is declared, with what to write instead.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Mapping
from typing import TypeAlias

from ._errors import DeclarationError

Description: TypeAlias = dict[str, object]
"""A type as JSON can hold it: what the other side must know of it, and no module names."""


def resolve_message(
    annotation: object,
    *,
    frame_globals: Mapping[str, object] | None = None,
    frame_locals: Mapping[str, object] | None = None,
    where: str = "message",
) -> object:
    """Resolve what a name was declared with, or refuse it."""
    if isinstance(annotation, str):
        scope = {**(frame_globals or {}), **(frame_locals or {})}
        annotation = eval(annotation, scope)
    if annotation is typing.Any or annotation is object or annotation in {list, dict, set, tuple, frozenset}:
        raise DeclarationError(f"{where}: {annotation!r} says nothing about its content; write the type")
    return type(None) if annotation is None else annotation


def describe(tp: object) -> Description:
    """Describe a resolved type."""
    name = tp.__name__ if isinstance(tp, type) else repr(tp).replace("__main__.", "")
    return {"type": name}


def fingerprint(description: Mapping[str, object]) -> bytes:
    """16 bytes which are equal for equal descriptions."""
    text = json.dumps(description, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:16]


def difference(mine: Mapping[str, object], theirs: Mapping[str, object]) -> str | None:
    """The first incompatible difference, as a sentence; None where every value of one can be read by the other."""
    return None if mine == theirs else f"{mine} here, {theirs} there"
