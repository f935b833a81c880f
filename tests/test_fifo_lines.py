"""A Fifo of lines: both worlds, any number of readers and writers, some of which are killed.

Programs that know nothing of namedipc are played by a descriptor here, and by the real ones in `test_interop_shell`.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from namedipc import lowlevel
from namedipc._errors import (
    Closed,
    EndOfChannel,
    InvalidMessage,
    IPCError,
    SchemaMismatch,
    TimedOut,
    TooLarge,
    WouldBlock,
)
from namedipc._fifo import Fifo
from namedipc._fifo_blocking import BlockingFifoReader, BlockingFifoWriter
from namedipc._shells import fifo_receiving
from namedipc._shells.fifo_lines import Peephole

from .channel_support import fork
from .fifo_support import packets, turn_is_taken, wait_until
from .kill_support import killed_at

pytestmark = pytest.mark.usefixtures("no_leaks")


STEP = 1 if "NAMEDIPC_CAMPAIGN" in os.environ else 29
"""A kill is tried before each bytecode of an operation, or before one of so many."""


@attrs.frozen
class Order:
    """A message."""

    table: int
    dish: str


@pytest.fixture
def lines(tmp_path: Path) -> Fifo[str]:
    """The name of a FIFO of lines."""
    return Fifo(tmp_path / "lines", str, framing="lines")


@contextmanager
def foreign_writer(fifo: Fifo[str]) -> Iterator[int]:
    """A descriptor as any program has it that writes to the FIFO."""
    fd = lowlevel.open_fifo_for_writing(fifo.path)
    try:
        yield fd
    finally:
        os.close(fd)


def unread(reader: BlockingFifoReader[str]) -> int:
    """How many bytes lie in the FIFO."""
    return lowlevel.unread_bytes(reader._receiver.end.fd)


# ------------------------------------------------------------ names


def test_names_are_values(tmp_path: Path) -> None:
    """The framing is a part of the name: it is compared, shown, pickled, and moves along."""
    name = Fifo(tmp_path / "f", Order, framing="json-lines")
    assert name != Fifo(tmp_path / "f", Order)
    assert name == Fifo(tmp_path / "f", Order, framing="json-lines")
    assert repr(name) == f"Fifo({str(tmp_path / 'f')!r}, Order, framing='json-lines')"
    assert pickle.loads(pickle.dumps(name)) == name
    assert name.at("elsewhere") == Fifo("elsewhere", Order, framing="json-lines")
    assert repr(Fifo("f", str, framing="frames")) == repr(Fifo("f", str))


# ------------------------------------------------------------ messages


def test_messages_in_blocking_code(lines: Fifo[str]) -> None:
    """Whole, in order, exactly as they were; on the wire there is nothing but lines."""
    texts = ["", "one", " two\r", "caf\u00e9 \u2028", "x" * 4095]
    with lines.reader() as reader, lines.writer() as writer:
        writer.send_many(texts)
        assert lowlevel.unread_bytes(reader._receiver.end.fd) == sum(len(text.encode()) + 1 for text in texts)
        assert [reader.receive() for _ in texts] == texts
        writer.send("more")
        writer.send_nowait("and more")
        assert reader.receive_many() == ["more", "and more"]
        with pytest.raises(WouldBlock):
            reader.receive_nowait()
        with pytest.raises(TimedOut):
            reader.receive(timeout=0.01)
    assert not turn_is_taken(lines.path)


async def test_messages_in_trio(tmp_path: Path) -> None:
    """The same, of any type, as lines of JSON."""
    fifo = Fifo(tmp_path / "f", Order | str, framing="json-lines")
    messages: list[Order | str] = [Order(4, "soup\n"), "text\nof two lines", Order(7, "cake")]
    async with fifo.reader(until_writers_gone=True) as reader:
        async with fifo.writer() as writer:
            await writer.send_many(messages)
            assert await reader.receive() == messages[0]
            assert reader.receive_nowait() == messages[1]
            await writer.send("last")
        assert [message async for message in reader] == [messages[2], "last"]
        with pytest.raises(trio.EndOfChannel):
            await reader.receive()


def test_bytes(tmp_path: Path) -> None:
    """Bytes are lines as well."""
    fifo = Fifo(tmp_path / "f", bytes, framing="lines")
    with fifo.reader() as reader, fifo.writer() as writer:
        writer.send_many([b"\x00\xff\x89NIF", b""])
        assert reader.receive_many() == [b"\x00\xff\x89NIF", b""]


def test_what_is_no_line_is_not_sent(lines: Fifo[str]) -> None:
    """Nothing has left then; a longer message is one for frames."""
    with lines.reader() as reader, lines.writer() as writer:
        with pytest.raises(InvalidMessage, match="holds a newline"):
            writer.send("two\nlines")
        with pytest.raises(TooLarge, match="framing='frames'"):
            writer.send("x" * 4096)
        assert unread(reader) == 0
        with pytest.raises(TooLarge):
            writer.send_many(["sent", "x" * 4096])
        assert reader.receive() == "sent"


def test_what_does_not_fit_is_told_once(lines: Fifo[str]) -> None:
    """Text that is none, and JSON that is none or something else; the next line is received."""
    with lines.reader() as reader, foreign_writer(lines) as fd:
        os.write(fd, b"good\n\xff\nnext\n")
        assert reader.receive_many() == ["good"]
        with pytest.raises(InvalidMessage, match="0xff"):
            reader.receive_many()
        assert unread(reader) == len("next\n")
        assert reader.receive_many() == ["next"]
        os.write(fd, b"\xff\n")
        with pytest.raises(InvalidMessage):
            reader.receive()
    orders = Fifo(lines.path, Order, framing="json-lines")
    with orders.reader() as receiver, foreign_writer(lines) as fd:
        os.write(fd, b'{"table": 1}\n{"table": 1,\n\n{"dish": "soup", "table": 4}\n')
        for _ in range(2):
            with pytest.raises(InvalidMessage, match=r"lines: Order: what arrived does not fit"):
                receiver.receive()
        assert receiver.receive() == Order(4, "soup")


def test_a_message_in_frames(lines: Fifo[str]) -> None:
    """It is dropped whole and told once, whatever its length; the lines around it arrive."""
    frames = Fifo(lines.path, str)
    with lines.reader() as reader, lines.writer() as writer, frames.writer() as other:
        for message in ("short\n", "x\n" * 5000):
            writer.send("before")
            other.send(message)
            writer.send("behind")
            assert reader.receive() == "before"
            with pytest.raises(SchemaMismatch, match=f"process {os.getpid()} has sent a message in frames"):
                reader.receive()
            assert reader.receive() == "behind"
        writer.send("before")
        other.send("in packet mode, which ends a look's reads")
        writer.send("behind")
        assert reader.receive_many() == ["before"]
        with pytest.raises(SchemaMismatch):
            reader.receive_many()
        assert reader.receive_many() == ["behind"]
        for packet in packets(frames, "merged"):  # not in packet mode, so that the kernel puts it behind the text
            os.write(writer._sender.end.fd, b"begun" + packet + b" and ended\n")
        with pytest.raises(SchemaMismatch):
            reader.receive()
        assert reader.receive() == "begun and ended"


def test_a_line_where_messages_are_in_frames(lines: Fifo[str]) -> None:
    """It is no message there: dropped, and counted."""
    frames = Fifo(lines.path, str)
    with frames.reader() as reader, lines.writer() as writer, frames.writer() as other:
        writer.send("a line")
        other.send("a message")
        assert reader.receive() == "a message"
        assert reader.dropped == 1


# ------------------------------------------------------------ lines of other programs


def test_lines_in_pieces(lines: Fifo[str]) -> None:
    """A line that has begun is one reader's, which keeps the turn until it ends; the next is anyone's again."""
    with lines.reader() as reader, lines.reader() as other, foreign_writer(lines) as fd:
        os.write(fd, b"beg")
        with pytest.raises(TimedOut):
            reader.receive(timeout=0.01)
        assert unread(reader) == 0
        assert turn_is_taken(lines.path)
        os.write(fd, b"un\nnext\n")
        with pytest.raises(WouldBlock):
            other.receive_nowait()
        assert reader.receive() == "begun"
        assert not turn_is_taken(lines.path)
        assert other.receive(timeout=20) == "next"


def test_longer_lines(lines: Fifo[str]) -> None:
    """Other programs may write longer lines than namedipc does."""
    text = "a long line, " * 20_000
    with lines.reader() as reader, foreign_writer(lines) as fd:
        data = memoryview(text.encode() + b"\nnext\n")
        while data:
            with pytest.raises(WouldBlock):
                reader.receive_nowait()
            data = data[os.write(fd, data[:50_000]) :]
        assert reader.receive() == text
        assert reader.receive() == "next"


def test_the_last_line_without_its_newline(lines: Fifo[str]) -> None:
    """Told once, be it seen at once or already begun; then comes the end."""
    for receives_before in (False, True):
        with lines.reader(until_writers_gone=True) as reader:
            with foreign_writer(lines) as fd:
                os.write(fd, b"whole\ncut")
                assert reader.receive() == "whole"
                if receives_before:
                    with pytest.raises(WouldBlock):
                        reader.receive_nowait()
            with pytest.raises(InvalidMessage, match="in the middle of a line, or without its newline"):
                reader.receive()
            for _ in range(2):
                with pytest.raises(EndOfChannel):
                    reader.receive()
            assert reader.dropped == 1


def test_the_end_without_a_line(lines: Fifo[str]) -> None:
    """A writer that has written nothing, or whole lines only, ends in order."""
    for data in (b"", b"one\ntwo\n"):
        with lines.reader(until_writers_gone=True) as reader:
            with foreign_writer(lines) as fd:
                os.write(fd, data)
            assert list(reader) == data.decode().splitlines()


def test_blank_lines_without_end_stop_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`receive_nowait` says that nothing is there; and whoever waits lets others run."""
    monkeypatch.setattr(fifo_receiving, "ROUNDS_AT_ONCE", 3)
    numbers = Fifo(tmp_path / "f", int, framing="json-lines")
    with numbers.reader() as reader:
        end = reader._receiver.end
        looks = []

        def endless(max_bytes: int, how: object = None) -> bytes:
            looks.append(max_bytes)
            assert len(looks) < 1000
            return b"\n" * 100

        monkeypatch.setattr(type(end), "read", lambda _self, *arguments: endless(*arguments))
        with pytest.raises(WouldBlock):
            reader.receive_nowait()
        assert len(looks) == 3 * reader._receiver.reads_at_once * 2  # a look, and a read
        plan = reader._receiver.receiving(1)
        assert next(plan).seconds == 0
        plan.close()
        monkeypatch.undo()


def test_another_program_takes_what_was_seen(lines: Fifo[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows of no turn. What was read counts, so that no line is received twice."""
    look = Peephole.look

    def look_and_lose(self: Peephole, fd: int, max_bytes: int) -> bytes:
        seen = look(self, fd, max_bytes)
        os.read(fd, lost)
        return seen

    monkeypatch.setattr(Peephole, "look", look_and_lose)
    with lines.reader() as reader, lines.writer() as writer:
        lost = 4
        writer.send_many(["one", "two"])
        assert reader.receive() == "two"
        writer.send("six")
        with pytest.raises(WouldBlock):
            reader.receive_nowait()


def test_an_interrupted_look(lines: Fifo[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that raises in the middle leaves nothing behind which would be taken for lines later."""

    def interrupted(fd: int, to_fd: int, max_bytes: int) -> int:
        tee(fd, to_fd, max_bytes)
        raise KeyboardInterrupt

    tee = lowlevel.tee
    with lines.reader() as reader, lines.writer() as writer:
        writer.send_many(["one", "two"])
        monkeypatch.setattr(lowlevel, "tee", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reader.receive()
        monkeypatch.undo()
        assert [reader.receive(), reader.receive()] == ["one", "two"]
        with pytest.raises(WouldBlock):
            reader.receive_nowait()


# ------------------------------------------------------------ waiting


async def test_waiting_in_trio(lines: Fifo[str]) -> None:
    """A reader is woken by a line, by the end of one that has begun, and by another reader's giving way."""
    async with lines.reader() as reader, lines.reader() as other, lines.writer() as writer:
        received: list[str] = []

        async def receive(end: trio.abc.ReceiveChannel[str]) -> None:
            received.append(await end.receive())

        with trio.fail_after(20):
            for steps in ([b"whole\n"], [b"in ", b"pieces\n"]):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive, reader)
                    for step in steps:
                        await trio.testing.wait_all_tasks_blocked()
                        os.write(writer._sender.end.fd, step)
            async with trio.open_nursery() as nursery:
                os.write(writer._sender.end.fd, b"begun")
                nursery.start_soon(receive, reader)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(receive, other)
                await trio.testing.wait_all_tasks_blocked()
                os.write(writer._sender.end.fd, b" and ended\nnext\n")
        assert received == ["whole", "in pieces", "begun and ended", "next"]


async def test_cancelling(lines: Fifo[str]) -> None:
    """A cancelled `receive` loses no line, also one that has begun; a cancelled `send` has sent nothing."""
    async with lines.reader() as reader, lines.writer() as writer:
        with trio.move_on_after(0.01):
            await reader.receive()
        await writer.send("one")
        assert await reader.receive() == "one"
        os.write(writer._sender.end.fd, b"beg")
        with trio.move_on_after(0.01) as scope:
            await reader.receive()
        assert scope.cancelled_caught
        os.write(writer._sender.end.fd, b"un\n")
        assert await reader.receive() == "begun"
        number = fill(writer.send_nowait)
        with trio.move_on_after(0.01) as scope:
            await writer.send("late")
        assert scope.cancelled_caught
        assert [await reader.receive() for _ in range(number)] == ["x" * 4095] * number
        with pytest.raises(WouldBlock):
            reader.receive_nowait()


def test_no_spin(lines: Fifo[str]) -> None:
    """An idle reader sleeps, also with a line that has begun, and after the last writer has left."""
    with lines.reader() as reader:
        with foreign_writer(lines) as fd:
            for data in (b"", b"begun"):
                os.write(fd, data)
                assert_sleeps(reader)
        assert_sleeps(reader)


def assert_sleeps(reader: BlockingFifoReader[str]) -> None:
    """Let it wait for a moment in which a spin would go round thousands of times."""
    pauses = 0
    plan = reader._receiver.receiving(1)
    while (pause := next(plan)).seconds != float("inf"):
        pauses += 1
        assert pauses < 3
    assert not lowlevel.wait_ready(pause.fd or -1, timeout_seconds=0.02)
    plan.close()


def test_a_full_fifo_holds_up_the_writer(lines: Fifo[str]) -> None:
    """Until a reader has taken something; short lines share a page, so that 64 KiB hold thousands."""
    with lines.reader() as reader, lines.writer() as writer:
        number = fill(writer.send_nowait)
        with pytest.raises(TimedOut):
            writer.send("late", timeout=0.01)
        for _ in range(number):
            reader.receive()
        for _ in range(2000):
            writer.send_nowait("short")


def fill(send_nowait: Callable[[str], None]) -> int:
    """Send until no more fits, how many there were."""
    for number in range(1000):
        try:
            send_nowait("x" * 4095)
        except WouldBlock:
            return number
    raise AssertionError("it is never full")


# ------------------------------------------------------------ closing, forking, and no descriptors left


def test_closed_and_forked(lines: Fifo[str]) -> None:
    """A closed end says so; in a forked child no descriptor of it is left."""
    with lines.reader() as reader, lines.writer() as writer:
        peephole = reader._receiver._peephole  # type: ignore[attr-defined]  # of a LineReceiver
        fds = (peephole._from_fd, peephole._to_fd)
        pid = fork()
        if not pid:
            os._exit(sum(os.path.exists(f"/proc/self/fd/{fd}") for fd in fds))
        assert os.waitpid(pid, 0)[1] == 0
        writer.send("sent")
        assert reader.receive() == "sent"
        reader.close()
        reader.close()
        with pytest.raises(Closed):
            reader.receive()


def test_no_descriptor_left(lines: Fifo[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays open when there is none for the look."""

    def none_left() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(lowlevel, "pipe", none_left)
    with pytest.raises(IPCError, match=r"lines: cannot open it for reading: .* no descriptor left"), lines.reader():
        raise AssertionError("it was opened")


# ------------------------------------------------------------ kills


def killed_children(action: Callable[[int], None]) -> Iterator[None]:
    """Do something in one child after the other, each killed a little later; until one lives to its end.

    Args:
        action: Is told before which of its bytecodes to die.
    """
    for point in count(1, STEP):
        pid = start(action, point)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL)
        yield
        if not status:
            return


def receive_one(reader: BlockingFifoReader[str]) -> None:
    """What the killed reader does."""
    reader.receive(timeout=20)


def test_a_reader_killed_at_any_point(lines: Fifo[str]) -> None:
    """Wherever SIGKILL meets it: at most the line which it was about to return is lost, the others are whole."""
    sent = [f"line {number} " + "x" * number for number in range(1, 4)]

    def be_killed(point: int) -> None:
        with lines.reader() as reader:
            killed_at(point, receive_one, reader)

    with lines.reader() as survivor, lines.writer() as writer:
        fates: Counter[int] = Counter()
        writer.send_many(sent)
        for _ in killed_children(be_killed):
            left = survivor.receive_many()
            assert left in (sent, sent[1:])
            assert unread(survivor) == 0
            fates[len(left)] += 1
            writer.send_many(sent)
        assert set(fates) == {2, 3}


def send_one(writer: BlockingFifoWriter[str]) -> None:
    """What the killed writer does."""
    writer.send("x" * 4000)


def test_a_writer_killed_at_any_point(lines: Fifo[str]) -> None:
    """Wherever SIGKILL meets it: a line is there whole, or not at all."""

    def be_killed(point: int) -> None:
        with lines.writer() as writer:
            killed_at(point, send_one, writer)

    with lines.reader() as reader:
        fates: Counter[int] = Counter()
        for _ in killed_children(be_killed):
            fates[unread(reader)] += 1
            if unread(reader):
                assert reader.receive() == "x" * 4000
        assert set(fates) == {0, 4001}


def test_readers_and_writers_killed_at_any_moment(lines: Fifo[str]) -> None:
    """Each line of a writer that survives reaches exactly one reader, or is lost with one that was killed.

    Readers write down what they have, a line a line, in one write: so at most one of each killed one is missing. Where
    that write crosses a page a kill leaves a part of it, which has no newline.
    """
    rounds = 12
    results = [lines.path.parent / f"result {number}" for number in range(2 * rounds + 2)]
    numbers = iter(results)
    with lines.reader() as keeper:  # so that no line dies with a killed end
        readers = [start(read_lines, lines, next(numbers)) for _ in range(2)]
        writers = [start(write_lines, lines, number) for number in range(2)]
        killed = []
        for number in range(rounds):
            wait_until_written(results, 2000 * (number + 1))
            victim = readers.pop(0) if number % 3 else writers.pop(0)
            os.kill(victim, signal.SIGKILL)
            killed.append(os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]))
            if number % 3:
                readers.append(start(read_lines, lines, next(numbers)))
            else:
                writers.append(start(write_lines, lines, 2 + number))
        for pid in writers:
            os.kill(pid, signal.SIGTERM)
            assert os.waitpid(pid, 0)[1] == 0
        wait_until(lambda: unread(keeper) == 0)
        with lines.writer() as writer:
            writer.send_many(["end"] * len(readers))
        for pid in readers:
            assert os.waitpid(pid, 0)[1] == 0
    assert killed == [-signal.SIGKILL] * rounds
    written = [result.read_text().rpartition("\n")[0] for result in results if result.exists()]
    received = Counter(line for text in written for line in text.splitlines())
    assert max(received.values()) == 1
    serials: dict[str, set[int]] = {}
    for line in received:
        writer_name, serial, text = line.split(" ")
        assert text == body(int(serial))
        serials.setdefault(writer_name, set()).add(int(serial))
    missing = sum(max(found) + 1 - len(found) for found in serials.values())
    assert missing <= sum(number % 3 > 0 for number in range(rounds))


def wait_until_written(results: list[Path], size: int) -> None:
    """Wait until the readers have written down so much."""
    wait_until(lambda: sum(result.stat().st_size for result in results if result.exists()) > size)


def body(serial: int) -> str:
    """The text of a line: of many lengths, up to the longest."""
    return str(serial) * (1 + serial * 37 % 400)


def start(function: Callable[..., None], *arguments: object) -> int:
    """Run it in a forked child."""
    pid = fork()
    if pid:
        return pid
    status = 1
    try:
        function(*arguments)
        status = 0
    finally:
        os._exit(status)


def write_lines(lines: Fifo[str], number: int) -> None:
    """Send lines until SIGTERM comes."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    with lines.writer() as writer:
        serial = 0
        while not stop:
            writer.send(f"{number} {serial} {body(serial)}")
            serial += 1


def read_lines(lines: Fifo[str], result: Path) -> None:
    """Write down what comes, a line a write, until the word for the end."""
    with lines.reader() as reader, result.open("ab", buffering=0) as file:
        for line in reader:
            if line == "end":
                return
            file.write(line.encode() + b"\n")
