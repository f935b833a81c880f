"""The page about messages: its table of the wire is what the codec writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from namedipc._codec import Codec

from . import message_types

PAGE = Path(__file__).parent.parent / "docs" / "messages.md"
ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \|$", re.MULTILINE)
ROWS = [tuple(cell.replace("\\|", "|") for cell in row) for row in ROW.findall(PAGE.read_text())]


@pytest.mark.parametrize(("declared", "sent", "wire"), ROWS)
def test_the_wire_is_as_the_page_says(declared: str, sent: str, wire: str) -> None:
    """Each row of the table: the declared type writes the value so, and reads it back."""
    names = vars(message_types)
    codec: Codec[Any] = Codec(eval(declared, names))
    value = eval(sent, names)
    data = codec.encode(value)
    assert msgspec.msgpack.decode(data) == eval(wire, names)
    assert codec.decode(data) == value


def test_the_table_is_found() -> None:
    """The rows are really there."""
    assert len(ROWS) == 12
