"""docs/examples.md has every example, and shows what the example prints.

A block of text whose section speaks of a sample, or of an example that the tests run with fewer rounds, must have the
kinds of lines that the program prints, with other numbers; any other must be the very output.
"""

from __future__ import annotations

import re

import attrs
import pytest

from .c_compiler import c_compiler
from .running_examples import EXAMPLES, ROUNDS, output_of

PAGE = EXAMPLES.parent / "docs" / "examples.md"
PROGRAMS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("[!_]*.py"))


@attrs.frozen
class Section:
    """What the page says of an example, and the output it shows."""

    text: str
    shown: str


def sections() -> dict[str, Section]:
    """The sections of the page, by the program that each is about."""
    found = re.findall(r"^### (\S+\.py)\n(.*?)^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {program: Section(text, shown) for program, text, shown in found}


def kinds(text: str) -> set[str]:
    """The lines of a text with N for each number: of what kinds they are."""
    return {re.sub(r"[ ]*\d+", " N", line) for line in text.splitlines() if line}


def common(line: str) -> bool:
    """Whether every run prints a line of this kind, whatever the race does."""
    return not re.fullmatch(r"msg N: .*| N: N+( N)*", line) and "/dev/null" not in line and "pipe:" not in line


def test_every_example_has_its_section() -> None:
    """The page leaves none out, and has none that is not there."""
    assert sorted(sections()) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_shown_is_what_is_printed(program: str) -> None:
    """The block is the output; of a sample, each kind of line that is there every time."""
    if program == "shared_struct.py":
        c_compiler()
    section = sections()[program]
    printed = output_of(program)
    if "Sample" not in section.text and program not in ROUNDS:
        assert section.shown == printed
        return
    always = {line for line in kinds(section.shown) if common(line)}
    assert always
    assert always <= kinds(printed)


def test_the_table_of_the_page_is_the_demo_s() -> None:
    """Its marks are those which the test of the demo sees in a real run."""
    from .test_demo import CHAPTER

    (table,) = re.findall(r"^ {16}transparent.*\n((?:.+[✓✗].*\n)+)", PAGE.read_text(), re.MULTILINE)
    marks = dict(re.findall(r"^(\w.*?)  +([✓✗].*)$", table, re.MULTILINE))
    assert {name: row.split() for name, row in marks.items()} == {name: row.split() for name, row in CHAPTER.items()}
