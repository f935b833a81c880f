"""A file is no channel: two messages through `string_data`, and what the reader saw of them.

A run is the chapter's program: one process writes "penny for pawsident" and then, from the start of the file
again, "america for good doggies"; another reads the file twice. They are let go together; from then on
nothing makes either wait for the other, so the scheduler decides what is read.

Prints the first run as the chapter's program does, and how often the reader saw nothing, only the first
message, only the second, or a mixture (two reads that differ, or a message that is neither). The counts
differ from one time to the next.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path

from _children import Children, Gate, run, stage

MESSAGES = (b"penny for pawsident\0", b"america for good doggies\0")
READ_BYTES = 32  # the chapter's `char data[32]`
OUTCOMES = ("nothing", "the first", "the second", "a mixture")


def write_both(path: Path, gate: Gate) -> None:
    """Send the first message, then the second over it."""
    gate.pass_through()
    file = os.open(path, os.O_WRONLY)
    os.write(file, MESSAGES[0])
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, MESSAGES[1])
    os.close(file)


def read_twice(path: Path, gate: Gate, report: int) -> None:
    """Read what is there, twice, and tell the parent."""
    gate.pass_through()
    file = os.open(path, os.O_RDONLY)
    first = os.read(file, READ_BYTES)
    os.lseek(file, 0, os.SEEK_SET)
    second = os.read(file, READ_BYTES)
    os.close(file)
    os.write(report, first.ljust(READ_BYTES, b"\0") + second.ljust(READ_BYTES, b"\0"))


def one_run(path: Path, children: Children) -> tuple[bytes, bytes]:
    """Run writer and reader side by side; return the two reads as C strings."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    gate = Gate()
    reports, report = os.pipe()
    try:
        children.fork(write_both, path, gate)
        children.fork(read_twice, path, gate, report)
        gate.open()
        children.wait()
        data = os.read(reports, 2 * READ_BYTES)
    finally:
        os.close(reports)
        os.close(report)
    path.unlink()
    return as_text(data[:READ_BYTES]), as_text(data[READ_BYTES:])


def as_text(data: bytes) -> bytes:
    """What C's `%s` prints: up to the first NUL."""
    return data.split(b"\0")[0]


def outcome(reads: tuple[bytes, bytes]) -> str:
    """Name what the reader saw in its two reads."""
    known = {b"": "nothing", as_text(MESSAGES[0]): "the first", as_text(MESSAGES[1]): "the second"}
    if reads[0] != reads[1]:
        return "a mixture"
    return known.get(reads[0], "a mixture")


def print_as_the_chapter(reads: tuple[bytes, bytes]) -> None:
    for number, read in enumerate(reads, start=1):
        print(f"msg{number}: {read.decode(errors='replace')}")


def main() -> None:
    parser = argparse.ArgumentParser(description="A file used as a channel.")
    parser.add_argument("--rounds", type=int, default=200, help="how many runs (default: %(default)s)")
    rounds: int = parser.parse_args().rounds
    counts: Counter[str] = Counter()
    in_order = 0
    with stage() as (directory, children):
        for number in range(rounds):
            reads = one_run(directory / "string_data", children)
            if number == 0:
                print_as_the_chapter(reads)
            counts[outcome(reads)] += 1
            in_order += reads == (as_text(MESSAGES[0]), as_text(MESSAGES[1]))
    print(f"In {rounds} runs the reader saw")
    for name in OUTCOMES:
        print(f"  {name + ':':<12}{counts[name]:6}")
    print(f"and in {in_order} runs both messages, in order, as a channel would have delivered them.")


if __name__ == "__main__":
    run(main)
