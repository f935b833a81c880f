"""A campaign of kills: `python -m tests.region_kills PATH POINTS`. SIGKILL within a write, at a chosen bytecode.

For every point a child is forked which begins to write and kills itself there. Then the region must have the value
of before or the next one, whole; the lock must be free at once; and whoever listened must have been woken if the
value is another. Prints how many bytecodes each way to write has, and how many kills left the old and the new value.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from namedipc import lowlevel
from namedipc._region_blocking import BlockingRegion

from .kill_support import bytecodes, killed_at
from .region_support import BOARD, Entry, advance

Board = BlockingRegion[Entry]


def by_write(board: Board) -> None:
    """One write."""
    board.write(advance(board.read()))


def by_update(board: Board) -> None:
    """One update."""
    board.update(advance)


def by_editing(board: Board) -> None:
    """One update in several steps."""
    with board.editing() as draft:
        draft.value = advance(draft.value)


WAYS: tuple[Callable[[Board], None], ...] = (by_write, by_update, by_editing)


def attempt(point: int, way: Callable[[Board], None]) -> int:
    """Open the region and die while writing."""
    with BOARD.at(sys.argv[1]).open() as board:
        return killed_at(point, way, board)


def check(board: Board, before: Entry, version: int, listener_rung: bool) -> bool:
    """Look at what a kill has left; return whether the new value is there."""
    now = board.read()
    assert now in (before, advance(before)), f"{before.number}: {now.number}, whole: {now.whole}"
    changed = now != before
    assert board.version == version + changed
    assert listener_rung or not changed, "nobody was woken"
    assert board.update(advance, timeout=0) == advance(now), "the lock was not free"
    return changed


def run(points: int) -> None:
    """Kill at `points` bytecodes of each way to write, evenly spread."""
    with BOARD.at(sys.argv[1]).create(Entry.of(0), persist=True) as board:
        for way in WAYS:
            total = bytecodes(attempt, way)
            counts = [0, 0]
            for index in range(points):
                point = 1 + index * total // points
                before, version = board.read(), board.version
                listener = board._file.listen()
                pid = os.fork()
                if pid == 0:
                    attempt(point, way)
                    os._exit(0)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                assert status == -signal.SIGKILL, status
                rung = lowlevel.wait_ready(listener.fileno(), timeout_seconds=0)
                listener.close()
                counts[check(board, before, version, rung)] += 1
            print(way.__name__, total, *counts, flush=True)


if __name__ == "__main__":
    run(int(sys.argv[2]))
