"""A broadcast's file below its two worlds: publishing, reading without a lock, who makes it and who ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from namedipc import Closed, NameNotFound, NameTaken, ProtocolError, SchemaMismatch, TooLarge, WrongKind
from namedipc._protocol import ring
from namedipc._protocol.file_header import Flag
from namedipc._protocol.ring import Entry
from namedipc._shells import ring_making
from namedipc._shells.connecting import Pause
from namedipc._shells.ring_file import READ_ATTEMPTS, Cursor, RingFile
from namedipc._shells.ring_making import open_reader, opening_writer, remove_broadcast
from namedipc._shells.shared_file import BLOCKING, Contents
from namedipc._shells.shared_lock import FileLock, open_again
from namedipc._shells.waiting import Clock, carry_out
from namedipc._types import describe, fingerprint
from namedipc._values import IfExists

from .region_support import fill, forked

CONTENTS = Contents(fingerprint(describe(bytes)), describe(bytes))
OTHER = Contents(fingerprint(describe(int)), describe(int))
SLOTS = 4

pytestmark = pytest.mark.usefixtures("no_leaks")


def make(
    path: Path,
    *,
    if_exists: IfExists = "keep",
    persist: bool = False,
    mode: int = 0o600,
    slots: int = SLOTS,
    contents: Contents = CONTENTS,
) -> RingFile:
    """A broadcast of 100 bytes a message."""
    plan = opening_writer(
        path, contents, slots=slots, message_bytes=100, if_exists=if_exists, persist=persist, mode=mode
    )
    return carry_out(plan, Clock(20.0), "not opened")


def send(file: RingFile, *payloads: bytes, messages: int = 1) -> None:
    """Publish some batches, each of so many messages, under the lock, which must be free."""
    held = file.lock.take("me")
    assert held is not None
    for payload in payloads:
        file.publish(payload, messages)
    held.release()


def take(cursor: Cursor, most: int) -> list[bytes]:
    """What a reader takes."""
    return [payload for payload, _ in cursor.take(most)]


def spoil_entry(file: RingFile, number: int) -> None:
    """Damage the entry of a batch."""
    fd = os.open(file.path, os.O_RDWR)
    os.pwrite(fd, b"\xff" * 8, file.header.entry_offset(number))
    os.close(fd)


def text(numbers: range) -> list[bytes]:
    """Messages, a number each."""
    return [b"%d" % number for number in numbers]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RingFile]:
    """A broadcast, open to write."""
    opened = make(tmp_path / "news")
    yield opened
    opened.close()


@pytest.fixture
def reading(file: RingFile) -> Iterator[RingFile]:
    """The same, open to read."""
    opened = open_reader(file.path, CONTENTS, BLOCKING)
    yield opened
    opened.close()


# --- publishing and reading


def test_every_reader_gets_every_message(file: RingFile, reading: RingFile) -> None:
    """At its own pace: what one has taken is there for the next."""
    cursors = [Cursor(reading, oldest=False), Cursor(reading, oldest=True)]
    assert take(cursors[0], 10) == []
    send(file, b"soup", b"", b"x" * 100)
    for cursor in cursors:
        assert take(cursor, 2) == [b"soup", b""]
        assert take(cursor, 2) == [b"x" * 100]
        assert (take(cursor, 2), cursor.missed) == ([], 0)


def test_a_lapped_reader_goes_on_with_the_oldest_message(file: RingFile, reading: RingFile) -> None:
    """It is told how many were written over, however often the ring has gone round."""
    cursor = Cursor(reading, oldest=False)
    for number in range(11):
        send(file, b"%d" % number)
    assert take(cursor, 1) == [b"7"]
    assert cursor.missed == 7
    for number in range(11, 16):
        send(file, b"%d" % number)
    taken = [take(cursor, 1)[0] for _ in range(SLOTS)]
    assert (taken, cursor.missed) == (text(range(12, 16)), 11)
    assert take(Cursor(reading, oldest=True), 1) == [b"12"]


def test_of_batches_those_are_there_whose_bytes_are(tmp_path: Path) -> None:
    """A batch above the length of a message takes the room of several: its entry may be there and its bytes not."""
    file = make(tmp_path / "news", slots=32)
    reading = open_reader(file.path, CONTENTS, BLOCKING)
    near, far = Cursor(reading, oldest=False), Cursor(reading, oldest=False)
    batches = [bytes([number]) * (file.header.batch_bytes - number) for number in range(12)]
    for number, payload in enumerate(batches):
        send(file, payload, messages=number + 1)
        if number < 4:
            assert take(near, 9) == [payload]
    entries = reading.look(1, 12).entries
    assert len(entries) == 12  # all of them
    kept = [entry.number for entry in entries if file.header.is_kept(entry.position, entries[-1].end)]
    assert kept == list(range(kept[0], 13))
    assert 5 < kept[0] < 12
    for cursor, missed in ((near, range(5, kept[0])), (far, range(1, kept[0])), (Cursor(reading, oldest=True), ())):
        received: list[bytes] = []
        while some := take(cursor, 9):
            received += some
        assert received == [batches[number - 1] for number in kept]
        assert cursor.missed == sum(missed)
    reading.close()
    file.close()


def test_a_reader_overtaken_between_entry_and_message_is_not_deceived(
    file: RingFile, reading: RingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written over meanwhile is missed, not torn."""
    cursor = Cursor(reading, oldest=False)
    send(file, b"first")
    payloads = RingFile.payloads
    overtakings: list[int] = []

    def overtaken(self: RingFile, entries: list[Entry]) -> list[bytes]:
        if not overtakings:
            for _ in range(file.header.data_bytes // (SLOTS * 100) + 1):  # a whole round of the data
                send(file, *[b"y" * 100] * SLOTS)
            overtakings.append(1)
        return payloads(self, entries)

    monkeypatch.setattr(RingFile, "payloads", overtaken)
    assert take(cursor, 1) == [b"y" * 100]
    assert cursor.missed > SLOTS


def test_a_reader_overtaken_all_the_time_gives_up_until_the_bell_rings(
    file: RingFile, reading: RingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither spins for ever nor takes a fast writer for damage."""
    cursor = Cursor(reading, oldest=False)
    send(file, b"first")

    def overtaken(self: RingFile, entries: list[Entry]) -> list[bytes]:
        send(file, *text(range(SLOTS)))
        return []

    monkeypatch.setattr(RingFile, "payloads", overtaken)
    assert take(cursor, 1) == []
    monkeypatch.undo()
    assert set(take(cursor, 9)) <= set(text(range(SLOTS)))
    assert cursor.missed > READ_ATTEMPTS // 2


def test_several_writers_continue_each_others_messages(file: RingFile, reading: RingFile) -> None:
    """Whoever has the lock finds the newest message, also when the others have gone round since it last wrote."""
    cursor = Cursor(reading, oldest=False)
    others = [make(Path(file.path)) for _ in range(2)]
    for round_number in range(3):
        for number, writer in enumerate((file, *others)):
            for _ in range(SLOTS if number == 1 else 1):
                send(writer, b"%d%d" % (round_number, number))
    assert [take(cursor, 1)[0] for _ in range(SLOTS)] == [b"21"] * 3 + [b"22"]
    assert cursor.missed == 18 - SLOTS
    for writer in others:
        writer.close()


def test_a_message_above_the_limit_is_refused(file: RingFile) -> None:
    """The error names both sizes."""
    with pytest.raises(TooLarge, match="101 bytes encoded, the broadcast takes 100"):
        file.refuse_larger(b"x" * 101)


def test_a_damaged_message_is_left_out_once(file: RingFile, reading: RingFile) -> None:
    """Be it the message or its entry: an error which names the file, and then the next one."""
    cursor = Cursor(reading, oldest=False)
    send(file, b"one", b"two", b"three", b"four")
    fd = os.open(file.path, os.O_RDWR)
    os.pwrite(fd, b"O", file.header.data_offset(0))
    os.close(fd)
    spoil_entry(file, 3)
    taken: list[bytes] = []
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"news: a message is damaged"):
            take(cursor, 1)
        taken += take(cursor, 1)
    assert (taken, cursor.missed) == ([b"two", b"four"], 2)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 8])
def test_a_damaged_entry_is_noticed_with_the_next_message(file: RingFile, reading: RingFile, number: int) -> None:
    """In whichever place it is, the last one of the index too."""
    cursor = Cursor(reading, oldest=False)
    for payload in text(range(1, number)):
        send(file, payload)
        take(cursor, 1)
    send(file, b"damaged")
    spoil_entry(file, number)
    assert take(cursor, 1) == []
    send(file, b"next")
    with pytest.raises(ProtocolError, match=r"news: a message is damaged"):
        take(cursor, 1)
    assert (take(cursor, 1), cursor.missed) == ([b"next"], 1)


@pytest.mark.parametrize(("newest", "number"), [(4, 1), (4, 2), (4, 3), (5, 4), (6, 4), (6, 5), (7, 6)])
def test_a_damaged_entry_does_not_hold_up_those_who_come_later(file: RingFile, newest: int, number: int) -> None:
    """A new writer goes on behind the newest message, and a new reader begins there."""
    for payload in text(range(newest)):
        send(file, payload)
    spoil_entry(file, number)
    other = make(Path(file.path))
    later = open_reader(file.path, CONTENTS, BLOCKING)
    cursor = Cursor(later, oldest=False)
    send(other, b"next")
    assert take(cursor, 9) == [b"next"]
    assert later.newest().number == newest + 1
    later.close()
    other.close()


def test_a_file_cut_short_is_an_error_on_both_sides(file: RingFile, reading: RingFile) -> None:
    """Never SIGBUS: there is no mapping."""
    cursor = Cursor(reading, oldest=False)
    os.truncate(file.path, 4096)
    with pytest.raises(ProtocolError, match="news: somebody has cut the broadcast's file short"):
        take(cursor, 1)
    with pytest.raises(ProtocolError, match="cut"):
        send(file, b"x")
    with pytest.raises(ProtocolError, match="cut"):
        open_reader(file.path, CONTENTS, BLOCKING)
    file.close()
    assert not os.path.exists(file.path)


def test_what_a_writer_left_behind_is_written_over(file: RingFile, reading: RingFile) -> None:
    """Bytes without their entry are nothing: neither readers nor the next writer look at them."""
    cursor = Cursor(reading, oldest=False)
    send(file, b"one")
    payload, commit, _ = ring.make_batch(file.header, Entry(1, 0, 1, 1, 3, 0), b"lost", 1)
    fd = os.open(file.path, os.O_RDWR)
    os.pwrite(fd, payload.data, payload.offset)
    os.pwrite(fd, commit.data[:30], commit.offset)
    os.close(fd)
    assert (take(cursor, 9), take(cursor, 9)) == ([b"one"], [])
    other = make(Path(file.path))
    send(other, b"two")
    assert take(cursor, 9) == [b"two"]
    other.close()


# --- who makes it, and who ends it


def test_the_last_writer_ends_it(tmp_path: Path) -> None:
    """The first to leave changes nothing; the last one removes the name, and readers come to the end after all."""
    first = make(tmp_path / "news")
    second = make(tmp_path / "news", slots=9)
    assert second.header == first.header
    reading = open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    cursor = Cursor(reading, oldest=False)
    send(first, b"one")
    first.close()
    first.close()
    assert os.listdir(tmp_path) == ["news"]
    assert not cursor.is_at_end()
    send(second, b"two")
    second.close()
    assert os.listdir(tmp_path) == []
    assert not cursor.is_at_end()
    assert take(cursor, 9) == [b"one", b"two"]
    assert cursor.is_at_end()
    with pytest.raises(Closed):
        second.publish(b"three")
    reading.close()


def test_after_a_killed_writer_the_next_one_goes_on(tmp_path: Path) -> None:
    """The readers stay, the numbers go on, and the next writer is the one who ends it."""
    orphan(tmp_path / "news")
    reading = open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    cursor = Cursor(reading, oldest=True)
    assert (take(cursor, 9), cursor.is_at_end()) == ([b"last words"], False)
    heir = make(tmp_path / "news")
    send(heir, b"more")
    heir.close()
    assert (take(cursor, 9), cursor.is_at_end(), os.listdir(tmp_path)) == ([b"more"], True, [])
    reading.close()


def orphan(path: Path) -> None:
    """A broadcast whose only writer was killed after a message."""

    def write_and_die() -> None:
        send(make(path), b"last words")
        os.kill(os.getpid(), 9)

    assert forked(write_and_die) == -9


@pytest.mark.parametrize("if_exists", ["fail", "replace"])
def test_a_new_one_in_the_place_of_an_orphan_ends_the_old_one(tmp_path: Path, if_exists: IfExists) -> None:
    """Nobody waits for ever for a writer who cannot come."""
    orphan(tmp_path / "news")
    reading = open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    cursor = Cursor(reading, oldest=False)
    new = make(tmp_path / "news", if_exists=if_exists)
    assert cursor.is_at_end()
    assert take(Cursor(new, oldest=True), 9) == []
    new.close()
    reading.close()


def test_fail_says_that_it_has_a_writer(file: RingFile) -> None:
    """NameTaken, and nothing is changed."""
    with pytest.raises(NameTaken, match="news"):
        make(Path(file.path), if_exists="fail")
    assert file.has_name()


def test_replace_leaves_the_old_one_to_its_writers(file: RingFile, reading: RingFile) -> None:
    """They go on, and end it when the last of them leaves, without the new one's name."""
    cursor = Cursor(reading, oldest=False)
    new = make(Path(file.path), if_exists="replace", slots=9)
    send(file, b"old")
    assert (take(cursor, 9), cursor.is_at_end()) == ([b"old"], False)
    file.close()
    assert cursor.is_at_end()
    assert new.has_name()
    new.close()


@pytest.mark.parametrize("if_exists", ["keep", "fail", "replace"])
def test_what_has_ended_but_kept_its_name_is_as_good_as_gone(tmp_path: Path, if_exists: IfExists) -> None:
    """Its last writer was killed in between: readers do not open it, the next writer makes it anew."""

    def end_and_die() -> None:
        make(tmp_path / "news").end_if_unused()
        os.kill(os.getpid(), 9)

    assert forked(end_and_die) == -9
    with pytest.raises(NameNotFound, match="its last writer has left"):
        open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    new = make(tmp_path / "news", if_exists=if_exists)
    send(new, b"x")
    assert take(Cursor(new, oldest=True), 9) == [b"x"]
    new.close()
    assert os.listdir(tmp_path) == []


def test_who_is_about_to_end_it_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the newcomer makes a new one; NameTaken if it takes too long."""
    old = make(tmp_path / "news")
    assert old.lock.own()
    plan = opening_writer(
        tmp_path / "news", CONTENTS, slots=1, message_bytes=1, if_exists="keep", persist=False, mode=0o600
    )
    assert next(plan) == Pause(None, ring_making.ENDING_PAUSE_SECONDS)
    old.close()
    with pytest.raises(StopIteration) as made:
        next(plan)
    made.value.value.close()
    old = make(tmp_path / "news")
    assert old.lock.own()
    monkeypatch.setattr(ring_making, "ENDING_SECONDS", -1.0)
    with pytest.raises(NameTaken, match="is about to end"):
        make(tmp_path / "news")
    old.close()


def test_persist_outlives_every_writer(tmp_path: Path) -> None:
    """Readers wait for the next one; `remove` ends it, or its writers do when they have left."""
    make(tmp_path / "news", persist=True).close()
    reading = open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    cursor = Cursor(reading, oldest=False)
    with pytest.raises(NameTaken):
        make(tmp_path / "news", if_exists="fail")
    again = make(tmp_path / "news")
    assert again.header.flags == Flag.PERSIST
    send(again, b"x")
    again.close()
    assert (take(cursor, 9), cursor.is_at_end(), os.listdir(tmp_path)) == ([b"x"], False, ["news"])
    again = make(tmp_path / "news")
    remove_broadcast(tmp_path / "news", missing_ok=False)
    assert (cursor.is_at_end(), os.listdir(tmp_path)) == (False, [])
    again.close()
    assert cursor.is_at_end()
    reading.close()


def test_remove_ends_what_nobody_writes_to(tmp_path: Path) -> None:
    """And only takes the name where somebody does; what is no broadcast is not touched."""
    orphan(tmp_path / "news")
    reading = open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    remove_broadcast(tmp_path / "news", missing_ok=False)
    assert Cursor(reading, oldest=False).is_at_end()
    reading.close()
    with pytest.raises(NameNotFound):
        remove_broadcast(tmp_path / "news", missing_ok=False)
    remove_broadcast(tmp_path / "news", missing_ok=True)
    (tmp_path / "news").write_text("milk")
    ways: list[IfExists] = ["keep", "fail", "replace"]
    for way in ways:
        with pytest.raises(WrongKind, match="news"):
            make(tmp_path / "news", if_exists=way)
    with pytest.raises(WrongKind, match="news"):
        open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    with pytest.raises(WrongKind, match="news"):
        remove_broadcast(tmp_path / "news", missing_ok=False)
    assert (tmp_path / "news").read_text() == "milk"


def test_another_type_is_named(file: RingFile) -> None:
    """By both sides, with the difference; but it may be replaced."""
    said = r"news: it holds another type: .*(int|bytes)"
    with pytest.raises(SchemaMismatch, match=said):
        make(Path(file.path), contents=OTHER)
    with pytest.raises(SchemaMismatch, match=said):
        open_reader(file.path, OTHER, BLOCKING)
    make(Path(file.path), contents=OTHER, if_exists="replace").close()


@pytest.mark.parametrize("if_exists", ["keep", "fail", "replace"])
def test_two_who_come_at_once_get_the_same(tmp_path: Path, if_exists: IfExists) -> None:
    """Three processes open one name and leave it, over and over: each can send, and in the end nothing is left."""
    path = tmp_path / "news"
    script = (
        "import sys; from pathlib import Path; from tests.test_ring_file import make, send\n"
        "for _ in range(10):\n"
        f"    try: file = make(Path(sys.argv[1]), if_exists={if_exists!r})\n"
        "    except Exception as error:\n"
        f"        assert {if_exists!r} == 'fail' and type(error).__name__ == 'NameTaken', error\n"
        "        continue\n"
        "    held = file.lock.wait(0).run()\n"
        "    file.publish(b'x')\n"
        "    held.release()\n"
        "    file.close()\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    root = Path(__file__).parents[1]
    children = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE) for _ in range(3)]
    assert [child.communicate()[1] for child in children] == [b""] * 3
    assert os.listdir(tmp_path) == []


def test_the_last_two_leave_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finds the other still there, and one of them ends the broadcast all the same."""
    first, second = make(tmp_path / "news"), make(tmp_path / "news")
    reader = open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    found: list[bool] = []
    own = FileLock.own

    def own_while_the_other_leaves(lock: FileLock) -> bool:
        is_mine = own(lock)
        found.append(is_mine)
        if len(found) == 1:
            second.close()
        return is_mine

    monkeypatch.setattr(FileLock, "own", own_while_the_other_leaves)
    first.close()
    assert found == [False, False, False, True, True]  # of the first; twice of the second; again of the first
    assert os.listdir(tmp_path) == []
    assert reader.ended_after() == 0
    reader.close()


def test_mere_readers_cannot_hold_a_writer_up(tmp_path: Path) -> None:
    """Where somebody may read but not write, writers and their marks use a file beside it, which goes with the name."""
    file = make(tmp_path / "news", mode=0o644)
    reading = open_reader(tmp_path / "news", CONTENTS, BLOCKING)
    assert len(os.listdir(tmp_path)) == 2
    lock = FileLock(open_again(reading._fd), where="news")
    assert lock.own()
    send(file, b"x")
    assert take(Cursor(reading, oldest=True), 9) == [b"x"]
    lock.close()
    reading.close()
    file.close()
    assert os.listdir(tmp_path) == []


def test_a_full_tmpfs_is_a_clean_error_and_leaves_nothing(small_tmpfs: Path) -> None:
    """No room: TooLarge when it is made, never SIGBUS; what was made takes messages round after round all the same."""
    for if_exists in get_args(IfExists):
        with pytest.raises(TooLarge, match="no room"):
            make(small_tmpfs / "news", slots=10_000, if_exists=if_exists, mode=0o644)
        assert not os.listdir(small_tmpfs)
    file = make(small_tmpfs / "news")
    fill(small_tmpfs)
    with pytest.raises(TooLarge, match="no room"):
        make(small_tmpfs / "news", if_exists="replace")
    reading = open_reader(file.path, CONTENTS, BLOCKING)
    cursor = Cursor(reading, oldest=False)
    rounds = 2 * file.header.data_bytes // (100 * SLOTS)
    for number in range(rounds):
        payloads = [b"%d" % number * (100 // len(str(number)))] * SLOTS
        send(file, *payloads)
        assert [take(cursor, 1)[0] for _ in payloads] == payloads
    assert cursor.missed == 0
    reading.close()
    file.close()
    assert os.listdir(small_tmpfs) == ["filler"]


def test_a_kill_at_any_bytecode_of_a_send_leaves_whole_messages_and_a_free_lock(tmp_path: Path) -> None:
    """SIGKILL, evenly spread over sending and over leaving. NAMEDIPC_CAMPAIGN: how many points of each."""
    points = os.environ.get("NAMEDIPC_CAMPAIGN", "14")
    command = [sys.executable, "-m", "tests.broadcast_kills", str(tmp_path / "news"), points]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (0, "")
    for line in done.stdout.splitlines():
        _, bytecodes, nothing, something = line.split()
        assert int(bytecodes) > 300
        assert int(nothing) + int(something) == int(points)
        assert int(nothing) > 0
        assert int(something) > 0
    assert len(done.stdout.splitlines()) == 3
