"""Memory shared by mapping a file: stores are seen at once, and updates get lost.

The chapter's aside. Two processes map the file `shared` with MAP_SHARED. First one stores a number and the
other sees it. Then both add 1 to it, many times and at the same time; each addition is a load and a store,
and what the other stored in between is overwritten.

Prints how many updates were lost; the count differs from one time to the next:

    Stored by the parent: 41; seen by the child: 41.
    2 processes added 1, 200000 times each, to 0: the sum is 214467.
    185533 of 400000 updates were lost.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from _children import Children, Gate, run, stage

from namedipc import lowlevel

SIZE_BYTES = 8
PROCESSES = 2


def map_number(path: Path) -> memoryview:
    """Map the file: one 64-bit number, which everybody who maps it shares."""
    file = os.open(path, os.O_RDWR)
    mapping = lowlevel.map_shared(file, SIZE_BYTES, writable=True)
    os.close(file)  # the mapping stays
    return memoryview(mapping).cast("Q")


def tell(path: Path, report: int) -> None:
    """Report the number as this process sees it."""
    os.write(report, str(map_number(path)[0]).encode())


def add(path: Path, gate: Gate, times: int) -> None:
    """Add 1 so many times, without asking who else does."""
    number = map_number(path)
    gate.pass_through()
    for _ in range(times):
        number[0] = number[0] + 1


def show_a_store(path: Path, children: Children) -> None:
    """Store a number here, and see it there."""
    number = map_number(path)
    number[0] = 41
    reports, report = lowlevel.pipe()
    children.fork(tell, path, report)
    children.wait()
    print(f"Stored by the parent: {number[0]}; seen by the child: {os.read(reports, 32).decode()}.")
    os.close(reports)
    os.close(report)
    number[0] = 0


def main() -> None:
    parser = argparse.ArgumentParser(description="A shared mapping without exclusion.")
    parser.add_argument("--rounds", type=int, default=200_000, help="additions a process (default: %(default)s)")
    rounds: int = parser.parse_args().rounds
    with stage() as (directory, children):
        path = directory / "shared"
        path.write_bytes(bytes(SIZE_BYTES))
        show_a_store(path, children)
        gate = Gate()
        for _ in range(PROCESSES):
            children.fork(add, path, gate, rounds)
        gate.open()
        children.wait()
        total = map_number(path)[0]
    added = PROCESSES * rounds
    print(f"{PROCESSES} processes added 1, {rounds} times each, to 0: the sum is {total}.")
    print(f"{added - total} of {added} updates were lost.")


if __name__ == "__main__":
    run(main)
