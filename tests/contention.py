"""A campaign of contention: `python -m tests.contention KIND PATH SECONDS`, for each of KINDS. Nobody pauses.

Of a region, two writers store values of 5 KB with a checksum of their own, and two readers follow it: by what they look
at, and by what they wait for. Of a mapped memory, three change it, one of them in trio, and one reads under the shared
lock; each must get the lock again and again. Prints a line for each process: who it is, how often it came to it, and
its longest wait in ms.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from time import monotonic, perf_counter

import attrs
import trio

from namedipc import SharedRegion

from .memory_support import PAIR

VALUE_BYTES = 5000
HANG_SECONDS = 60
LAST = 1 << 62
"""The number of the value after which no other comes."""


@attrs.frozen
class Value:
    """Some kilobytes, and their hash: a mixture of two is not `whole`."""

    number: int
    content: bytes
    digest: bytes

    @staticmethod
    def of(number: int) -> Value:
        """The value of this number."""
        content = number.to_bytes(8, "little") * (VALUE_BYTES // 8)
        return Value(number, content, sha256(content).digest())

    @property
    def whole(self) -> bool:
        """Whether content and hash belong together."""
        return len(self.content) == VALUE_BYTES and sha256(self.content).digest() == self.digest


VALUES = SharedRegion("values", Value)


class Tally:
    """How often somebody came to it, and the longest wait until then."""

    def __init__(self, seconds: float) -> None:
        self.count = 0
        self.longest_seconds = 0.0
        self._since = perf_counter()
        self._end = monotonic() + seconds

    def begin(self) -> None:
        """A wait begins."""
        self._since = perf_counter()

    def come(self) -> None:
        """It is over."""
        self.count += 1
        self.longest_seconds = max(self.longest_seconds, perf_counter() - self._since)

    def turns(self) -> Iterator[None]:
        """Give a turn, and others until the time has passed; a wait begins with each."""
        while True:
            self.begin()
            yield
            if monotonic() > self._end:
                return


Role = Callable[[str, Tally], None]


def write(path: str, tally: Tally) -> None:
    """Store one value after the other."""
    with VALUES.at(path).open() as values:
        for _ in tally.turns():
            values.update(lambda value: Value.of(value.number + 1))
            tally.come()


def look(path: str, tally: Tally) -> None:
    """Read without waiting: whole values, none older than the one before."""
    last = 0
    with VALUES.at(path).view() as values:
        for _ in tally.turns():
            value = values.read()
            tally.come()
            assert value.whole, value.number
            assert value.number >= last, (value.number, last)
            last = value.number


def follow(path: str, tally: Tally) -> None:
    """Wait for one value after the other, to the last: whole ones, each newer than the one before."""
    last = -1
    with VALUES.at(path).view() as values:
        tally.begin()
        for value in values.watch():
            tally.come()
            assert value.whole, value.number
            assert value.number > last, (value.number, last)
            last = value.number
            if value.number == LAST:
                break
            tally.begin()


def change(path: str, tally: Tally) -> None:
    """Change the memory under the lock."""
    with PAIR.at(path).open() as memory:
        for _ in tally.turns():
            with memory.lock() as pair:
                tally.come()
                pair.advance()


def change_in_trio(path: str, tally: Tally) -> None:
    """The same from a trio task."""

    async def changing() -> None:
        async with PAIR.at(path).open() as memory:
            for _ in tally.turns():
                async with memory.lock() as pair:
                    tally.come()
                    pair.advance()

    trio.run(changing)


def share(path: str, tally: Tally) -> None:
    """Read under the shared lock: the halves agree."""
    with PAIR.at(path).open() as memory:
        for _ in tally.turns():
            with memory.lock_shared() as pair:
                tally.come()
                assert pair.first == pair.second, pair.both


def in_child(role: Role, path: str, seconds: float) -> int:
    """Play a role in a forked child, which prints its line; return its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(int(seconds) + HANG_SECONDS)
        tally = Tally(seconds)
        role(path, tally)
        os.write(1, f"{role.__name__} {tally.count} {1000 * tally.longest_seconds:.3f}\n".encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def wait_for(pid: int) -> None:
    """Wait for the end of a child, which must be a good one."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status


def contend_for_region(path: str, seconds: float) -> None:
    """Two writers, two readers; and the last value when the writers have gone."""
    with VALUES.at(path).create(Value.of(0)) as values:
        writers = [in_child(write, path, seconds) for _ in range(2)]
        readers = [in_child(role, path, seconds) for role in (look, follow)]
        for pid in writers:
            wait_for(pid)
        values.write(Value.of(LAST))
        for pid in readers:
            wait_for(pid)


def contend_for_memory(path: str, seconds: float) -> None:
    """Four who want the lock."""
    with PAIR.at(path).create() as memory:
        for pid in [in_child(role, path, seconds) for role in (change, change, change_in_trio, share)]:
            wait_for(pid)
        assert memory.content.first == memory.content.second == memory.version - 1


KINDS = {"region": contend_for_region, "memory": contend_for_memory}


if __name__ == "__main__":
    KINDS[sys.argv[1]](sys.argv[2], float(sys.argv[3]))
