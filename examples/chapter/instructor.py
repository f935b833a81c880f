"""Two FIFOs and several clients: answers reach the wrong student, come merged, or never come.

The chapter's program, many times: an instructor reads `requests` and writes each back into `responses`; two
students each ask with their pid and read one answer. The chapter ends each run by a signal after a second;
here a run ends when both students have their answer, or when all who still live sleep: then nobody can wake
anybody any more, and who has no answer is starved.

Prints some runs as the chapter does, each student's pid and what it read, and then how many answers were
right (one's own pid), crossed (the other's), merged (both in one) and starved (none). The counts differ from
one time to the next:

    8152: 8152
    8153: 8153

    8156: 81558156
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from _children import Children, run, stage

from namedipc import lowlevel

MESSAGE_BYTES = 32  # the chapter's `char msg[32]`
STUDENTS = 2
OUTCOMES = ("right", "crossed", "merged", "starved")
LOOK_SECONDS = 0.002
RUN_SECONDS = 1.0  # the chapter's sleep(1): the longest run where /proc tells nothing


def instructor(requests: Path, responses: Path) -> None:
    """Receive requests, and send them immediately as a response."""
    request = lowlevel.open_fifo_for_reading(requests, blocking=True)
    response = lowlevel.open_fifo_for_writing(responses, blocking=True)
    with contextlib.suppress(BrokenPipeError):  # every student has left
        while message := os.read(request, MESSAGE_BYTES):
            lowlevel.write_pipe(response, message)


def student(requests: Path, responses: Path, report: int) -> None:
    """Make a request with our pid, and get a response, hopefully also our pid."""
    request = lowlevel.open_fifo_for_writing(requests, blocking=True)
    response = lowlevel.open_fifo_for_reading(responses, blocking=True)
    with contextlib.suppress(BrokenPipeError):  # the instructor has left
        lowlevel.write_pipe(request, str(os.getpid()).encode())
    if message := os.read(response, MESSAGE_BYTES):
        os.write(report, f"{os.getpid()}: {message.decode()}\n".encode())


def one_run(directory: Path, children: Children) -> tuple[list[int], str]:
    """Let one instructor and two students meet; return the students' pids and what they printed."""
    requests, responses = directory / "requests", directory / "responses"
    lowlevel.make_fifo(requests)
    lowlevel.make_fifo(responses)
    reports, report = lowlevel.pipe()
    try:
        pids = [children.fork(instructor, requests, responses)]
        pids += [children.fork(student, requests, responses, report) for _ in range(STUDENTS)]
        lines = collect(reports, pids)
        children.end(signal.SIGTERM)
    finally:
        os.close(reports)
        os.close(report)
    requests.unlink()
    responses.unlink()
    return pids[1:], lines


def collect(reports: int, pids: list[int]) -> str:
    """Read the students' lines until all are there or no more can come."""
    lines = ""
    end = time.monotonic() + RUN_SECONDS
    while lines.count("\n") < STUDENTS and time.monotonic() < end:
        if lowlevel.wait_ready(reports, timeout_seconds=LOOK_SECONDS):
            lines += os.read(reports, 256).decode()
        elif all_asleep(pids):
            break
    while lowlevel.wait_ready(reports, timeout_seconds=0):  # said before the last one fell asleep
        lines += os.read(reports, 256).decode()
    return lines


def all_asleep(pids: list[int]) -> bool:
    """Whether none can go on: each has ended, or sleeps and was not awake between two looks."""
    first = [naps(pid) for pid in pids]
    return None not in first and first == [naps(pid) for pid in pids]


def naps(pid: int) -> int | None:
    """Count how often a process has gone to sleep; None while it is awake, -1 once it has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if fields["State"].startswith("Z"):
        return -1
    asleep = fields["State"].startswith("S") and "voluntary_ctxt_switches" in fields
    return int(fields["voluntary_ctxt_switches"]) if asleep else None


def outcomes(students: Iterable[int], lines: str) -> list[str]:
    """Name what became of each student's request."""
    answers = dict(line.split(": ") for line in lines.splitlines())
    everybody = {str(pid) for pid in students}
    return [outcome(pid, answers.get(pid), everybody) for pid in sorted(everybody)]


def outcome(pid: str, answer: str | None, everybody: set[str]) -> str:
    if answer is None:
        return "starved"
    if answer == pid:
        return "right"
    return "crossed" if answer in everybody else "merged"


def main() -> None:
    parser = argparse.ArgumentParser(description="Multi-client communication over FIFOs.")
    parser.add_argument("--rounds", type=int, default=100, help="how many runs (default: %(default)s)")
    rounds: int = parser.parse_args().rounds
    counts: Counter[str] = Counter()
    with stage() as (directory, children):
        for _ in range(rounds):
            students, lines = one_run(directory, children)
            found = outcomes(students, lines)
            if not counts.keys() >= set(found):  # print the first run of each kind
                print(lines)
            counts.update(found)
    print(f"In {rounds} runs of {STUDENTS} students each the answers were")
    for name in OUTCOMES:
        print(f"  {name + ':':<12}{counts[name]:6}")


if __name__ == "__main__":
    run(main)
