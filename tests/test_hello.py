"""The hello: 40 bytes, which say what a side is; anything else is told apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from namedipc._errors import ProtocolError, WrongKind
from namedipc._protocol.hello import CHANNEL, HELLO_BYTES, SERVICE, Hello, check_opening, unpack_hello

PRINT = bytes(range(16))


def test_there_and_back() -> None:
    """What was packed is read again, and its bytes are the documented ones."""
    hello = Hello(CHANNEL, 1 << 20, PRINT)
    packed = hello.pack()
    assert packed == b"NIPC" + bytes([1, 2, 0, 0]) + b"\x00\x00\x10\x00" + PRINT + bytes(12)
    assert len(packed) == HELLO_BYTES == 40
    assert unpack_hello(packed, role=CHANNEL) == hello


def test_the_limits_of_a_service() -> None:
    """They stand at the end: the window of a stream in items and in bytes, and how many calls run at once."""
    hello = Hello(SERVICE, 1, PRINT, stream_items=0x102, stream_bytes=0x30000, calls_in_flight=4)
    packed = hello.pack()
    assert packed[28:] == b"\2\1\0\0" + b"\0\0\3\0" + b"\4\0\0\0"
    assert unpack_hello(packed, role=SERVICE) == hello


@pytest.mark.parametrize(
    ("theirs", "mine", "text"),
    [
        (SERVICE, CHANNEL, "the other side is a service, this side is a channel"),
        (CHANNEL, SERVICE, "the other side is a channel, this side is a service"),
        (9, SERVICE, r"an unknown kind of name \(9\)"),
    ],
)
def test_another_kind(theirs: int, mine: int, text: str) -> None:
    """Both kinds are named."""
    with pytest.raises(WrongKind, match=text):
        unpack_hello(Hello(theirs, 1, PRINT).pack(), role=mine)


def test_another_version() -> None:
    """Both versions are named."""
    data = bytearray(Hello(CHANNEL, 1, PRINT).pack())
    data[4] = 7
    with pytest.raises(ProtocolError, match="version 7 of the protocol, this side version 1"):
        unpack_hello(bytes(data), role=CHANNEL)


def test_another_program() -> None:
    """It is told by the first byte that does not fit, however few there are."""
    with pytest.raises(ProtocolError, match="does not speak namedipc"):
        unpack_hello(b"GET / HTTP/1.1".ljust(HELLO_BYTES), role=CHANNEL)
    for few in (b"", b"N", b"NIPC", b"NIPC\x01"):
        check_opening(few)
    for few in (b"G", b"NO", b"NIPc", b"hello\n"):
        with pytest.raises(ProtocolError, match="does not speak namedipc"):
            check_opening(few)


@settings(max_examples=100, derandomize=True)
@given(st.binary(min_size=HELLO_BYTES, max_size=HELLO_BYTES))
@example(b"NIPC".ljust(HELLO_BYTES, b"\x01"))
@example(b"NIPC\x01\x02".ljust(HELLO_BYTES, b"\xff"))
def test_any_bytes(data: bytes) -> None:
    """They are a hello of a channel, or an error of the hierarchy."""
    try:
        hello = unpack_hello(data, role=CHANNEL)
    except (ProtocolError, WrongKind):
        return
    assert (hello.role, hello.fingerprint) == (CHANNEL, data[12:28])
