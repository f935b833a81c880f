"""A mapped memory that is open, in ordinary blocking code.

The law: nothing waits but for the lock, and then for as long as `timeout` says.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar, final

from . import lowlevel
from ._shells.blocking_lock import locked
from ._shells.blocking_watch import BlockingWatch
from ._shells.connecting import Pause
from ._shells.mapped_file import MappedFile
from ._shells.region_file import RegionFile
from ._shells.waiting import Clock, carry_out

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


@final
class BlockingMemory(Generic[C_co]):
    """A mapped memory, open. Several threads may use it."""

    def __init__(self, memory: MappedFile[C_co]) -> None:
        self._memory = memory

    def __repr__(self) -> str:
        return f"<BlockingMemory of {self._memory.file.path!r}>"

    @property
    def content(self) -> C_co:
        """The memory itself: each store is seen by every process at once, each load sees theirs.

        Without the lock, only what the processor reads or writes in one step is whole: an aligned number of up to 8
        bytes. The object, and whatever points into it, may be used for as long as it is kept, also after `close`; the
        memory stays mapped so long.

        Raises:
            Closed: The memory was closed here, or opened before a fork.
        """
        return self._memory.content

    def lock(self, *, timeout: float | None = None) -> AbstractContextManager[C_co]:
        """Hold the lock alone, to change the content: `with memory.lock() as content: content.n += 1`.

        A clean exit is one change: it raises the version and wakes whoever watches. If the body raises, what it has
        stored stays, and the content counts as half changed, as if this process had been killed there.

        Args:
            timeout: How long to wait for the lock, in seconds; None: no limit.

        Returns:
            A context manager, which gives the content.

        Raises:
            OwnerDied: The last change did not come to its end: its maker was killed, or its body raised. See `recover`.
            TimedOut: Others have held the lock for that long.
            Busy: This thread holds the lock already, be it through another handle.
            ProtocolError: Somebody has cut the file short.
            Closed: The memory was closed.
        """
        return self._alone(timeout, self._memory.changing)

    def lock_shared(self, *, timeout: float | None = None) -> AbstractContextManager[C_co]:
        """Hold the lock together with others who share it, to read the content while nobody changes it.

        Args:
            timeout: How long to wait for the lock, in seconds; None: no limit.

        Returns:
            A context manager, which gives the content; not to be changed.

        Raises:
            OwnerDied, TimedOut, Busy, ProtocolError, Closed: As `lock`.
        """
        return self._shared(timeout)

    def recover(self, *, timeout: float | None = None) -> AbstractContextManager[C_co]:
        """Hold the lock alone, as `lock`, also where the content may be half changed; a clean exit says it is sound.

        Args:
            timeout: How long to wait for the lock, in seconds; None: no limit.

        Returns:
            A context manager, which gives the content, to be mended or set anew.

        Raises:
            TimedOut, Busy, ProtocolError, Closed: As `lock`.
        """
        return self._alone(timeout, self._memory.recovering)

    def watch(self) -> Iterator[int]:
        """Iterate over the version now, and then the latest after each change.

        Versions in between may be skipped, the last one never is. It ends when the memory has been replaced under its
        name, whose successor `open` gives. Waits without a limit; what is returned may be left at any time, and a
        `close` of the memory from another thread ends the wait with `Closed`.

        Returns:
            An iterator, also a context manager.
        """
        return BlockingWatch(self._memory.file, self._memory.newer)

    @property
    def version(self) -> int:
        """The number of changes that were made under the lock, and 1 for the making of the memory."""
        return self._memory.file.version()

    @property
    def is_current(self) -> bool:
        """Whether the name still stands for this memory: no more once it was replaced or removed."""
        return self._memory.file.has_name()

    def close(self) -> None:
        """Close the memory, as leaving `with` does. Whoever watches it here gets `Closed`. Safe to repeat."""
        self._memory.close()

    @contextmanager
    def _alone(self, timeout: float | None, use: Callable[[], AbstractContextManager[C]]) -> Iterator[C]:
        with locked(self._memory.file.lock, timeout), use() as content:
            yield content

    @contextmanager
    def _shared(self, timeout: float | None) -> Iterator[C_co]:
        with locked(self._memory.file.lock, timeout, exclusive=False), self._memory.reading() as content:
            yield content


@contextmanager
def opened(
    plan: Generator[Pause, None, RegionFile], view: Callable[[lowlevel.Mapping], C]
) -> Iterator[BlockingMemory[C]]:
    """Open a memory as planned, give it out, and close it at the end."""
    memory = MappedFile(carry_out(plan, Clock(None), ""), view)
    try:
        yield BlockingMemory(memory)
    finally:
        memory.close()
