"""The ring of a broadcast: what its file holds. Bytes only: nothing here touches a descriptor.

The file is a header, an index of one entry a slot, and the messages' bytes one after the other, round and round. What
is sent together is a batch: one message, or an array of several. Batches are numbered from 1; batch n has the entry
n - 1 modulo `slots`. A writer, under the lock, writes the bytes behind those of the newest batch, and then the entry:
that write is the only commit. Whoever is killed before it has sent nothing, and the next writer writes over what was
left. A reader needs no more than its own number: the entry of that number is there, or an older one (nothing new), or a
newer one (the reader was lapped).

The law: everything that is read without the lock carries a checksum; and the bytes of the last `slots` messages are
not written over before newer ones are committed. Batches before those may have lost their bytes while their entries are
still there: the newest entry tells which (`Header.is_kept`).

All numbers are little-endian. The first page is a header as `file_header.py` has it, and in it:

    24  longest message u32    28  slots u32    128  end: number of the last batch u64, crc32 of these 8 bytes u32

An entry has 64 bytes: number u64, position u64, number of its first message u64 (from 1), how many messages u32, length
u32, crc32 of the bytes u32, crc32 of these 36 bytes u32, zeros. A position counts all bytes that were ever written;
modulo the size of the data it is a place in the file. A batch lies in one piece: where it would not, the rest of the
round is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from struct import Struct
from typing import ClassVar, Final, NamedTuple

import attrs

from .checksum import crc32
from .file_header import PAGE_BYTES, FileHeader, whole_pages

END_OFFSET: Final = 128
ENTRY_BYTES: Final = 64
"""A cache line, and never across two pages."""

MOST_BATCH_BYTES: Final = 1 << 17
"""How many bytes are committed at once, unless one message is longer: 1 024 messages of some 64 bytes, and no more."""
INDEX_ENTRIES: Final = PAGE_BYTES // ENTRY_BYTES
"""So many entries are one page, and are read at once."""

LARGEST_SLOTS: Final = 1 << 24
LARGEST_MESSAGE_BYTES: Final = (1 << 32) - PAGE_BYTES
"""An entry holds the length in 32 bits."""

_GEOMETRY: Final = Struct("<II")
_CRC: Final = Struct("<I")
_END: Final = Struct("<QI")
_CHECKED_END_BYTES: Final = 8
_ENTRY: Final = Struct("<QQQIIII24x")
_CHECKED_ENTRY_BYTES: Final = 36

END_BYTES: Final = _END.size

_pack_start = Struct("<QQQIII").pack
_pack_rest = Struct("<I24x").pack
_unpack_entry = _ENTRY.unpack_from


@attrs.frozen(kw_only=True)
class Header(FileHeader):
    """What never changes in a broadcast.

    Attributes:
        slots: How many messages it keeps at least.
        message_bytes: The longest encoded message.
    """

    magic: ClassVar[bytes] = b"\x89NIPCrng"
    noun: ClassVar[str] = "broadcast"

    slots: int
    message_bytes: int

    @cached_property
    def batch_bytes(self) -> int:
        """How many bytes may be written before they are committed."""
        return max(self.message_bytes, min(self.slots * self.message_bytes // 2, MOST_BATCH_BYTES))

    @cached_property
    def data_start(self) -> int:
        """Where in the file the messages begin; before it is the index."""
        return whole_pages(self.header_bytes + self.slots * ENTRY_BYTES)

    @cached_property
    def data_bytes(self) -> int:
        """How much room the messages have.

        For all slots, and what arrays of them have beside them; for the rest of a batch that the oldest of these is in,
        and what a round leaves out at its end; for a batch that is being written, and what is left out before it.
        """
        return whole_pages(self.slots * (self.message_bytes + 1) + 4 * self.batch_bytes)

    @cached_property
    def file_bytes(self) -> int:
        """The size of the file."""
        return self.data_start + self.data_bytes

    def entry_offset(self, number: int) -> int:
        """Return where in the file the entry of a batch is."""
        return self.header_bytes + (number - 1) % self.slots * ENTRY_BYTES

    def entries_in_a_row(self, number: int) -> int:
        """Return how many entries lie side by side from that of a batch on."""
        return self.slots - (number - 1) % self.slots

    def place(self, position: int, length_bytes: int) -> int:
        """Return the first position from this one on where a batch of this length lies in one piece."""
        left = self.data_bytes - position % self.data_bytes
        return position if length_bytes <= left else position + left

    def data_offset(self, position: int) -> int:
        """Return where in the file a position is."""
        return self.data_start + position % self.data_bytes

    def is_kept(self, position: int, newest_end: int) -> bool:
        """Whether what is at a position is not written over, be it by what will be the next batch.

        Args:
            position: Where it begins.
            newest_end: The position behind the newest batch.
        """
        return newest_end + 2 * self.batch_bytes <= position + self.data_bytes

    def _geometry(self) -> bytes:
        return _GEOMETRY.pack(self.message_bytes, self.slots)

    @classmethod
    def _of_geometry(cls, geometry: bytes) -> dict[str, int]:
        message_bytes, slots = _GEOMETRY.unpack(geometry)
        return {"slots": slots, "message_bytes": message_bytes}


class Entry(NamedTuple):
    """One batch as the index has it."""

    number: int
    position: int
    first: int
    """The number of its first message."""
    messages: int
    """How many messages it is; an array of them, if more than one."""
    length_bytes: int
    payload_crc: int

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.position + self.length_bytes

    @property
    def last(self) -> int:
        """The number of its last message."""
        return self.first + self.messages - 1

    def matches(self, payload: bytes) -> bool:
        """Whether these bytes are the batch, whole."""
        return len(payload) == self.length_bytes and crc32(payload) == self.payload_crc


NOTHING: Final = Entry(0, 0, 0, 1, 0, 0)
"""What is before the first batch."""


def pack_entry(entry: Entry) -> bytes:
    """Return the entry as the index has it; to write it commits the batch."""
    start = _pack_start(*entry)
    return start + _pack_rest(crc32(start))


def unpack_entry(data: bytes, offset: int = 0) -> Entry | None:
    """Return the entry that is there; None where none is, or not whole."""
    *fields, entry_crc = _unpack_entry(data, offset)
    if crc32(data[offset : offset + _CHECKED_ENTRY_BYTES]) != entry_crc:
        return None
    return Entry(*fields)


def pack_end(number: int) -> bytes:
    """Return the mark that no batch will follow the one of this number."""
    start = number.to_bytes(_CHECKED_END_BYTES, "little")
    return start + _CRC.pack(crc32(start))


def unpack_end(data: bytes) -> int | None:
    """Return the number of the last batch; None where others may follow.

    Args:
        data: `END_BYTES` of the file from `END_OFFSET` on.
    """
    if len(data) < END_BYTES:
        return None
    number, end_crc = _END.unpack(data)
    return number if crc32(data[:_CHECKED_END_BYTES]) == end_crc else None


# --- writing


class Write(NamedTuple):
    """Some bytes and where in the file they go."""

    offset: int
    data: bytes


class BatchWrites(NamedTuple):
    """What a writer writes, in this order."""

    payload: Write
    commit: Write
    entry: Entry


def make_batch(header: Header, newest: Entry, payload: bytes, messages: int) -> BatchWrites:
    """Return what commits a batch behind the newest one.

    Args:
        header: Of the file.
        newest: The batch before.
        payload: Its bytes, at most `batch_bytes`: a message, or an array of messages.
        messages: How many messages it is.
    """
    position = header.place(newest.end, len(payload))
    entry = Entry(newest.number + 1, position, newest.last + 1, messages, len(payload), crc32(payload))
    return BatchWrites(
        Write(header.data_offset(position), payload), Write(header.entry_offset(entry.number), pack_entry(entry)), entry
    )


# --- reading


class Look(NamedTuple):
    """What some neighbouring entries of the index say to a reader."""

    entries: list[Entry]
    """Of the wanted number and those after it, as many as are there."""
    ahead: int
    """Where there are none: a higher number, which is in the first place or the second; 0 where there is none."""


def look(index: bytes, number: int) -> Look:
    """Look for a batch and those which follow it.

    Args:
        index: Entries as the file has them, from that of `number` on.
        number: The wanted batch.
    """
    entries: list[Entry] = []
    for offset in range(0, len(index) - ENTRY_BYTES + 1, ENTRY_BYTES):
        entry = unpack_entry(index, offset)
        if entry is None or entry.number != number + len(entries):
            break
        entries.append(entry)
    if entries:
        return Look(entries, 0)
    ahead = 0
    for offset in range(0, min(len(index), 2 * ENTRY_BYTES), ENTRY_BYTES):
        entry = unpack_entry(index, offset)
        if entry is not None and entry.number > number:
            ahead = max(ahead, entry.number)
    return Look([], ahead)


def in_one_piece(header: Header, entries: Sequence[Entry], most_bytes: int) -> list[Entry]:
    """Return the first of some entries, as many as lie side by side; if they are several, of `most_bytes` together."""
    start, end = entries[0].position, entries[0].end
    most_bytes = min(most_bytes, header.data_bytes - start % header.data_bytes)
    count = 1
    for entry in entries[1:]:
        if entry.position != end or entry.end - start > most_bytes:
            break
        end = entry.end
        count += 1
    return list(entries[:count])


def follow(newest: Entry, look_for: Callable[[int], Look], search: Callable[[], Entry]) -> Entry:
    """Return the newest batch, starting from one that was the newest before.

    Args:
        newest: That one.
        look_for: Looks for a batch and those which follow it.
        search: Returns the newest batch as it is found without knowing any.
    """
    while True:
        found = look_for(newest.number + 1)
        if found.entries:
            newest = found.entries[-1]
        elif found.ahead:
            # A round or more behind; or the next entry is damaged, and that can mislead the search.
            at_least = look_for(found.ahead).entries[:1] or [NOTHING._replace(number=found.ahead)]
            newest = max(search(), *at_least)
        else:
            return newest


def find_newest(slots: int, number_at: Callable[[int], int]) -> int:
    """Return the number of the newest batch, by halving; 0 where there is none.

    Where batches are committed meanwhile it is one that was the newest before, or a little after: go on from there.

    Args:
        slots: How many entries there are.
        number_at: Returns the number which the entry at a place has, 0 where it has none.
    """
    first = number_at(0)
    if not first:
        return 0
    low, high = 0, slots
    while high - low > 1:  # the entry at `low` is of the same round as the first one, that at `high` of the one before
        middle = (low + high) // 2
        if number_at(middle) == first + middle:
            low = middle
        else:
            high = middle
    return first + low


def is_lapped(slots: int, number: int, ahead: int) -> bool:
    """Whether a batch has lost its entry, as a number that is there shows."""
    return ahead - slots >= number


def find_oldest(header: Header, newest: Entry, entry_of: Callable[[int], Entry | None]) -> int:
    """Return the number of the oldest batch that is kept, by halving.

    Args:
        header: Of the file.
        newest: The newest batch.
        entry_of: Returns the entry of a number, None where it is not there, or not any more.
    """
    low, high = max(1, newest.number - header.slots + 1), newest.number
    while low < high:
        middle = (low + high) // 2
        entry = entry_of(middle)
        if entry is not None and header.is_kept(entry.position, newest.end):
            high = middle
        else:
            low = middle + 1
    return low


def resume_at(oldest: int, newest: int, laps: int, most_laps: int) -> int:
    """Return with which number a lapped reader goes on.

    Args:
        oldest: The number of the oldest batch that is kept.
        newest: That of the newest.
        laps: 0 for the oldest; more, up to `most_laps`, for one nearer to the newest: who was lapped again in this very
            moment needs a longer lead.
        most_laps: How many there can be.
    """
    return oldest + (newest - oldest) * min(laps, most_laps) // most_laps
