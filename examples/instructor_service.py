"""An instructor and students, with a Service: every student gets the answer to its own question.

As in `chapter/instructor.py` each student asks with its pid and hopes to hear that very number. A Service answers
each client on the client's own connection, so answers are neither crossed nor merged, and nobody is starved.

Prints the first run as the chapter does, and how the answers of all runs were: right.

    8152: 8152
    8153: 8153
    In 100 runs of 2 students each the answers were
      right:         200
      crossed:         0
      merged:          0
      starved:         0
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from _company import run, say, stage

from namedipc import Fifo, Service, TimedOut

STUDENTS = 2
OUTCOMES = ("right", "crossed", "merged", "starved")


class Instructor(Protocol):
    """What students can ask."""

    async def ask(self, question: str) -> str: ...


class Patient:
    """Answers every question by the question, as the chapter's instructor."""

    async def ask(self, question: str) -> str:
        return question


INSTRUCTOR = Service("instructor", Instructor)
NOTES = Fifo("notes", tuple[str, str])


def teach(path: Path) -> None:
    """Be the instructor, until SIGTERM."""
    INSTRUCTOR.at(path).run(Patient())


def learn(instructor: Path, notes: Path, rounds: int) -> None:
    """Ask in each run, and note what came."""
    pid = str(os.getpid())
    with (
        INSTRUCTOR.at(instructor).connect(wait_seconds=10, timeout=10) as client,
        NOTES.at(notes).writer(wait_seconds=10) as writer,
    ):
        for _ in range(rounds):
            writer.send((pid, client.call(Instructor.ask, pid)))


def outcome(student: str, answer: str) -> str:
    """Name what a student has heard, as the chapter's example does."""
    if answer == student:
        return "right"
    return "merged" if len(answer) > len(student) else "crossed"


def main() -> None:
    parser = argparse.ArgumentParser(description="Multi-client communication with a Service.")
    parser.add_argument("--rounds", type=int, default=100, help="how many runs (default: %(default)s)")
    rounds: int = parser.parse_args().rounds
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    with stage() as (directory, company):
        instructor, notes = directory / "instructor", directory / "notes"
        server = company.start(teach, instructor)
        students = [company.start(learn, instructor, notes, rounds) for _ in range(STUDENTS)]
        with NOTES.at(notes).reader() as reader, suppress(TimedOut):
            for _ in range(STUDENTS * rounds):
                student, answer = reader.receive(timeout=10)
                if student not in seen:
                    say(f"{student}: {answer}")
                seen.add(student)
                counts[outcome(student, answer)] += 1
        company.wait(*students)
        company.stop(server)
    counts["starved"] = STUDENTS * rounds - counts.total()
    print(f"In {rounds} runs of {STUDENTS} students each the answers were")
    for name in OUTCOMES:
        print(f"  {name + ':':<12}{counts[name]:6}")


if __name__ == "__main__":
    run(main)
