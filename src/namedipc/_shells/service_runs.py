"""Calls that came together in one frame, as far as they have not begun: which is the next, and what it has to say.

The law: nothing here runs a handler. The service takes them one by one, as if each had come in a frame of its own; but
where nothing speaks against it their arguments have been decoded together.
"""

from __future__ import annotations

from time import perf_counter

from .._arguments import ArgumentsCodec
from .._batches import array_count, split
from .._errors import InvalidMessage, ProtocolError
from .._protocol.calls import LARGEST_ID
from .._protocol.frames import CALL, Frame


class Run:
    """Calls of one method, with consecutive ids.

    Args:
        frame: The CALLS.
        arguments: The rest of its body, behind what the flags say.
        deadline: Of each call.
        headers: Of each call.
        most: How many calls there may be.

    Attributes:
        index: Of the method.
        first: The id of the first call.
        count: How many calls there are.
        at: How many of them have begun.
        deadline: Of each.
        headers: Of each.
        rows: The arguments of each, if they were decoded together; else nothing.
        decoding_seconds: How long that took for each.
    """

    __slots__ = (
        "_arguments",
        "_bodies",
        "_frame",
        "at",
        "count",
        "deadline",
        "decoding_seconds",
        "first",
        "headers",
        "index",
        "rows",
    )

    def __init__(
        self, frame: Frame, arguments: bytes, deadline: float | None, headers: dict[str, str], *, most: int
    ) -> None:
        _kind, _flags, index, first, _body = frame
        count = array_count(arguments)
        if not 0 < count <= most:
            raise ProtocolError(f"{count} calls came together; there may be 1 to {most}")
        if first == 0 or first + count - 1 > LARGEST_ID:
            raise ProtocolError(f"{count} calls came together, and the id of the first is {first}")
        self._frame = frame
        self._arguments = arguments
        self._bodies: list[bytes] | None = None
        self.index: int = index
        self.first: int = first
        self.count: int = count
        self.at: int = 0
        self.deadline: float | None = deadline
        self.headers: dict[str, str] = headers
        self.rows: list[tuple[object, ...]] = []
        self.decoding_seconds: float = 0.0

    @property
    def ids(self) -> range:
        """The ids of its calls."""
        return range(self.first, self.first + self.count)

    @property
    def is_over(self) -> bool:
        """Whether all of them have begun."""
        return self.at == self.count

    def decode(self, codec: ArgumentsCodec) -> None:
        """Decode the arguments of all calls, if they all fit."""
        began = perf_counter()
        try:
            self.rows = codec.in_batches().decode(self._arguments)
        except InvalidMessage:
            return  # each call that is at fault gets an error of its own; the others are run
        self.decoding_seconds = (perf_counter() - began) / self.count

    def next_frame(self) -> Frame:
        """Begin the next call: return it as a frame of its own."""
        _kind, flags, index, first, body = self._frame
        if self._bodies is None:
            self._bodies = self._split()
        at, self.at = self.at, self.at + 1
        return CALL, flags, index, first + at, body[: len(body) - len(self._arguments)] + self._bodies[at]

    def _split(self) -> list[bytes]:
        try:
            return split(self._arguments)
        except InvalidMessage:
            return [b""] * self.count  # not even the arguments of a method that takes none
