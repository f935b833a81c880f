"""Region records: what a region's file holds. Bytes only: nothing here touches a descriptor.

A snapshot region is a header, two commit records inside its first page, and two slots for a value. A value goes into
the slot which is not live; the record that names it is written afterwards, by one write of 20 bytes. That
write is the only commit. So whoever is killed, wherever, leaves the old value or the new one, and nothing to
be repaired.

Mapped memory has one slot, which is changed in place; its commits are of no bytes, for their number only. The number of
a change is written into the dirty word before it, so the commit of the change takes the mark off; a mark above the last
commit says that whoever made the change has not come to its end.

Another file may be given the name; then the successor word is written into this one, for those who have it open.

The law: everything that is read without the lock carries a checksum, for a reader may meet a write half done.

All numbers are little-endian. The first page is a header as `file_header.py` has it, and in it:

    24  capacity u64            96   successor word u32
    92  dirty word u32          128  commit record of the even versions
                                192  commit record of the odd versions

A commit record: version u64, length u32, crc32 of the value u32, crc32 of these 16 bytes u32.
"""

from __future__ import annotations

from struct import Struct
from typing import ClassVar, Final, NamedTuple

import attrs

from .checksum import crc32
from .file_header import PAGE_BYTES, FileHeader, Flag, whole_pages

RECORDS_OFFSET: Final = 128
RECORD_STRIDE: Final = 64
"""One cache line a record: two cores which read and write different records do not disturb each other."""

DIRTY_OFFSET: Final = 92
"""The number of the change that was begun last, in its lower 32 bits; of mapped memory only."""
DIRTY_BYTES: Final = 4
SUCCESSOR_OFFSET: Final = 96
"""Not 0 when another file has been given the name of this one."""
SUCCEEDED: Final = b"\1\0\0\0"
"""The successor word then."""

LARGEST_CAPACITY_BYTES: Final = (1 << 32) - PAGE_BYTES
"""A record holds the length in 32 bits."""

_CRC: Final = Struct("<I")
_WORD: Final = Struct("<I")
_CAPACITY: Final = Struct("<Q")
_COMMIT: Final = Struct("<QIII")
_CHECKED_COMMIT_BYTES: Final = 16

RECORD_BYTES: Final = _COMMIT.size
RECORDS_BYTES: Final = RECORD_STRIDE + RECORD_BYTES
"""Both records and what lies between them: one read."""

_pack_commit = _COMMIT.pack
_unpack_commit = _COMMIT.unpack_from
_version = Struct("<Q").unpack_from


@attrs.frozen(kw_only=True)
class Header(FileHeader):
    """What never changes in a region.

    Attributes:
        capacity_bytes: The longest encoded value; of mapped memory its size.
    """

    magic: ClassVar[bytes] = b"\x89NIPCreg"
    noun: ClassVar[str] = "region"

    capacity_bytes: int

    @property
    def file_bytes(self) -> int:
        """The size of the file."""
        return self.slot_offset(1) + self._slot_bytes

    def slot_offset(self, version: int) -> int:
        """Return where the value of this version begins; never in the slot of the version before, if there are two."""
        return self.header_bytes + (0 if self.flags & Flag.MAPPED else version & 1) * self._slot_bytes

    @property
    def _slot_bytes(self) -> int:
        return whole_pages(self.capacity_bytes)

    def _geometry(self) -> bytes:
        return _CAPACITY.pack(self.capacity_bytes)

    @classmethod
    def _of_geometry(cls, geometry: bytes) -> dict[str, int]:
        return {"capacity_bytes": _CAPACITY.unpack(geometry)[0]}


class Commit(NamedTuple):
    """One commit record: version, length and checksum of a value."""

    version: int
    length_bytes: int
    payload_crc: int

    def matches(self, payload: bytes) -> bool:
        """Whether these bytes are the value that was committed, whole."""
        return len(payload) == self.length_bytes and crc32(payload) == self.payload_crc


def pack_commit(version: int, payload: bytes) -> bytes:
    """Return the record which makes this value the live one."""
    start = _pack_commit(version, len(payload), crc32(payload), 0)[:_CHECKED_COMMIT_BYTES]
    return start + _CRC.pack(crc32(start))


def pack_dirty(version: int) -> bytes:
    """Return the dirty word which says that the change to this version has begun."""
    return _WORD.pack(version & 0xFFFF_FFFF)


def begun(dirty: bytes, version: int) -> bool:
    """Whether a dirty word says that the change after the live version was begun: it has not ended, or it were live."""
    return dirty == pack_dirty(version + 1)


def record_offset(version: int) -> int:
    """Return where in the file the record of this version belongs: never over that of the version before."""
    return RECORDS_OFFSET + (version & 1) * RECORD_STRIDE


def live(records: bytes) -> Commit | None:
    """Return the commit with the highest version; None where neither record is whole.

    Args:
        records: `RECORDS_BYTES` of the file from `RECORDS_OFFSET` on.
    """
    if len(records) < RECORDS_BYTES:
        return None
    newer = int(_version(records, RECORD_STRIDE)[0] > _version(records, 0)[0])
    return _commit(records, newer) or _commit(records, 1 - newer)


def _commit(records: bytes, index: int) -> Commit | None:
    offset = index * RECORD_STRIDE
    version, length_bytes, payload_crc, record_crc = _unpack_commit(records, offset)
    if record_crc != crc32(records[offset : offset + _CHECKED_COMMIT_BYTES]):
        return None
    # A record in the other one's place has been copied there: nobody of ours writes it so.
    return Commit(version, length_bytes, payload_crc) if version & 1 == index else None
