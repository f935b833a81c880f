"""SharedArray: an array which is the memory, in every process; what it may be of, and what differs."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import pytest

from namedipc import Closed, DeclarationError, OwnerDied, SchemaMismatch, TooLarge
from namedipc.numpy import SharedArray

from .conftest import Children
from .region_support import script

pytestmark = pytest.mark.usefixtures("no_leaks")

GRID = SharedArray("grid", np.float32, (3, 4))
PIXEL = np.dtype([("red", np.uint8), ("more", np.float64, (2,)), ("place", [("x", ">i4"), ("name", "U3")])], align=True)


def test_it_is_a_value() -> None:
    """Equal by path, dtype and shape, however those are written; absolute when pickled."""
    assert SharedArray("grid", np.dtype(np.float32), [3, 4]) == GRID
    assert SharedArray("grid", np.float32, 3) == SharedArray("grid", np.float32, (3,))
    assert SharedArray("grid", np.float32, (4, 3)) != GRID
    assert SharedArray("grid", np.float64, (3, 4)) != GRID
    assert repr(GRID) == "SharedArray('grid', dtype('float32'), (3, 4))"
    assert pickle.loads(pickle.dumps(GRID)) == GRID.at(Path.cwd() / "grid")


@pytest.mark.parametrize(
    ("dtype", "shape", "reason"),
    [
        (object, 3, "no fixed size"),
        ([("x", "f8"), ("name", object)], 3, "no fixed size"),
        (np.str_, 3, "no fixed size"),
        ("nonsense", 3, "not understood"),
        (np.uint8, "ab", "integer"),
        (np.uint8, 2.5, "integer"),
        (np.uint8, (3, 0), "1 or more along each axis"),
        (np.uint8, -1, "1 or more along each axis"),
        (np.uint8, 1 << 63, "can be mapped"),
    ],
)
def test_what_cannot_be_mapped_is_refused_when_declared(
    dtype: Any, shape: SupportsIndex | Sequence[SupportsIndex], reason: str
) -> None:
    """Objects, items without a size, no items: the message has the name."""
    with pytest.raises(DeclarationError, match=rf"SharedArray\('x'\).*{reason}"):
        SharedArray("x", dtype, shape)


def test_the_array_is_the_memory(tmp_path: Path, child: Children) -> None:
    """No copy: what is stored through any view is there in another process, and in the file."""
    grid = GRID.at(tmp_path / "grid")
    with grid.create() as memory:
        other = child(
            script("""
            from tests.test_numpy import GRID
            with GRID.at(sys.argv[1]).open() as memory:
                print(memory.content[1].tolist(), flush=True)
                with memory.lock(timeout=20) as array:
                    array *= 2
                    print("doubled", flush=True)
                input()
            """),
            str(tmp_path / "grid"),
        )
        watch = memory.watch()
        assert next(watch) == 1
        assert memory.content.sum() == 0
        assert memory.content.flags.c_contiguous
        memory.content[1] = [1, 2, 3, 4]
        assert memory.content is memory.content
        other.expect("[1.0, 2.0, 3.0, 4.0]")
        other.expect("doubled")
        assert next(watch) == 2
        with memory.lock_shared() as array:
            assert array[1].tolist() == [2, 4, 6, 8]
        assert np.fromfile(tmp_path / "grid", np.float32, 12, offset=4096).sum() == 20
        other.say()
        assert other.wait() == 0


async def test_in_trio(tmp_path: Path) -> None:
    """The same memory, lock and mark."""
    async with GRID.at(tmp_path / "grid").create() as memory:
        async with memory.lock() as array:
            array[:] = 1
        with pytest.raises(ZeroDivisionError):
            async with memory.lock() as array:
                array[0] = 1 // 0
        with pytest.raises(OwnerDied):
            async with memory.lock_shared():
                pass
        async with memory.recover() as array:
            assert array.sum() == 12


def test_a_view_outlives_the_handle(tmp_path: Path) -> None:
    """Slices that were kept still are the memory, after the name and the handle have gone; `content` is refused."""
    with GRID.at(tmp_path / "grid").create() as memory:
        row = memory.content[2]
        row[:] = 5
    with pytest.raises(Closed):
        memory.content  # noqa: B018  # it is a property
    gc.collect()
    row += 1
    assert row.tolist() == [6, 6, 6, 6]


def test_another_array_is_named(tmp_path: Path) -> None:
    """Its dtype, its shape, or the first field of a structured one that differs, with its offset."""
    with GRID.at(tmp_path / "x").create():
        for other, sentence in (
            (
                SharedArray(tmp_path / "x", np.float64, (3, 4)),
                r"array \(float64\[3\]\[4\] at byte 0\) here, array \(float32",
            ),
            (
                SharedArray(tmp_path / "x", np.float32, (4, 3)),
                r"array \(float32\[4\]\[3\] at byte 0\) here, array \(float32",
            ),
        ):
            with pytest.raises(SchemaMismatch, match=sentence):
                other.open().__enter__()
    shifted = np.dtype({"names": ["red", "more"], "formats": ["u1", ("f8", 2)], "offsets": [0, 8], "itemsize": 40})
    with (
        SharedArray(tmp_path / "x", PIXEL, 2).create(),
        pytest.raises(SchemaMismatch, match=r"the end at byte 80 here, array\[\]\.place \(16 bytes at byte 24\) there"),
    ):
        SharedArray(tmp_path / "x", shifted, 2).open().__enter__()


def test_structured_items_are_described_field_by_field(tmp_path: Path) -> None:
    """With arrays, structures, text and a foreign byte order within."""
    pixels = SharedArray(tmp_path / "x", PIXEL, (2, 2))
    assert pixels._contents.description == {
        "size": 4 * PIXEL.itemsize,
        "layout": [
            ["array", 0, f"{PIXEL.itemsize} bytes[2][2]"],
            ["array[].red", 0, "uint8"],
            ["array[].more", 8, "float64[2]"],
            ["array[].place", 24, "16 bytes"],
            ["array[].place.x", 24, "int32 be"],
            ["array[].place.name", 28, "<U3"],
        ],
    }
    with pixels.create() as memory, memory.lock() as array:
        array["place"]["name"][1, 1] = "end"
        array["place"]["x"] = 7
        assert memory.content[1, 1]["place"].item() == (7, "end")


def test_a_scalar_and_a_moment(tmp_path: Path) -> None:
    """No axes at all, and dates."""
    moment = SharedArray(tmp_path / "x", np.dtype("M8[s]"), ())
    with moment.create() as memory, memory.lock() as array:
        array[...] = np.datetime64("2026-01-01T12:00:00")
        assert str(memory.content) == "2026-01-01T12:00:00"
    with SharedArray(tmp_path / "x", np.dtype("M8[s]"), ()).create(), pytest.raises(SchemaMismatch, match=r"M8\[ms\]"):
        SharedArray(tmp_path / "x", np.dtype("M8[ms]"), ()).open().__enter__()


def test_growing_makes_a_new_generation(tmp_path: Path) -> None:
    """Who has the old one open keeps it, is told, and finds the larger one under the name."""
    small, large = SharedArray(tmp_path / "x", np.uint8, 10), SharedArray(tmp_path / "x", np.uint8, 10_000)
    with small.create() as first, small.open() as reader:
        watch = reader.watch()
        assert next(watch) == 1
        with large.create(if_exists="replace") as second:
            second.content[:10] = first.content
            assert list(watch) == []
            assert not reader.is_current
            reader.content[:] = 3
            with large.open() as moved:
                assert (moved.content.shape, moved.content.sum()) == ((10_000,), 0)
    assert not os.listdir(tmp_path)


def test_more_than_there_is_room_for(tmp_path: Path) -> None:
    """A clean error when it is made, and nothing left."""
    with pytest.raises(TooLarge):
        SharedArray(tmp_path / "x", np.uint8, 1 << 50).create().__enter__()
    assert not os.listdir(tmp_path)


def test_the_facade_does_not_import_numpy() -> None:
    """Only who asks for arrays pays for them."""
    code = "import sys, namedipc; sys.exit('numpy' in sys.modules or hasattr(namedipc, 'SharedArray'))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
