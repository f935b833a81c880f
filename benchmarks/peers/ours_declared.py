"""namedipc, imported and used for a first declaration, which loads what the import has left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..sides import Pair, Place, Run, Works
from .ours import imported, repeated

DECLARING: Final = """
from namedipc import Service
from typing import Protocol
class Bell(Protocol):
    async def ring(self, times: int) -> int: ...
Service("bell", Bell)
"""


@contextmanager
def declaring(_: Place) -> Iterator[Run]:
    """What a program has paid before it serves or connects."""
    yield repeated(lambda: imported(DECLARING))


WORKS: Final[Works] = {"import": Pair(None, declaring)}
