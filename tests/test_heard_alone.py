"""The short way of a broadcast's reader: whatever is in the ring, all is as the long way has it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc import Broadcast, Closed, EndOfChannel, IPCError, TimedOut
from namedipc._batches import join
from namedipc._codec import Codec
from namedipc._shells.polling import LONGEST_SECONDS, Spinner
from namedipc._shells.ring_file import RingFile
from namedipc._shells.ring_making import open_reader, opening_writer
from namedipc._shells.ring_messages import BroadcastReceiver, BroadcastSender, Start
from namedipc._shells.shared_file import BLOCKING, Contents
from namedipc._shells.waiting import Clock, carry_out
from namedipc._types import describe, fingerprint

from .channel_support import wait_until_asleep
from .compiled_support import find_compiled
from .region_support import forked

HeardAlone = find_compiled("heard_alone", "HeardAlone")
pytestmark = pytest.mark.usefixtures("no_leaks")

CONTENTS = Contents(fingerprint(describe(str)), describe(str))
CODEC = Codec[str](str)
SLOTS = 5
MESSAGE_BYTES = 40


@contextmanager
def opened(path: Path) -> Iterator[RingFile]:
    """A broadcast of few and short messages, open to write."""
    plan = opening_writer(
        path, CONTENTS, slots=SLOTS, message_bytes=MESSAGE_BYTES, if_exists="keep", persist=False, mode=0o600
    )
    file = carry_out(plan, Clock(20.0), "not opened")
    try:
        yield file
    finally:
        file.close()


@contextmanager
def receiving(
    path: Path, start: Start = "new", *, short: bool = True, spin: bool = False
) -> Iterator[BroadcastReceiver[str]]:
    """A reader, which goes the short way where it can, or never."""
    receiver = BroadcastReceiver(open_reader(path, CONTENTS, BLOCKING.spinning(spin)), CODEC, start)
    assert receiver._short_way is not None
    if not short:
        receiver._short_way = None  # type: ignore[misc]  # once made, it is final
    try:
        yield receiver
    finally:
        receiver.close()


def publish(file: RingFile, *payloads: bytes, messages: int = 1) -> None:
    """Publish some batches, each of so many messages."""
    held = file.lock.take("me")
    assert held is not None
    for payload in payloads:
        file.publish(payload, messages)
    held.release()


def send(file: RingFile, values: list[str]) -> None:
    """Send messages together, as a writer does."""
    for payload, messages in BroadcastSender(file, CODEC).batches(values):
        publish(file, payload, messages=messages)


# --- what is in the ring


@attrs.frozen
class Sent:
    """Messages of some length that are sent, together or one by one."""

    count: int
    length: int
    together: bool


@attrs.frozen
class Junk:
    """A batch of so many messages that is none of the type, or no array."""

    payload: bytes
    messages: int


@attrs.frozen
class Spoiled:
    """Bytes of the file are changed: of an entry, or of the messages."""

    in_index: bool
    place: int
    byte: int


@attrs.frozen
class Received:
    """Both readers receive so many at most."""

    most: int


Step: TypeAlias = Sent | Junk | Spoiled | Received

STEPS = st.one_of(
    st.builds(Sent, st.integers(1, 12), st.integers(0, 30), st.booleans()),
    st.builds(Received, st.sampled_from([1, 2, 3, 1024])),
    st.builds(Received, st.sampled_from([1, 1024])),
    st.builds(
        Junk, st.sampled_from([b"", b"\xc0", join([CODEC.encode("soup"), b"\x01"]), b"\xa3abc"]), st.integers(1, 2)
    ),
    st.builds(Spoiled, st.booleans(), st.integers(0, 400), st.integers(0, 255)),
)


def do(file: RingFile, step: Step, number: int) -> None:
    """Carry out what is no receiving."""
    if isinstance(step, Sent):
        values = [f"{number}.{i}".ljust(step.length, ".") for i in range(step.count)]
        for some in [values] if step.together else [[value] for value in values]:
            send(file, some)
    elif isinstance(step, Junk):
        publish(file, step.payload, messages=step.messages)
    elif isinstance(step, Spoiled):
        header = file.header
        start, size = (header.header_bytes, SLOTS * 64) if step.in_index else (header.data_start, header.data_bytes)
        fd = os.open(file.path, os.O_RDWR)
        os.pwrite(fd, bytes((step.byte,)), start + step.place % size)
        os.close(fd)


def outcome(receiver: BroadcastReceiver[str], most: int) -> object:
    """What a reader gets, or the error; and where it is then."""
    try:
        found: object = receiver.hear(most, 0.0) or receiver.receive_at_once(most)
    except IPCError as error:
        found = type(error), str(error)
    return found, receiver.missed, receiver.cursor.number, receiver.cursor.first, list(receiver._values)


@settings(max_examples=int(os.environ.get("NAMEDIPC_CAMPAIGN", "150")), deadline=None)
@given(st.lists(STEPS, max_size=20))
def test_both_ways_give_the_same(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]) -> None:
    """Messages alone and together, junk, damage, laps and the end: each reader gets the same, or the same error."""
    path = tmp_path_factory.mktemp("news") / "news"
    with opened(path) as file, receiving(path) as short, receiving(path, short=False) as long:
        for number, step in enumerate(steps):
            if isinstance(step, Received):
                assert outcome(short, step.most) == outcome(long, step.most)
            else:
                do(file, step, number)
        file.close()
        for _ in range(40):
            assert outcome(short, 3) == outcome(long, 3)


# --- that it is gone, and waiting in it


@pytest.fixture
def news(tmp_path: Path) -> Iterator[RingFile]:
    """A broadcast, open to write."""
    with opened(tmp_path / "news") as file:
        yield file


def test_the_commonest_messages_go_the_short_way(news: RingFile) -> None:
    """One alone, several together, and more than were asked for, of which the rest is kept."""
    with receiving(Path(news.path)) as receiver:
        send(news, ["soup"])
        assert receiver.hear(1024, 0.0) == ["soup"]
        publish(news, join([CODEC.encode(dish) for dish in ("soup", "fish", "cake")]), messages=3)
        assert receiver.hear(2, 0.0) == ["soup", "fish"]
        assert receiver.hear(1, 0.0) is None
        assert receiver.receive_at_once(2) == ["cake"]
        assert receiver.hear(2, 0.0) is None


def test_what_comes_is_waited_for(news: RingFile) -> None:
    """A reader that is asleep in it is woken."""
    got: list[list[str] | None] = []
    with receiving(Path(news.path)) as receiver:
        thread = threading.Thread(target=lambda: got.append(receiver.hear(1, inf)))
        thread.start()
        wait_until_asleep(thread)
        send(news, ["soup"])
        thread.join(20)
    assert got == [["soup"]]


def test_a_moment_of_polling(news: RingFile) -> None:
    """It is asked for once each time that nothing is there, and told once how it went; what comes is received."""
    said: list[str] = []

    class Recorded(Spinner):
        def begin(self) -> float:
            said.append("begin")
            return LONGEST_SECONDS

        def won(self, seconds: float) -> None:
            said.append("ended")

        def lost(self) -> None:
            said.append("ended")

    with receiving(Path(news.path)) as receiver:
        receiver._short_way = HeardAlone(news.header, CODEC, Recorded())  # type: ignore[misc]  # once made, it is final
        send(news, ["soup"])
        assert receiver.hear(1, 0.0) == ["soup"]
        assert said == []
        assert receiver.hear(1, 0.0) is None  # the first look after a wake-up, which is that of the soup, finds nothing
        assert said == ["begin", "ended"] * 2
        reader, writer = os.pipe()

        def send_soon() -> None:
            os.read(reader, 1)
            send(news, ["fish"])

        thread = threading.Thread(target=send_soon)
        thread.start()
        os.write(writer, b"x")
        assert receiver.hear(1, inf) == ["fish"]
        thread.join(20)
        assert said == ["begin", "ended"] * (len(said) // 2)
        os.close(reader)
        os.close(writer)


def test_polling_is_counted(tmp_path: Path) -> None:
    """In the statistics of the reader's own spinner; without one nothing is."""
    path = tmp_path / "news"
    with Broadcast(path, bytes).writer(), Broadcast(path, bytes).reader() as reader:
        spinner = reader._receiver.file.spinner
        assert spinner is not None
        with pytest.raises(TimedOut, match=r"no message within 0\.001"):
            reader.receive(timeout=0.001)
        assert spinner.losses >= 1
        assert spinner.wins == 0


def test_the_time_the_end_and_a_close(news: RingFile, tmp_path: Path) -> None:
    """None of them is the short way's: it says nothing, and the long way says what it is."""
    path = tmp_path / "other"
    with Broadcast(path, str).writer() as writer, Broadcast(path, str).reader() as reader:
        with pytest.raises(TimedOut, match=r"no message within 0\.01"):
            reader.receive(timeout=0.01)
        writer.send("soup")
        writer.close()
        assert list(reader) == ["soup"]
        with pytest.raises(EndOfChannel):
            reader.receive()
        reader.close()
        with pytest.raises(Closed):
            reader.receive()
    with receiving(Path(news.path)) as receiver:
        receiver.listener.stop()
        assert receiver.hear(1, inf) is None
        assert receiver.listener.is_stopped


@pytest.mark.parametrize("how", ["end", "close"])
def test_a_reader_that_sleeps_is_told(tmp_path: Path, how: str) -> None:
    """Of the end, and of a close in another thread."""
    path = tmp_path / "news"
    got: list[type[BaseException]] = []
    with Broadcast(path, str).writer() as writer, Broadcast(path, str).reader() as reader:

        def receive() -> None:
            try:
                reader.receive()
            except IPCError as error:
                got.append(type(error))

        thread = threading.Thread(target=receive)
        thread.start()
        wait_until_asleep(thread)
        (writer if how == "end" else reader).close()
        thread.join(20)
    assert got == [EndOfChannel if how == "end" else Closed]


def test_a_signal_ends_the_wait_and_loses_nothing(news: RingFile) -> None:
    """What its handler raises comes out; one that raises nothing is waited past."""
    calls: list[int] = []

    def handle(number: int, frame: object) -> None:
        calls.append(number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        threading.Thread(target=hit).start()

    def hit() -> None:
        wait_until_asleep(threading.main_thread())
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with receiving(Path(news.path)) as receiver:
            threading.Thread(target=hit).start()
            with pytest.raises(KeyboardInterrupt):
                receiver.hear(1, inf)
            send(news, ["soup"])
            assert receiver.hear(1, inf) == ["soup"]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(calls) == 2


def test_a_forked_child_goes_the_long_way(news: RingFile) -> None:
    """It has no right to the parent's end, and is told so."""
    with receiving(Path(news.path)) as receiver:
        send(news, ["soup"])

        def child() -> None:
            assert receiver.hear(1, inf) is None
            with pytest.raises(Closed):
                receiver.receive_at_once(1)

        assert forked(child) == 0
        assert receiver.hear(1, 0.0) == ["soup"]


def test_a_file_that_was_cut_short(news: RingFile) -> None:
    """Is the long way's, which says so."""
    with receiving(Path(news.path)) as receiver:
        send(news, ["soup"])
        os.truncate(news.path, 4096)
        assert receiver.hear(1, 0.0) is None
        with pytest.raises(IPCError, match="cut the broadcast's file short"):
            receiver.receive_at_once(1)
        with suppress(IPCError):
            news.close()
