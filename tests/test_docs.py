"""The code of the pages is code, and what they show as its output is its output.

For every page of `docs/` and README: each python block compiles (a bare `await` is allowed). An HTML comment on the
line before a block says more; all such blocks of a page share one folder, which is empty at first:

* `<!-- file: post.py -->`: the block is a file of the folder, in any language; a later one of that name replaces it.
* `<!-- start: server.py -->`: such a file, which is started as a program and gets SIGTERM at the end of the page,
  whereupon it must end with status 0.
* `<!-- run -->`: the block is run: python in a namespace of its own, sh by bash. It must not fail. If the next block
  is `text`, it is what the run printed; `...` there stands for anything.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
import textwrap
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest

import namedipc
from namedipc import inspect, testing

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(
    r"(?:^[ ]*<!--[ ]*(?P<order>[^>]*?)[ ]*-->\n\n?)?"  # formatters like an empty line after a comment
    r"^(?P<indent>[ ]*)```[ ]*(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)

DRIVER = """
import json, os, runpy, signal, subprocess, sys

os.chdir(sys.argv[1])
sys.path[0] = sys.argv[1]
started = []
try:
    for order, language, name in json.loads(sys.argv[2]):
        if order == "start":
            started.append(subprocess.Popen([sys.executable, name]))
        elif language == "python":
            runpy.run_path(name, run_name="__main__")
        else:
            subprocess.run(["bash", "-e", name], check=True)
        print(end="\\x1e", flush=True)
finally:
    for process in started:
        process.send_signal(signal.SIGTERM)
    ends = [process.wait(20) for process in started]
assert not any(ends), f"the programs which were started ended with {ends}"
"""


@attrs.frozen
class Block:
    """One fenced block of a page: `order` is what the comment before it says."""

    line: int
    order: str
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    source = page.read_text()
    for match in BLOCK.finditer(source):
        line = source.count("\n", 0, match.start("text")) + 1
        yield Block(line, match["order"] or "", match["language"], textwrap.dedent(match["text"]))


def names(page: Path) -> str:
    """A page's name in the report."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_python_blocks_compile(page: Path) -> None:
    """Each python block is python, and each order to this test is one that it knows."""
    for block in blocks(page):
        assert re.fullmatch(r"(run|(file|start): [\w./-]+)?", block.order), f"{page}:{block.line}: {block.order}"
        if block.language == "python":
            lines_before = "\n" * (block.line - 1)  # so that an error names the page's own line
            compile(lines_before + block.text, str(page), "exec", flags=PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.order for block in blocks(page))], ids=names)
def test_shown_output_is_the_output(page: Path, tmp_path: Path) -> None:
    """What is to be run runs, and prints what the page shows."""
    found = list(blocks(page))
    steps = []
    shown = []
    for block, following in zip(found, [*found[1:], None], strict=True):
        order, _, name = block.order.partition(": ")
        if not order:
            continue
        path = tmp_path / (name or f"block_at_line_{block.line}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if order == "file":
            continue
        steps.append((order, block.language, str(path)))
        is_output = order == "run" and following is not None and following.language == "text"
        shown.append(following if is_output else None)
    outputs = run_steps(steps, tmp_path)
    assert len(outputs) == len(steps)
    for expected, output in zip(shown, outputs, strict=True):
        if expected is not None:
            assert same_output(expected.text, output), f"{page}:{expected.line}: printed\n{output}"


def test_the_api_page_has_every_public_name() -> None:
    """The reference describes what the facade exports, all of it and nothing else."""
    described = re.findall(r"^::: namedipc\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    public = [name for name in dir(namedipc) if not name.startswith("_")]
    exported = {name for name in public if not isinstance(getattr(namedipc, name), ModuleType)}
    assert len(described) == len(set(described))
    assert set(described) == exported


@pytest.mark.parametrize("module", [inspect, testing])
def test_the_api_page_has_what_modules_of_their_own_have(module: ModuleType) -> None:
    """The same for what is not in the facade."""
    pattern = rf"^::: {re.escape(module.__name__)}\.(\w+)$"
    described = re.findall(pattern, (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted(module.__all__)


def test_the_site_leads_to_every_page() -> None:
    """No page is left out of the navigation, and what the pages need is not fetched from elsewhere."""
    settings = (ROOT / "mkdocs.yml").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r": ([\w/-]+\.md)$", settings, re.MULTILINE)) == pages
    assert "font: false" in settings


def run_steps(steps: list[tuple[str, str, str]], folder: Path) -> list[str]:
    """Run the steps of one page in one process, in the folder; what each has printed."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, str(folder), json.dumps(steps)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "PATH": tools_first()},
        stdout=subprocess.PIPE,
        text=True,
        timeout=50,
        check=True,
    )
    return process.stdout.split("\x1e")[:-1]


def tools_first() -> str:
    """The search path on which `python` and `namedipc` are those of this environment."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def same_output(expected: str, output: str) -> bool:
    """Whether the output is the expected one, where `...` stands for anything."""
    return doctest.OutputChecker().check_output(expected, output, doctest.ELLIPSIS)


def test_a_difference_is_seen() -> None:
    """The comparison knows a difference, and knows what stands for anything."""
    assert same_output("pid ... said\n13\n", "pid 4711 said\n13\n")
    assert not same_output("13\n", "14\n")
    assert not same_output("13\n", "")


def test_blocks_are_found(tmp_path: Path) -> None:
    """A block is found with its order, its language and its line, also when it is indented."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n<!-- run -->\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n=== Tab\n\n    ```sh\n    ls\n    ```\n"
    )
    assert list(blocks(page)) == [
        Block(5, "run", "python", "print(1)\n"),
        Block(9, "", "text", "1\n"),
        Block(15, "", "sh", "ls\n"),
    ]
