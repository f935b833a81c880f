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
    END_BYTES,
    ENTRY_BYTES,
    MOST_BATCH_BYTES,
    NOTHING,
    Entry,
    Header,
    Look,
    find_newest,
    find_oldest,
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
    entry = pack_entry(Entry(7, 1000, 20, 3, 4, zlib.crc32(b"soup")))
    assert struct.unpack("<QQQIIII", entry[:40]) == (7, 1000, 20, 3, 4, zlib.crc32(b"soup"), zlib.crc32(entry[:36]))
    assert entry[40:] == bytes(24)
    assert struct.unpack("<QI", pack_end(7)) == (7, zlib.crc32(pack_end(7)[:8]))
    assert (HEADER.header_bytes, HEADER.data_start) == (PAGE_BYTES, 2 * PAGE_BYTES)
    assert HEADER.data_bytes >= 3 * 101 + 4 * HEADER.batch_bytes
    assert HEADER.file_bytes == HEADER.data_start + HEADER.data_bytes
    assert [HEADER.entry_offset(number) for number in (1, 2, 3, 4)] == [4096, 4160, 4224, 4096]
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
    old, new = entry_of(1, 0, b"old"), entry_of(4, 300, b"newer", 2)
    assert unpack_entry(old) == Entry(1, 0, 1, 1, 3, zlib.crc32(b"old"))
    for written in range(ENTRY_BYTES + 1):
        mixed = new[:written] + old[written:]
        found = unpack_entry(mixed)
        assert found is None or found.number == (4 if mixed == new else 1)
    assert unpack_entry(bytes(ENTRY_BYTES)) is None
    entry = unpack_entry(old)
    assert entry is not None
    assert (entry.matches(b"old"), entry.matches(b"odd"), entry.matches(b"older")) == (True, False, False)


def test_the_end_is_said_or_not() -> None:
    """Zeros are no end, nor is half of one; a broadcast may end before its first message."""
    assert (unpack_end(bytes(END_BYTES)), unpack_end(b""), unpack_end(pack_end(5)[:-1])) == (None, None, None)
    assert (unpack_end(pack_end(0)), unpack_end(pack_end(5))) == (0, 5)


@settings(max_examples=60, derandomize=True)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 9)), max_size=60))
def test_what_is_written_keeps_off_the_last_messages(slots: int, batches: list[tuple[int, int]]) -> None:
    """No bytes of a batch, before it is committed, are those of one of the last messages; each lies in one piece.

    And what is said to be kept is not touched either; it is the last messages, and more.
    """
    header = attrs.evolve(HEADER, slots=slots, message_bytes=10_000)
    newest, kept = NOTHING, list[Entry]()
    for size, messages in batches:
        payload = bytes(min(size, messages * (header.message_bytes + 1), header.batch_bytes))
        payload_write, commit, entry = make_batch(header, newest, payload, messages)
        written = range(payload_write.offset, payload_write.offset + len(payload))
        assert header.data_start <= written.start <= written.stop <= header.file_bytes
        for old in kept:
            if header.is_kept(old.position, newest.end):
                start = header.data_offset(old.position)
                assert not (written.start < start + old.length_bytes and start < written.stop)
            else:
                assert newest.last - old.last >= slots
        assert unpack_entry(commit.data) == entry
        assert commit.offset == header.entry_offset(len(kept) + 1)
        assert (entry.number, entry.first) == (len(kept) + 1, newest.last + 1)
        kept.append(entry)
        newest = entry


@pytest.mark.parametrize("lost", range(6))
def test_the_oldest_is_found_by_halving(lost: int) -> None:
    """The first whose bytes are kept; those whose entries are gone come before it."""
    header = attrs.evolve(HEADER, slots=5)
    entries = {number: Entry(number, 0, number, 1, 4, 0) for number in range(3, 10)}
    for number in range(5 + lost, 10):
        entries[number] = entries[number]._replace(position=header.data_bytes)
    newest = entries[9]._replace(position=2 * header.data_bytes - 2 * header.batch_bytes - 4)
    assert find_oldest(header, newest, entries.get) == min(5 + lost, 9)
    assert find_oldest(header, NOTHING, entries.get) == 1
    assert find_oldest(header, newest, lambda _: None) == 9


def entry_of(number: int, position: int, payload: bytes, messages: int = 1) -> bytes:
    """An entry as the index has it."""
    return pack_entry(Entry(number, position, number, messages, len(payload), zlib.crc32(payload)))


def index(*numbers: int) -> bytes:
    """Entries of these numbers; 0 is none."""
    return b"".join(entry_of(number, 0, b"") if number else bytes(ENTRY_BYTES) for number in numbers)


def test_a_look_finds_what_follows() -> None:
    """Entries in a row from the wanted one on; or a number that is ahead; or nothing."""
    assert [entry.number for entry in look(index(4, 5, 3), 4).entries] == [4, 5]
    assert look(index(1, 2, 3), 4) == Look([], 0)
    assert look(index(0, 0), 1) == Look([], 0)
    assert look(index(7, 5, 6), 4) == Look([], 7)
    torn = index(4)[:20] + bytes(ENTRY_BYTES - 20)
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
    assert [resume_at(7, 10, laps, 2) for laps in (0, 1, 2, 3)] == [7, 8, 10, 10]
    assert resume_at(1, 2, 0, 2) == 1


def test_messages_are_read_together_where_they_lie_together() -> None:
    """Up to the end of a round, and to so many bytes; one alone however long it is."""
    end = HEADER.data_bytes
    far = [Entry(n, end - 12 + 4 * n, n, 1, 4, 0) for n in (1, 2, 3, 4)]
    assert in_one_piece(HEADER, far, 100) == far[:2]
    assert in_one_piece(HEADER, far[2:], 100) == far[2:]
    assert in_one_piece(HEADER, far, 7) == far[:1]
    assert in_one_piece(HEADER, far, 1) == far[:1]
    apart = [Entry(1, 0, 1, 1, 4, 0), Entry(2, 6, 2, 1, 4, 0)]
    assert in_one_piece(HEADER, apart, 100) == apart[:1]


def test_the_module_says_what_a_batch_is() -> None:
    """Half of what the slots have, but not more than pays, or one message; a page of entries is looked at together."""
    assert HEADER.batch_bytes == 150
    assert attrs.evolve(HEADER, slots=1).batch_bytes == 100
    assert attrs.evolve(HEADER, slots=1 << 20).batch_bytes == MOST_BATCH_BYTES
    assert attrs.evolve(HEADER, message_bytes=MOST_BATCH_BYTES + 1).batch_bytes == MOST_BATCH_BYTES + 1
    assert ring.INDEX_ENTRIES * ENTRY_BYTES == PAGE_BYTES
