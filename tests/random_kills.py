"""A campaign of kills at random: `python -m tests.random_kills KIND PATH KILLS [SEED]`, for each of KINDS.

Two forked children change one thing without a pause, a third follows it, and this process kills the older of the two,
makes a change of its own, and forks another one: again and again. Every value must be whole and none may go backwards,
the lock must be had again at once, and the follower must hear of this process's change; now and then the other child is
killed too, so that this is the last change. Prints, every 1 000 kills and at the end: the kind, the kills, the median
and the worst time from a kill to the lock in ms, how often it was above 100 ms, and how far the changes have come.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import count
from types import FrameType

import attrs

from namedipc import BlockingMemory, OwnerDied

from .memory_support import PAIR, Pair
from .region_support import BOARD, NEWS, Entry, advance

LONGEST_LIFE_SECONDS = 0.003
"""Of the older child after a kill. It has had the time of the one before to come to its work."""
SOON_SECONDS = 0.1
HANG_SECONDS = 120
"""After this a lock counts as lost, and so does a wake-up; also where a machine has little time for this."""
ALONE_EVERY = 8
"""So often nobody else makes a change before the follower has heard of the last one."""
REPORT_EVERY = 1_000
MESSAGES_EACH = 1_000_000
"""More than a writer sends in its life: the messages of each have numbers of their own."""

_NUMBER = struct.Struct("<q")

Change = Callable[[], int]
"""Makes one change, and returns how far a follower has to come."""


@attrs.frozen
class Kind:
    """How one kind of name is used.

    Attributes:
        here: Makes it, and gives what makes changes in this process.
        work: Makes changes in a child, which has a number.
        follow: Follows it in a child: how far it has come.
    """

    here: Callable[[str], AbstractContextManager[Change]]
    work: Callable[[str, int], Iterator[None]]
    follow: Callable[[str], Iterator[int]]


# --- a region: the number of its entry is how far it has come


@contextmanager
def region_here(path: str) -> Iterator[Change]:
    """Updates."""
    with BOARD.at(path).create(Entry.of(0)) as board:
        yield lambda: board.update(advance).number


def region_work(path: str, _: int) -> Iterator[None]:
    """Updates, too."""
    with BOARD.at(path).open() as board:
        while True:
            board.update(advance)
            yield


def region_follow(path: str) -> Iterator[int]:
    """Whole entries, each newer than the one before."""
    last = -1
    with BOARD.at(path).view() as board:
        for entry in board.watch():
            assert entry.whole, entry.number
            assert entry.number > last, (entry.number, last)
            last = entry.number
            yield last


# --- a mapped memory: its halves agree, unless its last owner has died


def change(memory: BlockingMemory[Pair]) -> int:
    """Advance both halves, or mend them."""
    try:
        with memory.lock() as pair:
            pair.advance()
            assert pair.first == pair.second, pair.both
            return pair.first
    except OwnerDied:
        with memory.recover() as pair:
            pair.second = pair.first = pair.first + 1
            return pair.first


@contextmanager
def memory_here(path: str) -> Iterator[Change]:
    """Changes."""
    with PAIR.at(path).create() as memory:
        yield lambda: change(memory)


def memory_work(path: str, _: int) -> Iterator[None]:
    """Changes, too."""
    with PAIR.at(path).open() as memory:
        while True:
            change(memory)
            yield


def memory_follow(path: str) -> Iterator[int]:
    """Halves that agree, and never go back. What is half changed is passed over: its mending is a change."""
    last = -1
    with PAIR.at(path).open() as memory:
        for _ in memory.watch():
            try:
                with memory.lock_shared() as pair:
                    first, second = pair.both
            except OwnerDied:
                continue
            assert first == second, (first, second)
            assert first >= last, (first, last)
            last = first
            yield last


# --- a broadcast: the number of a message in the ring is how far it has come


@contextmanager
def broadcast_here(path: str) -> Iterator[Change]:
    """Messages without a number of their own."""
    with NEWS.at(path).writer(message_bytes=1 << 14) as news:

        def send() -> int:
            news.send(Entry.of(0))
            return news._sender.file._newest.last

        yield send


def broadcast_work(path: str, who: int) -> Iterator[None]:
    """Messages with numbers in a row; many at a time now and then."""
    with NEWS.at(path).writer() as news:
        for number in range(who * MESSAGES_EACH + 1, (who + 1) * MESSAGES_EACH, 4):
            news.send(Entry.of(number))
            news.send_many([Entry.of(number + more) for more in (1, 2, 3)])
            yield


def broadcast_follow(path: str) -> Iterator[int]:
    """Whole messages, those of each writer in a row, unless some were missed."""
    last: dict[int, int] = {}
    missed = 0
    with NEWS.at(path).reader(start="oldest") as news:
        for received, entry in enumerate(news, 1):
            assert entry.whole, entry.number
            if news.missed > missed:  # others have sent meanwhile, and have been killed
                missed = news.missed
                last.clear()
            if entry.number:
                who = entry.number // MESSAGES_EACH
                assert entry.number == last.get(who, entry.number - 1) + 1, (entry.number, last)
                last[who] = entry.number
            yield received + missed


KINDS = {
    "region": Kind(region_here, region_work, region_follow),
    "memory": Kind(memory_here, memory_work, memory_follow),
    "broadcast": Kind(broadcast_here, broadcast_work, broadcast_follow),
}


# --- the campaign


def in_child(steps: Callable[[], Iterator[None]]) -> int:
    """Do something in a forked child until its parent has gone; return its number."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(0)
        for _ in steps():
            if os.getppid() != parent:
                break
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


class Follower:
    """A child that follows, and says how far it has come."""

    def __init__(self, kind: Kind, path: str) -> None:
        self._reached = -1
        self._reader, writer = os.pipe()

        def report() -> Iterator[None]:
            os.close(self._reader)
            for number in kind.follow(path):
                os.write(writer, _NUMBER.pack(number))
                yield

        self.pid = in_child(report)
        os.close(writer)

    def wait_for(self, number: int) -> None:
        """Wait until it has come so far."""
        while self._reached < number:
            data = os.read(self._reader, 1 << 16)
            assert data, "the follower has failed"
            (self._reached,) = _NUMBER.unpack(data[-_NUMBER.size :])


def kill(pid: int) -> None:
    """SIGKILL a child, which must not have ended by itself."""
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == -signal.SIGKILL, status


def hang(_: int, __: FrameType | None) -> None:
    """Somebody waits in vain."""
    raise AssertionError(f"neither the lock nor the wake-up within {HANG_SECONDS} s")


def run(name: str, path: str, kills: int, seed: int) -> None:
    """The whole campaign."""
    kind = KINDS[name]
    chance = random.Random(seed)
    signal.signal(signal.SIGALRM, hang)
    waits: list[float] = []
    workers: list[int] = []
    numbers = count(1)
    reached = 0

    def start_workers() -> None:
        while len(workers) < 2:
            workers.append(in_child(partial(kind.work, path, next(numbers))))

    with kind.here(path) as change_here:
        follower = Follower(kind, path)
        try:
            follower.wait_for(change_here())  # it has the first one, and so counts from there
            for turn in range(kills):
                start_workers()
                signal.alarm(HANG_SECONDS)
                time.sleep(chance.uniform(0, LONGEST_LIFE_SECONDS))
                start = time.perf_counter()
                kill(workers.pop(0))
                if is_alone := turn % ALONE_EVERY == 0:
                    kill(workers.pop())
                number = change_here()
                waits.append(time.perf_counter() - start)
                assert number > reached, (number, reached)
                reached = number
                if not is_alone:
                    start_workers()
                follower.wait_for(number)
                if len(waits) % REPORT_EVERY == 0 or len(waits) == kills:
                    report(name, waits, reached)
        finally:
            signal.alarm(0)
            for pid in (*workers, follower.pid):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def report(name: str, waits: list[float], reached: int) -> None:
    """Print what has been seen so far."""
    late = sum(wait > SOON_SECONDS for wait in waits)
    print(name, len(waits), f"{1000 * statistics.median(waits):.3f} {1000 * max(waits):.3f}", late, reached, flush=True)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
