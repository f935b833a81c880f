"""`namedipc demo` runs every example in the chapter's order, and its table says what the chapter's says.

The table is taken from a real run: the marks are what the probes have seen of real processes in that run.
"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import click
import pytest
from click.testing import CliRunner

from namedipc.cli import _show
from namedipc.cli import demo as demo_module
from namedipc.cli._show import PROPERTIES, PlainShow, Show, make_show
from namedipc.cli.demo import TASKS, Task, demo, run_program
from namedipc.cli.probes import Assessment, Observation

COMMAND = [sys.executable, "-c", "from namedipc.cli import main; main(prog_name='namedipc')", "demo"]
DEMO_SECONDS = 55

CHAPTER = {
    "files": "✗ ✓ ✗ ✗",
    "shared memory": "✗ ✓ ✗ ✗",
    "pipes": "✓ ✗ ✓ ✗",
    "FIFOs": "✗ ✓ ✓ ✗",
    "domain sockets": "✗ ✓ ✓ ✓",
    "namedipc": "✗ ✓ ✓ ✓",
}
"""The chapter's marks: transparent, named, channel-based, multi-client. The last row is what namedipc claims."""


def environment(directory: Path) -> dict[str, str]:
    """An environment in which all that is left behind is left in this directory."""
    return {**os.environ, "TMPDIR": str(directory), "PYTHONIOENCODING": "utf-8"}


@attrs.frozen
class Demo:
    """One run of the demo."""

    printed: str
    status: int
    left: list[Path]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the whole demo once."""
    directory = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*COMMAND, "--plain"],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=DEMO_SECONDS,
        env=environment(directory),
        check=False,
    )
    return Demo(done.stdout, done.returncode, list(directory.iterdir()))


def test_everything_ran(ran: Demo) -> None:
    """The status is 0, no program failed, and nothing is left."""
    assert ran.status == 0, ran.printed
    assert "ended with status" not in ran.printed
    assert ran.left == []


def test_the_chapter_comes_first_and_namedipc_beside_it(ran: Demo) -> None:
    """Each task has the chapter's program and then namedipc's, each with what it printed."""
    programs = re.findall(r"^-- (.*)\n(?=.)", ran.printed, re.MULTILINE)
    expected = ["chapter/pipeline.py"]
    for task in TASKS:
        expected += [f"chapter/{task.chapter}", task.namedipc]
    assert programs == expected


@pytest.mark.parametrize("mechanism", CHAPTER)
def test_the_marks_are_the_chapter_s(ran: Demo, mechanism: str) -> None:
    """What was observed of each mechanism is what the chapter says of it."""
    table = ran.printed.rpartition(f"== {_show.TABLE_TITLE} ==")[2]
    (row,) = re.findall(rf"^{mechanism}  +([✓✗ ]+)$", table, re.MULTILINE)
    assert row.split() == CHAPTER[mechanism].split()


def test_every_mark_says_what_was_seen(ran: Demo) -> None:
    """Below the table each mark has its observation."""
    table = ran.printed.rpartition(f"== {_show.TABLE_TITLE} ==")[2]
    seen = re.findall(r"^  ([✓✗]) ([a-z-]+): (.+)$", table, re.MULTILINE)
    assert [(mark, name) for mark, name, _ in seen] == [
        (mark, name) for marks in CHAPTER.values() for mark, name in zip(marks.split(), PROPERTIES, strict=True)
    ]
    assert "it was seen once" in seen[-2][2]
    assert "ann got ann and bob got bob" in seen[-1][2]


def test_ctrl_c_ends_the_demo_and_what_it_runs(tmp_path: Path) -> None:
    """The program that is running cleans up too: no process and no file is left."""
    process = subprocess.Popen(
        [*COMMAND, "--plain"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(tmp_path),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("== ")
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=DEMO_SECONDS)
    assert process.returncode == 1
    assert complaints.split() == ["Aborted!"]
    assert list(tmp_path.iterdir()) == []
    assert group_ends(process.pid)


def group_ends(group: int) -> bool:
    """Whether a process group is gone within 10 s: an orphan's end is seen only when init has reaped it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def stub_examples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory of examples which do nothing, and no probes: for what the demo itself does."""
    task = Task("A task", "one.py", "two.py")
    for program in ("chapter/pipeline.py", f"chapter/{task.chapter}", task.namedipc):
        path = tmp_path / program
        path.parent.mkdir(exist_ok=True)
        path.write_text("print('done')")
    monkeypatch.setattr(demo_module, "TASKS", (task,))
    monkeypatch.setattr(demo_module, "assess_all", lambda: [])
    monkeypatch.setattr(demo_module, "examples_directory", lambda: tmp_path)
    return tmp_path


def test_status_is_1_if_a_program_fails(stub_examples: Path) -> None:
    """What it printed is shown all the same, with its status; the other programs run."""
    assert CliRunner().invoke(demo, []).exit_code == 0
    (stub_examples / "chapter" / "one.py").write_text("print('so far'); raise SystemExit(3)")
    result = CliRunner().invoke(demo, [])
    assert result.exit_code == 1
    assert "so far\n(ended with status 3)\n" in result.output
    assert "-- two.py\ndone\n" in result.output


def test_a_program_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is interrupted, so that it can clean up, and counted as failed."""
    monkeypatch.setattr(demo_module, "PROGRAM_SECONDS", 0.5)
    (tmp_path / "endless.py").write_text("import signal\nsignal.pause()")
    ran = run_program(tmp_path, "endless.py")
    assert not ran.went_well
    assert ran.printed.startswith("has not ended within 0.5 seconds\n")


SEEN = Observation(True, "something [bold] was seen")
NOT_SEEN = Observation(False, "something else")
ASSESSMENTS = [Assessment("pigeons", SEEN, NOT_SEEN, SEEN, NOT_SEEN)]


def test_rich_shows_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    """With rich both programs stand side by side, and what is in brackets is no markup."""
    console = pytest.importorskip("rich.console").Console(file=io.StringIO(), width=100)
    from namedipc.cli._rich_show import RichShow

    rich = RichShow(console)
    show_all(rich)
    show_all(PlainShow())
    printed = console.file.getvalue()
    words = set(capsys.readouterr().out.split()) - {"==", "--"}
    assert words <= set(printed.split())
    (line,) = [line for line in printed.splitlines() if "socket:[107464]" in line]
    assert "theirs" in line


def show_all(show: Show) -> None:
    """Show one of each."""
    show.one("A title", "one.py", "alone\n")
    show.pair("Another", ("chapter/two.py", "4 -> socket:[107464]\n"), ("two.py", "theirs\n"))
    show.table(ASSESSMENTS)


def test_plain_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, with --plain, or without rich it is plain text."""
    assert isinstance(make_show(plain=False), PlainShow)  # pytest captures: no terminal
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(make_show(plain=True), PlainShow)
    monkeypatch.setitem(sys.modules, "namedipc.cli._rich_show", None)  # as if importing it failed
    assert isinstance(make_show(plain=False), PlainShow)


def test_marks_in_an_ascii_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ✓ cannot be printed the marks are words."""
    marks: Sequence[str] = [_show.mark(SEEN), _show.mark(NOT_SEEN)]
    assert marks in (["✓", "✗"], ["yes", "no"])
    monkeypatch.setattr(_show, "can_print", lambda _text: False)
    assert [_show.mark(SEEN), _show.mark(NOT_SEEN)] == ["yes", "no"]


def test_demo_is_a_command_of_its_own_name() -> None:
    """The command line finds it by this name."""
    assert isinstance(demo, click.Command)
    assert demo.name == "demo"
