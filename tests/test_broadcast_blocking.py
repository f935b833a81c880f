"""Broadcasts in ordinary blocking code: threads, processes, timeouts."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import (
    Broadcast,
    Closed,
    EndOfChannel,
    InvalidMessage,
    NameNotFound,
    TimedOut,
    TooLarge,
    WouldBlock,
    lowlevel,
)
from namedipc._batches import join
from namedipc._broadcast_blocking import BlockingBroadcastWriter

from .conftest import Children
from .region_support import NEWS, Entry, forked, script

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT_SECONDS = 0.05
LONG_SECONDS = 20.0

ENTRIES = [Entry.of(number) for number in range(1, 5)]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[BlockingBroadcastWriter[Entry]]:
    """A broadcast that keeps four messages, open to send."""
    with NEWS.at(tmp_path / "news").writer(slots=4) as opened:
        yield opened


def again(writer: BlockingBroadcastWriter[Entry]) -> Broadcast[Entry]:
    """The name of an open broadcast."""
    return NEWS.at(writer._sender.file.path)


def test_every_reader_gets_every_message(writer: BlockingBroadcastWriter[Entry]) -> None:
    """From the moment it was opened, or from the oldest message on."""
    writer.send(ENTRIES[0])
    with again(writer).reader() as new, again(writer).reader(start="oldest") as old, again(writer).writer() as other:
        other.send_many(ENTRIES[1:])
        assert [new.receive(timeout=0) for _ in range(3)] == ENTRIES[1:]
        assert old.receive_many(max_messages=3) == ENTRIES[:3]
        assert (old.receive_nowait(), old.missed) == (ENTRIES[3], 0)
        with pytest.raises(WouldBlock, match="no message"):
            old.receive_nowait()
        with pytest.raises(TimedOut, match="no message within 0"):
            new.receive(timeout=0)
        assert repr(new).startswith("<BlockingBroadcastReader of ")
        assert repr(other).startswith("<BlockingBroadcastWriter of ")


def test_a_lapped_reader_is_told_how_many_it_has_missed(writer: BlockingBroadcastWriter[Entry]) -> None:
    """It goes on with the oldest that is there; the writer waits for nobody."""
    with again(writer).reader() as reader:
        for number in range(100):
            writer.send(Entry.of(number))
        assert reader.receive_many() == [Entry.of(number) for number in range(96, 100)]
        assert reader.missed == 96
        writer.send_many(Entry.of(number) for number in range(100, 1000))
        received = reader.receive_many(max_messages=1000)
        assert received == [Entry.of(number) for number in range(1000 - len(received), 1000)]
        assert (reader.missed, len(received) >= 4) == (996 - len(received), True)


def test_the_end_comes_after_the_last_message(tmp_path: Path) -> None:
    """When the last writer has left; the name is gone by then."""
    news = NEWS.at(tmp_path / "news")
    with news.writer() as first, news.reader() as reader:
        with news.writer() as second:
            second.send(ENTRIES[0])
        first.send(ENTRIES[1])
        first.close()
        first.close()
        assert not news.exists()
        assert list(reader) == ENTRIES[:2]
        for _ in range(2):
            with pytest.raises(EndOfChannel, match="the last writer has left"):
                reader.receive()
        with pytest.raises(EndOfChannel):
            reader.receive_nowait()
        with pytest.raises(Closed):
            first.send(ENTRIES[2])
        with news.writer() as third, news.reader() as another:
            third.send(ENTRIES[2])
            assert another.receive() == ENTRIES[2]


def test_a_value_that_does_not_fit_is_not_sent(writer: BlockingBroadcastWriter[Entry]) -> None:
    """Of several, those before it are."""
    with again(writer).reader() as reader:
        with pytest.raises(InvalidMessage):
            writer.send("soup")  # type: ignore[arg-type]  # what a checker refuses too
        with pytest.raises(TooLarge, match=r"5\d\d\d bytes encoded, the broadcast takes 4096"):
            writer.send_nowait(Entry(1, "x" * 5000))
        with pytest.raises(InvalidMessage):
            writer.send_many([*ENTRIES[:2], 3])  # type: ignore[list-item]  # what a checker refuses too
        writer.send_many([])
        assert reader.receive_many() == ENTRIES[:2]
        with pytest.raises(ValueError, match="max_messages=0"):
            reader.receive_many(max_messages=0)


def test_a_message_that_does_not_fit_is_dropped(tmp_path: Path) -> None:
    """What came before it is returned first, and the reader goes on behind it."""
    numbers = Broadcast(tmp_path / "news", int)
    with numbers.writer() as writer, numbers.reader() as reader:
        writer.send(1)
        writer._sender.publish_at_once(b"\xc1")
        writer.send(2)
        assert reader.receive_many() == [1]
        with pytest.raises(InvalidMessage, match="news"):
            reader.receive_many()
        assert reader.receive_many() == [2]


def test_of_many_those_before_the_failing_one_are_sent(tmp_path: Path) -> None:
    """Be it of another type, too large, or not there because the generator that makes them fails."""
    news = Broadcast(tmp_path / "news", bytes)

    def failing() -> Iterator[bytes]:
        yield from numbers(0, 700)
        raise KeyError("no more")

    with news.writer(message_bytes=100) as writer, news.reader() as reader:
        with pytest.raises(KeyError, match="no more"):
            writer.send_many(failing())
        with pytest.raises(InvalidMessage, match="expected bytes, got str"):
            writer.send_many([*numbers(700, 1000), "soup"])  # type: ignore[list-item]  # what a checker refuses too
        with pytest.raises(TooLarge, match=r"503 bytes encoded, the broadcast takes 100"):
            writer.send_many([*numbers(1000, 1300), b"x" * 500, b"never"])
        with pytest.raises(TooLarge):
            writer.send_many([b"x" * 500, b"never"])
        received: list[bytes] = []
        while len(received) < 1300:
            received += reader.receive_many(max_messages=77)
        assert received == numbers(0, 1300)
        with pytest.raises(WouldBlock):
            reader.receive_nowait()
        assert reader.missed == 0


def numbers(first: int, last: int) -> list[bytes]:
    """Messages, each with its number and some bytes behind it."""
    return [b"%d" % number + bytes(number % 90) for number in range(first, last)]


def test_messages_of_any_size_come_together(tmp_path: Path) -> None:
    """A batch is cut where the ring would not take it in one piece, and one large message goes alone."""
    news = Broadcast(tmp_path / "news", bytes)
    sizes = [0, 1, 70_000, 5, 90_000, 40_000, 100, *[3_000] * 40]
    with news.writer(slots=64, message_bytes=100_000) as writer, news.reader() as reader:
        for _ in range(3):
            writer.send_many(bytes(size) for size in sizes)
            received: list[bytes] = []
            while len(received) < len(sizes):
                received += [reader.receive(timeout=LONG_SECONDS), *reader.receive_many()]
            assert [len(message) for message in received] == sizes
        assert reader.missed == 0


def test_no_more_is_encoded_at_once_than_a_batch_takes(tmp_path: Path) -> None:
    """Large messages go one by one, also of a list; after them small ones are put together again."""
    news = Broadcast(tmp_path / "news", bytes)
    with news.writer(slots=8, message_bytes=1 << 17) as writer:
        for size, most in (((1 << 17) - 10, 1), (10, 1024), (1000, 130)):
            messages = [bytes(size)] * 3000
            writer.send_many(messages[:2])
            assert writer._sender._together == most
            for batches in (writer._sender.batches(messages), writer._sender.batches(iter(messages))):
                sizes = [batch.messages for batch in batches]
                assert (set(sizes[:-1]), sum(sizes)) == ({most}, 3000)


def test_one_object_that_changes_is_sent_as_it_was(tmp_path: Path) -> None:
    """What a generator gives out again and again is encoded before the next one is drawn."""
    news = Broadcast(tmp_path / "news", list[int])

    def growing() -> Iterator[list[int]]:
        row: list[int] = []
        for number in range(20):
            row.append(number)
            yield row

    with news.writer() as writer, news.reader() as reader:
        writer.send_many(growing())
        assert [len(row) for row in reader.receive_many()] == list(range(1, 21))


def test_of_a_batch_each_message_is_good_for_itself(tmp_path: Path) -> None:
    """One that does not fit the type is dropped with its error, where it stood; the others are received."""
    news = Broadcast(tmp_path / "news", int)
    good = [b"\x01", b"\x02", b"\x03"]
    with news.writer() as writer, news.reader() as reader:
        file = writer._sender.file
        for batch in ([b"\x01", b"\xc2", b"\x02", b"\x03"], [b"\xc2", *good], [*good, b"\xc2"]):
            held = file.lock.take("me")
            assert held is not None
            file.publish(join(batch), len(batch))
            held.release()
            received, refused = [], 0
            for _ in range(4):
                try:
                    received.append(reader.receive(timeout=0))
                except InvalidMessage:
                    refused += 1
            assert (received, refused) == ([1, 2, 3], 1)
        held = file.lock.take("me")
        assert held is not None
        file.publish(b"\x07", 2)  # which is no array
        held.release()
        writer.send(4)
        with pytest.raises(InvalidMessage, match="news"):
            reader.receive()
        assert (reader.receive(), reader.missed) == (4, 0)


def test_who_has_the_lock_is_waited_for(writer: BlockingBroadcastWriter[Entry]) -> None:
    """With a limit; nothing was sent when it has passed, or when one does not wait at all."""
    with again(writer).writer() as other:
        held = other._sender.file.lock.take("somebody else")
        assert held is not None
        with pytest.raises(TimedOut, match="held the lock"):
            writer.send(ENTRIES[0], timeout=SHORT_SECONDS)
        with pytest.raises(WouldBlock, match="another writer"):
            writer.send_nowait(ENTRIES[0])
        held.release()
        writer.send_nowait(ENTRIES[1])
    with again(writer).reader(start="oldest") as reader:
        assert reader.receive_many() == [ENTRIES[1]]
    for thread in threading.enumerate():
        if thread.name == "namedipc lock":
            thread.join(LONG_SECONDS)


def test_threads_share_the_ends(tmp_path: Path) -> None:
    """Each message is received once by one of the threads of a reader, and once by each reader."""
    numbers = Broadcast(tmp_path / "news", int)
    with numbers.writer() as writer, numbers.reader() as shared, numbers.reader() as alone:
        got: list[int] = []

        def receive() -> None:
            for number in shared:
                got.append(number)

        def send(first: int) -> None:
            for number in range(first, first + 50):
                writer.send(number)
            for number in range(first + 50, first + 100, 25):
                writer.send_many(range(number, number + 25))

        threads = [threading.Thread(target=receive) for _ in range(2)]
        senders = [threading.Thread(target=send, args=(first,)) for first in (0, 100)]
        for thread in threads + senders:
            thread.start()
        for thread in senders:
            thread.join(LONG_SECONDS)
        writer.close()
        for thread in threads:
            thread.join(LONG_SECONDS)
        assert sorted(got) == sorted(alone) == list(range(200))


def test_closed_while_another_thread_takes_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That thread gets what it was taking; afterwards nothing is given out, decoded or not."""
    numbers = Broadcast(tmp_path / "news", int)
    with numbers.writer() as writer, numbers.reader() as reader:
        writer.send_many([1, 2, 3])
        writer.send(4)
        decoded = reader._receiver._decoded

        def closed_meanwhile() -> list[int]:
            values = decoded()
            reader.close()
            return values

        monkeypatch.setattr(reader._receiver, "_decoded", closed_meanwhile)
        assert reader.receive() == 1
        for use in (reader.receive, reader.receive_nowait, reader.receive_many):
            with pytest.raises(Closed):
                use()


def test_close_ends_every_wait(writer: BlockingBroadcastWriter[Entry]) -> None:
    """Closed from another thread, whoever waits gets Closed; afterwards everything does."""
    with again(writer).reader() as reader:
        later = threading.Timer(SHORT_SECONDS, reader.close)
        later.start()
        with pytest.raises(Closed):
            reader.receive()
        later.join()
        reader.close()
        for use in (reader.receive, reader.receive_nowait):
            with pytest.raises(Closed):
                use()


def test_without_inotify_it_polls(writer: BlockingBroadcastWriter[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """With no instance left every wait still ends."""

    def refuse() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(lowlevel, "create_inotify", refuse)
    with again(writer).reader() as reader:
        later = threading.Timer(SHORT_SECONDS, writer.send, [ENTRIES[0]])
        later.start()
        assert reader.receive(timeout=LONG_SECONDS) == ENTRIES[0]
        later.join()


def test_a_larger_ring_is_the_next_generation(tmp_path: Path) -> None:
    """The old one's readers come to the end when its writers have left; `is_current` tells these; the name leads on."""
    name = NEWS.at(tmp_path / "news")
    with name.writer(slots=2) as old, name.reader() as reader:
        old.send(Entry.of(1))
        assert old.is_current
        assert reader.is_current
        with name.writer(slots=64, if_exists="replace") as new:
            assert [end.is_current for end in (old, reader, new)] == [False, False, True]
            new.send(Entry.of(2))
            old.close()
            assert list(reader) == [Entry.of(1)]
            with name.reader(start="oldest") as moved:
                assert moved.receive() == Entry.of(2)
                assert moved.is_current


def test_waiting_for_a_broadcast_to_appear(tmp_path: Path) -> None:
    """Opened while it is not there yet; NameNotFound if it never is."""
    news = NEWS.at(tmp_path / "news")
    with pytest.raises(NameNotFound), news.reader(wait_seconds=SHORT_SECONDS):
        pass
    done = threading.Event()

    def publish() -> None:
        with news.writer() as writer:
            writer.send(ENTRIES[0])
            done.wait(LONG_SECONDS)

    later = threading.Timer(SHORT_SECONDS, publish)
    later.start()
    with news.reader(start="oldest", wait_seconds=LONG_SECONDS) as reader:
        assert reader.receive(timeout=LONG_SECONDS) == ENTRIES[0]
        done.set()
        assert list(reader) == []
    later.join()


READER = script("""
    from tests.region_support import NEWS
    with NEWS.at(sys.argv[1]).reader(wait_seconds=20) as reader:
        print("ready", flush=True)
        last, count = {}, 0
        for entry in reader:
            assert entry.whole
            writer, number = divmod(entry.number, 1000)
            assert number > last.get(writer, -1), (entry.number, last)
            last[writer] = number
            count += 1
        print(count + reader.missed, sorted(last.items()), flush=True)
""")
WRITER = script("""
    from tests.region_support import NEWS, Entry
    with NEWS.at(sys.argv[1]).writer() as writer:
        print("ready", flush=True)
        input()
        for number in range(200):
            writer.send(Entry.of(1000 * int(sys.argv[2]) + number))
""")


def test_processes_read_what_processes_write(writer: BlockingBroadcastWriter[Entry], child: Children) -> None:
    """Whole messages, in each writer's order, read or missed; the end when the last writer has left."""
    path = writer._sender.file.path
    readers = [child(READER, path) for _ in range(2)]
    writers = [child(WRITER, path, str(number)) for number in range(2)]
    for process in (*readers, *writers):
        process.expect("ready")
    for process in writers:
        process.say()
    assert [process.wait() for process in writers] == [0, 0]
    writer.send(Entry.of(2000))
    writer.close()
    for process in readers:
        assert process.read_line().startswith("401 ")
        assert process.wait() == 0


def test_a_forked_child_opens_the_name_itself(writer: BlockingBroadcastWriter[Entry]) -> None:
    """What it inherits is closed, its own ends work, and its end is not the end of the broadcast."""
    with again(writer).reader() as reader:
        writer.send_many(ENTRIES[:2])
        assert reader.receive() == ENTRIES[0]

        def in_child() -> None:
            for use in (reader.receive, lambda: writer.send(ENTRIES[3])):
                with pytest.raises(Closed, match="before a fork"):
                    use()
            with again(writer).writer() as own, again(writer).reader() as mine:
                own.send(ENTRIES[2])
                assert mine.receive() == ENTRIES[2]
            writer.close()
            reader.close()

        assert forked(in_child) == 0
        assert reader.receive_many() == ENTRIES[1:3]
        assert again(writer).exists()
