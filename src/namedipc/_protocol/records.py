"""Region records: what a region's file holds. Bytes only: nothing here touches a descriptor.

A snapshot region is a header, two commit records inside its first page, and two slots for a value. A value goes into
the slot which is not live; the record that names it is written afterwards, by one write of 20 bytes. That
write is the only commit. So whoever is killed, wherever, leaves the old value or the new one, and nothing to
be repaired.

Mapped memory has one slot, which is changed in place; its commits are of no bytes, for their number only. The number of
a change is written into the dirty word before it, so the commit of the change takes the mark off; a mark above the last
commit says that whoever made the change has not come to its end.

The law: everything that is read without the lock carries a checksum, for a reader may meet a write half done.

All numbers are little-endian. The first page:

    0   magic, 8 bytes          48  uuid, 16 bytes              92   dirty word u32
    8   version u32             64  boot id, 16 bytes           128  commit record of the even versions
    12  flags u32               80  description length u32      192  commit record of the odd versions
    16  header length u64       84  description crc32 u32       256  the type's description, JSON in UTF-8
    24  capacity u64            88  crc32 of bytes 0 to 88 u32
    32  fingerprint, 16 bytes   96  successor word u32

A commit record: version u64, length u32, crc32 of the value u32, crc32 of these 16 bytes u32.
"""

from __future__ import annotations

from enum import IntFlag
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

import attrs

from namedipc._errors import ProtocolError, WrongKind

MAGIC: Final = b"\x89NIPCreg"
"""The first byte is not ASCII, so that no text file begins so."""

VERSION: Final = 1
PAGE_BYTES: Final = 4096
"""Slots begin at a multiple of this; the header and both records of a region lie within the first page."""

RECORDS_OFFSET: Final = 128
RECORD_STRIDE: Final = 64
"""One cache line a record: two cores which read and write different records do not disturb each other."""

DIRTY_OFFSET: Final = 92
"""The number of the change that was begun last, in its lower 32 bits; of mapped memory only."""
DIRTY_BYTES: Final = 4
SUCCESSOR_OFFSET: Final = 96
"""Not 0 when another memory has been given the name of this one; of mapped memory only."""
SUCCEEDED: Final = b"\1\0\0\0"
"""The successor word then."""

DESCRIPTION_OFFSET: Final = 256
LONGEST_DESCRIPTION_BYTES: Final = 1 << 20
LARGEST_CAPACITY_BYTES: Final = (1 << 32) - PAGE_BYTES
"""A record holds the length in 32 bits."""

_FIXED: Final = Struct("<8sIIQQ16s16s16sII")
_CRC: Final = Struct("<I")
_WORD: Final = Struct("<I")
_COMMIT: Final = Struct("<QIII")
_CHECKED_COMMIT_BYTES: Final = 16

RECORD_BYTES: Final = _COMMIT.size
RECORDS_BYTES: Final = RECORD_STRIDE + RECORD_BYTES
"""Both records and what lies between them: one read."""

_pack_commit = _COMMIT.pack
_unpack_commit = _COMMIT.unpack_from
_version = Struct("<Q").unpack_from


class Flag(IntFlag):
    """Marks of a region."""

    PERSIST = 1
    """Its name outlives the process which made it."""
    SIDECAR = 2
    """Writers lock a file beside the region: there are readers who may not write (`docs/region.md`)."""
    MAPPED = 4
    """It is mapped memory: one slot, changed in place (`docs/shared-memory.md`)."""


NO_FLAGS: Final = Flag(0)


@attrs.frozen(kw_only=True)
class Header:
    """What never changes in a region.

    Attributes:
        fingerprint: Of the value's type; 16 bytes.
        capacity_bytes: The longest encoded value; of mapped memory its size.
        uuid: Which region this is, among all that ever had the name; 16 bytes.
        boot_id: During which run of the machine it was made; 16 bytes.
        description: The value's type, as JSON in UTF-8.
        flags: Marks.
    """

    fingerprint: bytes
    capacity_bytes: int
    uuid: bytes
    boot_id: bytes
    description: bytes
    flags: Flag = NO_FLAGS

    @property
    def header_bytes(self) -> int:
        """The length of the header, in bytes: where the first slot begins."""
        return _whole_pages(DESCRIPTION_OFFSET + len(self.description))

    @property
    def file_bytes(self) -> int:
        """The size of the file."""
        return self.slot_offset(1) + self._slot_bytes

    def slot_offset(self, version: int) -> int:
        """Return where the value of this version begins; never in the slot of the version before, if there are two."""
        return self.header_bytes + (0 if self.flags & Flag.MAPPED else version & 1) * self._slot_bytes

    @property
    def _slot_bytes(self) -> int:
        return _whole_pages(self.capacity_bytes)

    def pack(self) -> bytes:
        """Return the header as bytes, with both commit records empty."""
        fixed = _FIXED.pack(
            MAGIC,
            VERSION,
            self.flags,
            self.header_bytes,
            self.capacity_bytes,
            self.fingerprint,
            self.uuid,
            self.boot_id,
            len(self.description),
            crc32(self.description),
        )
        start = (fixed + _CRC.pack(crc32(fixed))).ljust(DESCRIPTION_OFFSET, b"\0")
        return (start + self.description).ljust(self.header_bytes, b"\0")


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def is_region(start: bytes) -> bool:
    """Whether a file which begins like this is a region, of whatever version."""
    return start.startswith(MAGIC)


def header_length(page: bytes, *, where: str) -> int:
    """Return how many bytes the whole header has, from the first page of the file.

    Args:
        page: The first `PAGE_BYTES` of the file, or all of it if it is shorter.
        where: What messages call the file.

    Raises:
        WrongKind: It is no region.
        ProtocolError: It is one of another version, or is damaged.
    """
    if not is_region(page):
        raise WrongKind(
            f"{where}: is a file, but no region of namedipc; it was not touched: choose another path, "
            "or remove it yourself"
        )
    if len(page) < PAGE_BYTES:
        raise ProtocolError(f"{where}: the region has been cut short; remove it and create it anew")
    _, version, _, header_bytes, *_, description_bytes, _ = _FIXED.unpack_from(page)
    if version != VERSION:
        raise ProtocolError(
            f"{where}: is a region of version {version}, this program knows version {VERSION}: "
            "use the same namedipc on both sides"
        )
    sound = _CRC.unpack_from(page, _FIXED.size)[0] == crc32(page[: _FIXED.size])
    expected_bytes = _whole_pages(DESCRIPTION_OFFSET + description_bytes)
    if not sound or description_bytes > LONGEST_DESCRIPTION_BYTES or header_bytes != expected_bytes:
        raise ProtocolError(f"{where}: the header of the region is damaged; remove it and create it anew")
    return int(header_bytes)


def unpack_header(data: bytes, *, where: str) -> Header:
    """Return the header from its bytes.

    Raises:
        WrongKind: It is no region.
        ProtocolError: It is one of another version, or is damaged.
    """
    header_bytes = header_length(data[:PAGE_BYTES], where=where)
    fields = _FIXED.unpack_from(data)
    _, _, flags, _, capacity_bytes, fingerprint, uuid, boot_id, description_bytes, description_crc = fields
    description = data[DESCRIPTION_OFFSET : DESCRIPTION_OFFSET + description_bytes]
    if len(data) < header_bytes or crc32(description) != description_crc:
        raise ProtocolError(f"{where}: the description in the region is damaged; remove it and create it anew")
    return Header(
        fingerprint=fingerprint,
        capacity_bytes=capacity_bytes,
        uuid=uuid,
        boot_id=boot_id,
        description=description,
        flags=Flag(flags),
    )


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
