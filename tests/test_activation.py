"""Socket activation: the manager's socket is served, under a lock as ever, and its name is never removed."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from namedipc import Channel, NameTaken, Service, lowlevel
from namedipc._card import make_card
from namedipc._names import Claim, _activation, claim_socket, inherit_claim, read_card

from .conftest import Children
from .kitchen import Kitchen, Order
from .names_support import shared_directory

SECONDS = 20.0


@pytest.fixture(autouse=True)
def checked(no_leaks: None) -> None:
    """No test of this module leaves a descriptor open."""


@pytest.fixture
def name() -> Iterator[Path]:
    """A name in an empty directory, short enough for an address: a manager binds to the path itself."""
    with shared_directory(0o700) as directory:
        yield directory / "kitchen"


def listening(path: Path) -> socket.socket:
    """What a manager makes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(16)
    return listener


# --- a manager and the server that it starts


MANAGER = """
    import os, socket, sys

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(16)
    print(os.getpid(), flush=True)
    while input() == "start":
        pid = os.fork()
        if pid == 0:
            os.dup2(listener.fileno(), 3)
            os.set_inheritable(3, True)  # where it was 3 before, dup2 has changed nothing
            os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
            os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1]])
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

SERVER = """
import fcntl, os, sys
from namedipc import NameTaken, Service
from tests.kitchen import Chef, Kitchen

def ready(server):
    private = fcntl.fcntl(3, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    print(os.getpid(), private, os.get_blocking(3), os.environ["LISTEN_PID"] == str(os.getpid()), flush=True)

Service(sys.argv[1], Kitchen).run(Chef(), ready=ready)
try:
    with Service(sys.argv[1], Kitchen).serve(Chef()):
        pass
except NameTaken:
    print("a socket is used once", flush=True)
"""


def test_a_service_is_started_by_a_manager_that_keeps_its_socket(name: Path, child: Children) -> None:
    """It ends and is started again: the name stays, and a call that was made in between is answered."""
    manager = child(MANAGER, str(name), SERVER)
    manager_pid = int(manager.read_line())
    service = Service(name, Kitchen)
    with service.connect(timeout=SECONDS) as kitchen:
        manager.say("start")
        pid, *rest = manager.read_line().split()
        assert rest == ["True", "False", "True"]
        assert kitchen.call(Kitchen.pid) == int(pid)
        assert kitchen.peer.pid == manager_pid  # whoever called listen(2)
    with pytest.raises(NameTaken, match=f"owned by process {pid}"):
        claim_socket(name, card=b"")
    os.kill(int(pid), signal.SIGTERM)
    manager.expect("a socket is used once")
    manager.expect("ended 0")
    assert os.listdir(name.parent) == ["kitchen"]
    with service.connect(timeout=SECONDS) as kitchen:
        manager.say("start")
        pid = manager.read_line().split()[0]
        assert kitchen.call(Kitchen.cook, Order(1, "pie")) == "pie for 1"
    os.kill(int(pid), signal.SIGKILL)
    manager.expect("ended -9")
    with pytest.raises(NameTaken, match="a program listens there which does not lock its name"):
        claim_socket(name, card=b"")
    manager.say("start")
    pid = manager.read_line().split()[0]
    with service.connect(timeout=SECONDS) as kitchen:
        assert kitchen.call(Kitchen.pid) == int(pid)
    os.kill(int(pid), signal.SIGTERM)
    manager.expect("a socket is used once")
    manager.expect("ended 0")
    manager.say("end")
    assert manager.wait() == 0
    assert os.listdir(name.parent) == ["kitchen"]


# --- which socket


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretend that this process was started with these descriptors, which the claim closes, or the test's end."""
    moved: list[int] = []

    def pass_on(*sockets: socket.socket) -> None:
        first = max(map(int, os.listdir("/proc/self/fd"))) + 10
        for number, sock in enumerate(sockets):
            moved.append(os.dup2(sock.fileno(), first + number))
        monkeypatch.setattr(_activation, "_FIRST_FD", first)
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", str(len(sockets)))

    monkeypatch.setattr(_activation, "_used", set())
    yield pass_on
    for fd in moved:
        if fd not in _activation._used:
            os.close(fd)


def served(claim: Claim, path: Path) -> bool:
    """Whether who connects to the path comes to the claim."""
    with lowlevel.unix_connect(path), lowlevel.accept(claim.listener):
        return True


def test_the_socket_of_the_very_path_is_taken(
    name: Path, passed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among others, in whatever way the path is written; the card can be read, and nothing but the lock is removed."""
    (name.parent / "link").symlink_to(name.parent)
    other, listener = listening(name.with_name("other")), listening(name)
    with other, listener, socket.socket(socket.AF_INET) as foreign:
        passed(other, foreign, listener)
        monkeypatch.chdir(name.parent / "link")
        claim = claim_socket("kitchen", card=make_card("service"))
        assert read_card(name) == make_card("service")
        assert served(claim, name)
        assert claim.listener.getblocking() is False
        assert fcntl.fcntl(claim.listener.fileno(), fcntl.F_GETFD) == fcntl.FD_CLOEXEC
        assert other.getblocking() is True
        claim.close()
        assert sorted(os.listdir(name.parent)) == ["kitchen", "link", "other"]
        with lowlevel.unix_connect(name), lowlevel.accept(listener):
            pass


@pytest.mark.parametrize(("variable", "value"), [("LISTEN_PID", "1"), ("LISTEN_FDS", "x"), ("LISTEN_FDS", "0")])
def test_the_variables_of_another_process_are_ignored(
    name: Path, passed: Callable[..., None], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """They are inherited by whoever the service starts."""
    with listening(name) as listener:
        passed(listener)
        monkeypatch.setenv(variable, value)
        with pytest.raises(NameTaken, match="does not lock its name"):
            claim_socket(name, card=b"")


def test_what_does_not_listen_as_a_stream_is_ignored(name: Path, passed: Callable[..., None]) -> None:
    """A socket that is only bound, and one of datagrams."""
    with socket.socket(socket.AF_UNIX) as bound, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        bound.bind(str(name))
        datagrams.bind(str(name.with_name("datagrams")))
        passed(bound, datagrams)
        for path in (name, name.with_name("datagrams")):
            path.unlink()
            claim = claim_socket(path, card=b"")
            assert served(claim, path)
            claim.close()


def test_a_second_owner_is_refused_and_leaves_the_socket(name: Path, passed: Callable[..., None]) -> None:
    """The lock is taken first: who does not get it has used nothing, and may try again."""
    with listening(name) as listener:
        passed(listener)
        name.with_name(".kitchen.lock").touch(0o600)
        lock = os.open(name.with_name(".kitchen.lock"), os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NameTaken):
            claim_socket(name, card=b"")
        os.close(lock)
        claim = claim_socket(name, card=b"")
        assert served(claim, name)
        claim.close()


def test_a_successor_leaves_the_name_too(name: Path, passed: Callable[..., None]) -> None:
    """What is the manager's stays the manager's when one process hands it over to another."""
    with listening(name) as listener:
        passed(listener)
        claim = claim_socket(name, card=b"")
        one, two, three = map(os.dup, claim.descriptors())
        successor = inherit_claim(name, (one, two, three), card=b"", mode=0o666)
        claim.give()
        successor.assume()
        claim.close()
        assert served(successor, name)
        assert name.stat().st_mode & 0o777 == 0o600
        successor.close()
        assert os.listdir(name.parent) == ["kitchen"]


def test_a_blocking_listener_ends_and_the_socket_lives_on(name: Path, passed: Callable[..., None]) -> None:
    """Closing wakes its threads in another way than by shutting down what is not its own."""
    with listening(name) as listener:
        passed(listener)
        with Channel(name, str).listen():
            pass
        with lowlevel.unix_connect(name), lowlevel.accept(listener):
            pass
