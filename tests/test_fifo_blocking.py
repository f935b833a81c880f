"""The ends of a FIFO in blocking code."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import assert_type

import attrs
import pytest

from namedipc import lowlevel
from namedipc._errors import (
    Busy,
    Closed,
    ConnectionLost,
    EndOfChannel,
    InvalidMessage,
    IPCError,
    SchemaMismatch,
    TimedOut,
    TooLarge,
    WouldBlock,
)
from namedipc._fifo import Fifo, RawFifo
from namedipc._fifo_blocking import BlockingFifoReader, BlockingFifoWriter
from namedipc._protocol.fragments import LARGEST_MESSAGE_BYTES, Splitter
from namedipc._shells import fifo_messages, fifo_turn

from .conftest import Children
from .fifo_support import fingerprint, packet_end, packets, this_process, turn_is_taken, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

BIG = "x" * 200_000
"""Several times what the FIFO holds."""


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo[str]:
    """A name of text messages."""
    return Fifo(tmp_path / "f", str)


@contextmanager
def running(function: Callable[[], object]) -> Iterator[list[object]]:
    """Run a function in a thread meanwhile; what it returned or raised is in the list at the end."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(function())
        except IPCError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield outcome
    thread.join(20)
    assert not thread.is_alive()


def fill(writer: BlockingFifoWriter[str]) -> int:
    """Fill the FIFO with one-packet messages; how many there are."""
    for number in itertools.count():
        try:
            writer.send_nowait(str(number))
        except WouldBlock:
            return number
    raise AssertionError


def received(reader: BlockingFifoReader[str], number: int) -> list[str]:
    """The next messages."""
    return [reader.receive(timeout=20) for _ in range(number)]


# ------------------------------------------------------------ messages


def test_messages_are_whole_and_in_order(fifo: Fifo[str]) -> None:
    """Messages of any length arrive as they were sent, one by one."""
    sent = ["", "a", "x" * 4039, "y" * 4044, BIG, "z" * 4000]
    with fifo.reader(until_writers_gone=True) as reader:

        def send() -> None:
            with fifo.writer() as writer:
                for message in sent:
                    writer.send(message)

        with running(send):
            assert list(reader) == sent


def test_types(fifo: Fifo[str]) -> None:
    """The ends have the declared type."""
    with fifo.reader() as reader, fifo.writer() as writer:
        assert_type(reader, BlockingFifoReader[str])
        assert_type(writer, BlockingFifoWriter[str])
        wider: BlockingFifoReader[str | int] = reader
        writer.send("x")
        assert_type(wider.receive(), str | int)
        assert repr(reader) == f"<BlockingFifoReader of {str(fifo.path)!r}>"
        assert str(fifo.path) in repr(writer)


def test_batches(fifo: Fifo[str]) -> None:
    """send_many and receive_many keep the order, and receive_many takes what is there, up to its limit."""
    with fifo.reader() as reader, fifo.writer() as writer:
        writer.send_many(str(number) for number in range(10))
        assert reader.receive_many(max_messages=4) == ["0", "1", "2", "3"]
        assert reader.receive_many() == ["4", "5", "6", "7", "8", "9"]
        with pytest.raises(ValueError, match="at least 1"):
            reader.receive_many(max_messages=0)


def test_nowait(fifo: Fifo[str]) -> None:
    """The nowait methods say WouldBlock where they would have to wait, and have then changed nothing."""
    with fifo.reader() as reader, fifo.writer() as writer:
        with pytest.raises(WouldBlock):
            reader.receive_nowait()
        number = fill(writer)
        assert number == 16
        assert [reader.receive_nowait() for _ in range(number)] == [str(n) for n in range(number)]
        with pytest.raises(WouldBlock):
            reader.receive_nowait()


def test_nowait_above_one_packet(fifo: Fifo[str]) -> None:
    """The rest of a long message that did not fit follows with the next message, and both are whole."""
    with fifo.reader() as reader, fifo.writer() as writer:
        writer.send_nowait(BIG)
        with pytest.raises(WouldBlock):
            writer.send_nowait("not sent")
        with running(lambda: writer.send("next")) as outcome:
            assert received(reader, 2) == [BIG, "next"]
        assert outcome == [None]


def test_a_value_of_another_type(fifo: Fifo[str]) -> None:
    """A value that does not fit is refused before a byte has left."""
    with fifo.reader() as reader, fifo.writer() as writer:
        with pytest.raises(InvalidMessage):
            writer.send(5)  # type: ignore[arg-type]  # the error is what is tested
        with pytest.raises(InvalidMessage):
            writer.send_many(["sent", 5])  # type: ignore[list-item]  # likewise
        assert reader.receive() == "sent"
        with pytest.raises(WouldBlock):
            reader.receive_nowait()


def test_too_large(tmp_path: Path) -> None:
    """A message above 16 MiB is refused, and nothing of it is sent."""
    fifo = Fifo(tmp_path / "f", bytes)
    with fifo.reader() as reader, fifo.writer() as writer:
        with pytest.raises(TooLarge, match="16777216"):
            writer.send(bytes(LARGEST_MESSAGE_BYTES))  # and what the codec adds
        writer.send(b"small")
        assert reader.receive() == b"small"


def test_a_reader_of_another_type(fifo: Fifo[str]) -> None:
    """A message of another type is refused by name, once, and the reader goes on."""
    other = Fifo(fifo.path, int)
    with fifo.reader() as reader, other.writer() as wrong, fifo.writer() as right:
        right.send("before")
        wrong.send(5)
        right.send("after")
        assert reader.receive_many() == ["before"]
        with pytest.raises(SchemaMismatch, match=str(fifo.path)):
            reader.receive()
        assert reader.receive() == "after"


def test_an_invalid_message(fifo: Fifo[str]) -> None:
    """A message of the right type that cannot be read is an error of its own, and costs no other."""
    with fifo.reader() as reader, packet_end(fifo.path) as fd:
        for packet in packets(fifo, "before"):
            lowlevel.write_pipe(fd, packet)
        lowlevel.write_pipe(fd, Splitter(this_process(), fingerprint(fifo)).split(b"\xc1")[0])
        for packet in packets(fifo, "after"):
            lowlevel.write_pipe(fd, packet)
        assert reader.receive_many() == ["before"]
        with pytest.raises(InvalidMessage):
            reader.receive_many()
        assert reader.receive_many() == ["after"]


def test_foreign_bytes(fifo: Fifo[str]) -> None:
    """What `echo` writes to a typed FIFO is dropped and counted; the messages around it arrive."""
    with fifo.reader() as reader, fifo.writer() as writer:
        writer.send("before")
        subprocess.run(["sh", "-c", 'echo hello > "$0"', str(fifo.path)], check=True)
        writer.send("after")
        assert received(reader, 2) == ["before", "after"]
        assert reader.dropped == 1


# ------------------------------------------------------------ waiting


def test_timeouts(fifo: Fifo[str]) -> None:
    """What has to wait longer than its timeout raises TimedOut, and the end works on."""
    with fifo.reader() as reader, fifo.writer() as writer:
        for timeout in (0, 0.01):
            with pytest.raises(TimedOut, match=str(timeout)):
                reader.receive(timeout=timeout)
        number = fill(writer)
        with pytest.raises(TimedOut, match="not sent"):
            writer.send("never sent", timeout=0.01)
        received(reader, number)
        writer.send("sent", timeout=0)
        assert reader.receive(timeout=0) == "sent"


def test_timed_out_in_the_middle(fifo: Fifo[str]) -> None:
    """The rest of a message whose send has timed out goes out with the next, and both are whole."""
    with fifo.reader() as reader, fifo.writer() as writer:
        with pytest.raises(TimedOut):
            writer.send(BIG, timeout=0.01)
        with running(lambda: writer.send("next")):
            assert received(reader, 2) == [BIG, "next"]


def test_rest_at_close(fifo: Fifo[str]) -> None:
    """The rest of a message is tried once more at the close; what does not fit then, is lost, and harms nobody."""
    long = "x" * 80_000  # 20 packets
    with fifo.reader() as reader, fifo.writer() as other:
        with fifo.writer() as writer:
            writer.send_nowait(long)
            with pytest.raises(TimedOut):
                reader.receive(timeout=0.01)
        assert reader.receive(timeout=20) == long
        with fifo.writer() as writer:
            writer.send_nowait(long)
        with running(lambda: other.send("next")):
            assert reader.receive(timeout=20) == "next"


def test_threads_send_in_turn(fifo: Fifo[str]) -> None:
    """Messages of several threads on one end do not mix."""
    with fifo.reader() as reader, fifo.writer() as writer:
        with (
            running(lambda: writer.send_many(["a" * 50_000] * 3)),
            running(lambda: writer.send_many(["b" * 50_000] * 3)),
        ):
            messages = received(reader, 6)
        assert sorted(messages) == ["a" * 50_000] * 3 + ["b" * 50_000] * 3


def test_threads_wait_in_turn(fifo: Fifo[str]) -> None:
    """A thread that may not use the end because another does, has the same timeout, or does not wait."""
    with fifo.reader() as reader, fifo.writer() as writer:
        with running(reader.receive) as outcome:
            wait_until(reader._turn._lock.locked)
            with pytest.raises(TimedOut, match="other threads"):
                reader.receive(timeout=0.01)
            with pytest.raises(WouldBlock):
                reader.receive_nowait()
            writer.send("for the first")
        assert outcome == ["for the first"]


def test_close_wakes_whoever_waits(fifo: Fifo[str]) -> None:
    """Closing ends the waits of other threads by Closed, and so does every later use."""
    with fifo.reader() as reader, fifo.writer() as writer:
        with running(reader.receive) as outcome:
            wait_until(lambda: reader._receiver.end._users == 1)
            reader.close()
        assert isinstance(outcome[0], Closed)
        with fifo.reader():
            fill(writer)
            with running(lambda: writer.send("x")) as outcome:
                wait_until(lambda: writer._sender.end._users == 1)
                writer.close()
        assert isinstance(outcome[0], Closed)
        for use in (reader.receive, reader.receive_nowait, lambda: writer.send("x")):
            with pytest.raises(Closed, match=str(fifo.path)):
                use()
        reader.close()
        writer.close()


def test_the_end_of_the_writers(fifo: Fifo[str]) -> None:
    """With until_writers_gone the messages come first, then the end, and it stays the end."""
    with fifo.reader(until_writers_gone=True) as reader:
        with pytest.raises(TimedOut):
            reader.receive(timeout=0.01)  # nobody has come yet
        with fifo.writer() as writer:
            writer.send_many(["a", "b"])
        assert reader.receive_many() == ["a", "b"]
        with pytest.raises(EndOfChannel):
            reader.receive()
        with fifo.writer():
            assert list(reader) == []


def test_the_end_in_the_middle_of_a_message(fifo: Fifo[str]) -> None:
    """A message whose writer has left before its end is dropped with the end."""
    with fifo.reader(until_writers_gone=True) as reader:
        with packet_end(fifo.path) as fd:
            lowlevel.write_pipe(fd, packets(fifo, BIG)[0])
        assert list(reader) == []
        assert reader.dropped == 1


# ------------------------------------------------------------ readers and writers that die


def test_the_last_reader_leaves(fifo: Fifo[str]) -> None:
    """Without a reader a send says so; when another has come, the same end goes on."""
    with fifo.reader() as reader, fifo.writer() as writer:
        reader.close()
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="nobody reads"):
                writer.send("x")
        with pytest.raises(ConnectionLost):
            writer.send_nowait("x")
        with fifo.reader() as another:
            writer.send("y")
            assert another.receive() == "y"


def test_the_reader_is_killed_while_a_send_waits(fifo: Fifo[str], child: Children) -> None:
    """A send that waits in a full FIFO is woken by the reader's death, and its message is given up whole."""
    process = child(
        """
        import sys
        from namedipc._fifo import Fifo
        with Fifo(sys.argv[1], str).reader():
            print("open", flush=True)
            input()
        """,
        str(fifo.path),
    )
    process.expect("open")
    with fifo.writer() as writer:
        with running(lambda: writer.send(BIG)) as outcome:
            wait_until(lambda: lowlevel.unread_bytes(writer._sender.end.fd) == 16 * 4096)
            process.kill()
        assert isinstance(outcome[0], ConnectionLost)
        with fifo.reader() as reader:
            with running(lambda: writer.send("next")):
                assert reader.receive(timeout=20) == "next"
            assert reader.dropped == 1


# ------------------------------------------------------------ turns


def test_the_turn_is_free_while_nothing_is_there(fifo: Fifo[str]) -> None:
    """A reader that waits for messages keeps no other from taking them."""
    with fifo.reader() as idle, fifo.reader() as reader, fifo.writer() as writer:
        with running(idle.receive) as outcome:
            wait_until(lambda: idle._receiver.end._users == 1 and not turn_is_taken(fifo.path))  # after a look
            plan = idle._receiver  # it may be stopped here by the scheduler for any time
            assert plan is not None
            writer.send_many(["a", "b"])
            rest = reader.receive(timeout=20)
        assert {outcome[0], rest} == {"a", "b"}


def test_a_message_in_parts_keeps_the_turn(fifo: Fifo[str]) -> None:
    """From a message's first packet to its last the reader keeps the turn; others wait, and are woken at its end."""
    first, *rest = packets(fifo, "x" * 20_000)
    with fifo.reader() as reader, fifo.reader() as other, packet_end(fifo.path) as fd:
        lowlevel.write_pipe(fd, first)
        with pytest.raises(WouldBlock):
            reader.receive_nowait()
        assert turn_is_taken(fifo.path)
        with pytest.raises(WouldBlock):
            other.receive_nowait()
        with running(other.receive) as outcome:
            wait_until(lambda: other._receiver._turn._waiter is not None)
            for packet in rest + packets(fifo, "for the other", this_process(b"another.")):
                lowlevel.write_pipe(fd, packet)
            assert reader.receive(timeout=20) == "x" * 20_000
        assert outcome == ["for the other"]
        assert not turn_is_taken(fifo.path)


def test_a_wait_for_the_turn_is_given_up(fifo: Fifo[str]) -> None:
    """Waits that time out share one thread; a turn that comes too late is given back."""
    first, *rest = packets(fifo, "x" * 20_000)
    with fifo.reader() as reader, fifo.reader() as other, packet_end(fifo.path) as fd:
        lowlevel.write_pipe(fd, first)
        with pytest.raises(WouldBlock):
            reader.receive_nowait()
        before = threading.active_count()
        for _ in range(5):
            with pytest.raises(TimedOut):
                other.receive(timeout=0.005)
        assert threading.active_count() == before + 1
        for packet in rest:
            lowlevel.write_pipe(fd, packet)
        assert reader.receive() == "x" * 20_000
        wait_until(lambda: threading.active_count() == before)
        assert not turn_is_taken(fifo.path)
        for packet in packets(fifo, "next"):
            lowlevel.write_pipe(fd, packet)
        assert other.receive(timeout=20) == "next"


def test_close_while_waiting_for_the_turn(fifo: Fifo[str]) -> None:
    """Closing ends a wait for the turn too; its thread ends when the turn is free."""
    before = threading.active_count()
    with fifo.reader() as reader, packet_end(fifo.path) as fd:
        lowlevel.write_pipe(fd, packets(fifo, "x" * 20_000)[0])
        with pytest.raises(WouldBlock):
            reader.receive_nowait()
        with fifo.reader() as other, running(other.receive) as outcome:
            wait_until(lambda: other._receiver._turn._waiter is not None)
            other.close()
        assert isinstance(outcome[0], Closed)
    wait_until(lambda: threading.active_count() == before)


def test_a_wait_for_the_turn_that_fails(fifo: Fifo[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing can wait for the turn, a reader says so, and is as good as new when that has passed."""

    def no_locks(fd: int) -> None:
        raise OSError(37, "No locks available")

    def no_descriptors(path: str) -> int:
        raise OSError(24, "Too many open files")

    def taken(fd: int) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    good = fifo_turn.READERS
    with fifo.reader() as reader, fifo.writer() as writer:
        turn = reader._receiver._turn
        for bad in (attrs.evolve(good, take=taken, wait=no_locks), attrs.evolve(good, take=taken, open=no_descriptors)):
            monkeypatch.setattr(turn, "_sort", bad)
            with pytest.raises(IPCError, match="wait for a turn"):
                reader.receive(timeout=20)
        monkeypatch.setattr(turn, "_sort", attrs.evolve(good, take=taken))
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="thread"):
            reader.receive(timeout=20)
        monkeypatch.setattr(turn, "_sort", good)
        writer.send("x")
        assert reader.receive() == "x"


def test_a_writer_without_a_turn(fifo: Fifo[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that cannot wait for its turn sends without it; one that nobody reads is told so."""

    def taken(fd: int) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with fifo.reader() as reader, fifo.writer() as writer:
        turn = writer._sender._turn

        def no_descriptors(path: str) -> int:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(turn, "_sort", attrs.evolve(fifo_turn.WRITERS, take=taken, open=no_descriptors))
        writer.send("x" * 20_000)
        assert reader.receive() == "x" * 20_000
        monkeypatch.setattr(turn, "_sort", attrs.evolve(fifo_turn.WRITERS, take=taken))
        reader.close()
        with pytest.raises(ConnectionLost):
            writer.send("x" * 20_000, timeout=20)


def test_long_messages_of_two_writers_do_not_mix(fifo: Fifo[str]) -> None:
    """A long message waits for the end of another writer's, so that readers get whole messages in turn."""
    with (
        fifo.reader() as reader,
        fifo.reader() as other,
        fifo.writer() as first,
        fifo.writer() as second,
        running(lambda: first.send("a" * 80_000)),
        running(lambda: second.send("b" * 80_000)),
    ):
        # Whichever came first has filled the FIFO, the other waits for its turn.
        wait_until(lambda: bool(first._sender._turn._waiter or second._sender._turn._waiter))
        assert len(reader.receive(timeout=20)) == 80_000
        assert not turn_is_taken(fifo.path)
        assert len(other.receive(timeout=20)) == 80_000


def test_a_short_message_does_not_wait_for_long_ones(fifo: Fifo[str]) -> None:
    """A message of one packet is sent between the packets of a long one."""
    first, *rest = packets(fifo, "x" * 20_000)
    with fifo.reader() as reader, fifo.writer() as writer, packet_end(fifo.path) as fd:
        lowlevel.lock_ofd(fd, exclusive=True)
        lowlevel.write_pipe(fd, first)
        writer.send("short")
        for packet in rest:
            lowlevel.write_pipe(fd, packet)
        assert received(reader, 2) == ["short", "x" * 20_000]


def test_a_stopped_writer_stops_no_other(fifo: Fifo[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that was stopped with the turn, though there is room, is waited for once and no longer."""
    monkeypatch.setattr(fifo_messages, "LOOK_SECONDS", 0.001)
    with fifo.reader() as reader, fifo.writer() as writer, packet_end(fifo.path) as fd:
        lowlevel.lock_ofd(fd, exclusive=True)
        for _ in range(2):
            writer.send("x" * 20_000, timeout=20)
            assert reader.receive() == "x" * 20_000
        assert writer._sender._is_impatient
        lowlevel.unlock_ofd(fd)
        wait_until(writer._sender._turn.take)
        writer.send("x" * 20_000)
        assert not writer._sender._is_impatient


# ------------------------------------------------------------ bytes


def test_raw_bytes(tmp_path: Path) -> None:
    """Bytes arrive in their order, in whatever pieces, and end with the writer."""
    raw = RawFifo(tmp_path / "raw")
    data = os.urandom(2_000_000)
    with raw.reader() as reader:

        def send() -> None:
            with raw.writer() as writer:
                writer.send_all(memoryview(data))
                writer.send_all(b"")

        with running(send):
            assert b"".join(iter(reader.receive_some, b"")) == data
        assert reader.receive_some() == b""
        assert str(raw.path) in repr(reader)


def test_raw_arguments_and_timeouts(tmp_path: Path) -> None:
    """max_bytes bounds what is returned; both directions have timeouts."""
    raw = RawFifo(tmp_path / "raw")
    with raw.reader(until_writers_gone=False) as reader, raw.writer() as writer:
        writer.send_all(bytearray(b"abc"))
        assert reader.receive_some(2) == b"ab"
        assert reader.receive_some() == b"c"
        with pytest.raises(TimedOut):
            reader.receive_some(timeout=0.01)
        with pytest.raises(TimedOut):
            writer.send_all(bytes(100_000), timeout=0.01)
        with pytest.raises(ValueError, match="at least 1"):
            reader.receive_some(0)
        with pytest.raises(TypeError):
            reader.receive_some(1.5)  # type: ignore[arg-type]  # the error is what is tested
        assert str(raw.path) in repr(writer)


def test_raw_ends_are_for_one_thread(tmp_path: Path) -> None:
    """A second thread is told that the end is in use; closing wakes the first."""
    raw = RawFifo(tmp_path / "raw")
    with raw.reader() as reader, raw.writer() as writer:
        with running(reader.receive_some) as outcome:
            wait_until(lambda: reader._end._users == 1)
            with pytest.raises(Busy):
                reader.receive_some()
            reader.close()
        assert isinstance(outcome[0], Closed)
        with pytest.raises(ConnectionLost):
            writer.send_all(b"x")
        writer.close()
        with pytest.raises(Closed):
            writer.send_all(b"x")


def test_cat_reads(tmp_path: Path) -> None:
    """`cat`, which blocks in open(2) until a writer comes, gets the bytes and the end."""
    raw = RawFifo(tmp_path / "raw")
    os.mkfifo(raw.path)
    with subprocess.Popen(["cat", raw.path], stdout=subprocess.PIPE) as cat:
        with raw.writer() as writer:
            writer.send_all(b"through a FIFO\n")
        assert cat.stdout is not None
        assert cat.stdout.read() == b"through a FIFO\n"


def test_echo_writes(tmp_path: Path) -> None:
    """`echo` twice, with a reader that stays; then one that ends with its writer."""
    raw = RawFifo(tmp_path / "raw")
    with raw.reader(until_writers_gone=False) as reader:
        for word in ("one", "two"):
            subprocess.run(["sh", "-c", 'echo "$1" > "$0"', raw.path, word], check=True)
            assert reader.receive_some() == f"{word}\n".encode()
    with raw.reader() as reader, subprocess.Popen(["sh", "-c", 'echo three > "$0"', raw.path]):
        assert b"".join(iter(reader.receive_some, b"")) == b"three\n"


def test_tail_follows(tmp_path: Path) -> None:
    """`tail -f` stays for one writer after the other, and shows what each has written."""
    raw = RawFifo(tmp_path / "raw")
    os.mkfifo(raw.path)
    with subprocess.Popen(["tail", "-f", raw.path], stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        for line in (b"first\n", b"second\n"):
            with raw.writer() as writer:
                writer.send_all(line)
            assert tail.stdout.readline() == line
        tail.kill()


def test_interrupted(fifo: Fifo[str], child: Children) -> None:
    """Ctrl-C ends a wait for a message, and one for a reader."""
    process = child(
        """
        import sys
        from namedipc._fifo import Fifo
        fifo = Fifo(sys.argv[1], str)
        try:
            with fifo.reader() as reader:
                print("reading", flush=True)
                reader.receive()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        try:
            print("opening", flush=True)
            with fifo.writer():
                pass
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """,
        str(fifo.path),
    )
    for doing in ("reading", "opening"):
        process.expect(doing)
        os.kill(process.pid, signal.SIGINT)
        process.expect("interrupted")
    assert process.wait() == 0
