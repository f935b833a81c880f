"""A watch of a region or a mapped memory, in ordinary blocking code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar, final

from .._errors import Busy
from .bell import Listener
from .region_file import RegionFile
from .waiting import Clock, carry_out
from .watching import Superseded, waiting

T_co = TypeVar("T_co", covariant=True)


@final
class BlockingWatch(Iterator[T_co]):
    """Gives what there is now, and then the latest after each change."""

    def __init__(self, file: RegionFile, look: Callable[[int], tuple[int, T_co] | None]) -> None:
        """Begin to watch.

        Args:
            file: What is watched.
            look: Returns the latest version and what to give for it, if it is newer than this one.
        """
        self._file = file
        self._look = look
        self._version = 0
        self._in_use = Lock()
        self._listener: Listener | None = file.listen()  # before the first look, as the protocol wants it

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        if not self._in_use.acquire(blocking=False):
            raise Busy(f"{self._file.path}: another thread waits in this watch; give each its own")
        try:
            if self._listener is None:
                raise StopIteration
            plan = waiting(self._file, self._listener, lambda: self._look(self._version))
            self._version, found = carry_out(plan, Clock(None), "")
            return found
        except Superseded:
            self.close()
            raise StopIteration from None
        finally:
            self._release()

    def close(self) -> None:
        """Stop watching; a thread that waits in it gets `Closed`. Safe to repeat; dropping it does so too."""
        if self._listener is not None:
            self._listener.stop()
        if self._in_use.acquire(blocking=False):
            self._release()

    def _release(self) -> None:
        listener = self._listener
        if listener is not None and listener.is_stopped:
            self._listener = None
            listener.close()
        self._in_use.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()
