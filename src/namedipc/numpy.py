"""SharedArray: a name for memory which is a numpy array. Not in the facade, so that `import namedipc` needs no numpy.

from namedipc.numpy import SharedArray

FRAME = SharedArray("frame", np.uint8, (480, 640, 3))
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Sequence
from typing import Generic, SupportsIndex, TypeVar, final

import numpy as np
import numpy.typing as npt

from . import lowlevel
from ._errors import DeclarationError
from ._mapped import MappedName
from ._protocol.layouts import Field, Layout
from ._values import StrPath

__all__ = ["SharedArray"]

Scalar = TypeVar("Scalar", bound=np.generic)


@final
class SharedArray(MappedName[npt.NDArray[Scalar]], Generic[Scalar]):
    """The memory itself, as a numpy array: a view of the mapping, without a copy.

    Row-major, as C has it; zeros at first. Otherwise as `SharedStruct`: a lock, a `watch`, and `OwnerDied` after a
    holder that was killed in the middle of a change.

    Permission to write is full trust: whoever has it can end this process by cutting the file short
    (`docs/shared-memory.md`).
    """

    __slots__ = ("_dtype", "_shape")

    _dtype: np.dtype[Scalar]
    _shape: tuple[int, ...]

    def __init__(
        self, path: StrPath, dtype: type[Scalar] | np.dtype[Scalar], shape: SupportsIndex | Sequence[SupportsIndex]
    ) -> None:
        """Declare an array; nothing is opened, and nothing has to be there.

        Args:
            path: A filesystem path; in `/dev/shm` or `runtime_path()` it costs no disk.
            dtype: Of a fixed size, the same in every process: a number type, or a structured dtype of such.
            shape: The items along each axis, 1 or more; fixed, until another array replaces this one.

        Raises:
            DeclarationError: The path cannot be a name, the items are objects or have no fixed size, or there are none.
        """
        where = f"SharedArray({os.fspath(path)!r})"
        try:
            kind = np.dtype(dtype)
            axes = tuple(map(operator.index, shape)) if isinstance(shape, Sequence) else (operator.index(shape),)
        except TypeError as error:
            raise DeclarationError(f"{where}: {error}") from error
        if kind.hasobject or kind.itemsize == 0:
            raise DeclarationError(
                f"{where}: items of {kind} have no fixed size in memory; use numbers, or 'U10' and so on"
            )
        if any(axis <= 0 for axis in axes):
            raise DeclarationError(f"{where}: shape={axes}: 1 or more along each axis")

        def view(mapping: lowlevel.Mapping) -> npt.NDArray[Scalar]:
            return np.ndarray(axes, kind, buffer=mapping)

        layout = Layout.of(kind.itemsize * math.prod(axes), _fields(kind, axes, "array", 0), where=where)
        super().__init__(path, layout, view)
        object.__setattr__(self, "_dtype", kind)
        object.__setattr__(self, "_shape", axes)

    def _arguments(self) -> tuple[object, ...]:
        return self._dtype, self._shape


def _fields(kind: np.dtype[Scalar], axes: tuple[int, ...], name: str, start: int) -> Iterator[Field]:
    """The array as one field, and those of its items if they have some; in the words of `lowlevel.StructureField`."""
    item, inner = kind.subdtype or (kind, ())
    axes = (*axes, *inner)
    counts = "".join(f"[{axis}]" for axis in axes)
    if item.fields is None:
        yield name, start, _word(item) + counts
        return
    yield name, start, f"{item.itemsize} bytes{counts}"
    for field in item.names or ():
        within, offset = item.fields[field][:2]
        yield from _fields(within, (), f"{name}[].{field}" if axes else f"{name}.{field}", start + offset)


def _word(item: np.dtype[np.generic]) -> str:
    """An item's type, the same for the same bytes; text and time by numpy's own code."""
    if item.kind not in "biufc":
        return item.str
    return item.newbyteorder("=").name + ("" if item.isnative else " be" if item.byteorder == ">" else " le")
