"""A watch of a region or a mapped memory, in trio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Self, TypeVar, final

import trio

from . import trio_errors
from .bell import Listener
from .region_file import RegionFile
from .trio_waiting import carry_out
from .watching import Superseded, waiting

T_co = TypeVar("T_co", covariant=True)


@final
class Watch(AsyncIterator[T_co]):
    """Gives what there is now, and then the latest after each change.

    No async generator, so that one which is dropped lets go at once, by itself.
    """

    def __init__(self, file: RegionFile, look: Callable[[int], tuple[int, T_co] | None]) -> None:
        """Begin to watch.

        Args:
            file: What is watched.
            look: Returns the latest version and what to give for it, if it is newer than this one.
        """
        self._file = file
        self._look = look
        self._version = 0
        self._in_use = False
        self._listener: Listener | None = file.listen()  # before the first look, as the protocol wants it

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        if self._in_use:
            raise trio_errors.Busy(f"{self._file.path}: another task waits in this watch; give each its own")
        listener = self._listener
        if listener is None:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        self._in_use = True
        try:
            plan = waiting(self._file, listener, lambda: self._look(self._version))
            self._version, found = await carry_out(plan)
            return found
        except Superseded:
            self._listener = None
            listener.stop()
            raise StopAsyncIteration from None
        finally:
            self._in_use = False
            if listener.is_stopped:
                listener.close()

    async def aclose(self) -> None:
        """Stop watching; a task that waits in it gets `Closed`. Safe to repeat; dropping it does so too.

        Cancellation: It is closed all the same.
        """
        listener, self._listener = self._listener, None
        if listener is not None and self._in_use:
            listener.stop()
        elif listener is not None:
            listener.close()
        await trio.lowlevel.checkpoint()
