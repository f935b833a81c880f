"""The plan of connecting: what it waits for, how long, and that it leaves nothing open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from namedipc import _names, lowlevel
from namedipc._errors import NameNotFound, NoServer, NotAllowed, WrongKind
from namedipc._shells import connecting as module
from namedipc._shells.connecting import Connected, Pause, Plan, connecting, peer_of
from namedipc._shells.waiting import Clock, carry_out
from namedipc._values import anyone, same_user

from .names_support import give_away, make_file

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def owned(path: Path, *, backlog: int = 5) -> Iterator[_names.Claim]:
    """Own a name."""
    claim = _names.claim_socket(path, card=b"", backlog=backlog)
    try:
        yield claim
    finally:
        claim.close()


def finish(plan: Plan) -> Connected:
    """The plan has to be at its end."""
    with pytest.raises(StopIteration) as done:
        next(plan)
    connected = done.value.value
    assert isinstance(connected, Connected)
    return connected


def test_somebody_listens(tmp_path: Path) -> None:
    """It is connected at once, and knows to whom; the socket does not block."""
    with owned(tmp_path / "name"):
        connected = finish(connecting(tmp_path / "name", wait_seconds=0.0, allow=same_user))
        with connected.socket as socket:
            assert not socket.getblocking()
            assert (connected.peer.pid, connected.peer.uid) == (os.getpid(), os.geteuid())
            assert connected.peer == peer_of(socket)


def test_nothing_is_there(tmp_path: Path) -> None:
    """Without time to wait it is an error at once."""
    with pytest.raises(NameNotFound, match=str(tmp_path / "name")):
        next(connecting(tmp_path / "name", wait_seconds=0.0, allow=same_user))


def test_nobody_listens(tmp_path: Path) -> None:
    """A left-over tells so, with or without a wait."""
    with lowlevel.unix_listen(tmp_path / "name"):
        pass
    with pytest.raises(NoServer, match=str(tmp_path / "name")):
        next(connecting(tmp_path / "name", wait_seconds=0.0, allow=same_user))
    with pytest.raises(NoServer):
        carry_out(connecting(tmp_path / "name", wait_seconds=0.02, allow=same_user), Clock(None), "")


def test_it_does_not_wait_in_vain(tmp_path: Path) -> None:
    """A directory that is missing, and another kind, will not become right."""
    make_file(tmp_path / "file")
    with pytest.raises(WrongKind):
        next(connecting(tmp_path / "file", wait_seconds=100.0, allow=same_user))
    with pytest.raises(NameNotFound, match="missing"):
        next(connecting(tmp_path / "missing" / "name", wait_seconds=100.0, allow=same_user))


def test_a_name_that_appears(tmp_path: Path) -> None:
    """The plan waits for its directory, ever longer at most, and the appearance makes that readable."""
    plan = connecting(tmp_path / "name", wait_seconds=1000.0, allow=same_user)
    pauses = [next(plan) for _ in range(12)]
    seconds = [pause.seconds for pause in pauses]
    assert seconds == sorted(seconds)
    assert (seconds[0], seconds[-1]) == (module.FIRST_PAUSE_SECONDS, module.LONGEST_PAUSE_SECONDS)
    (fd,) = {pause.fd for pause in pauses}
    assert fd is not None
    assert not lowlevel.wait_ready(fd, timeout_seconds=0)
    with owned(tmp_path / "name"):
        assert lowlevel.wait_ready(fd, timeout_seconds=0)
        finish(plan).socket.close()


def test_a_name_that_appears_between_the_try_and_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again once the watch is there, before anything is waited for."""
    claims: list[_names.Claim] = []
    watch = _names.NameWatch

    def late(path: Path) -> _names.NameWatch:
        claims.append(_names.claim_socket(path, card=b""))
        return watch(path)

    monkeypatch.setattr(_names, "NameWatch", late)
    finish(connecting(tmp_path / "name", wait_seconds=1000.0, allow=same_user)).socket.close()
    claims[0].close()


def test_a_plan_that_is_given_up(tmp_path: Path) -> None:
    """Its watch is closed (the fixture looks)."""
    plan = connecting(tmp_path / "name", wait_seconds=1000.0, allow=same_user)
    next(plan)
    plan.close()


def test_a_rule_that_refuses(tmp_path: Path) -> None:
    """The owner's process and user are named, and the connection is closed."""
    with (
        owned(tmp_path / "name"),
        pytest.raises(NotAllowed, match=f"process {os.getpid()} of user {os.geteuid()}.*'allow'"),
    ):
        next(connecting(tmp_path / "name", wait_seconds=0.0, allow=lambda _: False))


def test_a_rule_that_fails(tmp_path: Path) -> None:
    """Its own exception comes through, and the connection is closed."""

    def rule(_: object) -> NoReturn:
        raise KeyError("rule")

    with owned(tmp_path / "name"), pytest.raises(KeyError, match="rule"):
        next(connecting(tmp_path / "name", wait_seconds=0.0, allow=rule))


def test_somebody_elses_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the default rule for the file's owner alone; any other rule judges the process itself."""
    with owned(tmp_path / "name"):
        give_away(tmp_path / "name", monkeypatch)
        with pytest.raises(NotAllowed):
            next(connecting(tmp_path / "name", wait_seconds=0.0, allow=same_user))
        finish(connecting(tmp_path / "name", wait_seconds=0.0, allow=anyone)).socket.close()


def test_a_full_backlog_is_waited_for(tmp_path: Path) -> None:
    """The kernel says `again` at once; the plan asks again, also where no wait was asked for."""
    with owned(tmp_path / "name", backlog=1) as claim:
        waiting, plan = [], connecting(tmp_path / "name", wait_seconds=0.0, allow=same_user)
        while True:
            try:
                pause = next(plan)
            except StopIteration as done:
                waiting.append(done.value)
                plan = connecting(tmp_path / "name", wait_seconds=0.0, allow=same_user)
            else:
                break
        assert 1 <= len(waiting) < 10
        assert pause == Pause(None, module.FIRST_PAUSE_SECONDS)
        lowlevel.accept(claim.listener).close()
        waiting.append(finish(plan))
        for connected in waiting:
            connected.socket.close()


def test_a_backlog_that_stays_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end it is an error which says why."""
    monkeypatch.setattr(module, "FULL_BACKLOG_SECONDS", 0.03)
    waiting: list[Connected] = []

    def fill() -> None:
        while len(waiting) < 10:
            plan = connecting(tmp_path / "name", wait_seconds=0.0, allow=same_user)
            waiting.append(carry_out(plan, Clock(None), ""))

    with owned(tmp_path / "name", backlog=1), pytest.raises(NoServer, match="backlog is full; it does not accept"):
        fill()
    for connected in waiting:
        connected.socket.close()
