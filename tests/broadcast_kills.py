"""A campaign of kills: `python -m tests.broadcast_kills PATH POINTS`. SIGKILL within a send, at a chosen bytecode.

For every point a child is forked which begins to send and kills itself there. Then a reader must have what was sent,
whole and in order, or nothing; another writer must send within 100 ms; whoever listened must have been woken if there
was something. In the same way the last writer is killed while it leaves: readers then come to the end, or go on with
the next writer. Prints how many bytecodes each way has, and how many kills left nothing, and something.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from namedipc import EndOfChannel, TimedOut, lowlevel
from namedipc._broadcast_blocking import BlockingBroadcastReader, BlockingBroadcastWriter

from .kill_support import killed_at
from .region_support import NEWS, Entry

Writer = BlockingBroadcastWriter[Entry]
Reader = BlockingBroadcastReader[Entry]

SLOTS = 8
SOON_SECONDS = 0.1
SENT = [Entry.of(number) for number in (1, 2, 3)]


def by_send(writer: Writer) -> None:
    """One message."""
    writer.send(SENT[0])


def by_send_many(writer: Writer) -> None:
    """Three messages in one batch."""
    writer.send_many(SENT)


WAYS: tuple[Callable[[Writer], None], ...] = (by_send, by_send_many)


def send_and_die(point: int, way: Callable[[Writer], None]) -> int:
    """Open the broadcast and die while sending."""
    with NEWS.at(sys.argv[1]).writer() as writer:
        return killed_at(point, way, writer)


def in_child(point: int, way: Callable[[Writer], None]) -> None:
    """Send in a forked child, which must be killed in it."""
    pid = os.fork()
    if pid == 0:
        send_and_die(point, way)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == -signal.SIGKILL, status


def received(reader: Reader) -> list[Entry]:
    """All that is there now."""
    try:
        return reader.receive_many(timeout=0)
    except TimedOut:
        return []


def check_sending(way: Callable[[Writer], None], points: int) -> list[int]:
    """Kill at `points` bytecodes of a way to send, evenly spread, in rings that are filled more and more."""
    totals = [_sending_once(-1, way, sent)[0] for sent in range(1, SLOTS + 1)]
    counts = [0, 0]
    for index in range(points):
        total = totals[index % SLOTS]
        counts[_sending_once(1 + index * (total - 1) // (points - 1), way, 1 + index % SLOTS)[1]] += 1
    return [min(totals), *counts]


def _sending_once(point: int, way: Callable[[Writer], None], sent: int) -> tuple[int, bool]:
    """Kill once, in a ring where so much has been sent; return how many bytecodes there were and whether it is sent."""
    ring = NEWS.at(sys.argv[1])
    with ring.writer(slots=SLOTS, if_exists="replace") as writer, ring.reader() as reader:
        for number in range(sent):
            writer.send(Entry.of(number))
        received(reader)
        if point < 0:
            return send_and_die(point, way), True
        listener = reader._receiver.file.listen()
        in_child(point, way)
        rung = lowlevel.wait_ready(listener.fileno(), timeout_seconds=0)
        listener.close()
        there = received(reader)
        assert there == SENT[: len(there)], there
        assert rung or not there, "nobody was woken"
        writer.send(Entry.of(9), timeout=SOON_SECONDS)
        assert received(reader) == [Entry.of(9)], "another writer's message"
        assert reader.missed == 0
        return 0, bool(there)


def leave_and_die(point: int) -> int:
    """Send a message, be the last writer, and die while leaving."""
    with NEWS.at(sys.argv[1]).writer(slots=SLOTS, if_exists="replace") as writer:
        writer.send(SENT[0])
        os.write(opened[1], b"x")
        os.read(going[0], 1)
        return killed_at(point, BlockingBroadcastWriter.close, writer)


opened, going = os.pipe(), os.pipe()


def check_leaving(points: int) -> list[int]:
    """Kill at `points` bytecodes of the last writer's close, evenly spread."""
    os.write(going[1], b"x")
    total = leave_and_die(-1)
    os.read(opened[0], 1)
    counts = [0, 0]
    for index in range(points):
        counts[_leaving_once(1 + index * (total - 1) // (points - 1))] += 1
    return [total, *counts]


def _leaving_once(point: int) -> bool:
    """Kill once; return whether the reader came to its end."""
    pid = os.fork()
    if pid == 0:
        leave_and_die(point)
        os._exit(0)
    os.read(opened[0], 1)
    with NEWS.at(sys.argv[1]).reader(start="oldest") as reader:
        listener = reader._receiver.file.listen()
        os.write(going[1], b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        rung = lowlevel.wait_ready(listener.fileno(), timeout_seconds=0)
        listener.close()
        assert reader.receive_nowait() == SENT[0]
        is_over = reader._receiver.cursor.is_at_end()
        assert rung or not is_over, "nobody was woken"
        with NEWS.at(sys.argv[1]).writer() as writer:
            writer.send(SENT[1], timeout=SOON_SECONDS)
            if not is_over:
                assert reader.receive_nowait() == SENT[1]
        try:
            reader.receive(timeout=0)
        except EndOfChannel:
            return is_over
        raise AssertionError("the reader does not come to its end")


def run(points: int) -> None:
    """The whole campaign."""
    for way in WAYS:
        print(way.__name__, *check_sending(way, points), flush=True)
    print("leaving", *check_leaving(points), flush=True)


if __name__ == "__main__":
    run(int(sys.argv[2]))
