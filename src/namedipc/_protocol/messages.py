"""A channel's connection without I/O: bytes in, messages out; messages in, bytes out. Both sides are alike.

Each side first says its hello and its SCHEMA, so that nobody has to be asked: where the fingerprints differ, the other
side's schema says whether the types are compatible. GOODBYE is the orderly end of a direction; an end without it is a
lost peer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, final

from .._batches import LONGEST_START_BYTES, array_count, join
from .._errors import IPCError, ProtocolError, SchemaMismatch, TooLarge, WrongKind
from .._faults import connection_error_of
from .attachments import Arrivals, open_parcel
from .frames import (
    BUFFER,
    ERROR,
    GOODBYE,
    HEADER,
    MESSAGE,
    MESSAGES,
    RELEASE,
    SCHEMA,
    Frame,
    FrameReader,
    pack_frame,
)
from .hello import CHANNEL, HELLO_BYTES, OPENING_BYTES, Hello, check_opening, unpack_hello
from .payloads import PayloadEnds, take_payload_frame

_OF_PAYLOADS: Final = frozenset({BUFFER, RELEASE})
_OF_MESSAGES: Final = frozenset({MESSAGE, MESSAGES})
LONGEST_SCHEMA_BYTES: Final = 1 << 20
MOST_KEPT_BYTES: Final = 64 << 10
"""How many bytes of messages are kept for a receiver who does not come, while the sender listens for what it needs."""

MOST_TOGETHER: Final = 1024
"""How many messages one frame has at most, so that what they become stays bounded."""
LONGEST_TOGETHER_BYTES: Final = 64 << 10
"""The longest frame of several messages that is made, whatever the other side accepts: none is held up for long."""


@final
class Batch(bytes):
    """What is received in a message's place where several have come in one frame: an array of them.

    It says that they are 1 to MOST_TOGETHER; whether they are there shows when it is decoded.
    """

    __slots__ = ()


class MessageSession:
    """The protocol of one connection of a channel.

    Args:
        where: How errors call the channel: its path.
        hello: What this side says of itself.
        schema: The description of the message type, as text.
        difference: Compares with the other side's text; the first difference, or None.
        carries_attachments: Whether anything may travel beside messages: then each that arrives is a `Parcel`.

    Attributes:
        arrivals: Descriptors that have come and wait for their message; None where messages carry none.
        payloads: The large payloads of the connection, from whoever has their memory.
        opening: What this side has to send before anything else: the hello and the schema.
        ended: The peer has said that it sends no more.
        their_message_bytes: The longest message the other side takes; this side's own until its hello is there.
        greeted: Its hello has been read.
        agreed: Its schema has been read, too, and fits.
        failure: Why nothing more can be received.
    """

    __slots__ = (
        "_difference",
        "_hello",
        "_kept",
        "_kept_bytes",
        "_reader",
        "_same",
        "agreed",
        "arrivals",
        "ended",
        "failure",
        "greeted",
        "opening",
        "payloads",
        "their_message_bytes",
        "where",
    )

    def __init__(
        self,
        where: str,
        hello: Hello,
        schema: bytes,
        difference: Callable[[bytes], str | None],
        *,
        carries_attachments: bool = False,
    ) -> None:
        self.where: Final = where
        self._hello: Final = hello
        self._difference: Final = difference
        self._reader = FrameReader(max(hello.message_bytes, LONGEST_SCHEMA_BYTES))
        self._same = False
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self.arrivals: Final = Arrivals() if carries_attachments else None
        self.payloads: PayloadEnds | None = None
        self.greeted: bool = False
        self.agreed: bool = False
        self.ended: bool = False
        self.failure: IPCError | None = None
        self.their_message_bytes: int = hello.message_bytes
        self.opening: Final = hello.pack() + pack_frame(SCHEMA, schema)

    @property
    def payload_bytes(self) -> int:
        """How many bytes of the other side's buffers this side has said that it maps."""
        return self._hello.payload_bytes

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self._reader.feed(data)

    def feed_end(self) -> None:
        """Take the end of the stream: it says nothing, the goodbye does."""

    def next_message(self) -> bytes | None:
        """Return the next whole message, or a `Batch`; None until more is fed, or at the end (`ended`).

        Raises:
            SchemaMismatch: The other side declares another type.
            WrongKind: The other side is no channel.
            ProtocolError: The other side does not speak the protocol.
            IPCError: What the other side has refused this connection with.
        """
        if self._kept:
            kept = self._kept.popleft()
            self._kept_bytes -= len(kept)
            return kept
        if self.failure is not None:
            self.check()
        try:
            message = self._next_message()
            if message is None and self.arrivals is not None:
                self.arrivals.settle(unfinished=self._reader.unfinished)
        except IPCError as error:
            raise self.fail(error) from error.__cause__
        return message

    def listen(self) -> None:
        """Take in what the other side says of payloads; messages are kept. A failure is met by whoever receives.

        Nothing is to be fed before it unless `may_listen`.
        """
        if self.failure is not None:
            return
        try:
            while (message := self._next_message()) is not None:
                self._kept.append(message)
                self._kept_bytes += len(message)
            if self.arrivals is not None:
                self.arrivals.settle(unfinished=self._reader.unfinished)
        except IPCError as error:
            self.fail(error)

    @property
    def may_listen(self) -> bool:
        """Whether more may be read for the sake of what the other side says of payloads."""
        return self._kept_bytes + self._reader.waiting_bytes < MOST_KEPT_BYTES

    def greet(self) -> None:
        """Read the hello, if it is there: from then on the other side's limit is known. A bad one is the failure."""
        if self.greeted or self.failure is not None:
            return
        try:
            self._take_hello()
        except IPCError as error:
            self.fail(error)

    def agree(self) -> bool:
        """Read the hello and the schema, if they are there; True once they have been found to fit. Takes no message.

        Raises:
            IPCError: As `next_message`.
        """
        self.check()
        try:
            if self.greeted or self._take_hello():
                while not self.agreed and (frame := self._reader.next_frame()) is not None:
                    self._take_other(frame)
        except IPCError as error:
            raise self.fail(error) from error.__cause__
        return self.agreed

    def check(self) -> None:
        """Raise the failure again, if there has been one."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    def fail(self, error: IPCError) -> IPCError:
        """Let nothing more be received, for this reason; return it."""
        if isinstance(error, ProtocolError | WrongKind) and not str(error).startswith(self.where):
            error = type(error)(f"{self.where}: {error}")  # frames and hello do not know the path
        self.failure = error
        if self.arrivals is not None:
            self.arrivals.close()
        return error

    def _next_message(self) -> bytes | None:
        if not self.greeted and not self._take_hello():
            return None
        while not self.ended:
            frame = self._reader.next_frame()
            if frame is None:
                return None
            if frame[0] == MESSAGE and self.agreed:
                return frame[4] if self.arrivals is None else self._opened(frame)[4]
            if frame[0] == MESSAGES and self.agreed and self.arrivals is None:
                return self._batch(frame[4])
            self._take_other(frame)
        self._take_releases()
        return None

    def _batch(self, body: bytes) -> Batch:
        count = array_count(body)
        if not 1 <= count <= MOST_TOGETHER:
            raise ProtocolError(
                f"{self.where}: a frame of several messages says that they are {count or 'none'}; "
                f"1 to {MOST_TOGETHER} can be"
            )
        return Batch(body)

    def _take_releases(self) -> None:
        """Who sends no more still releases what it has received."""
        while self.payloads is not None and (frame := self._reader.next_frame()) is not None:
            if frame[0] not in _OF_PAYLOADS:
                raise ProtocolError(f"{self.where}: the peer sent a frame of kind {frame[0]} after its goodbye")
            self._take_other(frame)

    def _opened(self, frame: Frame) -> Frame:
        windows = None if self.payloads is None else self.payloads.windows
        return open_parcel(frame, self.arrivals, windows)

    def too_large(self, message_bytes: int) -> TooLarge:
        """Return what says that a message of so many bytes is longer than the other side accepts."""
        return TooLarge(
            f"{self.where}: a message of {message_bytes} bytes; the other side accepts "
            f"{self.their_message_bytes}. Send less at once, or give both sides a larger Limits(message_bytes=...)"
        )

    @property
    def missing(self) -> int:
        """How many bytes have not come yet of a frame that is long and has begun; 0 for none."""
        return self._reader.missing

    @property
    def waiting_bytes(self) -> int:
        """How much has come which was not taken."""
        return self._reader.waiting_bytes

    @property
    def unfinished(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._reader.unfinished

    def loss(self) -> str:
        """Return how the connection was lost, for who reads the error."""
        return "in the middle of a message" if self.unfinished else "without a goodbye"

    def goodbye(self) -> bytes:
        """Return the frame which says that this side sends no more."""
        return pack_frame(GOODBYE)

    def fault(self, body: bytes) -> bytes:
        """Return the frame which tells the peer why this side ends the connection."""
        return pack_frame(ERROR, body)

    def refusal(self, body: bytes) -> bytes:
        """Return all that is said to a peer which is turned away; no schema, so that nobody takes it for agreement."""
        return self._hello.pack() + self.fault(body)

    def _take_hello(self) -> bool:
        data = self._reader.take(HELLO_BYTES)
        if data is None:
            check_opening(self._reader.peek(OPENING_BYTES))
            return False
        theirs = unpack_hello(data, role=CHANNEL)
        self.their_message_bytes = theirs.message_bytes
        self._same = theirs.fingerprint == self._hello.fingerprint
        self.greeted = True
        if self.payloads is not None:
            self.payloads.pool.greeted(theirs.payload_bytes)
        return True

    def _take_other(self, frame: Frame) -> None:
        kind, _flags, _method, _id, body = frame
        if self.payloads is not None and kind in _OF_PAYLOADS:
            take_payload_frame(self._opened(frame), self.payloads)
        elif kind == SCHEMA and not self.agreed:
            self._reader.limit_bytes = self._hello.message_bytes
            different = None if self._same else self._difference(body)
            if different is not None:
                raise SchemaMismatch(f"{self.where}: {different}")
            self.agreed = True
        elif kind == GOODBYE:
            self.ended = True
        elif kind == ERROR:
            raise connection_error_of(body, where=self.where)
        elif kind in _OF_MESSAGES and not self.agreed:
            raise ProtocolError(f"{self.where}: the peer sent a message before its schema")
        elif kind == SCHEMA:
            raise ProtocolError(f"{self.where}: the peer sent its schema twice")
        else:
            raise ProtocolError(f"{self.where}: a channel has no frame of kind {kind}")


_pack_header = HEADER.pack


def pack_message(body: bytes) -> bytes:
    """Return one message as a frame."""
    return _pack_header(len(body), MESSAGE, 0, 0, 0) + body


def pack_together(bodies: Sequence[bytes], longest_bytes: int) -> bytes:
    """Return messages as frames in one piece, several in a frame where they fit in.

    Args:
        bodies: The messages.
        longest_bytes: Of a frame of several; 0 for frames of one.
    """
    ends = list(accumulate(map(len, bodies)))
    frames: list[bytes] = []
    begin = 0
    while begin < len(bodies):
        room = ends[begin] - len(bodies[begin]) + longest_bytes - LONGEST_START_BYTES
        end = min(bisect_right(ends, room, begin + 1), begin + MOST_TOGETHER)
        alone = end == begin + 1
        frames.append(pack_message(bodies[begin]) if alone else pack_frame(MESSAGES, join(bodies[begin:end])))
        begin = end
    return b"".join(frames)
