"""The hello: the first 40 bytes each side sends, and how two schemas find together. Bytes only.

Equal fingerprints make a method's index its identity, so that a client's first call flies with its hello. With
different ones the server holds the calls and sends its SCHEMA; the client answers with BIND (which of the server's
methods each of its own is), or goes away with `SchemaMismatch`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs

from .._errors import ProtocolError, WrongKind

MAGIC: Final = b"NIPC"
OPENING_BYTES: Final = len(MAGIC)
VERSION: Final = 1
SERVICE: Final = 1
CHANNEL: Final = 2
FINGERPRINT_BYTES: Final = 16
UNASKED_BYTES: Final = 4096
"""What a client may send before it knows the service's limit: every service takes as much, be its limit lower."""

_ROLES = {SERVICE: "a service", CHANNEL: "a channel"}
# magic, version, role, payload MiB, message bytes, fingerprint, stream items, stream bytes, calls in flight
_LAYOUT = Struct("<4sBBHI16sIII")
_MIB: Final = 1 << 20
_MOST_MIB: Final = 0xFFFF
HELLO_BYTES: Final = _LAYOUT.size


@attrs.frozen
class Hello:
    """What a side says of itself.

    Attributes:
        role: SERVICE or CHANNEL.
        message_bytes: The longest body this side accepts.
        fingerprint: 16 bytes which two sides with the same schema share.
        stream_items: The window of each stream towards this side, in items; 0 where there are none.
        stream_bytes: The same window in bytes.
        calls_in_flight: How many calls of this connection a service runs at once.
        payload_bytes: How many bytes of the other side's buffers this side maps, in whole MiB; 0 if it takes no
            payloads in buffers.
    """

    role: int
    message_bytes: int
    fingerprint: bytes
    stream_items: int = 0
    stream_bytes: int = 0
    calls_in_flight: int = 0
    payload_bytes: int = 0

    def pack(self) -> bytes:
        """Return the 40 bytes."""
        return _LAYOUT.pack(
            MAGIC,
            VERSION,
            self.role,
            min(self.payload_bytes // _MIB, _MOST_MIB),
            self.message_bytes,
            self.fingerprint,
            self.stream_items,
            self.stream_bytes,
            self.calls_in_flight,
        )


def check_opening(data: bytes) -> None:
    """Look at the first bytes of the other side, however few of them are there.

    A program that speaks something else may say less than a hello, and wait for an answer.

    Raises:
        ProtocolError: These are not the bytes of namedipc.
    """
    if not MAGIC.startswith(data[: len(MAGIC)]):
        raise ProtocolError("the peer does not speak namedipc")


def unpack_hello(data: bytes, *, role: int) -> Hello:
    """Read the 40 bytes of the other side.

    Raises:
        ProtocolError: These are not the bytes of namedipc, or of a version unknown here.
        WrongKind: The other side is a service where a channel was expected, or the reverse.
    """
    _magic, version, their_role, payload_mib, message_bytes, fingerprint, items, size, calls = _LAYOUT.unpack(data)
    check_opening(data)
    if version != VERSION:
        raise ProtocolError(f"the peer speaks version {version} of the protocol, this side version {VERSION}")
    if their_role != role:
        theirs = _ROLES.get(their_role, f"an unknown kind of name ({their_role})")
        raise WrongKind(f"the other side is {theirs}, this side is {_ROLES[role]}")
    return Hello(their_role, message_bytes, fingerprint, items, size, calls, payload_mib * _MIB)
