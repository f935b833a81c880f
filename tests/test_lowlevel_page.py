"""The page on lowlevel: its program prints what it says, and it names everything that is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from namedipc import lowlevel

PAGE = Path(__file__).parents[1] / "docs" / "lowlevel.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests here")


def blocks(language: str) -> list[str]:
    """Return the page's code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_program_prints_what_the_page_says(tmp_path: Path) -> None:
    """And it leaves nothing behind."""
    (program,), (output,) = blocks("python"), blocks("text")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == output
    assert list(tmp_path.iterdir()) == []


def test_every_function_is_in_the_table() -> None:
    """A reader finds each under the kernel object that it is for; and the table invents none."""
    table = PAGE.read_text("utf-8").split("## Which function for what")[1].split("\n## ")[0]
    functions = {name for name in lowlevel.__all__ if name.islower()}
    assert set(re.findall(r"`(\w+)`", table)) == functions | {"Epoll"}


def test_what_is_exported_is_described() -> None:
    """The list is complete and sorted, and whatever can have a docstring has one."""
    public = {name for name in dir(lowlevel) if not name.startswith("_")}
    assert set(lowlevel.__all__) == public
    for name in lowlevel.__all__:
        assert getattr(lowlevel, name).__doc__
