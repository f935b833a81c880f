"""A mapped memory that is open, in trio.

The law: nothing waits but for the lock and for a change; every async function is a checkpoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Final, Generic, TypeVar, final

import trio

from . import lowlevel
from ._shells.connecting import Pause
from ._shells.mapped_file import MappedFile
from ._shells.region_file import RegionFile
from ._shells.trio_lock import Line
from ._shells.trio_waiting import carry_out
from ._shells.trio_watch import Watch

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


@final
class Memory(Generic[C_co]):
    """A mapped memory, open. Several tasks may use it."""

    def __init__(self, memory: MappedFile[C_co]) -> None:
        self._memory = memory
        self._line: Final = Line(memory.file)

    def __repr__(self) -> str:
        return f"<Memory of {self._memory.file.path!r}>"

    @property
    def content(self) -> C_co:
        """The memory itself: each store is seen by every process at once, each load sees theirs.

        Without the lock, only what the processor reads or writes in one step is whole: an aligned number of up to 8
        bytes. The object, and whatever points into it, may be used for as long as it is kept, also after `aclose`; the
        memory stays mapped so long.

        Raises:
            Closed: The memory was closed here, or opened before a fork.
        """
        return self._memory.content

    def lock(self) -> AbstractAsyncContextManager[C_co]:
        """Hold the lock alone, to change the content: `async with memory.lock() as content: content.n += 1`.

        A clean exit is one change: it raises the version and wakes whoever watches. If the body raises, what it has
        stored stays, and the content counts as half changed, as if this process had been killed there. The body may
        await; everybody else waits meanwhile, in every process.

        Returns:
            A context manager, which gives the content.

        Raises:
            OwnerDied: The last change did not come to its end: its maker was killed, or its body raised. See `recover`.
            Busy: This task holds the lock already, be it through another handle.
            ProtocolError: Somebody has cut the file short.
            Closed: The memory was closed.

        Cancellation: While it waits, it leaves nothing behind. In the body it is an exception like any other: await
            nothing between the first store and the last, or shield it.
        """
        return self._alone(self._memory.changing)

    def lock_shared(self) -> AbstractAsyncContextManager[C_co]:
        """Hold the lock together with others who share it, to read the content while nobody changes it.

        Returns:
            A context manager, which gives the content; not to be changed.

        Raises:
            OwnerDied, Busy, ProtocolError, Closed: As `lock`.

        Cancellation: Leaves nothing behind.
        """
        return self._shared()

    def recover(self) -> AbstractAsyncContextManager[C_co]:
        """Hold the lock alone, as `lock`, also where the content may be half changed; a clean exit says it is sound.

        Returns:
            A context manager, which gives the content, to be mended or set anew.

        Raises:
            Busy, ProtocolError, Closed: As `lock`.

        Cancellation: As `lock`.
        """
        return self._alone(self._memory.recovering)

    def watch(self) -> AsyncIterator[int]:
        """Iterate over the version now, and then the latest after each change.

        Versions in between may be skipped, the last one never is. It ends when the memory has been replaced under its
        name, whose successor `open` gives; `async for` may be left at any time, without `aclosing`.

        Cancellation: No version is lost: the next step gives the latest one that was not given yet.

        Raises:
            Closed: The memory was closed, be it while this waits.
        """
        return Watch(self._memory.file, self._memory.newer)

    @property
    def version(self) -> int:
        """The number of changes that were made under the lock, and 1 for the making of the memory."""
        return self._memory.file.version()

    @property
    def is_current(self) -> bool:
        """Whether the name still stands for this memory: no more once it was replaced or removed."""
        return self._memory.file.has_name()

    async def aclose(self) -> None:
        """Close the memory, as leaving `async with` does; whoever watches it here gets `Closed`. Safe to repeat.

        Cancellation: It is closed all the same.
        """
        self._memory.close()
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def _alone(self, use: Callable[[], AbstractContextManager[C]]) -> AsyncIterator[C]:
        async with self._line.alone():
            with use() as content:
                yield content

    @asynccontextmanager
    async def _shared(self) -> AsyncIterator[C_co]:
        async with self._line.shared():
            with self._memory.reading() as content:
                yield content


@asynccontextmanager
async def opened(
    plan: Generator[Pause, None, RegionFile], view: Callable[[lowlevel.Mapping], C]
) -> AsyncIterator[Memory[C]]:
    """Open a memory as planned, give it out, and close it at the end."""
    memory = MappedFile(await carry_out(plan), view)
    try:
        yield Memory(memory)
    finally:
        memory.close()
