"""Frames: how a byte stream is cut into whole pieces. Bytes only: nothing here touches a descriptor.

A frame is a header of twelve bytes (little-endian: length of the body u32, kind u8, flags u8, method u16, id u32) and
its body. A length is checked against the limit as soon as the header is there, before a byte of the body is kept.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, TypeAlias

from .._descriptors import MOST_PAYLOADS
from .._errors import ProtocolError

HEADER: Final = Struct("<IBBHI")
HEADER_BYTES: Final = HEADER.size
DEADLINE: Final = Struct("<d")
_HEADERS_LENGTH: Final = Struct("<H")
LONGEST_ERROR_BYTES: Final = 256 << 10
"""The longest body of an ERROR, whatever the limit.

Its two texts are cut to 16 384 characters of up to 4 bytes, and the fields of an exception take 65 536 bytes at most.
"""


class Kind(IntEnum):
    """What a frame is. The numbers are the wire's; those left out are reserved (`docs/wire.md`)."""

    CALL = 1
    REPLY = 2
    ERROR = 3
    CANCEL = 4
    GOODBYE = 5
    MESSAGE = 6
    SCHEMA = 7
    BIND = 8
    ITEM = 9
    END = 10
    CREDIT = 11
    BUFFER = 12
    RELEASE = 13
    MESSAGES = 14
    CALLS = 15
    REPLIES = 16


class Reserved(IntEnum):
    """The method numbers from FIRST_RESERVED up that mean something: every service answers them, without BIND."""

    STATISTICS = 0xFFFC
    SCHEMA = 0xFFFD
    IDENTITY = 0xFFFE
    PING = 0xFFFF


FIRST_RESERVED: Final = 0xFFF0


class Flag(IntFlag):
    """Marks of a frame."""

    DEADLINE = 1
    """CALL, CALLS: the body begins with the deadline, a float64: seconds of CLOCK_MONOTONIC."""
    HEADERS = 2
    """CALL, CALLS: before the arguments there are headers: the length of their map, a u16, and the map, in msgpack."""
    JSON = 4
    """CALL: the arguments are JSON, and so shall be what answers them."""
    ONE_WAY = 8
    """CALL: no answer is wanted; the id is 0."""
    DESCRIPTORS = 16
    """The body begins, before all else, with one byte: how many descriptors come with the frame."""
    PAYLOAD = 32
    """The body begins, behind that byte, with a table of the payloads which are in a buffer."""


# Plain integers for the hot path: reading a member of an IntEnum costs several times a global.
CALL, REPLY, ERROR, CANCEL, GOODBYE, MESSAGE, SCHEMA, BIND = map(int, list(Kind)[:8])
ITEM, END, CREDIT, BUFFER, RELEASE, MESSAGES, CALLS, REPLIES = map(int, list(Kind)[8:])
DEADLINE_FLAG, HEADERS_FLAG, JSON_FLAG, ONE_WAY_FLAG, DESCRIPTORS_FLAG, PAYLOAD_FLAG = (int(flag) for flag in Flag)
ATTACHMENT_FLAGS: Final = DESCRIPTORS_FLAG | PAYLOAD_FLAG
KNOWN_FLAGS: Final = DEADLINE_FLAG | HEADERS_FLAG | JSON_FLAG | ONE_WAY_FLAG

TABLE: Final = Struct("<BI")
SPAN: Final = Struct("<QQ")
LONGEST_TABLE_BYTES: Final = TABLE.size + MOST_PAYLOADS * SPAN.size

Frame: TypeAlias = tuple[int, int, int, int, bytes]
"""kind, flags, method, id, body."""

_pack_header = HEADER.pack
_unpack_header = HEADER.unpack_from


def pack_frame(kind: int, body: bytes = b"", *, flags: int = 0, method: int = 0, id: int = 0) -> bytes:  # noqa: A002
    """Return one frame as bytes."""
    return _pack_header(len(body), kind, flags, method, id) + body


def pack_call(
    method: int,
    id: int,  # noqa: A002
    body: bytes,
    deadline: float | None,
    flags: int = 0,
    kind: int = CALL,
) -> bytes:
    """Return a CALL, or CALLS; `deadline` is in seconds of CLOCK_MONOTONIC, None for a call without one."""
    if deadline is None:
        return _pack_header(len(body), kind, flags, method, id) + body
    return _pack_header(len(body) + 8, kind, flags | 1, method, id) + DEADLINE.pack(deadline) + body


def with_deadline(deadline: float | None, body: bytes) -> bytes:
    """Return the body of a CALL with its deadline, if it has one."""
    return body if deadline is None else DEADLINE.pack(deadline) + body


def with_headers(headers: bytes, arguments: bytes) -> bytes:
    """Return the body of a CALL with the flag HEADERS; `headers` is at most 65 535 bytes long."""
    return _HEADERS_LENGTH.pack(len(headers)) + headers + arguments


def split_deadline(flags: int, body: bytes) -> tuple[float | None, bytes]:
    """Return the deadline of a CALL, and the rest of its body."""
    if not flags & 1:
        return None, body
    if len(body) < DEADLINE.size:
        raise ProtocolError("a call announces a deadline and is too short to hold one")
    return DEADLINE.unpack_from(body)[0], body[8:]


def split_headers(flags: int, body: bytes) -> tuple[bytes, bytes]:
    """Return the headers of a CALL, packed, and its arguments; the deadline has been split off before."""
    if not flags & HEADERS_FLAG:
        return b"", body
    if len(body) < _HEADERS_LENGTH.size:
        raise ProtocolError("a call announces headers and is too short to hold any")
    end = _HEADERS_LENGTH.size + _HEADERS_LENGTH.unpack_from(body)[0]
    if end > len(body):
        raise ProtocolError("a call announces headers which are longer than the call")
    return body[_HEADERS_LENGTH.size : end], body[end:]


LONG_BYTES: Final = 1 << 16
"""A body of this length is copied no more than need be: it leaves behind its header as it is, and one which does not
come in one piece is put together at its end."""
_SHORT_PIECE_BYTES: Final = 4096
"""Shorter pieces of it are put together before: bytes which come one by one would be an object each."""


class FrameReader:
    """Cuts what arrives into frames. `feed` bytes, then take `next_frame` until it is None.

    Holds at most one unfinished frame beyond what was fed, so never more than the limit and one read. The body of a
    long one is copied once, out of the pieces in which it has come.

    Args:
        limit_bytes: The longest body accepted, but that an ERROR may always have LONGEST_ERROR_BYTES, and that the
            deadline of a CALL or CALLS, the count of descriptors and the table of payloads do not count.

    Attributes:
        buffer: What has come last, and what waited before it.
        at: How much of that has been taken.
        missing: How many bytes have not come yet of a frame that is long and has begun; 0 for none.
    """

    __slots__ = ("_pieces", "at", "buffer", "limit_bytes", "missing")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes: int = limit_bytes
        self.buffer: bytes | bytearray = b""
        self.at: int = 0
        self.missing: int = 0
        self._pieces: list[bytes | bytearray] = []  # of the frame which begins in the buffer, and what is behind it

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        buffer = self.buffer
        if self.at == len(buffer):
            self.buffer = data
            self.at = 0
            return
        if self.missing or self._pieces:
            self._add_piece(data)
            return
        if type(buffer) is bytearray:
            del buffer[: self.at]
            buffer += data
        else:
            self.buffer = bytearray(memoryview(buffer)[self.at :])
            self.buffer += data
        self.at = 0

    def _add_piece(self, data: bytes) -> None:
        self.missing = max(0, self.missing - len(data))
        pieces = self._pieces
        if len(data) >= _SHORT_PIECE_BYTES:
            pieces.append(data)
        elif pieces and type(pieces[-1]) is bytearray:
            pieces[-1] += data
        else:
            pieces.append(bytearray(data))

    def only_frame(self, data: bytes) -> Frame | None:
        """Return what bytes hold that are one whole frame; None, and nothing is done, if they are not.

        They are what was to be fed: that nothing waits before them is looked at, too.
        """
        if self.at != len(self.buffer) or len(data) < HEADER_BYTES:
            return None
        length, kind, flags, method, id_ = _unpack_header(data)
        if len(data) != HEADER_BYTES + length or (length > self.limit_bytes and length > self._limit_of(kind, flags)):
            return None
        return kind, flags, method, id_, data[HEADER_BYTES:]

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or None until more is fed.

        Raises:
            ProtocolError: The header announces more than the limit.
        """
        buffer = self.buffer
        at = self.at
        if self.missing or len(buffer) - at < HEADER_BYTES:
            return None
        length, kind, flags, method, id_ = _unpack_header(buffer, at)
        if length > self.limit_bytes and length > self._limit_of(kind, flags):
            raise ProtocolError(f"a frame of {length} bytes was announced; the limit is {self.limit_bytes}")
        start = at + HEADER_BYTES
        end = start + length
        if len(buffer) < end:
            if self._pieces:
                return kind, flags, method, id_, self._joined(start, end)
            if length >= LONG_BYTES:
                self.missing = end - len(buffer)
            return None
        self.at = end
        if type(buffer) is bytes:
            return kind, flags, method, id_, buffer[start:end]
        # A slice of a bytearray would be a copy of its own; fresh pages make that dear for a large body.
        return kind, flags, method, id_, bytes(memoryview(buffer)[start:end])

    def _joined(self, start: int, end: int) -> bytes:
        """Take a body which is all there, and of which the end is behind the buffer."""
        pieces = self._pieces
        self._pieces = []
        parts: list[bytes | bytearray | memoryview] = [memoryview(self.buffer)[start:]]
        left = end - len(self.buffer)
        at = 0
        while left > len(pieces[at]):
            parts.append(pieces[at])
            left -= len(pieces[at])
            at += 1
        parts.append(memoryview(pieces[at])[:left])
        self.buffer = pieces[at] if at == len(pieces) - 1 else b"".join(pieces[at:])
        self.at = left
        return b"".join(parts)

    def _limit_of(self, kind: int, flags: int) -> int:
        if kind == ERROR:
            return max(self.limit_bytes, LONGEST_ERROR_BYTES)
        # The limit is one of what is said, not of when, nor of what comes with it.
        limit = self.limit_bytes + (1 if flags & DESCRIPTORS_FLAG else 0)
        limit += LONGEST_TABLE_BYTES if flags & PAYLOAD_FLAG else 0
        return limit + DEADLINE.size if flags & 1 and kind in {CALL, CALLS} else limit

    def take(self, count: int) -> bytes | None:
        """Return exactly `count` bytes from the front, for the hello; None until they are there."""
        end = self.at + count
        if len(self.buffer) < end:
            return None
        data = bytes(self.buffer[self.at : end])
        self.at = end
        return data

    def peek(self, count: int) -> bytes:
        """Return what is there now, at most `count` bytes, and leave it."""
        return bytes(self.buffer[self.at : self.at + count])

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken."""
        return len(self.buffer) - self.at + sum(map(len, self._pieces))

    @property
    def is_empty(self) -> bool:
        """Whether all that was fed has been taken."""
        return self.at == len(self.buffer)

    @property
    def unfinished(self) -> bool:
        """Whether the beginning of a frame is waiting for its end."""
        return self.at < len(self.buffer)
