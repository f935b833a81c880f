"""A region that is open, in trio.

The law: to read never waits and is no checkpoint; every async function is one. Whatever is cancelled has
either written a whole value, and then returns, or nothing at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, TypeVar, final

import trio

from ._codec import Codec
from ._region_blocking import Draft
from ._shells import trio_errors
from ._shells.connecting import Pause
from ._shells.region_file import RegionFile
from ._shells.shared_file import World
from ._shells.trio_lock import Line
from ._shells.trio_waiting import carry_out
from ._shells.trio_watch import Watch
from ._shells.watching import REPLACED, Superseded, waiting

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


TRIO: Final = World(closed=trio_errors.Closed, busy=trio_errors.Busy)


class RegionView(Generic[T_co]):
    """A region, open to read. Several tasks may use it."""

    def __init__(self, file: RegionFile, codec: Codec[T_co]) -> None:
        self._file = file
        self._codec = codec

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._file.path!r}>"

    def read(self) -> T_co:
        """Return the latest value, whole. Never waits, takes no lock, and keeps no writer from writing.

        Returns:
            A value of the caller's own.

        Raises:
            Closed: The region was closed here.
            ProtocolError: Somebody has cut the file short, or damaged it.
            InvalidMessage: Somebody has written a value which does not fit the type.
        """
        return self._codec.decode(self._file.read()[1])

    def watch(self) -> AsyncIterator[T_co]:
        """Iterate over the value now, and then the latest after each change.

        Values in between may be skipped, the last one never is. It ends when the region has been replaced under its
        name, whose successor `open` and `view` give; `async for` may be left at any time, without `aclosing`.

        Cancellation: No value is lost: the next step gives the latest one that was not given yet.

        Raises:
            Closed: The region was closed, be it while this waits.
        """
        return Watch(self._file, self._newer)

    def _newer(self, version: int) -> tuple[int, T_co] | None:
        found = self._file.read_newer(version)
        return found and (found[0], self._codec.decode(found[1]))

    async def wait_newer(self, version: int, /) -> T_co:
        """Return the latest value as soon as there is one that is newer than a version.

        Args:
            version: As `version` or `write` gave it; 0 is older than every value.

        Raises:
            EndOfChannel: There is none, and the region has been replaced under its name, be it meanwhile.
            Closed: The region was closed, be it meanwhile.

        Cancellation: Leaves nothing behind.
        """
        listener = self._file.listen()
        try:
            return (await carry_out(waiting(self._file, listener, lambda: self._newer(version))))[1]
        except Superseded:
            raise trio_errors.EndOfChannel(f"{self._file.path}: {REPLACED}") from None
        finally:
            listener.close()

    @property
    def version(self) -> int:
        """The number of the latest value: 1 for the first one, and 1 more for each that is written."""
        return self._file.version()

    @property
    def is_current(self) -> bool:
        """Whether the name still stands for this region: no more once it was replaced or removed."""
        return self._file.has_name()

    async def aclose(self) -> None:
        """Close the region, as leaving `async with` does; whoever waits for it here gets `Closed`. Safe to repeat.

        Cancellation: It is closed all the same.
        """
        self._file.close()
        await trio.lowlevel.checkpoint()


@final
class Region(RegionView[T]):
    """A region, open to read and to write. Several tasks may use it."""

    def __init__(self, file: RegionFile, codec: Codec[T]) -> None:
        super().__init__(file, codec)
        self._line: Final = Line(file)

    async def write(self, value: T, /) -> int:
        """Make a value the latest.

        Args:
            value: Copied; a later change of the object changes nothing.

        Returns:
            Its version.

        Raises:
            InvalidMessage: It does not fit the type. As for the next, nothing has changed.
            TooLarge: Encoded, it is larger than the region's `capacity_bytes`.
            Busy: This task holds the lock already: it is inside `editing`.
            Closed: The region was closed.

        Cancellation: Nothing has been written, and nobody's lock is held.
        """
        payload = self._codec.encode(value)
        self._file.refuse_larger(payload)
        async with self._line.alone():
            return self._file.publish(payload)

    async def update(self, change: Callable[[T], T], /) -> T:
        """Replace the value by what `change` makes of it, under the lock: nobody writes in between.

        Args:
            change: Gets the latest value and returns the next. If it raises, nothing is written.

        Returns:
            The value that was written.

        Raises:
            InvalidMessage: What `change` returned does not fit the type. As for the rest, nothing has
                changed.
            TooLarge: Encoded, it is larger than the region's `capacity_bytes`.
            Busy: This task holds the lock already: it is inside `editing`.
            Closed: The region was closed.

        Cancellation: `change` has not been called, and nobody's lock is held.
        """
        async with self._line.alone():
            value = change(self.read())
            self._file.publish(self._codec.encode(value))
            return value

    def editing(self) -> AbstractAsyncContextManager[Draft[T]]:
        """Hold the lock for several steps: `async with region.editing() as draft: draft.value = ...`.

        The body may await; every other writer waits meanwhile, in every process.

        Returns:
            A context manager. Readers see the old value until it is left; if its body raises, they go on to.

        Raises:
            Busy, InvalidMessage, TooLarge, Closed: As `update`.

        Cancellation: Nothing is written, and the lock is given back.
        """
        return self._editing()

    @asynccontextmanager
    async def _editing(self) -> AsyncIterator[Draft[T]]:
        async with self._line.alone():
            draft = Draft(self.read())
            yield draft
            self._file.publish(self._codec.encode(draft.value))


@asynccontextmanager
async def opened(plan: Generator[Pause, None, RegionFile], codec: Codec[T]) -> AsyncIterator[Region[T]]:
    """Open a region as planned, give it out, and close it at the end."""
    file = await carry_out(plan)
    try:
        yield Region(file, codec)
    finally:
        file.close()


@asynccontextmanager
async def viewed(plan: Generator[Pause, None, RegionFile], codec: Codec[T]) -> AsyncIterator[RegionView[T]]:
    """Open a region to read as planned, give it out, and close it at the end."""
    file = await carry_out(plan)
    try:
        yield RegionView(file, codec)
    finally:
        file.close()
