"""Framings: which types go in lines, and what becomes a line."""

from __future__ import annotations

import sys
from typing import Any, cast

import attrs
import pytest

from namedipc import ChannelEnd, Fd
from namedipc._codec import Codec
from namedipc._errors import DeclarationError, InvalidMessage
from namedipc._framing import Framing, declared_in


@attrs.frozen
class Order:
    """A message."""

    table: int
    dish: str


def declare(framing: Framing, tp: object) -> Codec[Any]:
    """Return the codec of a type as a name's declaration gets it."""
    codec: Codec[Any]
    _, codec = declared_in(framing, "Fifo('f')", "/run/f", tp, sys._getframe(1))
    return codec


def test_lines_of_text_and_of_bytes() -> None:
    """What is sent is the line itself, in UTF-8; a carriage return is a character like any other."""
    text = declare("lines", str)
    assert text.encode("caf\u00e9\r") == b"caf\xc3\xa9\r"
    assert text.decode(b"caf\xc3\xa9\r") == "caf\u00e9\r"
    assert text.decode(text.encode("")) == ""
    binary = declare("lines", bytes)
    assert binary.decode(binary.encode(b"\x00\xff\r")) == b"\x00\xff\r"


@pytest.mark.parametrize(("tp", "value"), [(str, "two\nlines"), (str, "\n"), (bytes, b"two\nlines")])
def test_a_newline_is_refused(tp: type, value: object) -> None:
    """It would arrive as two messages."""
    with pytest.raises(InvalidMessage, match=f"^/run/f: {tp.__name__}: it holds a newline.*'json-lines' or 'frames'"):
        declare("lines", tp).encode(value)


def test_what_is_no_text() -> None:
    """Neither what has no encoding, nor what is none, nor another type."""
    codec = declare("lines", str)
    with pytest.raises(InvalidMessage, match=r"^/run/f: str: .*surrogates"):
        codec.encode("\ud800")
    with pytest.raises(InvalidMessage, match=r"^/run/f: str: what arrived does not fit: .*0xff"):
        codec.decode(b"a\xff")
    with pytest.raises(InvalidMessage, match=r"^/run/f: expected str, got bytes"):
        codec.encode(b"text")
    with pytest.raises(InvalidMessage, match=r"^/run/f: expected bytes, got str"):
        declare("lines", bytes).encode("text")


@pytest.mark.parametrize("tp", [int, str | None, list[str], Order, "Order", bytearray])
def test_other_types_are_for_json(tp: object) -> None:
    """Said where the name is declared."""
    with pytest.raises(DeclarationError, match=r"^Fifo\('f'\): framing='lines' carries str or bytes.*'json-lines'$"):
        declare("lines", tp)


def test_lines_of_json() -> None:
    """A value is one line, whatever its texts hold; names in strings are looked up where they are declared."""
    codec = declare("json-lines", "Order | str")
    for value in ("two\nlines\r\u2028", Order(4, "soup\n")):
        line = codec.encode(value)
        assert b"\n" not in line
        assert codec.decode(b" " + line + b"\r") == value
    assert declare("json-lines", Order).decode(b'{"dish": "cake", "table": 7}') == Order(7, "cake")
    with pytest.raises(InvalidMessage, match=r"^/run/f: Order: what arrived does not fit"):
        declare("json-lines", Order).decode(b'{"table": 7}')


@pytest.mark.parametrize("framing", ["lines", "json-lines"])
@pytest.mark.parametrize("tp", [Fd, ChannelEnd[str], list[Fd]])
def test_descriptors_are_refused(framing: Framing, tp: object) -> None:
    """No line carries them."""
    with pytest.raises(DeclarationError, match=f"^Fifo.*framing='{framing}'"):
        declare(framing, tp)


def test_what_json_cannot_carry() -> None:
    """Said where the name is declared, with the framing that was asked for."""
    with pytest.raises(DeclarationError, match=r"^Fifo\('f'\): framing='json-lines': "):
        declare("json-lines", dict[tuple[int, int], str])


def test_another_word() -> None:
    """There are three framings."""
    with pytest.raises(DeclarationError, match="framing='json': 'frames', 'lines' or 'json-lines'"):
        declare(cast("Framing", "json"), str)


def test_frames_are_what_they_were() -> None:
    """The default carries whatever the codec does."""
    codec = declare("frames", Order | str)
    assert codec.decode(codec.encode("two\nlines")) == "two\nlines"
