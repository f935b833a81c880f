"""Calls that came together in one frame: which of them have begun, and what those that have ended are answered with.

The law: nothing here runs a handler. The service takes the calls one by one, as if each had come in a frame of its own;
but where nothing speaks against it their arguments are decoded together. A result is encoded before the next handler
begins, unless it can never change: of such small ones a few are gathered, and never many, so that none can heap up.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final

from .._arguments import ArgumentsCodec
from .._batches import LONGEST_START_BYTES, array_count, array_start, split
from .._codec import Codec
from .._errors import InvalidMessage, IPCError, ProtocolError
from .._protocol.calls import LARGEST_ID
from .._protocol.frames import CALL, Frame
from .._protocol.series import LONGEST_BYTES
from .._protocol.session import ServerSession

MOST_GATHERED: Final = 8
"""How many results wait to be encoded: to encode each between two handlers costs four times as much."""
SMALL_BYTES: Final = 1024
"""Results are gathered while those encoded last are no longer than this on the average; a first one is not."""


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


class Results:
    """What calls of a run have returned, until it is sent together.

    Args:
        session: Sends it.
        codec: Encodes it.
        answer: Answers a call, `id`, with its `result` by itself, or with what is wrong with that.

    Attributes:
        values: Results which have been gathered.
        most: How many may be.
    """

    __slots__ = ("_answer", "_batches", "_bodies", "_codec", "_count", "_session", "_size", "most", "values")

    def __init__(self, session: ServerSession, codec: Codec[object], answer: Callable[..., None]) -> None:
        self._session = session
        self._codec = codec
        self._batches = codec.in_batches()
        self._answer = answer
        self._bodies: list[bytes] = []
        self._count = 0
        self._size = 0
        self.values: list[object] = []
        self.most: int = 1

    def encode(self, last_id: int) -> None:
        """Encode what has been gathered; the last of it is of the call with this id."""
        values = self.values
        count = len(values)
        longest = self._session.their_message_bytes
        together = min(LONGEST_BYTES, longest - LONGEST_START_BYTES)
        body = self._encoded(values)
        if body is None or len(body) > (longest if count == 1 else together):
            self._send_encoded(last_id - count)
            for id_, value in enumerate(values, last_id + 1 - count):
                self._answer(id=id_, result=value)
        else:
            if self._size + len(body) > together:
                self._send_encoded(last_id - count)
            self._bodies.append(body)
            self._count += count
            self._size += len(body)
        is_small = body is not None and len(body) <= SMALL_BYTES * count
        self.most = MOST_GATHERED if is_small and self._batches.are_constant else 1
        values.clear()

    def _encoded(self, values: list[object]) -> bytes | None:
        """None if one of them cannot be sent."""
        try:
            if len(values) == 1:
                return self._codec.encode(values[0])
            return self._batches.encode(values)[len(array_start(len(values))) :]
        except IPCError:
            return None

    def send(self, last_id: int) -> None:
        """Send all there is; the last of it is of the call with this id."""
        if self.values:
            self.encode(last_id)
        self._send_encoded(last_id)

    def _send_encoded(self, last_id: int) -> None:
        if self._count:
            self._session.replies(last_id, self._count, b"".join(self._bodies))
            self._bodies.clear()
            self._count = self._size = 0
