"""The examples of namedipc run: each prints what it promises, ends by itself, and cleans up also on Ctrl-C.

Where the chapter's program of the same task can only count what went wrong, here all has to go well.
"""

from __future__ import annotations

import ast
import re
from itertools import permutations
from pathlib import Path

import pytest

from .c_compiler import c_compiler
from .running_examples import EXAMPLES, interrupt, output_of

PROGRAMS = sorted(path.name for path in EXAMPLES.glob("[!_]*.py"))


def shown_in_docstring(program: str) -> list[str]:
    """The indented lines of an example's docstring: what it says it prints."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / program).read_text()))
    assert docstring is not None
    return [line.removeprefix("    ") for line in docstring.splitlines() if line.startswith("    ")]


def test_every_task_of_the_chapter_is_there_and_some_real_ones() -> None:
    """One for each of the chapter's named mechanisms, small real ones, four services, and three at mapped memory."""
    chapter = ["counter.py", "instructor_service.py", "office_hours_fifo.py", "pennys_typed_channel.py"]
    real = ["chat.py", "dashboard.py", "key_value.py", "news_feed.py", "rendezvous.py", "shared_table.py"]
    real.append("video_frames.py")
    queues = ["shell_pipeline.py", "work_queue.py"]
    services = ["job_service.py", "log_service.py", "privileged_helper.py", "zero_downtime_restart.py"]
    memory = ["exact_counter.py", "image_pipeline.py", "shared_struct.py"]
    assert sorted([*chapter, "postbox.py", "tabs.py", *real, *queues, *services, *memory]) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_says_what_it_shows_and_prints(program: str) -> None:
    """The docstring has what the program shows and what it prints."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / program).read_text()))
    assert docstring is not None
    assert "\nPrints " in docstring
    assert shown_in_docstring(program)


@pytest.mark.parametrize(
    "program",
    [
        *("exact_counter.py", "image_pipeline.py", "job_service.py", "key_value.py", "log_service.py"),
        *("office_hours_fifo.py", "privileged_helper.py", "rendezvous.py", "shared_struct.py", "shared_table.py"),
        *("shell_pipeline.py", "video_frames.py"),
    ],
)
def test_prints_what_its_docstring_shows(program: str) -> None:
    """Where nothing varies, the docstring has the very output."""
    if program == "shared_struct.py":
        c_compiler()
    text = output_of(program)
    assert [line.strip() for line in text.splitlines()] == [line.strip() for line in shown_in_docstring(program)]


def test_postbox_delivers_every_message() -> None:
    """In every run both messages, in order."""
    assert output_of("postbox.py").splitlines() == [
        "msg1: penny for pawsident",
        "msg2: america for good doggies",
        "In 20 of 20 runs the reader saw both messages, in order.",
    ]


def test_counter_loses_nothing() -> None:
    """Every update of both processes is in the sum."""
    assert output_of("counter.py").splitlines() == [
        "Stored by the parent: 41; seen by the child: 41.",
        "2 processes added 1, 50 times each, to 0: the sum is 100.",
        "0 of 100 updates were lost.",
    ]


def test_instructor_answers_every_student() -> None:
    """Every answer is right."""
    text = output_of("instructor_service.py")
    students = re.findall(r"^(\d+): (\d+)$", text, re.MULTILINE)
    assert len(students) == 2
    assert all(student == answer for student, answer in students)
    counts = re.findall(r"^  (\w+): +(\d+)$", text, re.MULTILINE)
    assert counts == [("right", "20"), ("crossed", "0"), ("merged", "0"), ("starved", "0")]


def test_pennys_typed_channel_answers_both_clients() -> None:
    """Each client gets its own message back, and the server knows whose it is."""
    lines = output_of("pennys_typed_channel.py").splitlines()
    clients = {line.split()[2] for line in lines if line.startswith("1. ")}
    assert len(clients) == 2
    expected = []
    for pid in clients:
        message = f"Citizen {pid}: Penny for Pawsident!"
        expected += [
            f"Server: New client connected, process {pid}.",
            f"1. Client {pid} connected to server.",
            f"2. Client {pid} request sent message to server.",
            f'Server received message: "{message}". Replying!',
            f"3. Client {pid} reply received from server: {message}",
        ]
    assert sorted(lines) == sorted(expected)


def test_tabs_draw_where_they_were_clicked() -> None:
    """The manager shows the bitmap of each tab, with the dot at the click."""
    text = output_of("tabs.py")
    for tab in (1, 2):
        (bitmap,) = re.findall(rf"^tab {tab} has drawn:\n((?:[.#]{{16}}\n){{4}})", text, re.MULTILINE)
        dots = [(row, line.index("#")) for row, line in enumerate(bitmap.splitlines()) if "#" in line]
        assert dots == [(tab, 3 * tab)]


def test_work_queue_does_each_job_once() -> None:
    """However the jobs are shared among the workers, each is done once."""
    text = output_of("work_queue.py")
    done = [int(count) for count in re.findall(r"^worker \d has done (\d+) jobs$", text, re.MULTILINE)]
    assert len(done) == 3
    assert sum(done) == 30
    assert text.endswith("30 jobs, each done once; the sum of the squares is 8555.\n")


def test_zero_downtime_restart_loses_nothing() -> None:
    """Four versions, each ticket of which the client has got, once."""
    text = output_of("zero_downtime_restart.py")
    sold = {int(version): int(count) for version, count in re.findall(r"^version (\d) has sold (\d+) ", text, re.M)}
    assert sorted(sold) == [1, 2, 3, 4]
    assert min(sold.values()) >= 50
    assert (f"The client has bought {sum(sold.values())} tickets of 4 versions: 0 lost, 0 sold twice.\n") in text


def test_news_feed_reaches_every_subscriber() -> None:
    """What each has not read it was told that it missed; everybody has the last one."""
    text = output_of("news_feed.py")
    counts = re.findall(r"^(\w[\w ]*) has read (\d+) headlines and missed (\d+)$", text, re.MULTILINE)
    assert [name for name, *_ in counts] == ["ann", "bob", "eve", "a sleeper"]
    assert all(int(read) + int(missed) == 500 for _, read, missed in counts)
    assert counts[-1] == ("a sleeper", "64", "436")
    assert text.endswith('"headline 500".\n')


def test_dashboard_never_misses_the_last_reading() -> None:
    """Whoever was slow, or late, ends with what the others end with."""
    text = output_of("dashboard.py")
    screens = re.findall(r"^(\w[\w ]*) has shown (\d+) of 300 readings, and ends with (.*)$", text, re.MULTILINE)
    assert [name for name, *_ in screens] == ["hall", "kitchen", "office", "a slow one", "a late one"]
    assert all(1 <= int(shown) <= 300 for _, shown, _ in screens)
    assert [int(shown) for _, shown, _ in screens[-2:]] == [2, 1]
    assert {last for *_, last in screens} == {"oven 230 °C, 119 orders"}


def test_chat_reaches_every_other_guest() -> None:
    """Each of three guests hears both others, once."""
    heard = sorted(output_of("chat.py").splitlines())
    assert heard == sorted(
        f"{guest} hears {other}: hello from {other}" for guest, other in permutations(("ann", "bob", "eve"), 2)
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_ends_the_program_with_all_its_processes(program: str, tmp_path: Path) -> None:
    """SIGINT to the whole group, as from a terminal: quiet, status 130, nothing left."""
    interrupt(program, directory=tmp_path, whole_group=True)


@pytest.mark.parametrize("program", ["instructor_service.py", "pennys_typed_channel.py", "tabs.py"])
def test_sigint_to_the_program_alone_ends_its_children_too(program: str, tmp_path: Path) -> None:
    """SIGINT to the parent only: it kills its processes, be they in trio or not, and leaves nothing."""
    interrupt(program, directory=tmp_path, whole_group=False)
