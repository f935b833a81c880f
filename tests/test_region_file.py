"""A region's file below its two worlds: reading without a lock, publishing, the lock, the making of the name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from namedipc import (
    Busy,
    Closed,
    NameNotFound,
    NameTaken,
    NotAllowed,
    ProtocolError,
    SchemaMismatch,
    TooLarge,
    WrongKind,
    lowlevel,
)
from namedipc._protocol import records
from namedipc._protocol.file_header import PAGE_BYTES, Flag
from namedipc._protocol.records import Header
from namedipc._shells import region_file
from namedipc._shells.region_file import RegionFile
from namedipc._shells.region_making import create_region, open_region
from namedipc._shells.shared_file import BLOCKING, Contents, read_header
from namedipc._shells.shared_lock import OWNING, WRITING, FileLock, open_again
from namedipc._shells.shared_making import remove_shared
from namedipc._shells.shared_sidecar import needs_sidecar, sidecar_path, writers_only
from namedipc._shells.watching import Superseded
from namedipc._types import describe, fingerprint
from namedipc._values import IfExists

from .region_support import fill, forked

CONTENTS = Contents(fingerprint(describe(bytes)), describe(bytes))
OTHER = Contents(fingerprint(describe(int)), describe(int))
ROOT = os.geteuid() == 0

pytestmark = pytest.mark.usefixtures("no_leaks")


def make(
    path: Path,
    initial: bytes = b"first",
    *,
    if_exists: IfExists = "fail",
    persist: bool = False,
    mode: int = 0o600,
    contents: Contents = CONTENTS,
) -> RegionFile:
    """A new region of 100 bytes."""
    return create_region(
        path,
        contents,
        initial,
        capacity_bytes=100,
        if_exists=if_exists,
        persist=persist,
        mode=mode,
        world=BLOCKING,
    )


def attach(path: Path, *, writable: bool = True, contents: Contents = CONTENTS) -> RegionFile:
    """The region which is there."""
    return open_region(path, contents, writable=writable, world=BLOCKING)


@contextmanager
def locked(file: RegionFile, me: object = "me") -> Iterator[None]:
    """The lock, which must be free."""
    held = file.lock.take(me)
    assert held is not None
    yield
    held.release()


@pytest.fixture
def region(tmp_path: Path) -> Iterator[RegionFile]:
    """A region, open to write."""
    file = make(tmp_path / "board")
    yield file
    file.close()


# --- reading and publishing


def test_a_value_is_read_as_it_was_published(region: RegionFile) -> None:
    """Each value is the latest at once, for every handle, with a version one higher."""
    other = attach(Path(region.path), writable=False)
    assert (other.read(), other.version()) == ((1, b"first"), 1)
    for version, value in enumerate((b"second", b"", b"x" * 100), start=2):
        with locked(region):
            assert region.publish(value) == version
        assert other.read() == (version, value)
        assert other.read_newer(version - 1) == (version, value)
        assert other.read_newer(version) is None
    other.close()


def test_a_value_above_the_capacity_changes_nothing(region: RegionFile) -> None:
    """The error names both sizes; the value before stays."""
    with locked(region), pytest.raises(TooLarge, match="101 bytes encoded, the region takes 100"):
        region.publish(b"x" * 101)
    assert region.read() == (1, b"first")


def test_the_file_holds_what_the_module_says(region: RegionFile) -> None:
    """Somebody without this library finds type, version and value in the file."""
    data = Path(region.path).read_bytes()
    header = Header.unpack(data, where="board")
    assert json.loads(header.description) == describe(bytes)
    assert (header.capacity_bytes, header.flags, len(data)) == (100, Flag(0), header.file_bytes)
    assert header.boot_id.hex() == Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    start = header.slot_offset(1)
    assert data[start : start + 5] == b"first"


def test_a_reader_overtaken_by_writers_tries_again(region: RegionFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commits between the record and the value spoil one attempt, not the read."""
    other = attach(Path(region.path), writable=False)
    overtaken: list[int] = []
    pread = os.pread

    def overtaken_once(fd: int, size: int, offset: int) -> bytes:
        if offset >= PAGE_BYTES and not overtaken:
            overtaken.append(offset)
            with locked(region):
                region.publish(b"other")
                region.publish(b"third")
        return pread(fd, size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", overtaken_once)
        assert other.read() == (3, b"third")
    assert overtaken
    other.close()


def test_a_reader_in_distress_takes_a_shared_lock(region: RegionFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its attempts without a lock it reads under one, for which no writer has to be waited for."""
    monkeypatch.setattr(region_file, "READ_ATTEMPTS", 1)
    spoil_first_attempt(region, monkeypatch)
    assert region.read() == (2, b"other")
    held = region.lock.take("me")
    assert held is not None, "the reader has given its lock back"
    held.release()


def test_a_reader_never_waits_for_the_lock(region: RegionFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody holds the lock all the time and the value cannot be read, it is Busy, not a hang."""
    monkeypatch.setattr(region_file, "READ_ATTEMPTS", 1)
    with locked(region):
        region.publish(b"second")
        os.pwrite(region._fd, b"S", region.header.slot_offset(2))
        with pytest.raises(Busy, match="writers overtake"):
            region.read()


def test_a_reader_in_distress_gives_up_within_milliseconds(region: RegionFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """In trio all tasks wait for it: the pauses are bounded, and do not depend on who else wants the core."""
    pauses: list[float] = []
    monkeypatch.setattr(region_file, "READ_ATTEMPTS", 1)
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.delattr(os, "sched_yield")
    with locked(region):
        region.publish(b"second")
        os.pwrite(region._fd, b"S", region.header.slot_offset(2))
        with pytest.raises(Busy, match="writers overtake"):
            region.read()
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.0
    assert 0.01 < sum(pauses) < 0.03


def spoil_first_attempt(region: RegionFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next value read be torn, once, by a write of the same version's slot."""
    spoiled: list[int] = []
    pread = os.pread

    def torn_once(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        if offset >= PAGE_BYTES and not spoiled:
            spoiled.append(offset)
            return b"\0" * len(data)
        return data

    with locked(region):
        region.publish(b"other")
    monkeypatch.setattr(os, "pread", torn_once)


def test_a_damaged_value_is_an_error_and_can_be_written_over(region: RegionFile) -> None:
    """Bytes that somebody changed behind our back are never given out; the next value heals it."""
    os.pwrite(region._fd, b"F", region.header.slot_offset(1))
    with pytest.raises(ProtocolError, match="damaged; write a new one"):
        region.read()
    with locked(region):
        region.publish(b"healed")
    assert region.read() == (2, b"healed")


@pytest.mark.parametrize("size", [0, 130, 4096, 8200])
def test_a_file_cut_short_is_an_error_never_a_signal(region: RegionFile, size: int) -> None:
    """Truncated under our feet: reading and writing raise, opening too; nothing dies of SIGBUS."""
    os.truncate(region.path, size)
    if size < 8192 + 5:
        with pytest.raises(ProtocolError):
            region.read()
    with locked(region), pytest.raises(ProtocolError, match="cut the region's file short"):
        region.publish(b"second")
    assert os.stat(region.path).st_size == size, "the file has not grown again"
    with pytest.raises((ProtocolError, WrongKind)):
        attach(Path(region.path))


def test_an_impossible_length_is_not_believed(region: RegionFile) -> None:
    """A record that claims more than the capacity allocates nothing."""
    commit = records._COMMIT.pack(1, 2**32 - 1, 0, 0)[:16]
    os.pwrite(region._fd, commit + records._CRC.pack(zlib.crc32(commit)), records.record_offset(1))
    with pytest.raises(ProtocolError, match="no valid value"):
        region.read()


# --- the lock


def test_handles_of_one_process_exclude_each_other(region: RegionFile) -> None:
    """Two handles, or one used twice, never have the lock together; it is given back explicitly."""
    other = attach(Path(region.path))
    for first, second in ((region, other), (other, region), (region, region)):
        held = first.lock.take("one")
        assert held is not None
        assert second.lock.take("two") is None
        held.release()
        held.release()
        with locked(second):
            pass
    other.close()


def test_who_holds_the_lock_is_told_when_it_asks_again(region: RegionFile) -> None:
    """Through the same handle or another: Busy instead of waiting for itself; others are not refused."""
    other = attach(Path(region.path))
    with locked(region, "me"):
        for file in (region, other):
            with pytest.raises(Busy, match="held by the very task or thread"):
                file.lock.refuse_again("me")
            file.lock.refuse_again("you")
    other.lock.refuse_again("me")
    other.close()


def test_a_wait_gets_the_lock_when_it_is_given_back(region: RegionFile) -> None:
    """A waiting thread is the next holder, on a description of its own."""
    held = region.lock.take("me")
    assert held is not None
    wait = region.lock.wait("thread")
    thread = threading.Thread(target=wait.run)
    thread.start()
    held.release()
    thread.join(20)
    with pytest.raises(Busy):
        region.lock.refuse_again("thread")
    assert region.lock.take("me") is None
    wait.abandon()
    with locked(region):
        pass


def test_an_abandoned_wait_gives_the_lock_back(region: RegionFile) -> None:
    """Given up while it waits, it keeps neither the lock nor a descriptor; given up before it began, nor that."""
    held = region.lock.take("me")
    assert held is not None
    wait, never = region.lock.wait("thread"), region.lock.wait("thread")
    thread = threading.Thread(target=wait.run)
    thread.start()
    never.abandon()
    assert never.run() is None
    wait.abandon()
    held.release()
    thread.join(20)
    with locked(region):
        pass


def test_closing_the_handle_gives_the_lock_back(region: RegionFile, tmp_path: Path) -> None:
    """Closed by another while the lock is held: it is free, and to give it back later touches nothing else."""
    other = attach(Path(region.path))
    held = other.lock.take("me")
    assert held is not None
    other.close()
    with locked(region):
        held.release()
        assert attach_and_take(Path(region.path)) is False
    with pytest.raises(Closed, match="closed here"):
        other.read()
    with pytest.raises(Closed):
        other.lock.take("me")
    with pytest.raises(Closed):
        other.publish(b"x")
    with pytest.raises(Closed):
        other.listen()


def attach_and_take(path: Path) -> bool:
    """Whether another handle gets the lock at this moment."""
    other = attach(path)
    held = other.lock.take("somebody")
    if held is not None:
        held.release()
    other.close()
    return held is not None


def test_a_fork_while_holding_leaves_the_lock_with_the_parent(region: RegionFile) -> None:
    """The child's handles are dead, its end removes nothing, and the parent still excludes everybody."""

    held = region.lock.take("me")
    assert held is not None
    release = held.release

    def in_child() -> None:
        with pytest.raises(Closed, match="before a fork"):
            region.read()
        release()
        region.close()
        assert not attach_and_take(Path(region.path))

    wait = region.lock.wait("waiting while somebody forks")
    assert forked(in_child) == 0
    assert not attach_and_take(Path(region.path))
    held.release()
    wait.abandon()
    assert attach_and_take(Path(region.path))
    assert region.read() == (1, b"first")


def test_a_childs_copy_does_not_keep_a_killed_holders_lock(tmp_path: Path) -> None:
    """Parent forks, then is killed while it holds the lock: free as soon as its child runs, which lives on."""
    keeper = make(tmp_path / "board")
    says_read, says_write = os.pipe()
    stays_read, stays_write = os.pipe()

    def parent() -> None:
        file = attach(tmp_path / "board")
        held = file.lock.take("me")
        assert held is not None
        if os.fork() == 0:
            os.close(stays_write)
            os.write(says_write, b"x")
            os.read(stays_read, 1)  # until the test is over
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        assert forked(parent) == -signal.SIGKILL
        assert os.read(says_read, 1) == b"x"
        with locked(keeper):
            pass
    finally:
        for fd in (says_read, says_write, stays_read, stays_write):
            os.close(fd)
        keeper.close()


# --- making, keeping, replacing, removing


def test_closing_the_creators_handle_removes_the_name(tmp_path: Path) -> None:
    """The name lives as long as the handle that made it; whoever attached removes nothing."""
    file = make(tmp_path / "board")
    attach(tmp_path / "board").close()
    assert (tmp_path / "board").exists()
    assert (tmp_path / "board").stat().st_mode & 0o777 == 0o600
    file.close()
    file.close()
    assert not os.listdir(tmp_path)


def test_the_name_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    """Whoever finds another region under its name at the end does not remove that."""
    file = make(tmp_path / "board")
    (tmp_path / "board").unlink()
    successor = make(tmp_path / "board", b"second")
    file.close()
    assert (tmp_path / "board").exists()
    successor.close()


def test_a_second_creator_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    """NameTaken, with nothing changed; also for a region that persists without anybody."""
    file = make(tmp_path / "board")
    with pytest.raises(NameTaken, match="board"):
        make(tmp_path / "board", b"second")
    assert file.read() == (1, b"first")
    file.close()
    make(tmp_path / "board", persist=True).close()
    with pytest.raises(NameTaken):
        make(tmp_path / "board", b"second")
    assert os.listdir(tmp_path) == ["board"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_killed_creators_name_can_be_made_anew_at_once(tmp_path: Path, mode: int) -> None:
    """What was not to persist is replaced after its creator was killed, by exactly one of those who try."""

    def create_and_die() -> None:
        make(tmp_path / "board", mode=mode)
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked(create_and_die) == -signal.SIGKILL
    left = attach(tmp_path / "board")
    file = make(tmp_path / "board", b"second", mode=mode)
    assert (file.read(), left.read()) == ((1, b"second"), (1, b"first"))
    with pytest.raises(NameTaken):
        make(tmp_path / "board", b"third")
    file.close()
    left.close()
    assert not os.listdir(tmp_path)


def test_keep_opens_what_is_there_and_owns_it_only_if_nobody_does(tmp_path: Path) -> None:
    """The value stays; the name goes with its creator, or after a kill with the next that kept it."""
    file = make(tmp_path / "board", if_exists="keep")
    kept = make(tmp_path / "board", b"other", if_exists="keep")
    assert kept.read() == (1, b"first")
    kept.close()
    assert (tmp_path / "board").exists()
    file.close()

    def create_and_die() -> None:
        make(tmp_path / "board", b"left")
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked(create_and_die) == -signal.SIGKILL
    kept = make(tmp_path / "board", if_exists="keep")
    assert kept.read() == (1, b"left")
    kept.close()
    assert not os.listdir(tmp_path)


def in_threads(count: int, work: Callable[[], RegionFile]) -> list[RegionFile | NameTaken]:
    """What comes of doing it in several threads at once."""
    begin, results = threading.Barrier(count), list[RegionFile | NameTaken]()

    def run() -> None:
        begin.wait()
        try:
            results.append(work())
        except NameTaken as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(results) == count
    return results


def test_of_many_creators_one_wins(tmp_path: Path) -> None:
    """Whether nothing is there or what a killed creator has left: one region, every other attempt NameTaken."""

    def create_and_die() -> None:
        make(tmp_path / "board", mode=0o644)
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(5):
        for _ in range(2):
            results = in_threads(6, lambda: make(tmp_path / "board", b"new", mode=0o644))
            (made,) = [file for file in results if isinstance(file, RegionFile)]
            found = attach(tmp_path / "board")
            assert found.header.uuid == made.header.uuid
            found.close()
            made.close()
            assert not os.listdir(tmp_path)
            assert forked(create_and_die) == -signal.SIGKILL
        remove_shared(tmp_path / "board", Header, missing_ok=False)


def test_of_many_that_keep_all_have_the_same(tmp_path: Path) -> None:
    """Started together, one makes the region and the others open it."""
    for _ in range(5):
        files = in_threads(6, lambda: make(tmp_path / "board", if_exists="keep", mode=0o644))
        opened = [file for file in files if isinstance(file, RegionFile)]
        assert len({file.header.uuid for file in opened}) == 1
        assert len(opened) == 6
        for file in opened:
            file.close()
        assert not os.listdir(tmp_path)


def test_replace_swaps_in_one_step_and_leaves_the_old_memory(tmp_path: Path) -> None:
    """Openers of the old region read and write it as before; new ones get the new one."""
    old = make(tmp_path / "board", mode=0o644)
    new = make(tmp_path / "board", b"new", if_exists="replace", contents=OTHER)
    with locked(old):
        old.publish(b"still here")
    assert (old.read(), new.read()) == ((2, b"still here"), (1, b"new"))
    assert os.listdir(tmp_path) == ["board"], "the lock file of the old one has gone with it"
    old.close()
    found = attach(tmp_path / "board", contents=OTHER)
    assert found.read() == (1, b"new")
    found.close()
    new.close()
    assert not os.listdir(tmp_path)
    make(tmp_path / "board", if_exists="replace").close()  # nothing there: made


def test_a_value_made_just_before_the_successor_is_not_missed(region: RegionFile) -> None:
    """Between the look at the version and that at the successor word both may come."""
    version = region.version

    def version_before() -> int:
        region.version = version  # type: ignore[method-assign]  # the second look is the real one
        latest = version()
        with locked(region):
            region.publish(b"last")
        os.pwrite(region._fd, records.SUCCEEDED, records.SUCCESSOR_OFFSET)
        return latest

    region.version = version_before  # type: ignore[method-assign]
    assert region.read_newer(1) == (2, b"last")
    with pytest.raises(Superseded):
        region.read_newer(2)


def test_another_type_is_named(tmp_path: Path) -> None:
    """Opening or keeping a region of another type says how they differ, and changes nothing."""
    file = make(tmp_path / "board")
    with pytest.raises(SchemaMismatch, match=r"another type: .*int"):
        attach(tmp_path / "board", contents=OTHER)
    with pytest.raises(SchemaMismatch):
        make(tmp_path / "board", if_exists="keep", contents=OTHER)
    file.close()


@pytest.mark.parametrize("if_exists", ["fail", "keep", "replace"])
def test_a_file_of_somebody_else_is_never_touched(tmp_path: Path, if_exists: IfExists) -> None:
    """A shopping list under the name is WrongKind for every verb, and stays as it is."""
    (tmp_path / "board").write_text("milk\n")
    with pytest.raises(WrongKind):
        make(tmp_path / "board", if_exists=if_exists)
    with pytest.raises(WrongKind):
        attach(tmp_path / "board")
    with pytest.raises(WrongKind):
        remove_shared(tmp_path / "board", Header, missing_ok=True)
    assert (tmp_path / "board").read_text() == "milk\n"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WrongKind):
        make(tmp_path / "pipe", if_exists=if_exists)
    assert sorted(os.listdir(tmp_path)) == ["board", "pipe"]


def test_remove_takes_the_lock_file_along(tmp_path: Path) -> None:
    """Removing by name leaves nothing; a second time there is nothing to remove."""
    make(tmp_path / "board", persist=True, mode=0o644).close()
    assert len(os.listdir(tmp_path)) == 2
    remove_shared(tmp_path / "board", Header, missing_ok=False)
    assert not os.listdir(tmp_path)
    remove_shared(tmp_path / "board", Header, missing_ok=True)
    with pytest.raises(NameNotFound):
        remove_shared(tmp_path / "board", Header, missing_ok=False)


def test_a_damaged_region_can_be_replaced_and_removed(tmp_path: Path) -> None:
    """What cannot be opened any more does not block its name for ever."""
    make(tmp_path / "board", persist=True).close()
    os.truncate(tmp_path / "board", 300)
    with pytest.raises(NameTaken):
        make(tmp_path / "board")
    make(tmp_path / "board", if_exists="replace", persist=True).close()
    os.truncate(tmp_path / "board", 300)
    remove_shared(tmp_path / "board", Header, missing_ok=False)
    assert not os.listdir(tmp_path)


# --- readers who may not write


@pytest.mark.parametrize(
    ("mode", "needed", "lock_mode"),
    [
        (0o600, False, 0o600),
        (0o660, False, 0o660),
        (0o666, False, 0o666),
        (0o644, True, 0o600),
        (0o640, True, 0o600),
        (0o664, True, 0o660),
    ],
)
def test_a_lock_file_is_there_where_some_may_only_read(mode: int, needed: bool, lock_mode: int) -> None:
    """Who may read but not write gets no access to what writers lock; who may write gets it."""
    assert needs_sidecar(mode) is needed
    assert writers_only(mode) == lock_mode


def test_a_mere_readers_lock_keeps_no_writer_out(tmp_path: Path) -> None:
    """A shared lock on the region itself, as any reader can take it, is not what writers ask for."""
    file = make(tmp_path / "board", mode=0o644)
    (lock_file,) = [name for name in os.listdir(tmp_path) if name != "board"]
    assert (tmp_path / lock_file).stat().st_mode & 0o777 == 0o600
    hostile = open_again(file._fd, writable=False)
    lowlevel.lock_ofd(hostile, exclusive=False)
    with locked(file):
        assert not attach_and_take(tmp_path / "board")
        file.publish(b"second")
    os.close(hostile)
    file.close()
    assert not os.listdir(tmp_path)


def test_a_reader_in_distress_needs_no_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writers lock another file a reader tries on without one."""
    file = make(tmp_path / "board", mode=0o644)
    monkeypatch.setattr(region_file, "READ_ATTEMPTS", 1)
    spoil_first_attempt(file, monkeypatch)
    assert file.read() == (2, b"other")
    monkeypatch.undo()
    os.pwrite(file._fd, b"O", file.header.slot_offset(2))
    with pytest.raises(Busy):
        file.read()
    file.close()


def test_without_its_lock_file_a_region_can_only_be_read(tmp_path: Path) -> None:
    """Writing without exclusion is refused, with what to do."""
    file = make(tmp_path / "board", mode=0o644)
    lock_file = Path(sidecar_path(str(tmp_path / "board"), file.header))
    lock_file.unlink()
    with pytest.raises(NotAllowed, match=r"lock file .* is missing"):
        attach(tmp_path / "board")
    lock_file.symlink_to("board")
    with pytest.raises(NotAllowed, match="lock file"):
        attach(tmp_path / "board")
    attach(tmp_path / "board", writable=False).close()
    file.close()


@pytest.mark.skipif(not ROOT, reason="needs root, to become another user")
def test_another_user_may_view_and_nothing_else(shared_directory: Path) -> None:
    """With read permission only: view works, open does not, and the lock is out of reach."""
    path = shared_directory / "board"
    file = make(path, mode=0o644)

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        view = attach(path, writable=False)
        assert view.read() == (1, b"first")
        view.listen().close()
        view.close()
        with pytest.raises(NotAllowed):
            attach(path)
        with pytest.raises(NotAllowed):
            make(path, if_exists="replace")

    assert forked(as_nobody) == 0
    file.close()


@pytest.mark.skipif(not ROOT, reason="needs root, to become another user")
def test_another_users_region_in_its_own_directory_may_be_viewed(shared_directory: Path) -> None:
    """Its directory's owner is the only one who can have put it there; in a directory open to all, nobody is."""
    path = shared_directory / "board"

    def as_nobody() -> None:
        os.setuid(65534)
        make(path, mode=0o644, persist=True).close()

    def as_another() -> None:
        os.setuid(65533)
        if path.parent.stat().st_mode & 0o002:
            with pytest.raises(NotAllowed, match="uid 65534"):
                attach(path, writable=False)
        else:
            attach(path, writable=False).close()

    os.chown(shared_directory, 65534, 65534)
    assert forked(as_nobody) == 0
    assert forked(as_another) == 0
    shared_directory.chmod(0o1777)
    assert forked(as_another) == 0


@pytest.fixture
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory which other users can get into."""
    import shutil
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="namedipc-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


# --- a full disk, and kills


def test_a_full_tmpfs_is_a_clean_error_and_leaves_nothing(small_tmpfs: Path) -> None:
    """No room: TooLarge at creation, never SIGBUS later; the directory is as before."""
    with pytest.raises(TooLarge, match="no room"):
        create_region(
            small_tmpfs / "board",
            CONTENTS,
            b"first",
            capacity_bytes=1 << 20,
            if_exists="fail",
            persist=False,
            mode=0o644,
            world=BLOCKING,
        )
    assert not os.listdir(small_tmpfs)
    file = make(small_tmpfs / "board")
    fill(small_tmpfs)
    for number in range(4):
        with locked(file):
            file.publish(bytes([number]) * 100)
    assert file.read() == (5, b"\3" * 100)
    file.close()


def test_a_kill_at_any_bytecode_of_a_write_leaves_a_whole_value_and_a_free_lock(tmp_path: Path) -> None:
    """SIGKILL, evenly spread over write, update and editing. NAMEDIPC_CAMPAIGN: how many points of each."""
    points = os.environ.get("NAMEDIPC_CAMPAIGN", "14")
    command = [sys.executable, "-m", "tests.region_kills", str(tmp_path / "board"), points]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (0, "")
    for line in done.stdout.splitlines():
        _, bytecodes, old, new = line.split()
        assert int(bytecodes) > 300
        assert int(old) + int(new) == int(points)
        assert int(old) > 0
        assert int(new) > 0
    assert len(done.stdout.splitlines()) == 3


def test_the_marks_of_writers_and_owner_are_different_bytes(region: RegionFile) -> None:
    """The owner's mark, held for the whole life of the name, keeps no writer out."""
    fd = open_again(region._fd)
    with pytest.raises(BlockingIOError):
        lowlevel.lock_ofd(fd, exclusive=True, start=OWNING, length=1)
    lowlevel.lock_ofd(fd, exclusive=True, start=WRITING, length=1)
    lowlevel.unlock_ofd(fd)
    assert read_header(fd, Header, where="board").uuid == region.header.uuid
    lock = FileLock(fd, where="board")
    assert not lock.own()
    lock.close()
    lock.close()
