"""A region that is open, in ordinary blocking code.

The law: to read never waits; to write waits for the lock only, and then for as long as `timeout` says.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar, final

from ._codec import Codec
from ._errors import EndOfChannel
from ._shells.blocking_lock import locked
from ._shells.blocking_watch import BlockingWatch
from ._shells.connecting import Pause
from ._shells.region_file import RegionFile
from ._shells.waiting import Clock, carry_out
from ._shells.watching import REPLACED, Superseded, waiting

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@final
class Draft(Generic[T]):
    """The value under the lock; what `value` holds at a clean exit is written, nothing if the body raises.

    Attributes:
        value: The latest value at first; to be changed, or replaced by another.
    """

    __slots__ = ("value",)

    value: T

    def __init__(self, value: T) -> None:
        self.value = value


class BlockingRegionView(Generic[T_co]):
    """A region, open to read. Several threads may use it."""

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
            Closed: The region was closed here, or opened before a fork.
            ProtocolError: Somebody has cut the file short, or damaged it.
            InvalidMessage: Somebody has written a value which does not fit the type.
        """
        return self._codec.decode(self._file.read()[1])

    def watch(self) -> Iterator[T_co]:
        """Iterate over the value now, and then the latest after each change.

        Values in between may be skipped, the last one never is. It ends when the region has been replaced under its
        name, whose successor `open` and `view` give. Waits without a limit; what is returned may be left at any time,
        and a `close` of the region from another thread ends the wait with `Closed`.

        Returns:
            An iterator, also a context manager.
        """
        return BlockingWatch(self._file, self._newer)

    def _newer(self, version: int) -> tuple[int, T_co] | None:
        found = self._file.read_newer(version)
        return found and (found[0], self._codec.decode(found[1]))

    def wait_newer(self, version: int, /, *, timeout: float | None = None) -> T_co:
        """Return the latest value as soon as there is one that is newer than a version.

        Args:
            version: As `version` or `write` gave it; 0 is older than every value.
            timeout: In seconds; None: no limit.

        Raises:
            TimedOut: The time has passed.
            EndOfChannel: There is none, and the region has been replaced under its name, be it meanwhile.
            Closed: The region was closed, be it meanwhile.
        """
        listener = self._file.listen()
        try:
            plan = waiting(self._file, listener, lambda: self._newer(version))
            return carry_out(plan, Clock(timeout), f"{self._file.path}: no newer value")[1]
        except Superseded:
            raise EndOfChannel(f"{self._file.path}: {REPLACED}") from None
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

    def close(self) -> None:
        """Close the region, as leaving `with` does. Whoever waits for it here gets `Closed`. Safe to repeat."""
        self._file.close()


@final
class BlockingRegion(BlockingRegionView[T]):
    """A region, open to read and to write. Several threads may use it."""

    def write(self, value: T, /, *, timeout: float | None = None) -> int:
        """Make a value the latest.

        Args:
            value: Copied; a later change of the object changes nothing.
            timeout: For the lock, in seconds; None: no limit.

        Returns:
            Its version.

        Raises:
            InvalidMessage: It does not fit the type. As for the next, nothing has changed.
            TooLarge: Encoded, it is larger than the region's `capacity_bytes`.
            TimedOut: Others have held the lock for that long.
            Busy: This thread holds the lock already: it is inside `update` or `editing`.
            Closed: The region was closed.
        """
        payload = self._codec.encode(value)
        self._file.refuse_larger(payload)
        with locked(self._file.lock, timeout):
            return self._file.publish(payload)

    def update(self, change: Callable[[T], T], /, *, timeout: float | None = None) -> T:
        """Replace the value by what `change` makes of it, under the lock: nobody writes in between.

        Args:
            change: Gets the latest value and returns the next. If it raises, nothing is written.
            timeout: For the lock, in seconds; None: no limit.

        Returns:
            The value that was written.

        Raises:
            InvalidMessage: What `change` returned does not fit the type. As for the rest, nothing has
                changed.
            TooLarge: Encoded, it is larger than the region's `capacity_bytes`.
            TimedOut: Others have held the lock for that long.
            Busy: This thread holds the lock already: `change` may not write to the region itself.
            Closed: The region was closed.
        """
        with locked(self._file.lock, timeout):
            value = change(self.read())
            self._file.publish(self._codec.encode(value))
            return value

    def editing(self, *, timeout: float | None = None) -> AbstractContextManager[Draft[T]]:
        """Hold the lock for several steps: `with region.editing() as draft: draft.value = ...`.

        Args:
            timeout: For the lock, in seconds; None: no limit.

        Returns:
            A context manager. Readers see the old value until it is left; if its body raises, they go on to.

        Raises:
            TimedOut, Busy, InvalidMessage, TooLarge, Closed: As `update`.
        """
        return self._editing(timeout)

    @contextmanager
    def _editing(self, timeout: float | None) -> Iterator[Draft[T]]:
        with locked(self._file.lock, timeout):
            draft = Draft(self.read())
            yield draft
            self._file.publish(self._codec.encode(draft.value))


@contextmanager
def opened(plan: Generator[Pause, None, RegionFile], codec: Codec[T]) -> Iterator[BlockingRegion[T]]:
    """Open a region as planned, give it out, and close it at the end."""
    file = carry_out(plan, Clock(None), "")
    try:
        yield BlockingRegion(file, codec)
    finally:
        file.close()


@contextmanager
def viewed(plan: Generator[Pause, None, RegionFile], codec: Codec[T]) -> Iterator[BlockingRegionView[T]]:
    """Open a region to read as planned, give it out, and close it at the end."""
    file = carry_out(plan, Clock(None), "")
    try:
        yield BlockingRegionView(file, codec)
    finally:
        file.close()
