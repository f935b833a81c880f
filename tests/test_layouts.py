"""Layouts of mapped memory: equal ones have equal fingerprints, and of two others the first difference is named."""

from __future__ import annotations

import json

import pytest

from namedipc import DeclarationError
from namedipc._protocol.layouts import LARGEST_BYTES, Layout, difference

POINT = Layout.of(16, [("x", 0, "float64"), ("y", 8, "float64")], where="POINT")


def test_equal_layouts_have_equal_fingerprints() -> None:
    """Also after their description has been JSON in a file."""
    same = Layout.of(16, list(POINT.fields), where="SAME")
    assert (same.fingerprint, len(same.fingerprint)) == (POINT.fingerprint, 16)
    assert difference(POINT.description, json.loads(json.dumps(same.description))) is None


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            Layout(16, (("x", 0, "float64"), ("y", 8, "float32"))),
            "y (float64 at byte 8) here, y (float32 at byte 8) there",
        ),
        (
            Layout(16, (("y", 0, "float64"), ("x", 8, "float64"))),
            "x (float64 at byte 0) here, y (float64 at byte 0) there",
        ),
        (
            Layout(24, (("x", 8, "float64"), ("y", 16, "float64"))),
            "x (float64 at byte 0) here, x (float64 at byte 8) there",
        ),
        (Layout(8, (("x", 0, "float64"),)), "y (float64 at byte 8) here, the end at byte 8 there"),
        (Layout(24, POINT.fields), "the end at byte 16 here, the end at byte 24 there"),
    ],
)
def test_the_first_difference_is_named(other: Layout, sentence: str) -> None:
    """Its field and its offset on both sides, and the fingerprints differ."""
    assert difference(POINT.description, other.description) == sentence
    assert other.fingerprint != POINT.fingerprint


@pytest.mark.parametrize("described", [{}, {"layout": 3, "size": 1}, {"layout": [["x"]], "size": 1}, {"layout": []}])
def test_a_description_that_cannot_be_read_is_a_difference(described: dict[str, object]) -> None:
    """Whatever stands in the file, nothing but a sentence comes of it."""
    assert "cannot be read" in str(difference(POINT.description, described))


@pytest.mark.parametrize("size_bytes", [0, LARGEST_BYTES + 1])
def test_a_size_that_cannot_be_mapped_is_refused(size_bytes: int) -> None:
    """Nothing, and more than there is."""
    with pytest.raises(DeclarationError, match=f"X: has {size_bytes} bytes"):
        Layout.of(size_bytes, [], where="X")
