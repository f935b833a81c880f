"""`namedipc demo`: the chapter's examples, namedipc's beside them, and the table computed from what was seen.

The law: it only runs programs and shows what they print; nothing in here knows how a race ends or what the
table should say. With rich (the extra `cli`) and a terminal wide enough the two programs of a task stand side
by side; otherwise, or with `--plain`, one below the other.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import attrs
import click

from . import examples_directory
from ._show import Show, make_show
from .probes import assess_all

PROGRAM_SECONDS = 30.0


@attrs.frozen
class Task:
    """What is to be done, the program of the chapter, and the program with namedipc that does the same."""

    title: str
    chapter: str
    namedipc: str


TASKS = (
    Task("A message in a file, or in a Channel", "file_channel.py", "postbox.py"),
    Task("A number in shared memory", "shared_mapping.py", "counter.py"),
    Task("One message through a name: a FIFO", "office_hours.py", "office_hours_fifo.py"),
    Task("An instructor and students", "instructor.py", "instructor_service.py"),
    Task("Penny's channel: two clients", "pennys_channel.py", "pennys_typed_channel.py"),
    Task("A browser and its tabs", "browser.py", "tabs.py"),
)
"""The chapter's pipeline has no counterpart: programs that know nothing of it cannot use namedipc."""


@attrs.frozen
class Ran:
    """What a program printed, and whether it went well."""

    program: str
    printed: str
    went_well: bool


@click.command()
@click.option("--plain", is_flag=True, help="One below the other, without colours, also on a terminal.")
def demo(*, plain: bool) -> None:
    """Run the chapter's examples beside namedipc's, and compare the mechanisms.

    Ends with the chapter's table: which mechanism is transparent, named, channel-based and multi-client, each
    mark computed from what has just been observed. The status is 0 if every program ran.
    """
    directory = examples_directory()
    show = make_show(plain=plain)
    went_well = [run_pipeline(directory, show), *(run_task(task, directory, show) for task in TASKS)]
    show.table([*assess_all()])
    if not all(went_well):
        raise click.ClickException("not every program ran to its end")


def run_pipeline(directory: Path, show: Show) -> bool:
    """Run the chapter's program that namedipc has no counterpart to."""
    ran = run_program(directory, "chapter/pipeline.py")
    show.one("Programs that know nothing of each other: a pipe", ran.program, ran.printed)
    return ran.went_well


def run_task(task: Task, directory: Path, show: Show) -> bool:
    """Run the chapter's program, then namedipc's, and show both."""
    chapter = run_program(directory, f"chapter/{task.chapter}")
    ours = run_program(directory, task.namedipc)
    show.pair(task.title, (chapter.program, chapter.printed), (ours.program, ours.printed))
    return chapter.went_well and ours.went_well


def run_program(directory: Path, program: str) -> Ran:
    """Run an example to its end. Ctrl-C is passed on, so that it cleans up before this ends."""
    process = subprocess.Popen(
        [sys.executable, str(directory / program)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=PROGRAM_SECONDS)
    except subprocess.TimeoutExpired:
        printed = f"has not ended within {PROGRAM_SECONDS} seconds\n" + end(process)
    except KeyboardInterrupt:
        end(process)
        raise
    if process.returncode != 0:
        printed += f"(ended with status {process.returncode})\n"
    return Ran(program, printed, process.returncode == 0)


def end(process: subprocess.Popen[str]) -> str:
    """Interrupt a program; kill it if it does not end by that. Return what it printed."""
    process.send_signal(signal.SIGINT)
    try:
        printed, _ = process.communicate(timeout=PROGRAM_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
    return printed
