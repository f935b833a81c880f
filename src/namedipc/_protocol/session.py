"""One client's session, as the server keeps it, without I/O: bytes in, calls out; answers in, bytes out.

The order is: the client's hello, then its calls. Where the fingerprints differ the calls are held, in order, until the
client has said which of the server's methods each of its own is (BIND); but for those of the reserved interface, which
need no BIND. What a peer must not do is a ProtocolError; the shell then answers with an ERROR frame of id 0 and closes.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from .._batches import array_start
from .._errors import LimitReached, ProtocolError
from .attachments import Arrivals, open_parcel, pack_parcel
from .frames import (
    ATTACHMENT_FLAGS,
    BIND,
    BUFFER,
    CALL,
    CALLS,
    CANCEL,
    CREDIT,
    DEADLINE_FLAG,
    END,
    ERROR,
    FIRST_RESERVED,
    GOODBYE,
    HEADER,
    HEADERS_FLAG,
    ITEM,
    JSON_FLAG,
    KNOWN_FLAGS,
    LONG_BYTES,
    ONE_WAY_FLAG,
    RELEASE,
    REPLIES,
    REPLY,
    SCHEMA,
    Frame,
    FrameReader,
    Reserved,
    pack_frame,
)
from .hello import HELLO_BYTES, OPENING_BYTES, SERVICE, UNASKED_BYTES, Hello, check_opening, unpack_hello
from .payloads import PayloadEnds, take_payload_frame

_pack_header = HEADER.pack
GOING_ON: Final = -1
"""What `next_event` makes of `go_on`; no frame is of this kind."""
_OF_A_CALL: Final = frozenset({CANCEL, ITEM, END, CREDIT, GOING_ON})
_OF_PAYLOADS: Final = frozenset({BUFFER, RELEASE})
_FLAGS_OF_A_RUN: Final = DEADLINE_FLAG | HEADERS_FLAG
_FLAGS_OF_A_BODY: Final = DEADLINE_FLAG | HEADERS_FLAG | JSON_FLAG
_RESERVED: Final = frozenset(map(int, Reserved))
ASKED: Final = 0
"""What `next_event` makes of a CALL of the reserved interface; no frame is of this kind."""


class State(Enum):
    """Where a session stands."""

    HELLO = auto()
    HELD = auto()
    OPEN = auto()


class ServerSession:
    """The protocol of one connection at the server.

    Args:
        hello: What this side says of itself.
        schema: The text that a client with another fingerprint gets.
        methods: How many methods there are.
        held_frames: How many frames may wait for BIND.
        held_bytes: How many bytes may.
        carries_attachments: Whether anything may travel beside calls or answers.

    Attributes:
        feed: Take bytes as they came.
        reader: What has come and was not taken.
        held: Frames which come before those: they waited for BIND, or say that something goes on.
        is_direct: Whether a call needs nothing but its frame: no BIND, no descriptors.
        arrivals: Descriptors that have come and wait for their frame; None where no method carries any.
        payloads: The large payloads of the connection, from whoever has their memory.
    """

    __slots__ = (
        "_bindings",
        "_held_bytes",
        "_held_bytes_limit",
        "_held_limit",
        "_hello",
        "_methods",
        "_said_hello",
        "_schema",
        "arrivals",
        "feed",
        "held",
        "is_direct",
        "last_id",
        "outgoing",
        "payloads",
        "reader",
        "said_goodbye",
        "state",
        "their_message_bytes",
        "their_stream_bytes",
        "their_stream_items",
    )

    def __init__(
        self,
        hello: Hello,
        schema: bytes,
        *,
        methods: int,
        held_frames: int,
        held_bytes: int,
        carries_attachments: bool = False,
    ) -> None:
        self._hello: Final = hello
        self._schema: Final = schema
        self._methods: Final = methods
        self._held_limit: Final = held_frames
        self._held_bytes_limit: Final = held_bytes
        self._held_bytes = 0
        self.reader: Final = FrameReader(max(hello.message_bytes, UNASKED_BYTES))
        self.held: Final[deque[Frame]] = deque()
        self._bindings: list[int] | None = None
        self._said_hello = False
        self.is_direct: bool = False
        self.feed: Callable[[bytes], None] = self.reader.feed
        self.arrivals: Final = Arrivals() if carries_attachments else None
        self.payloads: PayloadEnds | None = None
        self.state: State = State.HELLO
        self.outgoing: list[bytes] = []
        self.said_goodbye: bool = False
        self.last_id: int = 0
        self.their_message_bytes: int = hello.message_bytes
        self.their_stream_items: int = 0
        self.their_stream_bytes: int = 0

    @property
    def payload_bytes(self) -> int:
        """How many bytes of the other side's buffers this side has said that it maps."""
        return self._hello.payload_bytes

    @property
    def unfinished(self) -> bool:
        """Whether the client owes bytes: its hello, or the end of a frame that has begun."""
        return self.state is State.HELLO or self.reader.unfinished

    def only_call(self, data: bytes) -> Frame | None:
        """Return the call that bytes are, if they are one and nothing else; else None, and nothing is done.

        They are what was to be fed: that nothing waits before them is looked at, too. It is as `next_event` has it.
        """
        if not self.is_direct or self.held or self.said_goodbye:
            return None
        frame = self.reader.only_frame(data)
        if frame is None or frame[0] != CALL or frame[1] & ~_FLAGS_OF_A_BODY or frame[2] >= self._methods:
            return None
        self.last_id = frame[3]
        return frame

    def next_event(self) -> Frame | None:
        """Return the next CALL (with this side's method index), or what belongs to one: CANCEL, ITEM, END, CREDIT.

        CALLS likewise. A call of the reserved interface is ASKED. None until more is fed.

        Raises:
            ProtocolError: The client may not send this.
            WrongKind: The client takes this side for something else.
            LimitReached: More calls than may be held before BIND.
        """
        if self.state is not State.OPEN:
            return self._first_events()
        while True:
            frame = self.held.popleft() if self.held else self.reader.next_frame()
            if frame is None:
                self._settle()
                return None
            kind = frame[0]
            if frame[1] & ATTACHMENT_FLAGS:
                frame = self._opened(frame)
            if kind == CALL:
                return self._bound(frame)
            if kind in _OF_A_CALL:
                return frame
            if kind == CALLS:
                return self._bound_run(frame)
            self._take_other(frame)

    def _take_other(self, frame: Frame) -> None:
        kind = frame[0]
        if kind == GOODBYE:
            self.said_goodbye = True
        elif self.payloads is not None and kind in _OF_PAYLOADS:
            take_payload_frame(frame, self.payloads)
        else:
            raise ProtocolError(f"a client may not send a frame of kind {kind}")

    def _opened(self, frame: Frame) -> Frame:
        return open_parcel(frame, self.arrivals, None if self.payloads is None else self.payloads.windows)

    def reply(self, id: int, body: bytes) -> None:  # noqa: A002
        """Answer a call with its result."""
        if type(body) is bytes:  # as `pack_frame` does; two calls less
            header = _pack_header(len(body), REPLY, 0, 0, id)
            if len(body) < LONG_BYTES:
                self.outgoing.append(header + body)
            else:  # which would only be a copy
                self.outgoing += (header, body)
        else:
            self.outgoing.append(pack_parcel(REPLY, body, id=id))

    def replies(self, last_id: int, count: int, bodies: bytes) -> None:
        """Answer calls which came together, and whose ids end with this one, with their results, all in one piece."""
        if count == 1:
            self.reply(last_id, bodies)
        else:
            self.outgoing.append(pack_frame(REPLIES, array_start(count) + bodies, id=last_id + 1 - count))

    def go_on(self) -> None:
        """Have `next_event` say GOING_ON before anything else: what was begun is not done."""
        self.held.appendleft((GOING_ON, 0, 0, 0, b""))

    def item(self, id: int, body: bytes) -> None:  # noqa: A002
        """Send an item of the stream that a call is answered with."""
        self.outgoing.append(pack_parcel(ITEM, body, id=id))

    def end(self, id: int) -> None:  # noqa: A002
        """Answer a call whose stream has ended."""
        self.outgoing.append(pack_frame(END, id=id))

    def credit(self, id: int, stream: int, body: bytes) -> None:  # noqa: A002
        """Give the client leave to send more of a stream of requests."""
        self.outgoing.append(pack_frame(CREDIT, body, method=stream, id=id))

    def fail(self, id: int, fault: bytes) -> None:  # noqa: A002
        """Answer a call with an error; id 0 is the connection itself."""
        self._say_hello()
        self.outgoing.append(pack_frame(ERROR, fault, id=id))

    def goodbye(self) -> None:
        """Say that no later call than the last one will be run; also to a client whose hello is still on its way."""
        self._say_hello()
        self.outgoing.append(pack_frame(GOODBYE, id=self.last_id))

    def _say_hello(self) -> None:
        if not self._said_hello:
            self._said_hello = True
            self.outgoing.append(self._hello.pack())

    def _settle(self) -> None:
        if self.arrivals is not None:
            self.arrivals.settle(unfinished=self.reader.unfinished)

    def close(self) -> None:
        """Close the descriptors that nobody will take."""
        self.held.clear()
        if self.arrivals is not None:
            self.arrivals.close()

    def _bound(self, frame: Frame) -> Frame:
        kind, flags, method, id_, body = frame
        bindings = self._bindings
        if bindings is not None:
            if method >= len(bindings):
                return self._asked(frame, f"call of method {method}, of which BIND did not speak")
            method = bindings[method]
        if method >= self._methods:
            return self._asked(frame, f"call of method {method}; there are {self._methods}")
        if flags & ~KNOWN_FLAGS:
            raise ProtocolError(f"a call with unknown flags: {flags:#x}")
        if flags & ONE_WAY_FLAG:
            return kind, flags, method, 0, body
        self.last_id = id_
        return kind, flags, method, id_, body

    def _bound_run(self, frame: Frame) -> Frame:
        if frame[1] & ~_FLAGS_OF_A_RUN:
            raise ProtocolError(f"calls that come together, with flags that are not for them: {frame[1]:#x}")
        bound = self._bound(frame)
        if bound[0] == ASKED:
            raise ProtocolError("calls of the reserved interface come one by one")
        return bound

    def _asked(self, frame: Frame, otherwise: str) -> Frame:
        """A call of none of the methods: one of the reserved interface, or an error."""
        _kind, flags, method, id_, body = frame
        if method not in _RESERVED:
            raise ProtocolError(otherwise)
        if flags & ~KNOWN_FLAGS:
            raise ProtocolError(f"a call with unknown flags: {flags:#x}")
        return ASKED, flags, method, id_, body

    def _first_events(self) -> Frame | None:
        if self.state is State.HELLO and not self._take_hello():
            return None
        while self.state is State.HELD:
            frame = self.reader.next_frame()
            if frame is None:
                self._settle()
                return None
            if frame[1] & ATTACHMENT_FLAGS:
                frame = self._opened(frame)
            if frame[0] == CALL and frame[2] >= FIRST_RESERVED:
                return self._asked(frame, f"call of method {frame[2]}, which is reserved")
            self._take_while_held(frame)
        return self.next_event()

    def _take_hello(self) -> bool:
        data = self.reader.take(HELLO_BYTES)
        if data is None:
            check_opening(self.reader.peek(OPENING_BYTES))
            return False
        theirs = unpack_hello(data, role=SERVICE)
        self.their_message_bytes = theirs.message_bytes
        self.their_stream_items = theirs.stream_items
        self.their_stream_bytes = theirs.stream_bytes
        if self.payloads is not None:
            self.payloads.pool.greeted(theirs.payload_bytes)
        self._say_hello()
        if theirs.fingerprint == self._hello.fingerprint:
            self.state = State.OPEN
            self.is_direct = self.arrivals is None
        else:
            self.state = State.HELD
            self.outgoing.append(pack_frame(SCHEMA, self._schema))
        return True

    def _take_while_held(self, frame: Frame) -> None:
        kind = frame[0]
        if kind in {CALL, CALLS} or kind in _OF_A_CALL:
            self._held_bytes += len(frame[4])
            if len(self.held) >= self._held_limit or self._held_bytes > self._held_bytes_limit:
                raise LimitReached(
                    f"more than {self._held_limit} frames, or {self._held_bytes_limit} bytes, before the schemas were "
                    "compared"
                )
            self.held.append(frame)
        elif kind == BIND:
            self._bindings = self._read_bindings(frame[4])
            self.state = State.OPEN
        else:
            self._take_other(frame)

    def _read_bindings(self, body: bytes) -> list[int]:
        try:
            bindings = [index for (index,) in struct.iter_unpack("<H", body)]
        except struct.error:
            raise ProtocolError("BIND holds a list of 16-bit numbers, and its length is odd") from None
        if len(bindings) > FIRST_RESERVED:
            raise ProtocolError(
                f"BIND speaks of {len(bindings)} methods; the numbers from {FIRST_RESERVED} are reserved"
            )
        if any(index >= self._methods for index in bindings):
            raise ProtocolError(f"BIND names a method that is not there; there are {self._methods}")
        return bindings
