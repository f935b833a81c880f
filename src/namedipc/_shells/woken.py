"""What a task is told that was woken, and has to look for itself: nothing.

The law: trio asks an outcome for what it holds, and one of its own can be asked once, and is made and checked anew for
each task; this one holds nothing, so all can have the same.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Final, TypeVar, final

import outcome

T = TypeVar("T")


@final
class _Woken(outcome.Outcome[None]):
    """To be given to `trio.lowlevel.reschedule`."""

    __slots__ = ()

    def unwrap(self) -> None:
        """Return nothing, as often as it is asked for."""

    def send(self, gen: Generator[T, None, object]) -> T:
        """Have a generator go on."""
        return next(gen)

    async def asend(self, agen: AsyncGenerator[T, None]) -> T:
        """Have an asynchronous generator go on."""
        return await anext(agen)


WOKEN: Final = _Woken()
