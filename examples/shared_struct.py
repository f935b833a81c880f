"""A C program and Python programs which change one structure in shared memory at the same time.

`gauge.c` beside this file maps the same bytes as the SharedStruct, and takes the same lock; no library is needed for
that. Where there is no C compiler, Python does it alone and says so.

Prints what both have added to the gauge, and what C reads there:

    1000 turns by C and 500 by Python: 1500 turns, 750.0 bar.
    C sees 750 bar.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from _company import run, say, stage

from namedipc import SharedStruct

BY_C, BY_PYTHON = 1000, 500


class Gauge(ctypes.Structure):
    _fields_ = [("turns", ctypes.c_uint64), ("level", ctypes.c_double), ("unit", ctypes.c_char * 8)]
    turns: int
    level: float
    unit: bytes


GAUGE = SharedStruct("gauge", Gauge)


def turn(path: Path, times: int) -> None:
    """Turn the gauge so many times."""
    with GAUGE.at(path).open() as memory:
        for _ in range(times):
            with memory.lock() as gauge:
                gauge.turns += 1
                gauge.level += 0.5


def turn_in_c(path: Path, times: int, program: str) -> None:
    """Do the same in C: this process becomes that program."""
    os.execv(program, [program, str(path), str(times)])


def compiled(directory: Path) -> str | None:
    """Compile the C program; None where there is no compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = str(directory / "a.out")
    subprocess.run([*compiler.split(), "-o", program, Path(__file__).parent / "gauge.c"], check=True)
    return program


def main() -> None:
    with stage() as (directory, company):
        path, program = directory / "gauge", compiled(directory)
        with GAUGE.at(path).create() as memory:
            with memory.lock() as gauge:
                gauge.unit = b"bar"
            mine = company.start(turn, path, BY_PYTHON)
            if program is None:
                company.wait(mine, company.start(turn, path, BY_C))
                say("There is no C compiler here; Python has done it all.")
            else:
                company.wait(mine, company.start(turn_in_c, path, BY_C, program))
            with memory.lock_shared() as gauge:
                say(
                    f"{BY_C} turns by C and {BY_PYTHON} by Python: "
                    f"{gauge.turns} turns, {gauge.level} {gauge.unit.decode()}."
                )
            if program is not None:
                company.wait(company.start(turn_in_c, path, 0, program))


if __name__ == "__main__":
    run(main)
