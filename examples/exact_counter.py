"""A count in shared memory to which eight processes add, one of which is killed in the middle: the end is exact.

The memory is a C structure which each process maps. To add 1 takes two stores, under the lock; a process that is killed
between them leaves the lock free and the structure half changed. Whoever has the lock next is told (`OwnerDied`), and
mends it: the parts are right, so the total is made their sum.

Prints the count, and how often somebody had to mend it:

    8 processes counted to 1401, where the total says 1401.
    Changes that were cut off by SIGKILL, found and mended: 1.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from _company import run, say, stage

from namedipc import BlockingMemory, OwnerDied, SharedStruct

PROCESSES, TIMES = 8, 200


class Count(ctypes.Structure):
    _fields_ = [("total", ctypes.c_uint64), ("by", ctypes.c_uint64 * PROCESSES), ("mended", ctypes.c_uint32)]
    total: int
    by: ctypes.Array[ctypes.c_uint64]
    mended: int


COUNT = SharedStruct("count", Count)


def mend(memory: BlockingMemory[Count]) -> None:
    """Make it sound again, unless somebody else was faster."""
    with memory.recover() as count:
        if count.total != sum(count.by):
            count.total = sum(count.by)
            count.mended += 1


def add(path: Path, who: int) -> None:
    """Add 1 so many times; number 0 does not come to the end of the first."""
    with COUNT.at(path).open() as memory:
        done = 0
        while done < TIMES:
            try:
                with memory.lock() as count:
                    count.by[who] += 1
                    if who == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    count.total += 1
                done += 1
            except OwnerDied:
                mend(memory)


def main() -> None:
    with stage() as (directory, company):
        with COUNT.at(directory / "count").create() as memory:
            killed, *others = [company.start(add, directory / "count", who) for who in range(PROCESSES)]
            company.wait(*others)
            killed.join()
            mend(memory)  # if the others had ended before
            count = memory.content
            text = f"{PROCESSES} processes counted to {sum(count.by)}, where the total says {count.total}."
            mended = count.mended
        say(f"{text}\nChanges that were cut off by SIGKILL, found and mended: {mended}.")


if __name__ == "__main__":
    run(main)
