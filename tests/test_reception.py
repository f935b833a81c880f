"""Accepting without waiting: who is turned away is told why, and nobody else is held up."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from namedipc import _names, lowlevel
from namedipc._errors import Closed, IPCError, LimitReached, NotAllowed
from namedipc._shells.reception import Reception
from namedipc._values import Allow, Limits, Peer, anyone, same_user

pytestmark = pytest.mark.usefixtures("no_leaks")


class Desk:
    """A reception, who has been let in, and who has been turned away with what."""

    def __init__(self, path: Path, allow: Allow, limits: Limits) -> None:
        self.path = path
        self.reception = Reception(_names.claim_socket(path, card=b"", backlog=100), allow, limits)
        self.refused: list[IPCError] = []

    def connect(self) -> lowlevel.Socket:
        """Connect somebody."""
        return lowlevel.unix_connect(self.path)

    def accept(self) -> Guest | None:
        """Accept who waits."""
        return self.reception.accept_now(Guest, self.refuse)

    def refuse(self, sock: lowlevel.Socket, error: IPCError) -> None:
        """Write down who is turned away."""
        self.refused.append(error)
        lowlevel.send_now(sock, type(error).__name__.encode())


class Guest:
    """Somebody who was let in."""

    def __init__(self, sock: lowlevel.Socket, peer: Peer, closed: object) -> None:
        assert callable(closed)
        self.socket, self.peer, self._closed = sock, peer, closed

    def leave(self) -> None:
        """Go."""
        self.socket.close()
        self._closed()


@contextmanager
def desk(path: Path, allow: Allow = same_user, limits: Limits | None = None) -> Iterator[Desk]:
    """Listen."""
    found = Desk(path / "name", allow, limits or Limits())
    try:
        yield found
    finally:
        found.reception.close()


def test_nobody_waits(tmp_path: Path) -> None:
    """It says so, and does not wait."""
    with desk(tmp_path) as open_desk:
        assert open_desk.accept() is None


def test_one_after_the_other(tmp_path: Path) -> None:
    """In the order of their coming, each with whom the kernel vouches for; their sockets do not block."""
    with desk(tmp_path) as open_desk:
        callers = [open_desk.connect() for _ in range(3)]
        for number, caller in enumerate(callers):
            caller.sendall(b"%d" % number)
        for number in range(3):
            guest = open_desk.accept()
            assert guest is not None
            assert lowlevel.receive_now(guest.socket, 10) == b"%d" % number
            assert (guest.peer.pid, guest.peer.uid) == (os.getpid(), os.geteuid())
            assert not guest.socket.getblocking()
            guest.leave()
        assert open_desk.accept() is None
        for caller in callers:
            caller.close()


def test_who_is_not_allowed(tmp_path: Path) -> None:
    """It is told and closed, and the one behind it is let in by the same call."""
    asked: list[Peer] = []

    def second(peer: Peer) -> bool:
        asked.append(peer)
        return len(asked) == 2

    with desk(tmp_path, second) as open_desk, open_desk.connect() as first, open_desk.connect() as other:
        guest = open_desk.accept()
        assert guest is not None
        assert first.recv(100) == b"NotAllowed"
        assert first.recv(100) == b""
        assert [str(error) for error in open_desk.refused] == [f"the listener does not take user {os.geteuid()}"]
        other.sendall(b"x")
        assert lowlevel.receive_now(guest.socket, 10) == b"x"
        guest.leave()


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(clients=2), "the listener has 2 connections already"),
        (Limits(clients_per_uid=2), f"user {os.geteuid()} has 2 connections already"),
    ],
)
def test_too_many(tmp_path: Path, limits: Limits, text: str) -> None:
    """The next is refused; who leaves makes room."""
    with desk(tmp_path, anyone, limits) as open_desk:
        callers = [open_desk.connect() for _ in range(3)]
        guests = [open_desk.accept(), open_desk.accept()]
        assert open_desk.accept() is None
        assert [str(error) for error in open_desk.refused] == [text]
        assert type(open_desk.refused[0]) is LimitReached
        assert callers[2].recv(100) == b"LimitReached"
        for _ in range(3):
            leaving = guests.pop()
            assert leaving is not None
            leaving.leave()
            callers.append(open_desk.connect())
            guests.append(open_desk.accept())
        for guest in guests:
            assert guest is not None
            guest.leave()
        for caller in callers:
            caller.close()


def test_a_peer_that_does_not_hear_why(tmp_path: Path) -> None:
    """It has gone before it could be told, and the next is let in."""
    with desk(tmp_path, lambda _: False) as open_desk:
        open_desk.connect().close()
        assert open_desk.accept() is None
        assert type(open_desk.refused[0]) is NotAllowed


def test_a_rule_that_fails(tmp_path: Path) -> None:
    """Its exception comes through, and the connection is closed."""

    def rule(_: Peer) -> bool:
        raise KeyError("rule")

    with desk(tmp_path, rule) as open_desk, open_desk.connect() as caller:
        with pytest.raises(KeyError, match="rule"):
            open_desk.accept()
        assert caller.recv(10) == b""


def test_a_peer_of_whom_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not let in, and nobody else is harmed."""

    def fail(_: lowlevel.Socket) -> tuple[int, ...]:
        raise OSError(errno.ENODATA, "none")

    with desk(tmp_path) as open_desk, open_desk.connect() as caller:
        monkeypatch.setattr(lowlevel, "peer_groups", fail)
        assert open_desk.accept() is None
        assert caller.recv(10) == b""


def test_out_of_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It pauses instead of asking again and again; the peer stays in the backlog and is let in later."""

    def fail(_: lowlevel.Socket) -> lowlevel.Socket:
        raise OSError(errno.EMFILE, "none left")

    with desk(tmp_path) as open_desk, open_desk.connect():
        with monkeypatch.context() as patch:
            patch.setattr(lowlevel, "accept", fail)
            assert open_desk.accept() is None
        assert 0 < open_desk.reception.pause_until - monotonic() < 1
        guest = open_desk.accept()
        assert guest is not None
        guest.leave()


def test_one_that_aborted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is looked at."""
    accept, errors = lowlevel.accept, [ConnectionAbortedError()]

    def aborted(listener: lowlevel.Socket) -> lowlevel.Socket:
        if errors:
            raise errors.pop()
        return accept(listener)

    monkeypatch.setattr(lowlevel, "accept", aborted)
    with desk(tmp_path) as open_desk, open_desk.connect():
        guest = open_desk.accept()
        assert guest is not None
        guest.leave()


def test_closed(tmp_path: Path) -> None:
    """The name has gone, who was let in goes on, and nobody else is."""
    with desk(tmp_path) as open_desk, open_desk.connect() as caller:
        guest = open_desk.accept()
        assert guest is not None
        open_desk.reception.close()
        open_desk.reception.close()
        assert os.listdir(tmp_path) == []
        with pytest.raises(Closed, match=f"{open_desk.path}: this listener has been closed"):
            open_desk.accept()
        guest.socket.send(b"on")
        assert caller.recv(10) == b"on"
        guest.leave()
        assert caller.recv(10) == b""


def test_closed_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread, while this one was accepting: that is no lack of descriptors."""
    with desk(tmp_path) as open_desk:

        def closing(listener: lowlevel.Socket) -> lowlevel.Socket:
            open_desk.reception.close()
            raise OSError(errno.EINVAL, "shut down")

        monkeypatch.setattr(lowlevel, "accept", closing)
        with pytest.raises(Closed):
            open_desk.accept()
