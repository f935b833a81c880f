"""A number in shared memory to which two processes add at the same time: no update is lost.

As in `chapter/shared_mapping.py`, but in a SharedRegion: `update` changes the value under a lock that is also freed
when its holder is killed, and whoever reads sees a whole value without one.

Prints the sum, and that nothing was lost:

    Stored by the parent: 41; seen by the child: 41.
    2 processes added 1, 1000 times each, to 0: the sum is 2000.
    0 of 2000 updates were lost.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _company import run, say, stage

from namedipc import SharedRegion

COUNTER = SharedRegion("counter", int)
PROCESSES = 2


def tell(path: Path, stored: int) -> None:
    """Print the number as this process sees it."""
    with COUNTER.at(path).view() as counter:
        say(f"Stored by the parent: {stored}; seen by the child: {counter.read()}.")


def add(path: Path, times: int) -> None:
    """Add 1 so many times."""
    with COUNTER.at(path).open() as counter:
        for _ in range(times):
            counter.update(lambda number: number + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="A SharedRegion which two processes update.")
    parser.add_argument("--rounds", type=int, default=1000, help="additions a process (default: %(default)s)")
    rounds: int = parser.parse_args().rounds
    with stage() as (directory, company):
        path = directory / "counter"
        with COUNTER.at(path).create(0) as counter:
            counter.write(41)
            company.wait(company.start(tell, path, 41))
            counter.write(0)
            company.wait(*[company.start(add, path, rounds) for _ in range(PROCESSES)])
            total = counter.read()
    added = PROCESSES * rounds
    print(f"{PROCESSES} processes added 1, {rounds} times each, to 0: the sum is {total}.")
    print(f"{added - total} of {added} updates were lost.")


if __name__ == "__main__":
    run(main)
