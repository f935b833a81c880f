"""Compiles a C program with whatever C compiler is there, for the tests which need one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def c_compiler() -> list[str]:
    """The command of a compiler; skip the test where there is none."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: neither $CC nor cc, gcc or clang")
    return compiler.split()


def compiled(source: Path, directory: Path) -> str:
    """Compile one source file."""
    program = str(directory / source.stem)
    subprocess.run([*c_compiler(), "-Wall", "-Wextra", "-o", program, str(source)], check=True)
    return program
