"""Lines through a FIFO: what is to be taken of what lies there, and which lines that gives. Bytes only.

A line of at most 4096 bytes (PIPE_BUF), newline included, that is one write, lies in the FIFO whole and unmixed, or
not at all. Other programs may write longer lines, lines in pieces, and ends without a newline.

The law: never more is taken than the lines that are asked for, so that the others stay for other readers; what comes
out is a line as it was written, or a word of what it was instead; and whatever arrives, memory stays bounded.
"""

from __future__ import annotations

import re
from collections import deque
from enum import Enum
from itertools import islice
from typing import Final, TypeAlias, final

from .._errors import TooLarge
from .._framing import NEWLINE
from .fragments import LARGEST_MESSAGE_BYTES, MAGIC, PACKET_BYTES, OtherType, may_go_on, packet_at
from .lines import LineReader

LINE_BYTES: Final = PACKET_BYTES - len(NEWLINE)

_ANY: Final = re.compile(rb"[^\n]*\n")
_NOT_BLANK: Final = re.compile(rb"[^ \t\r\n][^\n]*\n")


class Unfit(Enum):
    """Why what came is no line."""

    TOO_LONG = f"a line of more than {LARGEST_MESSAGE_BYTES} bytes has come; it was dropped"
    CUT = "the last writer has left in the middle of a line, or without its newline; it was dropped"


Event: TypeAlias = bytes | OtherType | Unfit
"""A whole line, notice of a message in frames, or of what is no line."""


def one_write(line: bytes) -> deque[bytes]:
    """Return what a line is written by: itself and its newline, at one go.

    Raises:
        TooLarge: The kernel would not keep it together.
    """
    if len(line) > LINE_BYTES:
        raise TooLarge(
            f"a line of {len(line)} bytes: {LINE_BYTES} at most, so that those of several writers do not mix; "
            "declare framing='frames' for longer messages"
        )
    return deque((line + NEWLINE,))


@final
class LineAssembler:
    """Makes lines of what is read from a FIFO. Never raises for what arrives.

    Args:
        skips_blank: Whether blank lines are no messages.

    Attributes:
        dropped: How many lines were given up: too long, or cut.
    """

    __slots__ = ("_is_dropping", "_lines", "_pattern", "dropped")

    def __init__(self, *, skips_blank: bool) -> None:
        self._pattern: Final = _NOT_BLANK if skips_blank else _ANY
        self._lines = LineReader(skips_blank=skips_blank)
        self._is_dropping = False
        self.dropped: int = 0

    @property
    def has_begun(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._is_dropping or self._lines.begun_bytes > 0

    def extent(self, seen: bytes, most: int) -> int:
        """Return how many of the bytes at the front of the FIFO are to be taken: 1 at least.

        Args:
            seen: The front of the FIFO.
            most: How many lines are wanted. If there is none, what there is of one is to be taken.
        """
        start, length = _first_packet(seen)
        if start == 0 and length:
            return length
        return self._end_of_lines(seen, start, most) or start or len(seen)

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read: what `extent` has said, or less."""
        events: list[Event] = []
        packet = packet_at(data, 0)
        if packet is not None:
            if packet.index == 0:  # said once a message
                events.append(OtherType(packet.fingerprint, packet.writer))
            data = data[packet.packet_bytes :]
        if self._is_dropping:
            _, newline, data = data.partition(NEWLINE)
            if not newline:
                return events
            self._is_dropping = False
            events.append(Unfit.TOO_LONG)
        self._lines.feed(data)
        while (line := self._lines.next_line()) is not None:
            events.append(line if len(line) <= LARGEST_MESSAGE_BYTES else self._give_up(Unfit.TOO_LONG))
        if self._lines.begun_bytes > LARGEST_MESSAGE_BYTES:
            self._give_up(Unfit.TOO_LONG)
            self._lines.forget()
            self._is_dropping = True
        return events

    def end(self) -> Unfit | None:
        """Take the end of the last writer; what was left in the middle, if anything was."""
        if not self.has_begun:
            return None
        self._is_dropping = False
        self._lines.forget()
        return self._give_up(Unfit.CUT)

    def _give_up(self, why: Unfit) -> Unfit:
        self.dropped += 1
        return why

    def _end_of_lines(self, seen: bytes, stop: int, most: int) -> int:
        """Return where the last of the wanted lines ends before `stop`; 0 where none does."""
        end = seen.rfind(NEWLINE, 0, stop) + 1
        wanted = list(islice(self._pattern.finditer(seen, 0, end), most))
        return wanted[-1].end() if len(wanted) == most else end


def _first_packet(seen: bytes) -> tuple[int, int]:
    """Return where the first packet of a message in frames lies, and its length.

    The length is 0 where no packet is seen whole: then one may begin at the place, which is the end as a rule.
    """
    start = seen.find(MAGIC)
    while start >= 0:
        packet = packet_at(seen, start)
        if packet is not None:
            return start, packet.packet_bytes
        if start and may_go_on(seen, start):
            return start, 0  # the next look begins there
        start = seen.find(MAGIC, start + 1)
    cut = next((size for size in (3, 2, 1) if seen.endswith(MAGIC[:size])), 0)
    return len(seen) - cut, 0
