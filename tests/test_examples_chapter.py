"""The chapter's programs run: each prints what it promises, ends by itself, and cleans up also on Ctrl-C.

What may happen but need not (a crossed answer, a lost update) is not asserted; that the counts add up is.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .running_examples import EXAMPLES, interrupt, output_of

PROGRAMS = sorted(path.name for path in (EXAMPLES / "chapter").glob("[!_]*.py"))


def counts(text: str) -> dict[str, int]:
    """The indented `name: number` lines."""
    return {name: int(number) for name, number in re.findall(r"^  (\w[\w ]*): +(\d+)$", text, re.MULTILINE)}


def test_every_program_of_the_chapter_is_there() -> None:
    """Each mechanism of the chapter has its program, and so has the browser."""
    assert PROGRAMS == [
        "browser.py",
        "file_channel.py",
        "instructor.py",
        "office_hours.py",
        "pennys_channel.py",
        "pipeline.py",
        "shared_mapping.py",
    ]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_says_what_it_shows_and_prints(program: str) -> None:
    """The docstring has what the program shows and what it prints."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / "chapter" / program).read_text()))
    assert docstring is not None
    assert "\nPrints " in docstring


def test_file_channel_counts_what_the_reader_saw() -> None:
    """Every run has one of the four outcomes, and the first run is shown as the chapter shows it."""
    text = output_of("chapter/file_channel.py")
    messages = ("penny for pawsident", "america for good doggies")
    shown = re.findall(r"^msg[12]: (.*)$", text, re.MULTILINE)
    assert len(shown) == 2
    for (
        message
    ) in shown:  # rarely one that is being written over the other: the first bytes of one, the rest of the other
        assert all(any(known[at : at + 1] == letter for known in messages) for at, letter in enumerate(message))
    found = counts(text)
    assert list(found) == ["nothing", "the first", "the second", "a mixture"]
    assert sum(found.values()) == 20
    (in_order,) = re.findall(r"^and in (\d+) runs both messages, in order", text, re.MULTILINE)
    assert int(in_order) <= found["a mixture"]


def test_office_hours_are_heard() -> None:
    """One message goes through the FIFO."""
    assert output_of("chapter/office_hours.py") == 'What I hear at office hours is "halp!".\n'


def test_instructor_counts_every_answer() -> None:
    """Two answers a run are right, crossed, merged or starved; shown are students with what they read."""
    text = output_of("chapter/instructor.py")
    found = counts(text)
    assert list(found) == ["right", "crossed", "merged", "starved"]
    assert sum(found.values()) == 2 * 10
    runs = text.partition("In 10 runs of 2 students each")[0]
    assert all(re.fullmatch(r"\d+: \d+|", line) for line in runs.splitlines())


def test_pennys_channel_answers_both_clients() -> None:
    """Each client gets its own message back, and the server has seen both."""
    lines = output_of("chapter/pennys_channel.py").splitlines()
    clients = {line.split()[2] for line in lines if line.startswith("1. ")}
    assert len(clients) == 2
    expected = ["Server: New client connected with new file descriptor N."] * 2
    for pid in clients:
        message = f"Citizen {pid}: Penny for Pawsident!"
        expected += [
            f"1. Client {pid} connected to server.",
            f"2. Client {pid} request sent message to server.",
            f'Server received message (sz {len(message) + 1}): "{message}". Replying!',
            f"3. Client {pid} reply received from server: {message}",
        ]
    assert sorted(re.sub(r"descriptor \d+", "descriptor N", line) for line in lines) == sorted(expected)


def test_pipeline_joins_programs_that_do_not_know() -> None:
    """`tr` has read what `echo` wrote, once."""
    expected = "PENNY FOR PAWSIDENT\nRead once more: nothing is left.\n"
    assert output_of("chapter/pipeline.py") == expected


def test_shared_mapping_counts_lost_updates() -> None:
    """A store is seen at once; the sum and what was lost make up what was added."""
    text = output_of("chapter/shared_mapping.py")
    assert "Stored by the parent: 41; seen by the child: 41." in text
    (total,) = re.findall(r"the sum is (\d+)\.", text)
    (lost,) = re.findall(r"^(\d+) of 4000 updates were lost", text, re.MULTILINE)
    assert int(total) + int(lost) == 4000
    assert int(total) >= 2


def test_browser_shows_what_manager_and_tabs_share() -> None:
    """Each tab shares two sockets, a pipe and a memfd with the manager, and none with the other tab."""
    text = output_of("chapter/browser.py")
    listings = {
        who: set(re.findall(r"-> ((?:socket:|pipe:|/memfd:mozilla-ipc).*)$", listing, re.MULTILINE))
        for who, listing in re.findall(r"^\$ ls -l /proc/\d+/fd/ +# (.*)\n((?:\d+ -> .*\n)+)", text, re.MULTILINE)
    }
    assert list(listings) == ["the manager", "tab 1", "tab 2"]
    inherited_by_all = set.intersection(*listings.values())
    first, second = (listings[f"tab {number}"] - inherited_by_all for number in (1, 2))
    assert first | second <= listings["the manager"]
    assert not first & second
    for shared in (first, second):
        assert sorted(name.split(":")[0] for name in shared) == ["/memfd", "pipe", "socket", "socket"]
    assert re.findall(r"^[.#]{16}$", text, re.MULTILINE).count("." * 16) == 2 * 3


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_ends_the_program_with_all_its_processes(program: str, tmp_path: Path) -> None:
    """SIGINT to the whole group, as from a terminal: quiet, status 130, nothing left."""
    interrupt(f"chapter/{program}", directory=tmp_path, whole_group=True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_sigint_to_the_program_alone_ends_its_children_too(program: str, tmp_path: Path) -> None:
    """SIGINT to the parent only: it kills and reaps its children, and leaves nothing."""
    interrupt(f"chapter/{program}", directory=tmp_path, whole_group=False)
