"""A campaign of kills: `python -m tests.memory_kills PATH POINTS`. SIGKILL within a change, at a chosen bytecode.

For every point a child is forked which begins to change a mapped memory and kills itself there. Then the lock must be
free at once; whoever takes it must be told exactly if the mark is there; without the mark the content is that of before
or the next one, and with another version somebody was woken. Prints how many bytecodes each way has, and how many kills
left the old content, a mark, and the new content.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable

from namedipc import BlockingMemory, OwnerDied, lowlevel
from namedipc._protocol.file_header import PAGE_BYTES

from .kill_support import bytecodes, killed_at
from .memory_support import PAIR, Pair

PairMemory = BlockingMemory[Pair]


def by_lock(memory: PairMemory) -> None:
    """One change."""
    with memory.lock() as pair:
        pair.advance()


def by_recover(memory: PairMemory) -> None:
    """One change by whoever does not ask how the last one ended."""
    with memory.recover() as pair:
        pair.advance()


WAYS: tuple[Callable[[PairMemory], None], ...] = (by_lock, by_recover)


def attempt(point: int, way: Callable[[PairMemory], None]) -> int:
    """Open the memory and die while changing it."""
    with PAIR.at(sys.argv[1]).open() as memory:
        return killed_at(point, way, memory)


def is_marked(memory: PairMemory) -> bool:
    """Whether the file says that a change was begun and not ended: read as a foreign program would."""
    data = os.pread(memory._memory.file._fd, PAGE_BYTES, 0)
    (mark,) = struct.unpack_from("<I", data, 92)
    even, odd = struct.unpack_from("<Q", data, 128)[0], struct.unpack_from("<Q", data, 192)[0]
    return bool(mark == max(even, odd) + 1)


def check(memory: PairMemory, before: tuple[int, int], version: int, listener_rung: bool) -> int:
    """Look at what a kill has left: 0 the old content, 1 a mark, 2 the new content."""
    marked, changed = is_marked(memory), memory.version != version
    assert memory.version in (version, version + 1)
    try:
        with memory.lock(timeout=0) as pair:  # free at once
            assert not marked
            assert pair.both == (before[0] + changed, before[1] + changed)
    except OwnerDied:
        assert marked
        with memory.recover(timeout=0) as pair:
            pair.first = pair.second
    assert listener_rung or not changed, "nobody was woken"
    return 1 if marked else 2 * changed


def run(points: int) -> None:
    """Kill at `points` bytecodes of each way to change it, evenly spread."""
    with PAIR.at(sys.argv[1]).create() as memory:
        for way in WAYS:
            total = bytecodes(attempt, way)
            counts = [0, 0, 0]
            for index in range(points):
                point = 1 + index * total // points
                before, version = memory.content.both, memory.version
                listener = memory._memory.file.listen()
                pid = os.fork()
                if pid == 0:
                    attempt(point, way)
                    os._exit(0)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                assert status == -signal.SIGKILL, status
                rung = bool(lowlevel.wait_ready(listener.fileno(), timeout_seconds=0))
                listener.close()
                counts[check(memory, before, version, rung)] += 1
            print(way.__name__, total, *counts, flush=True)


if __name__ == "__main__":
    run(int(sys.argv[2]))
