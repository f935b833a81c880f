"""Receiving lines from a FIFO, which has no packets then: look first, and take what was seen to be whole lines.

The law: what lies behind the lines that are returned stays in the FIFO, for whichever reader comes next.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeVar, final

from .. import lowlevel
from .._errors import EndOfChannel, InvalidMessage, IPCError, SchemaMismatch
from .._names._trouble import translating
from .._protocol.fifo_lines import Event, LineAssembler, Unfit
from .._protocol.fragments import PACKET_BYTES, OtherType
from .fifo_end import ReadingEnd
from .fifo_receiving import READ_BYTES, Receiver
from .in_child import forget_in_child

T_co = TypeVar("T_co", covariant=True)


@final
class LineReceiver(Receiver[T_co]):
    """Receives lines, of any program. See `Receiver`.

    A line that is there whole is taken whole. One that is not, which only other programs write, is taken as far as it
    goes, and the turn kept until it ends.
    """

    reads_at_once = 16

    def __init__(self, end: ReadingEnd, decode: Callable[[bytes], T_co], *, skips_blank: bool) -> None:
        """Take over an end, also if this raises.

        Raises:
            IPCError: No descriptor is left.
        """
        try:
            with translating(end.path, "open it for reading"):
                self._peephole: Final = Peephole()
        except BaseException:
            end.close()
            raise
        super().__init__(end, decode)
        self._skips_blank: Final = skips_blank
        self._lines: Final = LineAssembler(skips_blank=skips_blank)

    @property
    def dropped(self) -> int:
        """How many lines were given up, as `LineAssembler` counts them."""
        return self._lines.dropped

    @property
    def _has_begun(self) -> bool:
        return self._lines.has_begun

    def _read(self, most: int) -> bool:
        try:
            seen = self.end.read(min(most * PACKET_BYTES, READ_BYTES), self._peephole.look)
            # Programs that do not know of the turn may have taken what was seen: what is read counts.
            data = seen and self.end.read(self._extent(seen, most))
        except EndOfChannel:
            cut = self._lines.end()
            if cut is None:
                raise
            self._events.append(self._told(cut))
            return True
        if not data:
            return False
        self._events.extend(map(self._told, self._lines.feed(data)))
        return True

    def _extent(self, seen: bytes, most: int) -> int:
        """Say how much to take: what is behind a line that cannot be returned must not be lost with this reader."""
        extent = self._lines.extent(seen, most)
        if most == 1 or (not self._has_begun and self._are_sound(seen[:extent])):
            return extent
        return self._lines.extent(seen, 1)

    def _are_sound(self, seen: bytes) -> bool:
        try:
            for event in LineAssembler(skips_blank=self._skips_blank).feed(seen):
                self._value(self._told(event))
        except IPCError:
            return False
        return True

    def _told(self, event: Event) -> bytes | IPCError:
        if isinstance(event, Unfit):
            return InvalidMessage(f"{self.end.path}: {event.value}")
        if isinstance(event, OtherType):
            return SchemaMismatch(
                f"{self.end.path}: process {event.writer.pid} has sent a message in frames, which was dropped; "
                "declare the same framing in every process, or use another path"
            )
        return event

    def _let_go(self) -> None:
        super()._let_go()
        self._peephole.close()


@final
class Peephole:
    """A pipe into which the kernel repeats what lies in a FIFO, so that it can be read and yet stays there."""

    def __init__(self) -> None:
        self._from_fd, self._to_fd = lowlevel.pipe()
        lowlevel.set_blocking(self._from_fd, False)
        self._is_clean = True
        forget_in_child(self)

    def look(self, fd: int, max_bytes: int) -> bytes:
        """Return what `os.read` of a FIFO would, and leave it there.

        Raises:
            BlockingIOError: Nothing is there.
        """
        if not self._is_clean:
            self._clean()
        self._is_clean = False  # until all is read: a signal handler may raise in between
        try:
            count = lowlevel.tee(fd, self._to_fd, max_bytes)
        except BlockingIOError:
            self._is_clean = True
            raise
        seen = os.read(self._from_fd, count)
        while len(seen) < count:  # a read ends with a packet of a writer in packet mode
            seen += os.read(self._from_fd, count - len(seen))
        self._is_clean = True
        return seen

    def close(self) -> None:
        """Let go of the pipe. Safe to repeat."""
        for fd in (self._from_fd, self._to_fd):
            if fd >= 0:
                os.close(fd)
        self._from_fd = self._to_fd = -1

    def forget(self) -> None:
        """Close the copies of a forked child."""
        self.close()

    def _clean(self) -> None:
        try:
            while os.read(self._from_fd, READ_BYTES):
                pass
        except BlockingIOError:
            self._is_clean = True
