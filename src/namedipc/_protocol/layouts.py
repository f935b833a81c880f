"""The layout of mapped memory: which bytes mean what. Two sides compare theirs before either maps the other's.

The law: equal layouts have equal fingerprints whatever the classes are called, and unequal ones differ in a field that
can be named. What stands in a file may be anything: a description that cannot be read is a difference, never an
exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Final, TypeAlias

import attrs

from .._compatibility import Description, fingerprint
from .._errors import DeclarationError

Field: TypeAlias = tuple[str, int, str]
"""A field's name, where it begins in bytes, and its type in words (`lowlevel.StructureField`)."""

LARGEST_BYTES: Final = 1 << 62
"""Above any machine's memory, and within the numbers of every call that takes a size."""


@attrs.frozen
class Layout:
    """What the bytes of a mapped memory mean.

    Attributes:
        size_bytes: How many there are.
        fields: Every field, in the order of declaration.
    """

    size_bytes: int
    fields: tuple[Field, ...]

    @classmethod
    def of(cls, size_bytes: int, fields: Iterable[Field], *, where: str) -> Layout:
        """Return the layout, if there can be memory for it.

        Raises:
            DeclarationError: It has no bytes, or too many.
        """
        if not 0 < size_bytes <= LARGEST_BYTES:
            raise DeclarationError(f"{where}: has {size_bytes} bytes; between 1 and {LARGEST_BYTES} can be mapped")
        return cls(size_bytes, tuple(fields))

    @property
    def description(self) -> Description:
        """The layout as JSON can hold it."""
        return {"size": self.size_bytes, "layout": [list(field) for field in self.fields]}

    @property
    def fingerprint(self) -> bytes:
        """16 bytes which are equal for equal layouts."""
        return fingerprint(self.description)


def difference(mine: Mapping[str, object], theirs: Mapping[str, object]) -> str | None:
    """The first difference of two described layouts, as a sentence; None where they are the same.

    Returns:
        For example `y (float64 at byte 8) here, y (float32 at byte 8) there`.
    """
    try:
        for one, other in zip_longest(_shown(mine), _shown(theirs)):
            if one != other:
                return f"{one or 'nothing more'} here, {other or 'nothing more'} there"
    except (KeyError, TypeError, ValueError) as error:
        return f"the other side's description cannot be read ({type(error).__name__}: {error})"
    return None


def _shown(described: Mapping[str, object]) -> list[str]:
    fields = described["layout"]
    if not isinstance(fields, list):
        raise TypeError("'layout' is no list")
    return [
        *(f"{name} ({kind} at byte {offset})" for name, offset, kind in fields),
        f"the end at byte {described['size']}",
    ]
