"""Copying a payload, compiled: as a slice of a memoryview does."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._shells.payload_pool import copy_payload as copy_by_slice

from .compiled_support import find_compiled

copy_payload = find_compiled("payload_copy", "copy_payload")

SIZES = st.integers(0, 200) | st.sampled_from([4095, 4096, 4097, 65_536, 300_001])


@settings(max_examples=300, derandomize=True)
@given(size=SIZES, begin=st.integers(0, 200), offset=st.integers(0, 130), behind=st.integers(0, 70))
def test_any_size_from_anywhere_to_anywhere(size: int, begin: int, offset: int, behind: int) -> None:
    """And not a byte before it or behind it."""
    source = memoryview(np.random.default_rng(size).bytes(offset + size))[offset:]
    copied, expected = bytearray(b"\xee" * (begin + size + behind)), bytearray(b"\xee" * (begin + size + behind))
    copy_payload(memoryview(copied), begin, source)
    copy_by_slice(memoryview(expected), begin, source)
    assert copied == expected


def test_what_is_not_made_of_bytes() -> None:
    """It is taken as the bytes that it has; and the target may be mapped memory."""
    with mmap.mmap(-1, 8192) as mapped:
        array = np.arange(1000, dtype=np.int32).reshape(10, 100)
        with memoryview(mapped) as memory:
            copy_payload(memory, 64, array.data)
        assert mapped[64:4064] == array.tobytes()
        assert mapped[:64] + mapped[4064:] == bytes(64 + 8192 - 4064)


def test_what_does_not_fit() -> None:
    """Nothing is written."""
    target = bytearray(10)
    for begin in (3, 11, -1, -sys.maxsize - 1, sys.maxsize):
        with pytest.raises(ValueError, match=f"8 bytes from {begin} on do not fit 10"):
            copy_payload(memoryview(target), begin, memoryview(b"x" * 8))
    assert target == bytes(10)


def test_what_cannot_be_copied() -> None:
    """A target that is read only, and a source that is not in one piece."""
    with pytest.raises(BufferError):
        copy_payload(memoryview(bytes(10)), 0, memoryview(b"x"))
    with pytest.raises(BufferError):
        copy_payload(memoryview(bytearray(10)), 0, memoryview(b"x" * 8)[::2])
