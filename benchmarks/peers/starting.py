"""What an import is compared with: the two libraries that namedipc cannot do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..sides import Pair, Place, Run, Works
from .ours import imported, repeated


@contextmanager
def importing(_: Place) -> Iterator[Run]:
    """`import msgspec, attrs`."""
    yield repeated(lambda: imported("import msgspec, attrs"))


WORKS: Final[Works] = {"import": Pair(None, importing)}
