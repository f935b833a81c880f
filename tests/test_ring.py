"""The bytes of a broadcast's file: header, entries, the end, what is written, and what a reader makes of it."""

from __future__ import annotations

import struct
import zlib

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc import WrongKind
from namedipc._protocol import records, ring
from namedipc._protocol.file_header import PAGE_BYTES
from namedipc._protocol.ring import (
    BATCH_BYTES,
    END_BYTES,
    ENTRY_BYTES,
    NOTHING,
    Entry,
    Header,
    Look,
    find_newest,
    in_one_piece,
    is_lapped,
    look,
    make_batch,
    pack_end,
    pack_entry,
    resume_at,
    unpack_end,
    unpack_entry,
)

HEADER = Header(
    fingerprint=bytes(range(16)),
    slots=3,
    message_bytes=100,
    uuid=b"u" * 16,
    boot_id=b"b" * 16,
    description=b'{"type":"int"}',
)


def test_the_layout_is_the_documented_one() -> None:
    """Another language finds each field where the module's text says it is."""
    data = HEADER.pack()
    assert Header.unpack(data, where="news") == HEADER
    assert data[:8] == b"\x89NIPCrng"
    assert struct.unpack_from("<II", data, 24) == (100, 3)
    assert data[128:256] == bytes(128)
    entry = pack_entry(7, 1000, b"soup")
    assert struct.unpack("<QQIIII", entry) == (7, 1000, 4, zlib.crc32(b"soup"), zlib.crc32(entry[:24]), 0)
    assert struct.unpack("<QI", pack_end(7)) == (7, zlib.crc32(pack_end(7)[:8]))
    assert (HEADER.header_bytes, HEADER.data_start) == (PAGE_BYTES, 2 * PAGE_BYTES)
    assert HEADER.data_bytes >= 3 * 100 + 2 * BATCH_BYTES
    assert HEADER.file_bytes == HEADER.data_start + HEADER.data_bytes
    assert [HEADER.entry_offset(number) for number in (1, 2, 3, 4)] == [4096, 4128, 4160, 4096]
    assert [HEADER.entries_in_a_row(number) for number in (1, 2, 3, 4)] == [3, 2, 1, 3]
    assert PAGE_BYTES % ENTRY_BYTES == 0  # an entry never lies in two pages, so that its write is one step


def test_a_region_is_no_broadcast() -> None:
    """Each kind of file says what the other is not."""
    bare = {name: getattr(HEADER, name) for name in ("fingerprint", "uuid", "boot_id", "description")}
    region = records.Header(capacity_bytes=100, **bare).pack()
    with pytest.raises(WrongKind, match="no broadcast of namedipc"):
        Header.unpack(region, where="news")
    with pytest.raises(WrongKind, match="no region of namedipc"):
        records.Header.unpack(HEADER.pack(), where="board")


def test_an_entry_comes_back_whole_or_not_at_all() -> None:
    """However many bytes of the next entry are there, it is the old one, the new one, or none."""
    old, new = pack_entry(1, 0, b"old"), pack_entry(4, 300, b"newer")
    assert unpack_entry(old) == Entry(1, 0, 3, zlib.crc32(b"old"))
    for written in range(ENTRY_BYTES + 1):
        found = unpack_entry(new[:written] + old[written:])
        assert found is None or found.number == (4 if new[:written] + old[written:] == new else 1)
    assert unpack_entry(bytes(ENTRY_BYTES)) is None
    entry = unpack_entry(old)
    assert entry is not None
    assert (entry.matches(b"old"), entry.matches(b"odd"), entry.matches(b"older")) == (True, False, False)


def test_the_end_is_said_or_not() -> None:
    """Zeros are no end, nor is half of one; a broadcast may end before its first message."""
    assert (unpack_end(bytes(END_BYTES)), unpack_end(b""), unpack_end(pack_end(5)[:-1])) == (None, None, None)
    assert (unpack_end(pack_end(0)), unpack_end(pack_end(5))) == (0, 5)


@settings(max_examples=60, derandomize=True)
@given(st.integers(1, 5), st.lists(st.lists(st.integers(0, 40_000), min_size=1, max_size=3), max_size=40))
def test_what_is_written_keeps_off_the_last_messages(slots: int, batches: list[list[int]]) -> None:
    """No bytes of a batch, before it is committed, are those of one of the last messages; each lies in one piece."""
    header = attrs.evolve(HEADER, slots=slots, message_bytes=40_000)
    newest, kept = NOTHING, list[Entry]()
    for sizes in batches:
        payloads = [bytes(size) for size in sizes[:slots]]
        if sum(map(len, payloads)) > header.batch_bytes:
            payloads = payloads[:1]
        batch = make_batch(header, newest, payloads)
        written = [range(write.offset, write.offset + len(write.data)) for write in batch.payloads]
        assert all(header.data_start <= part.start <= part.stop <= header.file_bytes for part in written)
        for entry in kept[-slots:]:
            start = header.data_offset(entry.position)
            assert not any(part.start < start + entry.length_bytes and start < part.stop for part in written)
        committed = b"".join(write.data for write in batch.commits)
        entries = [unpack_entry(committed, offset) for offset in range(0, len(committed), ENTRY_BYTES)]
        kept += [entry for entry in entries if entry is not None]
        assert [entry.number for entry in kept] == list(range(1, len(kept) + 1))
        newest = batch.newest
        assert newest[:3] == kept[-1][:3]
        assert [len(write.data) for write in batch.commits] == _rounds(header, len(kept) - len(payloads), len(payloads))


def _rounds(header: Header, before: int, count: int) -> list[int]:
    """The sizes of the writes of `count` entries: one, or two at the end of the index."""
    first = min(count, header.entries_in_a_row(before + 1))
    return [size * ENTRY_BYTES for size in (first, count - first) if size]


def index(*numbers: int) -> bytes:
    """Entries of these numbers; 0 is none."""
    return b"".join(pack_entry(number, 0, b"") if number else bytes(ENTRY_BYTES) for number in numbers)


def test_a_look_finds_what_follows() -> None:
    """Entries in a row from the wanted one on; or a number that is ahead; or nothing."""
    assert [entry.number for entry in look(index(4, 5, 3), 4).entries] == [4, 5]
    assert look(index(1, 2, 3), 4) == Look([], 0)
    assert look(index(0, 0), 1) == Look([], 0)
    assert look(index(7, 5, 6), 4) == Look([], 7)
    torn = index(4)[:20] + bytes(12)
    assert look(torn + index(5), 4) == Look([], 5)
    assert look(torn, 4) == Look([], 0)
    assert (is_lapped(3, 4, 7), is_lapped(3, 4, 5), is_lapped(3, 4, 0)) == (True, False, False)


@pytest.mark.parametrize("newest", range(25))
def test_the_newest_is_found_by_halving(newest: int) -> None:
    """For every number of messages, and every number of slots."""
    for slots in range(1, 9):
        numbers = [0] * slots
        for number in range(1, newest + 1):
            numbers[(number - 1) % slots] = number
        assert find_newest(slots, numbers.__getitem__) == newest


def test_a_lapped_reader_goes_on_with_the_oldest_and_then_with_a_lead() -> None:
    """The first time nothing more is missed than was written over; again and again, the newest."""
    assert [resume_at(4, 10, laps, 2) for laps in (0, 1, 2, 3)] == [7, 8, 10, 10]
    assert resume_at(4, 2, 0, 2) == 1


def test_messages_are_read_together_where_they_lie_together() -> None:
    """Up to the end of a round, and to so many bytes; one alone however long it is."""
    end = HEADER.data_bytes
    far = [Entry(1, end - 8, 4, 0), Entry(2, end - 4, 4, 0), Entry(3, end, 4, 0), Entry(4, end + 4, 4, 0)]
    assert in_one_piece(HEADER, far, 100) == far[:2]
    assert in_one_piece(HEADER, far[2:], 100) == far[2:]
    assert in_one_piece(HEADER, far, 7) == far[:1]
    assert in_one_piece(HEADER, far, 1) == far[:1]
    assert in_one_piece(HEADER, [Entry(1, 0, 4, 0), Entry(2, 6, 4, 0)], 100) == [Entry(1, 0, 4, 0)]


def test_the_module_says_what_a_batch_is() -> None:
    """A batch of messages of one page of entries, never more than there are slots."""
    assert (HEADER.batch_bytes, HEADER.batch_messages) == (BATCH_BYTES, 3)
    large = attrs.evolve(HEADER, slots=1000, message_bytes=BATCH_BYTES + 1)
    assert (large.batch_bytes, large.batch_messages) == (BATCH_BYTES + 1, ring.BATCH_MESSAGES)
