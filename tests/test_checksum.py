"""The checksum: the same with isal as without, and either is found."""

from __future__ import annotations

import importlib
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namedipc import _protocol
from namedipc._protocol import checksum


@given(st.binary(max_size=300), st.integers(0, (1 << 32) - 1))
def test_it_is_that_of_zlib(data: bytes, start: int) -> None:
    """To the bit, also where it goes on from another: readers and writers may differ in what they have."""
    assert checksum.crc32(data) == zlib.crc32(data)
    assert checksum.crc32(memoryview(data), start) == zlib.crc32(data, start)


def test_isal_is_used_where_it_is() -> None:
    """It comes with `namedipc[fast]`."""
    isal_zlib = pytest.importorskip("isal.isal_zlib", reason="isal is not installed")
    assert checksum.crc32 is isal_zlib.crc32


def test_zlib_is_used_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing needs isal."""
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    monkeypatch.setattr(_protocol, "checksum", checksum)  # to be there again afterwards
    monkeypatch.delitem(sys.modules, checksum.__name__)
    assert importlib.import_module(checksum.__name__).crc32 is zlib.crc32
