"""A C program and Python at the same SharedStruct: the same bytes, lock, mark and bell."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from namedipc import SharedStruct

from .c_compiler import compiled

SOURCE = Path(__file__).parents[1] / "examples" / "gauge.c"
SECONDS = 20

pytestmark = pytest.mark.usefixtures("no_leaks")


class Gauge(ctypes.Structure):
    """`struct gauge` of the C program."""

    _fields_ = [("turns", ctypes.c_uint64), ("level", ctypes.c_double), ("unit", ctypes.c_char * 8)]
    turns: int
    level: float
    unit: bytes


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program."""
    return compiled(SOURCE, tmp_path_factory.mktemp("c"))


def start(program: str, path: Path, times: int) -> subprocess.Popen[str]:
    """Run it beside the test."""
    return subprocess.Popen([program, str(path), str(times)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_both_change_the_same_bytes_in_turn(program: str, tmp_path: Path) -> None:
    """C adds 1000 times, Python 300 times meanwhile: the end is exact, and C has read what Python wrote."""
    with SharedStruct(tmp_path / "gauge", Gauge).create() as memory:
        with memory.lock() as gauge:
            gauge.unit = b"bar"
        with start(program, tmp_path / "gauge", 1000) as process:
            for _ in range(300):
                with memory.lock(timeout=SECONDS) as gauge:
                    gauge.turns += 1
                    gauge.level += 0.5
            assert process.communicate(timeout=SECONDS) == ("", "")
        with start(program, tmp_path / "gauge", 0) as process:
            assert process.communicate(timeout=SECONDS) == ("C sees 650 bar.\n", "")
        assert (memory.content.turns, memory.content.level, memory.version) == (1300, 650.0, 1302)


def test_c_wakes_a_watch(program: str, tmp_path: Path) -> None:
    """A change that C has committed is seen by who sleeps until there is one."""
    with SharedStruct(tmp_path / "gauge", Gauge).create() as memory:
        watch = memory.watch()
        assert next(watch) == 1
        with start(program, tmp_path / "gauge", 1) as process:
            assert next(watch) == 2
            assert memory.content.turns == 1
            process.communicate(timeout=SECONDS)


def test_c_is_told_of_an_unfinished_change_too(program: str, tmp_path: Path) -> None:
    """What Python has left half changed C does not take for sound."""
    with SharedStruct(tmp_path / "gauge", Gauge).create() as memory:
        with pytest.raises(ZeroDivisionError), memory.lock() as gauge:
            gauge.turns = 1 // 0
        with start(program, tmp_path / "gauge", 1) as process:
            _, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (2, "the last change was not finished\n")
        with memory.recover():
            pass
        with start(program, tmp_path / "gauge", 1) as process:
            process.communicate(timeout=SECONDS)
        assert (process.returncode, memory.content.turns) == (0, 1)
