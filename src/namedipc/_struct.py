"""SharedStruct: a name for memory which is laid out as a C structure."""

from __future__ import annotations

import os
from typing import Generic, TypeVar, final

import attrs

from . import lowlevel
from ._errors import DeclarationError
from ._mapped import MappedName
from ._protocol.layouts import Layout
from ._values import StrPath

S = TypeVar("S", bound=lowlevel.Structure)


@final
class SharedStruct(MappedName[S], Generic[S]):
    """The memory itself, laid out as a `ctypes.Structure` that a C program maps too.

    Whoever opens it has the same bytes in its address space: an attribute is read from there and stored there. The
    lock excludes all others, and is free at once when its holder is killed; what that one had begun to change is
    reported to the next (`OwnerDied`).

    Permission to write is full trust: whoever has it can end this process by cutting the file short
    (`docs/shared-memory.md`).
    """

    __slots__ = ("_layout",)

    _layout: type[S]

    def __init__(self, path: StrPath, layout: type[S]) -> None:
        """Declare a memory; nothing is opened, and nothing has to be there.

        Args:
            path: A filesystem path; in `/dev/shm` or `runtime_path()` it costs no disk.
            layout: The structure. Two are the same if their fields are: name, place and C type of each.

        Raises:
            DeclarationError: The path cannot be a name, or a field is a pointer or an object.
        """
        where = f"SharedStruct({os.fspath(path)!r})"
        if not _is_structure(layout):
            raise DeclarationError(f"{where}: needs a subclass of ctypes.Structure, not {layout!r}")
        try:
            size_bytes, fields = lowlevel.structure_size(layout), lowlevel.structure_fields(layout)
        except TypeError as error:
            raise DeclarationError(f"{where}: {layout.__name__}: {error}") from error
        super().__init__(path, Layout.of(size_bytes, map(attrs.astuple, fields), where=where), layout.from_buffer)
        object.__setattr__(self, "_layout", layout)

    def _arguments(self) -> tuple[object, ...]:
        return (self._layout,)


def _is_structure(layout: object) -> bool:
    return isinstance(layout, type) and issubclass(layout, lowlevel.Structure)
