"""The header of a file in shared memory: its bytes, and what is not taken for one. Of each kind of file."""

from __future__ import annotations

import attrs
import pytest

from namedipc import ProtocolError, WrongKind
from namedipc._protocol import records, ring
from namedipc._protocol.file_header import PAGE_BYTES, FileHeader, Flag, whole_pages

REGION = records.Header(
    fingerprint=bytes(range(16)),
    capacity_bytes=100,
    uuid=b"u" * 16,
    boot_id=b"b" * 16,
    description=b'{"type":"int"}',
    flags=Flag.PERSIST,
)
BROADCAST = ring.Header(
    fingerprint=REGION.fingerprint,
    slots=3,
    message_bytes=100,
    uuid=REGION.uuid,
    boot_id=REGION.boot_id,
    description=REGION.description,
    flags=Flag.SIDECAR,
)

kinds = pytest.mark.parametrize("header", [REGION, BROADCAST], ids=["region", "broadcast"])


@kinds
def test_a_header_comes_back_as_it_was(header: FileHeader) -> None:
    """Every field survives the way into the file and out again; whatever is longer takes more pages."""
    assert type(header).unpack(header.pack(), where="x") == header
    longer = attrs.evolve(header, description=b"x" * 5000)
    assert (header.header_bytes, longer.header_bytes) == (PAGE_BYTES, 2 * PAGE_BYTES)
    assert longer.file_bytes == header.file_bytes + PAGE_BYTES
    assert type(header).unpack(longer.pack(), where="x") == longer


@kinds
@pytest.mark.parametrize("text", [b"", b"milk\neggs\n", bytes(9000), b"\x7fELF" * 2000])
def test_what_is_something_else_is_said_to_be(header: FileHeader, text: bytes) -> None:
    """A file with other content is WrongKind, however short or long it is."""
    with pytest.raises(WrongKind, match=f"x: is a file, but no {header.noun}"):
        type(header).length_in(text[:PAGE_BYTES], where="x")


@kinds
def test_another_version_says_so(header: FileHeader) -> None:
    """A later format is not taken for damage."""
    data = bytearray(header.pack())
    data[8] = 9
    with pytest.raises(ProtocolError, match="version 9, this program knows version 1"):
        type(header).length_in(bytes(data), where="x")


@kinds
def test_one_that_was_cut_says_so(header: FileHeader) -> None:
    """A header without its end is named as what it is."""
    with pytest.raises(ProtocolError, match="cut short"):
        type(header).length_in(header.pack()[:100], where="x")
    longer = attrs.evolve(header, description=b"x" * 5000).pack()
    with pytest.raises(ProtocolError, match="damaged"):
        type(header).unpack(longer[:PAGE_BYTES], where="x")


@kinds
@pytest.mark.parametrize("offset", [*range(12, 92), 256, 269])
def test_a_damaged_header_is_refused(header: FileHeader, offset: int) -> None:
    """A flipped bit in any field that matters is found."""
    data = bytearray(header.pack())
    data[offset] ^= 1
    with pytest.raises(ProtocolError, match="damaged"):
        type(header).unpack(bytes(data), where="x")


def test_whole_pages_are_not_fewer_than_needed() -> None:
    """A full page is one page."""
    assert [whole_pages(size) for size in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]
