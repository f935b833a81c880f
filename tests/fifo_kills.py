"""A campaign of kills: `python -m tests.fifo_kills PATH KILLS WHOM`, WHOM is "writers" or "all". SIGKILL at any moment.

Four writers send messages of 20 KB, three readers receive them; each is a forked process, in trio or in blocking code.
Again and again one of them is killed, and another takes its place: a writer, or with "all" every third time a reader,
but never the first one, for what lies in a FIFO dies with its last reader and writer.

Each tells by a pipe what it has sent and received, and the readers compare every byte. Of each writer, killed or not,
everything it had sent must arrive, each message once, each reader's share in order. Missing may be what killed readers
had in hands: a message which it had not told of yet, and one of each writer that had begun to arrive. Prints what was
counted.
"""

from __future__ import annotations

import mmap
import os
import random
import select
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from struct import Struct
from time import monotonic

import attrs
import trio

from namedipc import Fifo, _fifo_trio

Message = tuple[int, int, bytes]

LOADED = _fifo_trio
"""Once, before the forks, not in each of them."""

WRITERS = 4
READERS = 3
MOST_IN_HANDS = 1 + WRITERS
STALLED_SECONDS = 60.0
LONGEST_LIFE_SECONDS = 0.004
STOP: Message = (-1, 0, b"")

RECORD = Struct("<Biii")
OPENED, SENT, RECEIVED, DAMAGED = range(4)
"""What is told: that an end is open; a message that was sent, was received, was received damaged."""

STOPPING = mmap.mmap(-1, 1)
"""Shared by all: not 0 once the writers are to stop. A process that has just begun could miss a signal."""

Tell = Callable[[int, int, int], object]
Process = Callable[[Fifo[Message], int, Tell], None]


def message(writer: int, serial: int) -> Message:
    """A message of a writer, of which no two pieces are alike."""
    return writer, serial, random.Random(writer << 32 | serial).randbytes(20_000 + serial % 3 * 7)


def write(fifo: Fifo[Message], number: int, tell: Tell) -> None:
    """Send until all writers are to stop."""

    async def in_trio() -> None:
        serial = 0
        async with fifo.writer() as writer:
            while not STOPPING[0]:
                await writer.send(message(number, serial))
                tell(SENT, number, serial)
                serial += 1

    if number % 2:
        trio.run(in_trio)
        return
    serial = 0
    with fifo.writer() as writer:
        while not STOPPING[0]:
            writer.send(message(number, serial))
            tell(SENT, number, serial)
            serial += 1


def read(fifo: Fifo[Message], number: int, tell: Tell) -> None:
    """Receive until a message says to stop."""

    def told(received: Message) -> bool:
        writer, serial, _ = received
        if received == STOP:
            return False
        tell(RECEIVED if received == message(writer, serial) else DAMAGED, writer, serial)
        return True

    async def in_trio() -> None:
        async with fifo.reader() as reader:
            tell(OPENED, 0, 0)
            while told(await reader.receive()):
                pass

    if number % 2:
        trio.run(in_trio)
        return
    with fifo.reader() as reader:
        tell(OPENED, 0, 0)
        while told(reader.receive()):
            pass


@attrs.define
class Writer:
    """What is known of a writer, by the numbers of its messages."""

    sent: int = 0
    received: int = 0
    """A bit for each."""

    def lost(self) -> int:
        """How many of those that were sent, or are known to have been for a later one arrived, are missing."""
        return max(self.sent, self.received.bit_length()) - self.received.bit_count()


class Campaign:
    """The processes, and what they have told."""

    def __init__(self, path: str) -> None:
        self.fifo = Fifo(path, Message)
        self.chooser = random.Random(0)
        self.listening, self._telling = os.pipe()
        self.numbers = 0
        self.running: dict[int, tuple[int, Process]] = {}
        self.writers: dict[int, Writer] = {}
        self.last: dict[tuple[int, int], int] = {}
        self.counts: Counter[str] = Counter()
        self.opened: set[int] = set()

    def start(self, what: Process) -> None:
        """Fork a process."""
        number = self.numbers
        self.numbers += 1
        pid = os.fork()
        if pid:
            self.running[pid] = (number, what)
            if what is write:
                self.writers[number] = Writer()
            return
        status = 1
        try:
            fd = self._telling
            what(
                self.fifo, number, lambda kind, writer, serial: os.write(fd, RECORD.pack(kind, number, writer, serial))
            )
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def listen(self, seconds: float) -> bool:
        """Take in what is told within some time; whether anything was."""
        if not select.select([self.listening], [], [], seconds)[0]:
            return False
        for record in RECORD.iter_unpack(os.read(self.listening, RECORD.size * 4096)):
            self._note(*record)
        return True

    def listen_until(self, condition: Callable[[], bool]) -> None:
        """Take in what is told until it is so."""
        while not condition():
            assert self.listen(STALLED_SECONDS), f"nothing goes on: {self.counts}"

    def _note(self, kind: int, teller: int, writer: int, serial: int) -> None:
        if kind == OPENED:
            self.opened.add(teller)
            return
        known = self.writers[writer]
        if kind == SENT:
            assert serial == known.sent
            known.sent += 1
            self.counts["sent"] += 1
            return
        assert kind == RECEIVED, f"message {serial} of writer {writer} is damaged"
        bit = 1 << serial
        assert not known.received & bit, f"message {serial} of writer {writer} came twice"
        assert self.last.get((teller, writer), -1) < serial, f"message {serial} of writer {writer} was overtaken"
        known.received |= bit
        self.last[teller, writer] = serial
        self.counts["received"] += 1

    def all_read(self) -> bool:
        """Whether every reader has opened its end."""
        return all(number in self.opened for number, what in self.running.values() if what is read)

    def kill_one(self, what: Process) -> None:
        """Let the processes run a while, then kill one of a sort and start another."""
        while self.listen(self.chooser.random() * LONGEST_LIFE_SECONDS) and self.chooser.random() < 0.7:
            pass
        pid = self.chooser.choice([pid for pid, (number, its) in self.running.items() if its is what and number > 0])
        number, _ = self.running.pop(pid)
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, (
            f"process {number} has ended by itself"
        )
        self.counts["killed writers" if what is write else "killed readers"] += 1
        if what is read:
            self.last = {key: serial for key, serial in self.last.items() if key[0] != number}
        self.start(what)

    def finish(self) -> None:
        """Let the writers end, then the readers, when they have received everything."""
        received = self._enough_received()
        self.listen_until(received)  # the survivors have survived the last kill
        writers = [pid for pid, (_, what) in self.running.items() if what is write]
        self.listen_until(self.all_read)  # each of them is told to stop
        STOPPING[0] = 1
        self._reap(writers)
        with self.fifo.writer() as writer:
            readers = list(self.running)
            for _ in readers:
                writer.send(STOP, timeout=STALLED_SECONDS)
            self._reap(readers)
        while self.listen(0):
            pass
        self.counts["lost"] = sum(writer.lost() for writer in self.writers.values())

    def _enough_received(self) -> Callable[[], bool]:
        enough = self.counts["received"] + 3 * WRITERS
        return lambda: self.counts["received"] >= enough

    def _reap(self, pids: list[int]) -> None:
        for pid in pids:
            deadline = monotonic() + STALLED_SECONDS
            while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
                assert monotonic() < deadline, f"process {self.running[pid]} does not end: {self.counts}"
                self.listen(0.01)
            number, _ = self.running.pop(pid)
            assert ended[1] == 0, f"process {number} has failed"


def run(path: str, kills: int, whom: str) -> None:
    """The whole campaign."""
    campaign = Campaign(path)
    try:
        for _ in range(READERS):
            campaign.start(read)
        campaign.listen_until(campaign.all_read)
        for _ in range(WRITERS):
            campaign.start(write)
        for kill in range(1, kills + 1):
            campaign.kill_one(read if whom == "all" and kill % 3 == 0 else write)
            if kill % 1000 == 0:
                print(kill, dict(campaign.counts), file=sys.stderr, flush=True)
        campaign.finish()
    finally:
        for pid in campaign.running:
            os.kill(pid, signal.SIGKILL)
    assert campaign.counts["lost"] <= MOST_IN_HANDS * campaign.counts["killed readers"], campaign.counts
    for what in ("killed writers", "killed readers", "sent", "received", "lost"):
        print(what, campaign.counts[what], sep=": ", flush=True)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3])
