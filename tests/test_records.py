"""The bytes of a region's file: header, commit records, which of them is the live one."""

from __future__ import annotations

import struct
import zlib

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._protocol import records
from namedipc._protocol.file_header import DESCRIPTION_OFFSET, PAGE_BYTES, Flag
from namedipc._protocol.records import (
    RECORD_STRIDE,
    RECORDS_BYTES,
    RECORDS_OFFSET,
    Commit,
    Header,
    live,
    pack_commit,
    record_offset,
)

HEADER = Header(
    fingerprint=bytes(range(16)),
    capacity_bytes=100,
    uuid=b"u" * 16,
    boot_id=b"b" * 16,
    description=b'{"type":"int"}',
    flags=Flag.PERSIST,
)


def both(even: bytes, odd: bytes) -> bytes:
    """What a reader takes from the file when these two records are in it."""
    return even.ljust(RECORD_STRIDE, b"\0") + odd


def test_the_layout_is_the_documented_one() -> None:
    """Another language finds each field where the module's text says it is."""
    data = HEADER.pack()
    assert data[:8] == b"\x89NIPCreg"
    assert struct.unpack_from("<II", data, 8) == (1, Flag.PERSIST)
    assert struct.unpack_from("<QQ", data, 16) == (PAGE_BYTES, 100)
    assert (data[32:48], data[48:64], data[64:80]) == (HEADER.fingerprint, HEADER.uuid, HEADER.boot_id)
    assert struct.unpack_from("<II", data, 80) == (14, zlib.crc32(HEADER.description))
    assert struct.unpack_from("<II", data, 88) == (zlib.crc32(data[:88]), 0)
    assert data[256:270] == HEADER.description
    record = pack_commit(7, b"soup")
    assert struct.unpack("<QIII", record) == (7, 4, zlib.crc32(b"soup"), zlib.crc32(record[:16]))
    assert (record_offset(6), record_offset(7)) == (128, 192)


def test_slots_are_whole_pages_after_the_header() -> None:
    """Header, slot of the even versions, slot of the odd ones: none shares a page with another."""
    assert (HEADER.header_bytes, HEADER.slot_offset(2), HEADER.slot_offset(3)) == (4096, 4096, 8192)
    assert HEADER.file_bytes == 3 * PAGE_BYTES
    longer = attrs.evolve(HEADER, description=b"x" * 5000, capacity_bytes=4097)
    assert (longer.header_bytes, longer.slot_offset(1), longer.file_bytes) == (8192, 16384, 24576)
    assert Header.unpack(longer.pack(), where="board") == longer


def test_mapped_memory_has_one_slot() -> None:
    """Whatever the version, the content is in the same place, and no room is taken for a second one."""
    mapped = attrs.evolve(HEADER, flags=Flag.MAPPED, capacity_bytes=5000)
    assert (mapped.slot_offset(1), mapped.slot_offset(2), mapped.file_bytes) == (4096, 4096, 4096 + 8192)


@pytest.mark.parametrize("version", [1, 2, 2**32 - 1, 2**32, 2**40])
def test_a_change_has_begun_until_its_own_commit(version: int) -> None:
    """The dirty word names the next version; neither an earlier one nor the live one is a mark."""
    mark = records.pack_dirty(version + 1)
    assert len(mark) == records.DIRTY_BYTES
    assert records.DIRTY_OFFSET + records.DIRTY_BYTES <= records.SUCCESSOR_OFFSET
    assert records.begun(mark, version)
    assert not records.begun(mark, version + 1)
    assert not records.begun(records.pack_dirty(version), version)
    assert not records.begun(b"", version)


def test_nothing_is_live_in_empty_records() -> None:
    """Zeros are no record, and half of the records is none either."""
    assert live(bytes(RECORDS_BYTES)) is None
    assert live(both(pack_commit(2, b"x"), pack_commit(3, b"y"))[:-1]) is None


@settings(max_examples=60, derandomize=True)
@given(st.integers(1, 2**63), st.binary(max_size=50))
def test_the_higher_version_is_the_live_one(version: int, payload: bytes) -> None:
    """Two versions in a row lie in different records, and the later one counts, whichever record it is in."""
    older, newer = pack_commit(version, b"old"), pack_commit(version + 1, payload)
    commit = live(both(older, newer) if version % 2 == 0 else both(newer, older))
    assert commit == Commit(version + 1, len(payload), zlib.crc32(payload))
    assert commit is not None
    assert commit.matches(payload)
    assert not commit.matches(payload + b"x")


@settings(max_examples=60, derandomize=True)
@given(st.integers(1, 2**40), st.integers(0, 19))
def test_a_torn_record_leaves_the_one_before(version: int, written: int) -> None:
    """However many bytes of the next record are there, the previous value stays the live one."""
    old, live_one, new = (pack_commit(v, b"%d" % v) for v in (version, version + 1, version + 2))
    torn = new[:written] + old[written:]
    commit = live(both(torn, live_one) if version % 2 == 0 else both(live_one, torn))
    assert commit is not None
    # Cut where both agree, the torn record is the old one or the new one, whole.
    assert commit.version == (version + 2 if torn == new else version + 1)


def test_a_record_in_the_place_of_the_other_is_none() -> None:
    """Only a version whose record belongs there is looked at."""
    assert live(both(pack_commit(3, b"x"), pack_commit(1, b"y"))) == Commit(1, 1, zlib.crc32(b"y"))


def test_records_lie_in_the_first_page_and_never_across_two() -> None:
    """A write of one record stays within a page, which is what makes it one step."""
    for version in (1, 2):
        offset = record_offset(version)
        assert offset // PAGE_BYTES == (offset + records.RECORD_BYTES - 1) // PAGE_BYTES == 0
    assert RECORDS_OFFSET + RECORDS_BYTES <= DESCRIPTION_OFFSET
