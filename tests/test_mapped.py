"""Mapped memory in blocking code: the bytes, the lock, unfinished changes, generations, and what can go wrong."""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import (
    BlockingMemory,
    Busy,
    Closed,
    DeclarationError,
    NameNotFound,
    NameTaken,
    OwnerDied,
    ProtocolError,
    SchemaMismatch,
    SharedRegion,
    SharedStruct,
    TimedOut,
    TooLarge,
    WrongKind,
    lowlevel,
)

from .conftest import Children
from .memory_support import PAIR, Pair, Wide
from .region_support import fill, forked, script

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT_SECONDS = 0.05
LONG_SECONDS = 20.0


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[BlockingMemory[Pair]]:
    """A memory of two zeros."""
    with PAIR.at(tmp_path / "pair").create() as made:
        yield made


def again(memory: BlockingMemory[Pair]) -> SharedStruct[Pair]:
    """The name of an open memory."""
    return PAIR.at(memory._memory.file.path)


# --- the name


def test_it_is_a_value(tmp_path: Path) -> None:
    """Equal by path and structure, hashable, absolute when pickled; nothing is opened."""
    assert SharedStruct("pair", Pair) == PAIR
    assert SharedStruct("pair", Wide) != PAIR
    assert repr(PAIR) == "SharedStruct('pair', Pair)"
    assert pickle.loads(pickle.dumps(PAIR)) == PAIR.at(Path.cwd() / "pair")
    assert not PAIR.at(tmp_path / "pair").exists()


def test_what_cannot_be_shared_is_refused_when_declared() -> None:
    """Another class, pointers, nothing at all: the message has the name and the field."""

    class Linked(ctypes.Structure):
        _fields_ = [("next", ctypes.c_void_p)]

    class Empty(ctypes.Structure):
        _fields_ = []

    class Undeclared(ctypes.Structure):
        pass

    with pytest.raises(DeclarationError, match=r"SharedStruct\('x'\): needs a subclass of ctypes.Structure, not .*int"):
        SharedStruct("x", int)  # type: ignore[type-var]  # what a checker refuses too
    with pytest.raises(DeclarationError, match=r"'x'\): Linked: next is c_void_p"):
        SharedStruct("x", Linked)
    for layout in (Empty, Undeclared):
        with pytest.raises(DeclarationError, match="has 0 bytes"):
            SharedStruct("x", layout)
    with pytest.raises(DeclarationError, match="'x'"):
        SharedStruct("x", ctypes.Structure)
    with pytest.raises(DeclarationError, match="mode=0o400"):
        PAIR.create(mode=0o400)


def test_another_layout_is_named_by_its_first_field(memory: BlockingMemory[Pair]) -> None:
    """To open it or to keep it is SchemaMismatch with field and offset on both sides."""
    wide = SharedStruct(again(memory).path, Wide)
    for opening in (wide.open(), wide.create(if_exists="keep")):
        with pytest.raises(
            SchemaMismatch, match=r"second \(uint32 at byte 8\) here, second \(uint64 at byte 8\) there"
        ):
            opening.__enter__()


def test_a_region_is_no_mapped_memory(tmp_path: Path) -> None:
    """Neither is taken for the other, nor is any other file; none is touched."""
    with PAIR.at(tmp_path / "x").create(), pytest.raises(WrongKind, match="is mapped memory, not a SharedRegion"):
        SharedRegion(tmp_path / "x", int).open().__enter__()
    with SharedRegion(tmp_path / "x", int).create(3) as region:
        with pytest.raises(WrongKind, match="is a SharedRegion, not mapped memory"):
            PAIR.at(tmp_path / "x").open().__enter__()
        assert region.read() == 3
    (tmp_path / "x").write_text("milk\n")
    for opening in (PAIR.at(tmp_path / "x").open(), PAIR.at(tmp_path / "x").create(if_exists="replace")):
        with pytest.raises(WrongKind):
            opening.__enter__()
    assert (tmp_path / "x").read_text() == "milk\n"


# --- the memory itself


def test_an_attribute_is_the_memory(memory: BlockingMemory[Pair], child: Children) -> None:
    """What is stored here is there at once, in another handle and in another process, and the other way round."""
    other = child(
        script("""
        from tests.memory_support import PAIR
        with PAIR.at(sys.argv[1]).open() as memory:
            print(memory.content.first, flush=True)
            memory.content.second = 7
            print("stored", flush=True)
            input()
        """),
        str(again(memory).path),
    )
    memory.content.first = 41
    with again(memory).open() as mine:
        assert mine.content.both == (41, 0)
        assert mine.content is mine.content
        other.expect("41")
        other.expect("stored")
        assert mine.content.both == memory.content.both == (41, 7)
    other.say()


def test_the_structure_begins_at_a_page(memory: BlockingMemory[Pair]) -> None:
    """A program that knows nothing of this one maps it at 4096, and the file has no second slot."""
    memory.content.second = 1 << 40
    data = again(memory).path.read_bytes()
    assert len(data) == 8192
    assert data[4096:4112] == bytes(memory.content)


def test_content_that_is_kept_outlives_the_handle(tmp_path: Path) -> None:
    """Closed, `content` is refused; an object that was kept still is the memory, which goes with the last of them."""
    with PAIR.at(tmp_path / "pair").create(persist=True) as memory:
        kept = memory.content
    with pytest.raises(Closed, match="closed here"):
        memory.content  # noqa: B018  # it is a property
    for use in (memory.lock, memory.lock_shared, memory.recover):
        with pytest.raises(Closed):
            use().__enter__()
    with pytest.raises(Closed):
        memory.watch()
    memory.close()
    kept.first = 3
    with PAIR.at(tmp_path / "pair").open() as memory:
        assert memory.content.first == 3
    part = (ctypes.c_uint64 * 1).from_buffer(kept)
    del kept, memory
    gc.collect()
    assert part[0] == 3


def test_an_error_while_it_is_opened_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address space left: an error of the library, no descriptor, no name."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(lowlevel, "map_shared", refuse)
    with (
        pytest.raises(Exception, match=r"pair: cannot map its 16 bytes: .*memory"),
        PAIR.at(tmp_path / "pair").create(),
    ):
        pass
    assert not os.listdir(tmp_path)


# --- the lock


def test_a_change_raises_the_version(memory: BlockingMemory[Pair]) -> None:
    """Each clean exit of the lock is one; reading under the shared lock is none."""
    with again(memory).open() as other:
        assert memory.version == 1
        with memory.lock() as pair:
            pair.advance()
        with other.lock(timeout=LONG_SECONDS) as pair:
            pair.advance()
        with other.lock_shared() as pair:
            assert pair.both == (2, 2)
        assert memory.version == other.version == 3
        assert repr(memory).startswith("<BlockingMemory of ")


def test_readers_share_the_lock(memory: BlockingMemory[Pair]) -> None:
    """Two threads have it at the same time; who wants it alone waits, with a timeout; who has it asks in vain."""
    inside, done = threading.Event(), threading.Event()

    def read() -> None:
        with memory.lock_shared():
            inside.set()
            done.wait(LONG_SECONDS)

    reader = threading.Thread(target=read)
    reader.start()
    inside.wait(LONG_SECONDS)
    with again(memory).open() as other, other.lock_shared(timeout=LONG_SECONDS):
        for handle in (memory, other):
            for use in (handle.lock, handle.lock_shared, handle.recover):
                with pytest.raises(Busy, match="the very task or thread"):
                    use().__enter__()
    for timeout in (0, SHORT_SECONDS):
        for use in (memory.lock, memory.recover):
            with pytest.raises(TimedOut, match="held the lock"):
                use(timeout=timeout).__enter__()
    done.set()
    reader.join()
    with memory.lock(timeout=LONG_SECONDS), pytest.raises(Busy):
        memory.lock_shared().__enter__()
    for thread in threading.enumerate():
        if thread.name == "namedipc lock":
            thread.join(LONG_SECONDS)


ADDER = script("""
    from tests.memory_support import PAIR
    with PAIR.at(sys.argv[1]).open() as memory:
        print("ready", flush=True)
        input()
        for _ in range(300):
            with memory.lock() as pair:
                pair.advance()
""")


def test_processes_add_up_exactly(memory: BlockingMemory[Pair], child: Children) -> None:
    """Three of them, 300 changes each; under the shared lock the halves always agree, and nobody is starved."""
    adders = [child(ADDER, str(again(memory).path)) for _ in range(3)]
    for adder in adders:
        adder.expect("ready")
    for adder in adders:
        adder.say()
    while memory.version < 901:
        with memory.lock_shared(timeout=LONG_SECONDS) as pair:
            assert pair.first == pair.second
        if all(adder.process.poll() is not None for adder in adders):
            break
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    assert (memory.content.both, memory.version) == ((900, 900), 901)


READER = script("""
    from tests.memory_support import PAIR
    with PAIR.at(sys.argv[1]).open() as memory:
        print("ready", flush=True)
        while memory.content.second == 0:
            with memory.lock_shared() as pair:
                sum(range(20_000))
""")


def test_readers_who_never_pause_do_not_starve_a_writer(memory: BlockingMemory[Pair], child: Children) -> None:
    """Three of them overlap all the time; the writer gets its turn again and again."""
    readers = [child(READER, str(again(memory).path)) for _ in range(3)]
    for reader in readers:
        reader.expect("ready")
    for number in range(10):
        with memory.lock(timeout=LONG_SECONDS) as pair:
            pair.second = number // 9
    assert [reader.wait() for reader in readers] == [0, 0, 0]


# --- unfinished changes


def test_a_body_that_raises_leaves_the_change_unfinished(memory: BlockingMemory[Pair]) -> None:
    """Everybody is told, alone or shared, until somebody has recovered it; a failed recovery counts as nothing."""
    with again(memory).open() as other:
        with pytest.raises(ZeroDivisionError), memory.lock() as pair:
            pair.first = 1
            pair.second = 1 // 0
        assert memory.version == 1
        for _ in range(2):
            for use in (memory.lock, other.lock, other.lock_shared):
                with pytest.raises(OwnerDied, match=r"pair: .*half changed.*recover"):
                    use(timeout=0).__enter__()
            with pytest.raises(ZeroDivisionError), other.recover() as pair:
                pair.second = 1 // 0
        with other.recover(timeout=0) as pair:
            assert pair.both == (1, 0)
            pair.second = 1
        with memory.lock() as pair:
            assert pair.both == (1, 1)
        assert memory.version == 3


def test_a_shared_body_that_raises_changes_nothing(memory: BlockingMemory[Pair]) -> None:
    """Who only reads leaves no mark, and no lock."""
    with pytest.raises(ZeroDivisionError), memory.lock_shared() as pair:
        pair.first // 0
    with memory.lock(timeout=0):
        pass


def test_the_next_after_a_killed_holder_is_told(memory: BlockingMemory[Pair], child: Children) -> None:
    """SIGKILL between two stores: the lock is free at once, and whoever takes it knows."""
    holder = child(
        script("""
        from tests.memory_support import PAIR
        with PAIR.at(sys.argv[1]).open() as memory, memory.lock() as pair:
            pair.first += 1
            print("half", flush=True)
            input()
        """),
        str(again(memory).path),
    )
    holder.expect("half")
    with pytest.raises(TimedOut):
        memory.lock(timeout=0).__enter__()
    holder.kill()
    with pytest.raises(OwnerDied):
        memory.lock(timeout=0).__enter__()
    with memory.recover(timeout=0) as pair:
        assert pair.both == (1, 0)
        pair.second = pair.first


def test_a_kill_at_any_bytecode_is_told_exactly_if_it_left_a_mark(tmp_path: Path) -> None:
    """SIGKILL, evenly spread over lock and recover. NAMEDIPC_CAMPAIGN: how many points of each."""
    points = os.environ.get("NAMEDIPC_CAMPAIGN", "18")
    command = [sys.executable, "-m", "tests.memory_kills", str(tmp_path / "pair"), points]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (0, "")
    for line in done.stdout.splitlines():
        _, _, *counts = line.split()
        assert sum(map(int, counts)) == int(points)
        assert all(map(int, counts)), "old, marked and new were all met"
    assert len(done.stdout.splitlines()) == 2


# --- being told of changes


def test_watch_gives_the_version_now_and_the_latest_after_changes(memory: BlockingMemory[Pair]) -> None:
    """Changes in between are skipped, the last never; a change without the lock is none."""
    with again(memory).open() as other:
        watch = other.watch()
        assert next(watch) == 1
        for _ in range(3):
            with memory.lock() as pair:
                pair.advance()
        assert next(watch) == 4

        def change() -> None:
            memory.content.first = 0
            with memory.lock() as pair:
                pair.advance()

        later = threading.Timer(SHORT_SECONDS, change)
        later.start()
        assert next(watch) == 5
        later.join()
        later = threading.Timer(SHORT_SECONDS, other.close)
        later.start()
        with pytest.raises(Closed):
            next(watch)
        later.join()


def test_without_inotify_it_polls(memory: BlockingMemory[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    """With no instance left a change is seen all the same."""

    def refuse() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(lowlevel, "create_inotify", refuse)
    watch = memory.watch()
    assert next(watch) == 1

    def change() -> None:
        with memory.lock():
            pass

    later = threading.Timer(SHORT_SECONDS, change)
    later.start()
    assert next(watch) == 2
    later.join()


# --- generations


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_replaced_memory_says_so_and_stays(tmp_path: Path, mode: int) -> None:
    """Its openers keep it, their watches end after the last change, and the name gives them the new one."""
    name = PAIR.at(tmp_path / "pair")
    with name.create(mode=mode) as old, name.open() as opened:
        watch = opened.watch()
        assert next(watch) == 1
        assert [memory.is_current for memory in (opened, old)] == [True, True]
        with SharedStruct(tmp_path / "pair", Wide).create(if_exists="replace", mode=mode) as new:
            assert [memory.is_current for memory in (opened, old)] == [False, False]
            assert new.is_current
            with old.lock() as pair:
                pair.advance()
            assert list(watch) == [2]
            assert list(watch) == []
            assert opened.content.both == (1, 1)
            with SharedStruct(tmp_path / "pair", Wide).open(wait_seconds=1) as moved:
                assert next(moved.watch()) == 1
    assert not os.listdir(tmp_path)


def test_a_sleeping_watch_is_woken_by_the_successor(memory: BlockingMemory[Pair]) -> None:
    """Whoever waits for a change of what nobody will change any more is told."""
    watch = memory.watch()
    assert next(watch) == 1

    def replace() -> None:
        with SharedStruct(again(memory).path, Wide).create(if_exists="replace"):
            done.wait(LONG_SECONDS)

    done = threading.Event()
    later = threading.Timer(SHORT_SECONDS, replace)
    later.start()
    assert list(watch) == []
    done.set()
    later.join()


def test_what_persists_is_there_for_the_next(tmp_path: Path) -> None:
    """Content and version; `keep` opens it, `fail` refuses, `remove` takes it."""
    name = PAIR.at(tmp_path / "pair")
    with pytest.raises(NameNotFound):
        name.open().__enter__()
    with name.create(persist=True) as memory, memory.lock() as pair:
        pair.advance()
    with pytest.raises(NameTaken):
        name.create().__enter__()
    with name.create(if_exists="keep") as memory:
        assert (memory.content.both, memory.version) == ((1, 1), 2)
        name.remove()
        assert not memory.is_current
        assert memory.content.both == (1, 1)
    assert not os.listdir(tmp_path)


def test_a_killed_creators_name_is_made_anew(tmp_path: Path) -> None:
    """At once, with zeros; whoever has the old memory open is told."""
    name = PAIR.at(tmp_path / "pair")

    def create_and_die() -> None:
        with name.create() as memory, memory.lock() as pair:
            pair.advance()
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(create_and_die) == -signal.SIGKILL
    with name.open() as left:
        watch = left.watch()
        assert next(watch) == 1
        with name.create() as memory:
            assert memory.content.both == (0, 0)
            assert list(watch) == []
            assert left.content.both == (1, 1)
            with memory.lock():
                pass
            with pytest.raises(OwnerDied):
                left.lock().__enter__()


# --- what the kernel does to us


def test_a_file_cut_short_is_refused_before_it_is_touched(memory: BlockingMemory[Pair]) -> None:
    """Opening and each lock look at the size; to touch the content itself would be SIGBUS, as the guide says."""
    os.truncate(again(memory).path, 4096)
    for use in (memory.lock, memory.lock_shared, memory.recover):
        with pytest.raises(ProtocolError, match="cut the region's file short"):
            use().__enter__()
    with pytest.raises(ProtocolError):
        next(memory.watch())
    with pytest.raises(ProtocolError):
        again(memory).open().__enter__()


def test_a_truncated_mapping_kills_who_touches_it(tmp_path: Path) -> None:
    """The risk of the default mode, which the guide tells: SIGBUS for whoever does not look first."""

    def touch() -> None:
        faulthandler.disable()  # nobody has to be told of it
        with PAIR.at(tmp_path / "pair").create() as memory:
            os.truncate(tmp_path / "pair", 4096)
            memory.content.advance()

    assert forked(touch) == -signal.SIGBUS


def test_a_full_tmpfs_is_a_clean_error_and_leaves_nothing(small_tmpfs: Path) -> None:
    """No room is said when the memory is made; what was made can be stored to when the disk is full."""

    class Large(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint8 * (1 << 20))]

    class Small(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint8 * (1 << 14))]

    with pytest.raises(TooLarge, match="no room"):
        SharedStruct(small_tmpfs / "large", Large).create().__enter__()
    assert not os.listdir(small_tmpfs)
    with SharedStruct(small_tmpfs / "small", Small).create() as memory:
        fill(small_tmpfs)
        with memory.lock() as small:
            ctypes.memset(small.bytes, 1, 1 << 14)
        assert sum(memory.content.bytes) == 1 << 14


def test_a_fork_while_holding_leaves_the_lock_with_the_parent(memory: BlockingMemory[Pair]) -> None:
    """The child's handle is closed, its end of the `with` takes nothing off, and it opens the name itself."""

    def in_child() -> None:
        with pytest.raises(Closed, match="before a fork"):
            memory.content  # noqa: B018  # it is a property
        with again(memory).open() as own:
            assert own.content.both == (1, 0)
            with pytest.raises(TimedOut):
                own.lock(timeout=0).__enter__()
        memory.close()

    def leave_in_child() -> None:
        with pytest.raises(Closed):
            changing.__exit__(None, None, None)

    changing = memory.lock()
    pair = changing.__enter__()
    pair.first = 1
    assert forked(in_child) == 0
    assert forked(leave_in_child) == 0
    with again(memory).open() as other, pytest.raises(Busy):
        other.lock().__enter__()
    pair.second = 1
    changing.__exit__(None, None, None)
    assert again(memory).exists()
    with memory.lock(timeout=0) as pair:
        assert pair.both == (1, 1)


ELSEWHERE = script("""
    from pathlib import Path
    from tests.memory_support import PAIR
    with (
        PAIR.at(sys.argv[1]).open() as memory,
        PAIR.at(Path(sys.argv[1]).with_name("own")).create(),
        memory.lock() as pair,
    ):
        pair.first += 1
        print(os.getpid(), flush=True)
        input()
""")


def test_a_holder_in_another_pid_namespace_is_like_any_other(
    memory: BlockingMemory[Pair], child: Children, unshare: list[str]
) -> None:
    """Its number means nothing here; its lock excludes, and its death is told, and frees the name it had."""
    path = Path(again(memory).path)
    holder = child(
        f"import os; os.execvp('unshare', {[*unshare, sys.executable, '-c', 'import os; ' + ELSEWHERE, str(path)]!r})"
    )
    holder.expect("1")
    with pytest.raises(TimedOut):
        memory.lock(timeout=0).__enter__()
    with pytest.raises(NameTaken):
        PAIR.at(path.with_name("own")).create().__enter__()
    holder.kill()
    with pytest.raises(OwnerDied):
        memory.lock(timeout=LONG_SECONDS).__enter__()
    with memory.recover() as pair:
        assert pair.both == (1, 0)
        pair.second = pair.first
    deadline = time.monotonic() + LONG_SECONDS
    while True:
        try:
            with PAIR.at(path.with_name("own")).create() as own:
                assert own.content.both == (0, 0)
            break
        except NameTaken:  # it is being killed, and the kernel has closed one of its files only
            assert time.monotonic() < deadline


def test_threads_with_two_handles_exclude_each_other(memory: BlockingMemory[Pair]) -> None:
    """Four threads, two handles, no change lost and no hang."""
    with again(memory).open() as other:

        def add(handle: BlockingMemory[Pair]) -> None:
            for _ in range(50):
                with handle.lock(timeout=LONG_SECONDS) as pair:
                    pair.advance()

        threads = [threading.Thread(target=add, args=(handle,)) for handle in (memory, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_SECONDS)
    assert memory.content.both == (200, 200)
    for thread in threading.enumerate():
        if thread.name == "namedipc lock":
            thread.join(LONG_SECONDS)


def test_closed_by_another_thread_while_it_is_changed(memory: BlockingMemory[Pair]) -> None:
    """The lock is gone with the handle, so the change does not count as finished."""
    with again(memory).open() as other:
        with pytest.raises(Closed), other.lock() as pair:
            pair.advance()
            other.close()
        with pytest.raises(OwnerDied):
            memory.lock(timeout=0).__enter__()


def test_declaring_a_memory_imports_neither_trio_nor_numpy() -> None:
    """A blocking program stays light."""
    code = (
        "import ctypes, sys; from tests.memory_support import PAIR; PAIR.open(); "
        "sys.exit('trio' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0
