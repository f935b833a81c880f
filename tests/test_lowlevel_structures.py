"""Layouts of C structures: where each field lies, and what cannot be shared."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from namedipc import lowlevel


class Point(ctypes.Structure):
    """A structure within."""

    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


class Number(ctypes.Union):
    """A union within."""

    _fields_ = [("whole", ctypes.c_longlong), ("part", ctypes.c_float)]


class Base(ctypes.Structure):
    """A base, with bit fields."""

    _fields_ = [("count", ctypes.c_ulong), ("low", ctypes.c_uint, 3), ("high", ctypes.c_uint, 5)]


class Everything(Base):
    """One of each."""

    _fields_ = [
        ("path", Point * 3 * 2),
        ("number", Number),
        ("unit", ctypes.c_char * 8),
        ("on", ctypes.c_bool),
        ("letter", ctypes.c_wchar),
    ]


def test_every_field_has_its_place_and_type() -> None:
    """Of a base class, a bit field, a structure within, an array of such, a union."""
    found = [(field.name, field.offset_bytes, field.kind) for field in lowlevel.structure_fields(Everything)]
    assert found == [
        ("count", 0, "uint64"),
        ("low", 8, "uint32:3@0"),
        ("high", 8, "uint32:5@3"),
        ("path", 16, "16 bytes[2][3]"),
        ("path[].x", 16, "float64"),
        ("path[].y", 24, "float64"),
        ("number", 112, "8 bytes"),
        ("number.whole", 112, "int64"),
        ("number.part", 112, "float32"),
        ("unit", 120, "char[8]"),
        ("on", 128, "bool"),
        ("letter", 132, "wchar"),
    ]
    assert lowlevel.structure_size(Everything) == 136


def test_one_c_type_under_two_names_is_the_same() -> None:
    """What decides is the bytes: long and long long are both int64 here."""

    def kind(ctype: type) -> str:
        layout = type("Layout", (ctypes.Structure,), {"_fields_": [("x", ctype)]})
        (field,) = lowlevel.structure_fields(layout)
        return field.kind

    assert kind(ctypes.c_long) == kind(ctypes.c_longlong) == kind(ctypes.c_int64) == "int64"
    assert kind(ctypes.c_int) != kind(ctypes.c_uint)


def test_a_foreign_byte_order_is_another_type() -> None:
    """A big-endian number is not taken for one of this machine."""

    class Sent(ctypes.BigEndianStructure):
        _fields_ = [("number", ctypes.c_int32), ("byte", ctypes.c_uint8)]

    assert [field.kind for field in lowlevel.structure_fields(Sent)] == ["int32 be", "uint8"]


@pytest.mark.parametrize(
    "pointer",
    [ctypes.c_void_p, ctypes.c_char_p, ctypes.py_object, ctypes.POINTER(ctypes.c_int), ctypes.CFUNCTYPE(None)],
)
def test_what_means_nothing_to_another_process_is_refused(pointer: type) -> None:
    """An address or an object, also within an array or a structure within."""
    inner: Any = type("Inner", (ctypes.Structure,), {"_fields_": [("address", pointer)]})
    outer = type("Outer", (ctypes.Structure,), {"_fields_": [("inner", inner * 2)]})
    with pytest.raises(TypeError, match=r"^inner\[\]\.address is .*means nothing in another"):
        lowlevel.structure_fields(outer)


def test_a_structure_without_fields_has_no_size() -> None:
    """The abstract class itself is a TypeError."""
    with pytest.raises(TypeError):
        lowlevel.structure_size(ctypes.Structure)
