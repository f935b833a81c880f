"""Regions in ordinary blocking code: threads, processes, timeouts."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import Busy, Closed, EndOfChannel, InvalidMessage, TimedOut, TooLarge, lowlevel
from namedipc._region import SharedRegion
from namedipc._region_blocking import BlockingRegion

from .conftest import Children
from .region_support import BOARD, Entry, advance, forked, script

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT_SECONDS = 0.05
LONG_SECONDS = 20.0


@pytest.fixture
def board(tmp_path: Path) -> Iterator[BlockingRegion[Entry]]:
    """A region with entry 0."""
    with BOARD.at(tmp_path / "board").create(Entry.of(0)) as region:
        yield region


def again(board: BlockingRegion[Entry]) -> SharedRegion[Entry]:
    """The name of an open region."""
    return BOARD.at(board._file.path)


def test_write_read_update_and_version(board: BlockingRegion[Entry]) -> None:
    """Each write is the latest value, one version higher, in every handle."""
    assert (board.read(), board.version) == (Entry.of(0), 1)
    with again(board).open() as other, again(board).view() as view:
        assert other.write(Entry.of(5)) == 2
        assert board.update(advance) == Entry.of(6)
        assert (view.read(), view.version) == (Entry.of(6), 3)
        assert repr(view).startswith("<BlockingRegionView of ")


def test_an_update_that_raises_writes_nothing(board: BlockingRegion[Entry]) -> None:
    """Whatever goes wrong under the lock, the value and the version stay, and the lock is free."""

    def change(entry: Entry) -> Entry:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        board.update(change)
    with pytest.raises(ZeroDivisionError), board.editing() as draft:
        draft.value = change(draft.value)
    with pytest.raises(InvalidMessage):
        board.update(lambda entry: 3)  # type: ignore[arg-type, return-value]  # what a checker refuses too
    with pytest.raises(InvalidMessage):
        board.write("soup")  # type: ignore[arg-type]  # what a checker refuses too
    with pytest.raises(TooLarge, match=r"200\d\d\d bytes encoded, the region takes 65536"):
        board.write(Entry(1, "x" * 200_000))
    with pytest.raises(TooLarge):
        board.update(lambda entry: Entry(1, "x" * 200_000))
    assert (board.read(), board.version) == (Entry.of(0), 1)
    assert board.update(advance, timeout=0) == Entry.of(1)


def test_editing_shows_nothing_before_its_end(board: BlockingRegion[Entry]) -> None:
    """Readers see the old value until the body is left, then the new one."""
    with board.editing() as draft:
        assert draft.value == Entry.of(0)
        draft.value = Entry.of(7)
        assert board.read() == Entry.of(0)
    assert (board.read(), board.version) == (Entry.of(7), 2)


def test_asking_for_the_lock_one_holds_is_busy(board: BlockingRegion[Entry]) -> None:
    """An update within an update, through any handle of the process, raises and does not hang."""
    with again(board).open() as other, board.editing() as draft:
        for region in (board, other):
            with pytest.raises(Busy, match="held by the very task or thread"):
                region.write(Entry.of(9))
            with pytest.raises(Busy):
                region.update(advance, timeout=LONG_SECONDS)
        draft.value = Entry.of(1)
    assert board.read() == Entry.of(1)


def test_waiting_for_the_lock_has_a_timeout(board: BlockingRegion[Entry]) -> None:
    """TimedOut with nothing written; the wait leaves no lock behind when the holder is done."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with board.editing():
            held.set()
            done.wait(LONG_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(LONG_SECONDS)
    for timeout in (0, SHORT_SECONDS):
        with pytest.raises(TimedOut, match="held the lock"):
            board.write(Entry.of(9), timeout=timeout)
    done.set()
    assert board.update(advance, timeout=LONG_SECONDS) == Entry.of(1)
    thread.join()
    wait_for_threads()


def wait_for_threads() -> None:
    """Wait until abandoned waits have ended: they had the lock for a moment, and closed their descriptor."""
    for thread in threading.enumerate():
        if thread.name == "namedipc lock":
            thread.join(LONG_SECONDS)


@pytest.mark.parametrize("timeout", [None, LONG_SECONDS])
def test_threads_share_a_handle(board: BlockingRegion[Entry], timeout: float | None) -> None:
    """Four threads, two handles, 25 updates each: none is lost."""
    with again(board).open() as other:

        def add(region: BlockingRegion[Entry]) -> None:
            for _ in range(25):
                region.update(advance, timeout=timeout)

        threads = [threading.Thread(target=add, args=(region,)) for region in (board, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_SECONDS)
    assert board.read() == Entry.of(100)
    wait_for_threads()


ADDER = script("""
    from tests.region_support import BOARD, advance
    with BOARD.at(sys.argv[1]).open() as board:
        print("ready", flush=True)
        input()
        for _ in range(200):
            board.update(advance)
""")


def test_processes_add_up_exactly_and_readers_see_whole_values(board: BlockingRegion[Entry], child: Children) -> None:
    """Three processes, 200 updates each: the end is exact, and everything read meanwhile whole and in order."""
    adders = [child(ADDER, board._file.path) for _ in range(3)]
    for adder in adders:
        adder.expect("ready")
    for adder in adders:
        adder.say()
    last = 0
    while last < 600:
        entry = board.read()
        assert entry.whole
        assert entry.number >= last
        last = entry.number
        if all(adder.process.poll() is not None for adder in adders):
            break
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    assert (board.read(), board.version) == (Entry.of(600), 601)


WATCHER = script("""
    from tests.region_support import BOARD
    with BOARD.at(sys.argv[1]).view(wait_seconds=20) as board:
        print("ready", flush=True)
        seen = -1
        for entry in board.watch():
            assert entry.whole and entry.number > seen
            seen = entry.number
            if seen in (0, 300, 301):
                print(seen, flush=True)
            if seen == 301:
                break
""")


def test_another_process_is_woken_and_sees_the_last_value(tmp_path: Path, child: Children) -> None:
    """A watcher, started before the region is there, gets the first value, the last of many, and a late one."""
    watcher = child(WATCHER, str(tmp_path / "board"))
    with BOARD.at(tmp_path / "board").create(Entry.of(0)) as board:
        watcher.expect("ready")
        watcher.expect("0")
        for number in range(1, 301):
            board.write(Entry.of(number))
        watcher.expect("300")
        board.write(Entry.of(301))
        watcher.expect("301")
        assert watcher.wait() == 0


def test_a_killed_process_leaves_the_lock_free(board: BlockingRegion[Entry], child: Children) -> None:
    """SIGKILL within `editing`: the next writer has the lock at once, and the old value is there."""
    holder = child(
        script("""
        from tests.region_support import BOARD, Entry
        with BOARD.at(sys.argv[1]).open() as board, board.editing() as draft:
            draft.value = Entry.of(9)
            print("held", flush=True)
            input()
        """),
        board._file.path,
    )
    holder.expect("held")
    with pytest.raises(TimedOut):
        board.write(Entry.of(1), timeout=0)
    holder.kill()
    assert board.update(advance, timeout=0) == Entry.of(1)


def test_watch_gives_the_value_now_and_the_latest_after_changes(board: BlockingRegion[Entry]) -> None:
    """Values in between are skipped, the last never; what was given once is not given again."""
    with again(board).view() as view:
        watch = view.watch()
        assert next(watch) == Entry.of(0)
        for number in range(1, 5):
            board.write(Entry.of(number))
        assert next(watch) == Entry.of(4)
        later = threading.Timer(SHORT_SECONDS, board.write, [Entry.of(5)])
        later.start()
        assert next(watch) == Entry.of(5)
        later.join()
        watch.close()  # type: ignore[attr-defined]  # an addition to what the annotation promises
        assert list(watch) == []
        for entry in view.watch():  # left early and dropped
            assert entry == Entry.of(5)
            break


def test_wait_newer(board: BlockingRegion[Entry]) -> None:
    """At once where there is something newer, else when there is, or not within the time."""
    assert board.wait_newer(0) == Entry.of(0)
    with pytest.raises(TimedOut, match="newer value"):
        board.wait_newer(1, timeout=SHORT_SECONDS)
    later = threading.Timer(SHORT_SECONDS, board.write, [Entry.of(5)])
    later.start()
    assert board.wait_newer(1, timeout=LONG_SECONDS) == Entry.of(5)
    later.join()


def test_close_ends_every_wait(board: BlockingRegion[Entry]) -> None:
    """Closed from another thread, whoever waits gets Closed; afterwards everything does."""
    view = again(board).view()
    with view as region:
        watch = region.watch()
        next(watch)
        later = threading.Timer(SHORT_SECONDS, region.close)
        later.start()
        with pytest.raises(Closed):
            next(watch)
        later.join()
        for use in (region.read, region.watch, lambda: region.version, lambda: region.wait_newer(0)):
            with pytest.raises(Closed):
                use()
    with again(board).open() as writable:
        writable.close()
        writable.close()
        with pytest.raises(Closed):
            writable.write(Entry.of(1))


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_larger_region_is_the_next_generation(tmp_path: Path, mode: int) -> None:
    """Who has the old one open keeps it; watches end after its last value, and the name gives the larger one."""
    name = BOARD.at(tmp_path / "board")
    with name.create(Entry.of(0), capacity_bytes=1 << 13, mode=mode) as old, name.view() as view:
        watch = view.watch()
        assert next(watch) == Entry.of(0)
        assert old.write(Entry.of(1)) == 2
        with name.create(Entry.of(5), capacity_bytes=1 << 20, if_exists="replace", mode=mode) as new:
            assert [region.is_current for region in (old, view, new)] == [False, False, True]
            assert list(watch) == [Entry.of(1)]
            assert list(watch) == []
            with pytest.raises(EndOfChannel, match=r"board: another region .* open it again"):
                view.wait_newer(2, timeout=LONG_SECONDS)
            assert view.wait_newer(1) == view.read() == Entry.of(1)
            with name.view(wait_seconds=1) as moved:
                assert moved.read() == Entry.of(5)
                assert moved.is_current
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("dies", [False, True])
def test_who_sleeps_is_woken_by_the_next_generation(tmp_path: Path, child: Children, dies: bool) -> None:
    """Be it made in the place of a living creator's region, or of one whose creator was killed."""
    creator = child(
        script("""
        from tests.region_support import BOARD, Entry
        with BOARD.at(sys.argv[1]).create(Entry.of(0)):
            print("made", flush=True)
            input()
        """),
        str(tmp_path / "board"),
    )
    creator.expect("made")
    name = BOARD.at(tmp_path / "board")
    with name.view() as view, name.view() as other:
        watch = view.watch()
        assert next(watch) == Entry.of(0)
        if dies:
            creator.kill()
        done = threading.Event()

        def make() -> None:
            with name.create(Entry.of(1), if_exists="fail" if dies else "replace"):
                done.wait(LONG_SECONDS)

        later = threading.Timer(SHORT_SECONDS, make)
        later.start()
        assert list(watch) == []
        with pytest.raises(EndOfChannel):
            other.wait_newer(1, timeout=LONG_SECONDS)
        done.set()
        later.join()


def test_a_watch_is_closed_from_another_thread(board: BlockingRegion[Entry]) -> None:
    """Its waiting thread gets Closed, the region stays open, and a second thread in one watch is Busy."""
    watch = board.watch()
    next(watch)
    refused: list[BaseException] = []

    def interfere() -> None:
        try:
            next(watch)
        except Busy as error:
            refused.append(error)
        watch.close()  # type: ignore[attr-defined]  # an addition to what the annotation promises

    later = threading.Timer(SHORT_SECONDS, interfere)
    later.start()
    with pytest.raises(Closed, match="watch was closed"):
        next(watch)
    later.join()
    assert refused
    assert board.read() == Entry.of(0)


def test_without_inotify_it_polls(board: BlockingRegion[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """With no instance left every wait still ends."""

    def refuse() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(lowlevel, "create_inotify", refuse)
    with again(board).view(wait_seconds=LONG_SECONDS) as view:
        watch = view.watch()
        assert next(watch) == Entry.of(0)
        later = threading.Timer(SHORT_SECONDS, board.write, [Entry.of(5)])
        later.start()
        assert next(watch) == Entry.of(5)
        later.join()
        with pytest.raises(TimedOut):
            view.wait_newer(2, timeout=SHORT_SECONDS)


def test_waiting_for_a_region_to_appear(tmp_path: Path) -> None:
    """Opened while it is not there yet; and TimedOut's place is taken by NameNotFound if it never is."""
    from namedipc import NameNotFound

    region = BOARD.at(tmp_path / "board")
    with pytest.raises(NameNotFound), region.open(wait_seconds=SHORT_SECONDS):
        pass

    def create() -> None:
        with region.create(Entry.of(3)):
            opened.wait(LONG_SECONDS)

    opened = threading.Event()
    later = threading.Timer(SHORT_SECONDS, create)
    later.start()
    with region.open(wait_seconds=LONG_SECONDS) as board:
        assert board.read() == Entry.of(3)
    opened.set()
    later.join()


def test_a_forked_child_opens_the_name_itself(board: BlockingRegion[Entry]) -> None:
    """What it inherits is closed, its own handle works, and its end removes nothing."""

    def in_child() -> None:
        with pytest.raises(Closed, match="before a fork"):
            board.read()
        with again(board).open() as own:
            own.update(advance)
            assert next(own.watch()) == Entry.of(1)
        board.close()

    watch = board.watch()
    assert forked(in_child) == 0
    assert next(watch) == Entry.of(1)
    assert again(board).exists()
    watch.close()  # type: ignore[attr-defined]  # an addition to what the annotation promises
