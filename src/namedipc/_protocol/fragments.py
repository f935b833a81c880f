"""FIFO fragments: how a message travels in packets of a pipe. Bytes only: nothing here touches a descriptor.

A packet is one write of at most 4096 bytes (PIPE_BUF), which the kernel never splits and never mixes with
another. A message that does not fit into one is cut into several. Fragments of several writers come in any
mixture, those of one writer in their order; a writer may be killed between any two.

The law: what comes out is a whole message as it was sent, or nothing; and whatever arrives, memory stays
bounded.

A packet is a header (little-endian) and a piece of the message:

    0   magic, 4 bytes       12  message id u32        24  nonce, 8 bytes
    4   version u8           16  message length u32    32  pid u32
    5   flags u8, 0          20  fingerprint, 4 bytes  36  namespaces u32
    6   index u16                                      40  start time u64
    8   total u16                                      48  crc32 u32
    10  length of the piece u16

The checksum covers the header before it and the piece. The writer's process is named by pid and start time
(field 22 of /proc/PID/stat), as seen from the namespaces that the number between them stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, TypeAlias, final

import attrs

from .._errors import TooLarge
from .checksum import crc32

PACKET_BYTES: Final = 4096
"""PIPE_BUF: pipe(7)."""

MAGIC: Final = b"\x89NIF"
"""The first byte is not ASCII, so that no line of text begins so."""

VERSION: Final = 1
FINGERPRINT_BYTES: Final = 4
LARGEST_MESSAGE_BYTES: Final = 16 << 20
"""As the longest body of a frame."""

OPEN_PARTIALS: Final = 64
"""How many messages may have begun and not ended. A full pipe of 1 MiB holds the beginnings of 256."""

PARTIAL_BYTES: Final = 64 << 20
"""What all of them together may hold."""

IDLE_SECONDS: Final = 30.0
"""How long the next fragment is waited for: as long as `Limits.midframe_seconds`."""

_HEADER: Final = Struct("<4sBBHHHII4s8sIIQ")
_CRC: Final = Struct("<I")
_CRC_OFFSET: Final = _HEADER.size
HEADER_BYTES: Final = _HEADER.size + _CRC.size
PIECE_BYTES: Final = PACKET_BYTES - HEADER_BYTES
_BEGIN: Final = MAGIC + bytes((VERSION, 0))
_LENGTH_END: Final = 12  # where the length of the piece ends

_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack_from
_unpack_crc = _CRC.unpack_from


@final
@attrs.frozen
class Writer:
    """One open writing end, and the process that has it.

    Attributes:
        nonce: 8 random bytes, anew for each end that is opened.
        pid: The process.
        start_time: When it began: clock ticks since the boot.
        namespaces: Stands for the namespaces in which these two numbers hold.
    """

    nonce: bytes
    pid: int
    start_time: int
    namespaces: int


@final
@attrs.frozen
class OtherType:
    """A message of another type has begun to arrive. It is dropped."""

    fingerprint: bytes
    writer: Writer


Event: TypeAlias = bytes | OtherType
"""A whole message, or notice of one that is none of ours."""


@final
class Packets:
    """The packets of a message that are still to be written, in order.

    Each is cut when it is due: to cut the longest message at one go takes 30 ms, in which nobody else has a turn.
    """

    __slots__ = ("_cut", "_next", "_total")

    def __init__(self, total: int, cut: Callable[[int], bytes]) -> None:
        self._total = total
        self._cut = cut
        self._next = 0

    def __len__(self) -> int:
        return self._total - self._next

    def __getitem__(self, index: int) -> bytes:
        return self._cut(range(self._next, self._total)[index])

    def __iter__(self) -> Iterator[bytes]:
        return map(self._cut, range(self._next, self._total))

    def popleft(self) -> None:
        """Leave the first one behind."""
        self._next += 1

    def clear(self) -> None:
        """Leave all of them behind."""
        self._next = self._total


@final
class Splitter:
    """Cuts the messages of one writer into packets, and numbers them."""

    __slots__ = ("_fingerprint", "_next_id", "_writer")

    def __init__(self, writer: Writer, fingerprint: bytes) -> None:
        self._writer = writer
        self._fingerprint = fingerprint[:FINGERPRINT_BYTES]
        self._next_id = 0

    def split(self, message: bytes) -> Packets:
        """Return the packets of a message, at least one, to be written in this order.

        Raises:
            TooLarge: It has more than `LARGEST_MESSAGE_BYTES`.
        """
        if len(message) > LARGEST_MESSAGE_BYTES:
            raise TooLarge(
                f"a message of {len(message)} bytes: {LARGEST_MESSAGE_BYTES} at most; "
                "pass the path of a file or of a SharedRegion instead"
            )
        message_id, self._next_id = self._next_id, (self._next_id + 1) & 0xFFFF_FFFF
        total = _total(len(message))

        def cut(index: int) -> bytes:
            piece = message[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]
            return self._packet(message_id, index, total, len(message), piece)

        return Packets(total, cut)

    def _packet(self, message_id: int, index: int, total: int, length: int, piece: bytes) -> bytes:
        writer = self._writer
        header = _pack_header(
            MAGIC,
            VERSION,
            0,
            index,
            total,
            len(piece),
            message_id,
            length,
            self._fingerprint,
            writer.nonce,
            writer.pid,
            writer.namespaces,
            writer.start_time,
        )
        return b"".join((header, _CRC.pack(crc32(piece, crc32(header))), piece))


@final
@attrs.frozen
class Fragment:
    """One packet, checked by itself."""

    message_id: int
    index: int
    total: int
    length: int
    fingerprint: bytes
    writer: Writer
    piece: bytes

    @property
    def packet_bytes(self) -> int:
        """The length of the packet."""
        return HEADER_BYTES + len(self.piece)

    @property
    def fits(self) -> bool:
        """Whether its numbers agree: the piece is what it must be at this place of such a message."""
        if self.length > LARGEST_MESSAGE_BYTES or self.total != _total(self.length):
            return False
        return len(self.piece) == min(PIECE_BYTES, self.length - self.index * PIECE_BYTES)


@attrs.define(eq=False)
class _Partial:
    """A message of which the beginning is there."""

    writer: Writer
    message_id: int
    length: int
    touched: float
    pieces: list[bytes] = attrs.Factory(list)

    @property
    def stored(self) -> int:
        return sum(map(len, self.pieces))

    def continues(self, fragment: Fragment) -> bool:
        """Whether a fragment is the next of this very message."""
        return (fragment.message_id, fragment.length, fragment.index, fragment.writer) == (
            self.message_id,
            self.length,
            len(self.pieces),
            self.writer,
        )


@final
class Reassembler:
    """Puts the fragments of any number of writers together again. Never raises for what arrives.

    Attributes:
        dropped: How many messages, or stretches of bytes which are no packet, were given up.
    """

    __slots__ = ("_fingerprint", "_partials", "_stored", "dropped")

    def __init__(self, fingerprint: bytes) -> None:
        self._fingerprint = fingerprint[:FINGERPRINT_BYTES]
        self._partials: dict[bytes, _Partial] = {}  # the one that was touched longest ago comes first
        self._stored = 0
        self.dropped = 0

    @property
    def is_open(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._partials)

    def writers(self) -> list[Writer]:
        """Return whose messages have begun and not ended."""
        return [partial.writer for partial in self._partials.values()]

    def feed(self, data: bytes, now: float) -> list[Event]:
        """Take what one read gave: a packet, or, after somebody else's bytes, more than that.

        Args:
            data: The bytes.
            now: The time in seconds, of any clock that only goes forward.
        """
        events: list[Event] = []
        for fragment in self._fragments(data):
            event = self._accept(fragment, now)
            if event is not None:
                events.append(event)
        return events

    def drop(self, writer: Writer) -> None:
        """Give up what has come of a writer's message: there will be no more of it."""
        self._forget(writer.nonce)

    def expire(self, now: float) -> None:
        """Give up the messages of which nothing has come for `IDLE_SECONDS`."""
        for partial in list(self._partials.values()):
            if now - partial.touched >= IDLE_SECONDS:
                self._forget(partial.writer.nonce)

    def _fragments(self, data: bytes) -> Iterator[Fragment]:
        """Find the packets. Others who write to the FIFO may get their bytes into the page of one of ours."""
        position = 0
        while position < len(data):
            fragment = packet_at(data, position)
            if fragment is not None:
                yield fragment
                position += fragment.packet_bytes
                continue
            self.dropped += 1
            position = _next_packet(data, position + 1)

    def _accept(self, fragment: Fragment, now: float) -> Event | None:
        nonce = fragment.writer.nonce
        if fragment.index == 0:
            self._forget(nonce)  # the writer never ends what it began before
        if not fragment.fits:
            self._forget(nonce)
            self.dropped += fragment.index == 0
            return None
        if fragment.fingerprint != self._fingerprint:
            # Said once a message.
            return OtherType(fragment.fingerprint, fragment.writer) if fragment.index == 0 else None
        if fragment.total == 1:
            return fragment.piece
        partial = self._begin(fragment, now) if fragment.index == 0 else self._partials.get(nonce)
        if partial is None:
            return None  # the beginning went to a reader that has died, or was given up
        if not partial.continues(fragment):
            self._forget(nonce)
            return None
        return self._add(partial, fragment, now)

    def _begin(self, fragment: Fragment, now: float) -> _Partial:
        if len(self._partials) >= OPEN_PARTIALS:
            self._forget_stalest()
        return _Partial(fragment.writer, fragment.message_id, fragment.length, now)

    def _add(self, partial: _Partial, fragment: Fragment, now: float) -> bytes | None:
        nonce = fragment.writer.nonce
        self._partials.pop(nonce, None)
        partial.pieces.append(fragment.piece)
        partial.touched = now
        self._stored += len(fragment.piece)
        if len(partial.pieces) == fragment.total:
            self._stored -= partial.length
            return b"".join(partial.pieces)
        while self._partials and self._stored > PARTIAL_BYTES:
            self._forget_stalest()
        self._partials[nonce] = partial
        return None

    def _forget_stalest(self) -> None:
        self._forget(next(iter(self._partials)))

    def _forget(self, nonce: bytes) -> None:
        partial = self._partials.pop(nonce, None)
        if partial is not None:
            self._stored -= partial.stored
            self.dropped += 1


def _total(length: int) -> int:
    return max(1, -(-length // PIECE_BYTES))


def _next_packet(data: bytes, start: int) -> int:
    found = data.find(MAGIC, start)
    return found if found >= 0 else len(data)


def packet_at(data: bytes, start: int) -> Fragment | None:
    """Return the packet that begins here; None where none does."""
    if not data.startswith(MAGIC, start) or len(data) - start < HEADER_BYTES:
        return None
    fields = _unpack_header(data, start)
    _, version, _, index, total, piece_bytes, message_id, length, fingerprint, *writer = fields
    nonce, pid, namespaces, start_time = writer
    end = start + HEADER_BYTES + piece_bytes
    if version != VERSION or end > len(data):
        return None
    piece = data[start + HEADER_BYTES : end]
    if _unpack_crc(data, start + _CRC_OFFSET)[0] != crc32(piece, crc32(data[start : start + _CRC_OFFSET])):
        return None
    return Fragment(message_id, index, total, length, fingerprint, Writer(nonce, pid, start_time, namespaces), piece)


def may_go_on(data: bytes, start: int) -> bool:
    """Whether a packet may begin here whose end is not there yet."""
    head = data[start : start + _LENGTH_END]
    if len(head) < _LENGTH_END:
        return _BEGIN.startswith(head[: len(_BEGIN)])
    piece_bytes = int.from_bytes(head[-2:], "little")
    return head.startswith(_BEGIN) and piece_bytes <= PIECE_BYTES and start + HEADER_BYTES + piece_bytes > len(data)
