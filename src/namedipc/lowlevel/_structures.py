"""How a C structure lies in memory, as ctypes declares it: what two programs which map it have to agree on.

Nothing is mapped here. A `Structure` is put over a mapping by its own `from_buffer`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import attrs

Structure: TypeAlias = ctypes.Structure
"""A C structure, as Python has it."""

_AGGREGATES: Final = (ctypes.Structure, ctypes.Union)
_SIGNED: Final = frozenset("bhilq")
_UNSIGNED: Final = frozenset("BHILQ")
_FLOATS: Final = frozenset("fdg")
_OTHERS: Final = {"?": "bool", "c": "char", "u": "wchar"}


@attrs.frozen
class StructureField:
    """One field of a structure.

    Attributes:
        name: Its name; of a field of a structure within, `outer.inner`; of one within an array, `outer[].inner`.
        offset_bytes: Where it begins in the whole structure; in an array, where that of the first item does.
        kind: Its type, the same for the same C type under whatever name: `int64`, `float32[3]`, `uint8:3@5` for
            3 bits from bit 5 on, `24 bytes` for what has fields of its own.
    """

    name: str
    offset_bytes: int
    kind: str


def structure_size(layout: type[Structure]) -> int:
    """Tell how many bytes a structure has, its padding included.

    Raises:
        TypeError: It has no `_fields_`.
    """
    return ctypes.sizeof(layout)


def structure_fields(layout: type[Structure]) -> list[StructureField]:
    """Tell where each field of a structure lies, in the order of their declaration.

    Raises:
        TypeError: A field is a pointer or a Python object, which mean nothing to another process.
    """
    return list(_fields(layout, "", 0))


def _fields(aggregate: Any, prefix: str, start: int) -> Iterator[StructureField]:
    for cls in reversed(aggregate.__mro__):
        for name, kind, *bits in cls.__dict__.get("_fields_", ()):
            place = getattr(aggregate, name)
            path, offset = f"{prefix}{name}", start + place.offset
            yield StructureField(path, offset, _text(kind, path) + (_bits(place, bits[0]) if bits else ""))
            item, is_array = kind, False
            while issubclass(item, ctypes.Array):
                item, is_array = item._type_, True
            if issubclass(item, _AGGREGATES):
                yield from _fields(item, f"{path}[]." if is_array else f"{path}.", offset)


def _text(kind: Any, path: str) -> str:
    """A type in words which are the same for the same bytes."""
    counts = ""
    while issubclass(kind, ctypes.Array):
        kind, counts = kind._type_, f"{counts}[{kind._length_}]"
    size_bytes = ctypes.sizeof(kind)
    if issubclass(kind, _AGGREGATES):
        return f"{size_bytes} bytes{counts}"
    code = getattr(kind, "_type_", None)
    if code in _OTHERS:
        word = _OTHERS[code]
    elif isinstance(code, str) and code in _SIGNED | _UNSIGNED | _FLOATS:
        word = "float" if code in _FLOATS else "int" if code in _SIGNED else "uint"
        word += str(8 * size_bytes)
    else:
        raise TypeError(
            f"{path} is {kind.__name__}: an address, or an object of this process, means nothing in another one; "
            "use numbers, arrays and structures (an offset instead of a pointer)"
        )
    return word + _byte_order(kind, size_bytes) + counts


def _byte_order(kind: Any, size_bytes: int) -> str:
    """Nothing for this machine's own."""
    foreign = "__ctype_be__" if sys.byteorder == "little" else "__ctype_le__"
    is_foreign = size_bytes > 1 and getattr(kind, foreign, None) is kind
    return f" {foreign[8:10]}" if is_foreign else ""


def _bits(place: Any, width: int) -> str:
    # Before Python 3.14 the size of a bit field holds its first bit in the lower half.
    first = place.bit_offset if hasattr(place, "bit_offset") else place.size & 0xFFFF
    return f":{width}@{first}"
