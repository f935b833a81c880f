"""The header of a file in shared memory, whatever kind of name it is for. Bytes only: no descriptor is touched here.

The law: what the header says never changes while the file is there, and all of it is under a checksum.

All numbers are little-endian. The first page:

    0   magic, 8 bytes: the kind    32  fingerprint, 16 bytes    84   description crc32 u32
    8   version u32                 48  uuid, 16 bytes           88   crc32 of bytes 0 to 88 u32
    12  flags u32                   64  boot id, 16 bytes        92   to 256: the kind's own, may change
    16  header length u64           80  description length u32   256  the type's description, JSON in UTF-8
    24  geometry, 8 bytes: the kind's own
"""

from __future__ import annotations

from enum import IntFlag
from functools import cached_property
from struct import Struct
from typing import ClassVar, Final, Self

import attrs

from .._errors import ProtocolError, WrongKind
from .checksum import crc32

VERSION: Final = 1
PAGE_BYTES: Final = 4096
"""The header is whole pages of this, and so is whatever begins after it."""

DESCRIPTION_OFFSET: Final = 256
LONGEST_DESCRIPTION_BYTES: Final = 1 << 20

_FIXED: Final = Struct("<8sIIQ8s16s16s16sII")
_CRC: Final = Struct("<I")


class Flag(IntFlag):
    """Marks of a file."""

    PERSIST = 1
    """Its name outlives whoever uses it."""
    SIDECAR = 2
    """Writers lock a file beside it: there are readers who may not write (`docs/region.md`)."""
    MAPPED = 4
    """It is mapped memory: one slot, changed in place (`docs/shared-memory.md`)."""


NO_FLAGS: Final = Flag(0)


@attrs.frozen(kw_only=True)
class FileHeader:
    """What never changes in a file. A kind of file has a subclass, with what its geometry says.

    Attributes:
        fingerprint: Of the type of what is in it; 16 bytes.
        uuid: Which file this is, among all that ever had the name; 16 bytes.
        boot_id: During which run of the machine it was made; 16 bytes.
        description: The type, as JSON in UTF-8.
        flags: Marks.
    """

    magic: ClassVar[bytes]
    """8 bytes, the first of them not ASCII, so that no text file begins so."""
    noun: ClassVar[str]
    """What messages call the kind."""

    fingerprint: bytes
    uuid: bytes
    boot_id: bytes
    description: bytes
    flags: Flag = NO_FLAGS

    @property
    def file_bytes(self) -> int:
        """The size of the file."""
        raise NotImplementedError

    def _geometry(self) -> bytes:
        raise NotImplementedError

    @classmethod
    def _of_geometry(cls, geometry: bytes) -> dict[str, int]:
        """Return the attributes of the subclass."""
        raise NotImplementedError

    @cached_property
    def header_bytes(self) -> int:
        """The length of the header, in bytes."""
        return whole_pages(DESCRIPTION_OFFSET + len(self.description))

    def pack(self) -> bytes:
        """Return the header as bytes, with zeros for what may change."""
        fixed = _FIXED.pack(
            self.magic,
            VERSION,
            self.flags,
            self.header_bytes,
            self._geometry(),
            self.fingerprint,
            self.uuid,
            self.boot_id,
            len(self.description),
            crc32(self.description),
        )
        start = (fixed + _CRC.pack(crc32(fixed))).ljust(DESCRIPTION_OFFSET, b"\0")
        return (start + self.description).ljust(self.header_bytes, b"\0")

    @classmethod
    def length_in(cls, page: bytes, *, where: str) -> int:
        """Return how many bytes the whole header has, from the first page of the file.

        Args:
            page: The first `PAGE_BYTES` of the file, or all of it if it is shorter.
            where: What messages call the file.

        Raises:
            WrongKind: It is no file of this kind.
            ProtocolError: It is one of another version, or is damaged.
        """
        if not page.startswith(cls.magic):
            raise WrongKind(
                f"{where}: is a file, but no {cls.noun} of namedipc; it was not touched: choose another path, "
                "or remove it yourself"
            )
        if len(page) < PAGE_BYTES:
            raise ProtocolError(f"{where}: the {cls.noun} has been cut short; remove it and create it anew")
        _, version, _, header_bytes, *_, description_bytes, _ = _FIXED.unpack_from(page)
        if version != VERSION:
            raise ProtocolError(
                f"{where}: is a {cls.noun} of version {version}, this program knows version {VERSION}: "
                "use the same namedipc on both sides"
            )
        sound = _CRC.unpack_from(page, _FIXED.size)[0] == crc32(page[: _FIXED.size])
        expected_bytes = whole_pages(DESCRIPTION_OFFSET + description_bytes)
        if not sound or description_bytes > LONGEST_DESCRIPTION_BYTES or header_bytes != expected_bytes:
            raise ProtocolError(f"{where}: the header of the {cls.noun} is damaged; remove it and create it anew")
        return int(header_bytes)

    @classmethod
    def unpack(cls, data: bytes, *, where: str) -> Self:
        """Return the header from its bytes.

        Raises:
            WrongKind: It is no file of this kind.
            ProtocolError: It is one of another version, or is damaged.
        """
        header_bytes = cls.length_in(data[:PAGE_BYTES], where=where)
        fields = _FIXED.unpack_from(data)
        _, _, flags, _, geometry, fingerprint, uuid, boot_id, description_bytes, description_crc = fields
        description = data[DESCRIPTION_OFFSET : DESCRIPTION_OFFSET + description_bytes]
        if len(data) < header_bytes or crc32(description) != description_crc:
            raise ProtocolError(f"{where}: the description in the {cls.noun} is damaged; remove it and create it anew")
        return cls(
            fingerprint=fingerprint,
            uuid=uuid,
            boot_id=boot_id,
            description=description,
            flags=Flag(flags),
            **cls._of_geometry(geometry),
        )


def whole_pages(size_bytes: int) -> int:
    """Return a size rounded up to whole pages."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
