"""Fifo and RawFifo: the names, what both worlds have in common, and many real processes at once."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from math import nan
from pathlib import Path
from typing import assert_type

import attrs
import pytest

from namedipc import lowlevel
from namedipc._errors import (
    DeclarationError,
    IPCError,
    NameNotFound,
    NoServer,
    NotAllowed,
    TimedOut,
    WrongKind,
)
from namedipc._fifo import Fifo, RawFifo
from namedipc._protocol.fragments import Writer
from namedipc._shells import fifo_opening
from namedipc._shells.fifo_messages import MessageReceiver
from namedipc._shells.fifo_opening import open_reading, opening_writing
from namedipc._shells.process_identity import has_ended, namespaces

from .conftest import Children
from .fifo_support import packet_end, packets, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


@attrs.frozen
class Order:
    """A message."""

    table: int
    dish: str


# ------------------------------------------------------------ names


def test_names_are_values(tmp_path: Path) -> None:
    """A FIFO's name is equal to another of the same path and type, moves with at(), and pickles."""
    orders = Fifo(tmp_path / "orders", Order)
    assert_type(orders, Fifo[Order])
    assert orders == Fifo(tmp_path / "orders", Order)
    assert orders != Fifo(tmp_path / "orders", str)
    assert orders != RawFifo(tmp_path / "orders")
    assert orders.at("elsewhere") == Fifo("elsewhere", Order)
    assert pickle.loads(pickle.dumps(orders)) == orders
    assert pickle.loads(pickle.dumps(RawFifo("x"))) == RawFifo(Path("x").absolute())
    assert not orders.exists()


def test_local_classes_and_strings(tmp_path: Path) -> None:
    """The type may be a local class, named by a string in the declaring function."""

    @attrs.frozen
    class Local:
        number: int

    fifo: Fifo[Local] = Fifo(tmp_path / "f", "Local")
    with fifo.reader() as reader, fifo.writer() as writer:
        writer.send(Local(3))
        assert reader.receive() == Local(3)


def test_refused_declarations(tmp_path: Path) -> None:
    """A path or a type that cannot be is refused where it is declared."""
    with pytest.raises(DeclarationError, match="list"):
        Fifo(tmp_path / "f", list)
    with pytest.raises(DeclarationError, match="int"):
        Fifo(5, str)  # type: ignore[arg-type]  # the error is what is tested
    with pytest.raises(DeclarationError, match="NUL"):
        RawFifo("a\0b")


@pytest.mark.parametrize("fifo", [Fifo("f", str), RawFifo("f")])
def test_refused_options(fifo: Fifo[str] | RawFifo) -> None:
    """Options out of their range are refused by the verb, before anything is opened."""
    for refused in (
        lambda: fifo.writer(mode=0o1777),
        lambda: fifo.reader(mode=0),
        lambda: fifo.writer(wait_seconds=-1),
        lambda: fifo.writer(wait_seconds=nan),
        lambda: fifo.writer(capacity_bytes=0),
    ):
        with pytest.raises(DeclarationError):
            refused()


def test_either_end_makes_it(tmp_path: Path) -> None:
    """Whichever end comes first makes the FIFO, with exactly its permissions, and it stays."""
    old = os.umask(0o077)
    try:
        with Fifo(tmp_path / "r", str).reader(mode=0o622):
            pass
        with pytest.raises(NoServer), Fifo(tmp_path / "w", str).writer(wait_seconds=0):
            pass
    finally:
        os.umask(old)
    assert stat.S_ISFIFO((tmp_path / "r").lstat().st_mode)
    assert stat.S_IMODE((tmp_path / "r").lstat().st_mode) == 0o622
    assert stat.S_IMODE((tmp_path / "w").lstat().st_mode) == 0o600
    Fifo(tmp_path / "r", str).remove()
    assert not (tmp_path / "r").exists()


def test_not_to_be_made(tmp_path: Path) -> None:
    """With create=False nothing is made, and what is missing is said."""
    fifo = Fifo(tmp_path / "f", str)
    with pytest.raises(NameNotFound, match=r"/f: "), fifo.reader(create=False):
        pass
    with pytest.raises(NameNotFound), fifo.writer(create=False, wait_seconds=0):
        pass
    with pytest.raises(NameNotFound), fifo.writer(create=False, wait_seconds=0.02):
        pass
    with pytest.raises(NameNotFound), Fifo(tmp_path / "missing" / "f", str).writer():
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_are_not_touched(tmp_path: Path) -> None:
    """A regular file, a directory, and a symbolic link even to a FIFO, are refused and left alone."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("file", "directory", "link"):
        with pytest.raises(WrongKind, match=name), Fifo(tmp_path / name, str).reader():
            pass
        with pytest.raises(WrongKind, match=name), RawFifo(tmp_path / name).writer():
            pass
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a FIFO to another user")
def test_a_planted_fifo_is_refused(tmp_path: Path) -> None:
    """In a directory where others may write, another user's FIFO is refused for both directions."""
    tmp_path.chmod(0o1777)
    os.mkfifo(tmp_path / "f", 0o666)
    os.chown(tmp_path / "f", 12345, 12345)
    with pytest.raises(NotAllowed, match="12345"), Fifo(tmp_path / "f", str).reader():
        pass
    with pytest.raises(NotAllowed, match="12345"), Fifo(tmp_path / "f", str).writer():
        pass


def test_remove_at_close(tmp_path: Path) -> None:
    """reader(remove=True) removes the name at its close, unless it stands for another FIFO by then."""
    fifo = Fifo(tmp_path / "f", str)
    with fifo.reader(remove=True):
        assert fifo.exists()
    assert not fifo.exists()
    with fifo.reader(remove=True):
        fifo.remove()
        os.mkfifo(tmp_path / "f")
    assert fifo.exists()


def test_remove_at_close_after_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name is what it was when it was opened, also for the removal."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with Fifo("f", str).reader(remove=True):
        monkeypatch.chdir(tmp_path / "other")
    assert not (tmp_path / "f").exists()


# ------------------------------------------------------------ opening a writer


def test_no_reader_is_not_waited_for(tmp_path: Path) -> None:
    """wait_seconds=0 says at once that nobody reads; a short wait says that it has passed."""
    with pytest.raises(NoServer, match="nobody"), Fifo(tmp_path / "f", str).writer(wait_seconds=0):
        pass
    with pytest.raises(TimedOut, match=r"0\.02 seconds"), RawFifo(tmp_path / "f").writer(wait_seconds=0.02):
        pass


def test_a_reader_wakes_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting writer is woken by the reader's open, not by looking again."""
    monkeypatch.setattr(fifo_opening, "FIRST_POLL_SECONDS", 1e6)
    plan = opening_writing(tmp_path / "f", create=True, mode=0o600, wait_seconds=1e7, capacity_bytes=None)
    pause = next(plan)
    assert pause.fd is not None
    assert pause.seconds == 1e6
    assert not lowlevel.wait_ready(pause.fd, timeout_seconds=0)
    with Fifo(tmp_path / "f", str).reader():
        assert lowlevel.wait_ready(pause.fd, timeout_seconds=0)
        assert next(plan).seconds < 1  # the nap between two tries
        with pytest.raises(StopIteration) as done:
            next(plan)
        done.value.value.close()


def test_a_writer_without_events_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no inotify instance is left, the reader is found by looking now and then."""

    def none_left() -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(lowlevel, "create_inotify", none_left)
    plan = opening_writing(tmp_path / "f", create=True, mode=0o600, wait_seconds=1e7, capacity_bytes=None)
    assert next(plan).seconds == fifo_opening.FIRST_POLL_SECONDS
    next(plan)
    assert next(plan).seconds == 2 * fifo_opening.FIRST_POLL_SECONDS
    with Fifo(tmp_path / "f", str).reader():
        next(plan)
        with pytest.raises(StopIteration) as done:
            next(plan)
        done.value.value.close()


def test_a_waiting_writer_follows_the_name(tmp_path: Path) -> None:
    """A FIFO that is removed and made anew while a writer waits is not waited for in vain."""
    fifo = Fifo(tmp_path / "f", str)
    plan = opening_writing(fifo.path, create=True, mode=0o600, wait_seconds=1e7, capacity_bytes=None)
    next(plan)
    fifo.remove()
    with fifo.reader() as reader, fifo.writer() as writer:
        next(plan)
        with pytest.raises(StopIteration) as done:
            next(plan)
        done.value.value.close()
        writer.send("to the new one")
        assert reader.receive() == "to the new one"


def test_a_writer_waits_for_the_name(tmp_path: Path, child: Children) -> None:
    """A writer that may not make the FIFO waits until a reader in another process has made it."""
    process = child(
        """
        import sys
        from namedipc._fifo import Fifo
        fifo = Fifo(sys.argv[1], str)
        print("ready", flush=True)
        input()
        with fifo.reader() as reader:
            print(reader.receive(), flush=True)
        """,
        str(tmp_path / "f"),
    )
    process.expect("ready")
    plan = opening_writing(tmp_path / "f", create=False, mode=0o600, wait_seconds=1e7, capacity_bytes=None)
    next(plan)
    plan.close()
    process.say()
    with Fifo(tmp_path / "f", str).writer(create=False) as writer:
        writer.send("found")
        process.expect("found")


def test_a_writer_is_never_a_reader(tmp_path: Path) -> None:
    """The writing end is open for writing only, so that what nobody reads is not accepted."""
    end = open_reading(tmp_path / "f", create=True, mode=0o600, until_writers_gone=True, remove=False)
    with pytest.raises(StopIteration) as done:
        next(opening_writing(tmp_path / "f", create=True, mode=0o600, wait_seconds=0, capacity_bytes=None))
    writing = done.value.value
    flags = Path(f"/proc/self/fdinfo/{writing._fd}").read_text().split("flags:")[1].split()[0]
    assert int(flags, 8) & os.O_ACCMODE == os.O_WRONLY
    writing.close()
    end.close()


def test_capacity_is_a_wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is asked for the capacity; if it refuses, the writer opens all the same."""
    fifo = RawFifo(tmp_path / "f")
    with fifo.reader(), fifo.writer(capacity_bytes=100_000) as writer:
        assert lowlevel.pipe_capacity(writer._end._fd) == 131_072

    def refuse(fd: int, size_bytes: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(lowlevel, "set_pipe_capacity", refuse)
    with fifo.reader(), fifo.writer(capacity_bytes=1 << 20) as writer:
        writer.send_all(b"all the same")


def test_permissions_that_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the permissions of the FIFO refuse is NotAllowed, for either end, and leaves nothing open."""

    def refuse(path: str) -> int:
        raise PermissionError(13, "Permission denied")

    fifo = Fifo(tmp_path / "f", str)
    monkeypatch.setattr(lowlevel, "open_fifo_for_writing", refuse)
    with pytest.raises(NotAllowed, match="writing"), fifo.writer():
        pass
    monkeypatch.setattr(lowlevel, "open_fifo_for_reading", refuse)
    with pytest.raises(NotAllowed, match="reading"), fifo.reader():
        pass


def test_no_descriptor_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the descriptors run out in the middle of opening, the error names the path and nothing stays open."""

    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    fifo = Fifo(tmp_path / "f", str)
    with fifo.reader():
        for call in ("eventfd", "Epoll"):
            with monkeypatch.context() as patch:
                patch.setattr(lowlevel, call, none_left)
                with pytest.raises(IPCError, match=r"/f: .*descriptor"), fifo.writer():
                    pass
                with pytest.raises(IPCError, match=r"/f: .*descriptor"), fifo.reader(remove=True):
                    pass
        with monkeypatch.context() as patch:
            patch.setattr(lowlevel, "open_fifo_for_writing", none_left)
            with pytest.raises(IPCError, match=r"/f: .*descriptor"), fifo.reader(remove=True):
                pass
    assert fifo.exists()


# ------------------------------------------------------------ what readers see


def test_no_spin_when_the_last_writer_has_left(tmp_path: Path) -> None:
    """A reader that stays is not woken by a FIFO without writers, before the first and after the last."""
    fifo = Fifo(tmp_path / "f", str)
    with fifo.reader() as reader:
        for _ in range(2):
            plan = reader._receiver.receiving(1)
            pause = next(plan)
            assert pause.fd is not None
            with fifo.writer():
                pass
            assert not lowlevel.wait_ready(pause.fd, timeout_seconds=0)
            plan.close()


def test_no_spin_before_the_first_writer(tmp_path: Path) -> None:
    """A reader that ends with the writers is silent until the first has come, and woken when it has left."""
    fifo = Fifo(tmp_path / "f", str)
    with fifo.reader(until_writers_gone=True) as reader:
        plan = reader._receiver.receiving(1)
        pause = next(plan)
        assert pause.fd is not None
        assert not lowlevel.wait_ready(pause.fd, timeout_seconds=0)
        with fifo.writer():
            pass
        assert lowlevel.wait_ready(pause.fd, timeout_seconds=0)
        plan.close()
        assert list(reader) == []


def test_a_reader_without_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that cannot keep a writing end of its own looks now and then instead of spinning."""
    fifo = Fifo(tmp_path / "f", str)
    with monkeypatch.context() as patch:

        def refuse(path: str) -> int:
            raise PermissionError(13, "Permission denied")

        patch.setattr(lowlevel, "open_fifo_for_writing", refuse)
        opened = fifo.reader()
        reader = opened.__enter__()
    try:
        with fifo.writer() as writer:
            writer.send("first")
        assert reader.receive() == "first"
        plan = reader._receiver.receiving(1)
        pause = next(plan)
        assert pause.fd is not None
        assert 0 < pause.seconds < 1
        assert not lowlevel.wait_ready(pause.fd, timeout_seconds=0)
        plan.close()
        with fifo.writer() as writer:
            writer.send("second")
            assert reader.receive() == "second"
            writer.send("third")
            assert reader.receive() == "third"
    finally:
        opened.__exit__(None, None, None)


def test_at_most_once(tmp_path: Path) -> None:
    """What nobody has received is gone with the last end, as the docstring says."""
    fifo = Fifo(tmp_path / "f", str)
    with fifo.reader(), fifo.writer() as writer:
        writer.send("lost")
    with fifo.reader() as reader, fifo.writer() as writer:
        writer.send("new")
        assert reader.receive() == "new"


def test_messages_outlive_their_reader(tmp_path: Path) -> None:
    """What lies in the FIFO while a writer stays is received by the next reader."""
    fifo = Fifo(tmp_path / "f", str)
    with fifo.reader() as first, fifo.writer() as writer:
        writer.send_many(["a", "b"])
        assert first.receive() == "a"
        first.close()
        with fifo.reader() as second:
            assert second.receive() == "b"


def test_a_dead_writers_message_is_dropped(tmp_path: Path, child: Children) -> None:
    """A message whose writer was killed in the middle holds nobody up, and the turn is free again."""
    fifo = Fifo(tmp_path / "f", str)
    process = child(
        """
        import sys
        sys.path.insert(0, sys.argv[2])
        from namedipc import lowlevel
        from namedipc._fifo import Fifo
        from tests.fifo_support import packet_end, packets
        fifo = Fifo(sys.argv[1], str)
        with packet_end(fifo.path) as fd:
            for packet in packets(fifo, "x" * 20_000)[:3]:
                lowlevel.write_pipe(fd, packet)
            print("begun", flush=True)
            input()
        """,
        str(fifo.path),
        str(Path(__file__).parent.parent),
    )
    with fifo.reader() as reader, fifo.reader() as other, fifo.writer() as writer:
        process.expect("begun")
        writer.send("whole")
        assert reader.receive() == "whole"
        with pytest.raises(TimedOut):
            reader.receive(timeout=0.15)  # the writer lives: it is waited for
        with pytest.raises(TimedOut):
            other.receive(timeout=0)  # and the turn kept
        process.kill()
        with pytest.raises(TimedOut):
            reader.receive(timeout=0.3)
        assert reader.dropped == 1
        writer.send("next")
        assert other.receive() == "next"


def test_a_dead_writers_message_is_dropped_under_load(tmp_path: Path) -> None:
    """It is dropped as soon as all that lay in the FIFO at its death was read, though more keeps coming."""
    fifo = Fifo(tmp_path / "f", str)
    dead = attrs.evolve(this_writer_is_gone(), namespaces=namespaces())
    with fifo.reader() as reader, fifo.writer() as writer, packet_end(fifo.path) as fd:
        lowlevel.write_pipe(fd, packets(fifo, "x" * 20_000, dead)[0])
        receiver = reader._receiver
        assert isinstance(receiver, MessageReceiver)
        for _ in range(3):
            writer.send_many(["a", "b"])
            receiver._next_sweep = 0.0
            assert reader.receive() == "a"
            assert reader.receive() == "b"
        assert reader.dropped == 1


def this_writer_is_gone() -> Writer:
    """A writer whose process has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return Writer(b"departed", process.pid, 1, 0)


def test_a_writer_of_other_namespaces_is_not_judged(tmp_path: Path) -> None:
    """A process number that means nothing here is not taken for that of a dead process."""
    fifo = Fifo(tmp_path / "f", str)
    elsewhere = attrs.evolve(this_writer_is_gone(), namespaces=namespaces() ^ 1)
    first, *rest = packets(fifo, "x" * 20_000, elsewhere)
    with fifo.reader() as reader, packet_end(fifo.path) as fd:
        lowlevel.write_pipe(fd, first)
        with pytest.raises(TimedOut):
            reader.receive(timeout=0.12)
        for packet in rest:
            lowlevel.write_pipe(fd, packet)
        assert reader.receive() == "x" * 20_000


def test_has_ended() -> None:
    """A process has ended when its number is free, another's, or waits to be reaped; not when it lives."""
    pid = os.getpid()
    started = lowlevel.process_start_time(pid)
    assert not has_ended(pid, started)
    assert has_ended(pid, started - 1)
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    start_time = lowlevel.process_start_time(process.pid)
    assert not has_ended(process.pid, start_time)
    process.kill()
    wait_until(lambda: has_ended(process.pid, start_time))  # not reaped yet
    process.wait()
    assert has_ended(process.pid, start_time)
    assert process.stdin is not None
    process.stdin.close()


def test_a_hidden_process_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process which /proc hides from this user is not taken for a dead one."""

    def hidden(pid: int) -> int:
        raise ProcessLookupError(2, "no such process")

    def forbidden(pid: int, signal: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", forbidden)
    monkeypatch.setattr(lowlevel, "process_start_time", hidden)
    monkeypatch.setattr(lowlevel, "process_alive", lambda pid, start_time: False)
    assert not has_ended(os.getpid(), 1)


# ------------------------------------------------------------ many processes

KILLS = int(os.environ.get("NAMEDIPC_CAMPAIGN", "24"))


@pytest.mark.timeout(60 + KILLS)
@pytest.mark.parametrize("whom", ["writers", "all"])
def test_kills_at_any_moment(tmp_path: Path, whom: str) -> None:
    """Nobody sees a damaged message, or one twice; none is lost but in a reader's hands. NAMEDIPC_CAMPAIGN: kills."""
    command = [sys.executable, "-m", "tests.fifo_kills", str(tmp_path / "f"), str(KILLS), whom]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    counted = {what: int(number) for what, number in (line.split(": ") for line in done.stdout.splitlines())}
    assert counted["killed readers"] == (KILLS // 3 if whom == "all" else 0)
    assert counted["killed writers"] == KILLS - counted["killed readers"]
    assert counted["received"] >= 12
    assert whom == "all" or counted["lost"] == 0


def test_a_reader_killed_with_the_turn(tmp_path: Path, child: Children) -> None:
    """A reader killed in the middle of a message gives the turn to the next, who skips the rest of that one."""
    fifo = Fifo(tmp_path / "f", str)
    process = child(
        """
        import sys
        from namedipc._fifo import Fifo
        with Fifo(sys.argv[1], str).reader() as reader:
            print("reading", flush=True)
            reader.receive()
        """,
        str(fifo.path),
    )
    process.expect("reading")
    first, *rest = packets(fifo, "x" * 20_000)
    with packet_end(fifo.path) as fd:
        lowlevel.write_pipe(fd, first)
        wait_until(lambda: lowlevel.unread_bytes(fd) == 0)
        with fifo.reader() as reader:
            for packet in rest[:2]:
                lowlevel.write_pipe(fd, packet)
            wait_until(lambda: lowlevel.unread_bytes(fd) == 0)
            with pytest.raises(TimedOut):
                reader.receive(timeout=0.02)
            process.kill()
            for packet in rest[2:] + packets(fifo, "next"):
                lowlevel.write_pipe(fd, packet)
            assert reader.receive() == "next"


def test_a_forked_child_has_no_end(tmp_path: Path, child: Children) -> None:
    """After a fork the ends are the parent's: closed in the child, and unharmed by its end."""
    process = child(
        """
        import os, sys
        from namedipc._errors import Closed
        from namedipc._fifo import Fifo
        fifo = Fifo(sys.argv[1], str)
        with fifo.reader(remove=True) as reader, fifo.writer() as writer:
            writer.send("before")
            if os.fork() == 0:
                status = 0
                for use in (lambda: reader.receive(timeout=0), lambda: writer.send("x"), reader.receive_nowait):
                    try:
                        use()
                        status = 1
                    except Closed:
                        pass
                reader.close()
                writer.close()
                os._exit(status)
            print(os.wait()[1], flush=True)
            print(fifo.exists(), reader.receive(), flush=True)
            writer.send("after")
            print(reader.receive(), flush=True)
        """,
        str(tmp_path / "f"),
    )
    assert [process.read_line() for _ in range(3)] == ["0", "True before", "after"]
    assert process.wait() == 0
    assert not (tmp_path / "f").exists()
