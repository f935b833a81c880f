"""The values of the public surface: peers, rules and limits."""

from __future__ import annotations

import copy
import errno
import grp
import math
import os
import pickle
import pwd
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import lowlevel
from namedipc._codec import Codec
from namedipc._shells.connecting import peer_of
from namedipc._values import LARGEST_MESSAGE_BYTES, Limits, Peer, anyone, groups, same_user, users

from .conftest import Child, Children

pytestmark = pytest.mark.usefixtures("no_leaks")


def peer(uid: int = 1001, gid: int = 1002, member_of: tuple[int, ...] = ()) -> Peer:
    """Return somebody."""
    return Peer(os.getpid(), uid, gid, member_of)


def test_same_user() -> None:
    """The default: this user and root, nobody else."""
    assert same_user(peer(os.geteuid()))
    assert same_user(peer(0))
    assert not same_user(peer(os.geteuid() + 1))


def test_anyone() -> None:
    """Everybody whom the file lets through."""
    assert anyone(peer())


def test_users() -> None:
    """By number and by name; not even root unless it is named."""
    name = pwd.getpwuid(0).pw_name
    assert users(1001)(peer(1001))
    assert users(1001, name)(peer(0))
    assert not users(1001)(peer(0))
    assert not users()(peer())


def test_groups() -> None:
    """The peer's own group and the supplementary ones count."""
    name = grp.getgrgid(0).gr_name
    assert groups(1002)(peer())
    assert groups(name)(peer(member_of=(5, 0)))
    assert not groups(name)(peer(member_of=(5,)))
    assert not groups()(peer(member_of=(5,)))


@pytest.mark.parametrize(("rule", "what"), [(users, "user"), (groups, "group")])
def test_an_unknown_name(rule: type, what: str) -> None:
    """It is an error when the rule is made, not one connection refused after the other."""
    with pytest.raises(ValueError, match=f"there is no {what} named 'no-such-name'"):
        rule("no-such-name")


def test_the_peers_program() -> None:
    """What the kernel says it runs; None for whom nothing can be known of."""
    assert peer().executable == Path(os.readlink("/proc/self/exe"))
    assert peer().executable == Path(sys.executable).resolve()
    assert Peer(0, 0, 0, ()).executable is None


@pytest.fixture
def connected(child: Children, tmp_path: Path) -> Iterator[tuple[Child, lowlevel.Socket]]:
    """Another process, and the connection which it has made."""
    with lowlevel.unix_listen(tmp_path / "name") as listener:
        other = child(
            """
            import sys
            from namedipc import lowlevel
            socket = lowlevel.unix_connect(sys.argv[1])
            print("connected", flush=True)
            input()
            """,
            str(tmp_path / "name"),
        )
        with lowlevel.accept(listener) as socket:
            other.expect("connected")
            yield other, socket


def test_when_the_peer_began(connected: tuple[Child, lowlevel.Socket]) -> None:
    """Before now, after this test did; a copy and a pickle know it as well, and compare by the four values alone."""
    other, socket = connected
    known = peer_of(socket)
    assert known.pid == other.pid
    assert known.start_time is not None
    assert 0 <= time.time() - known.start_time < 60
    unknown = Peer(known.pid, known.uid, known.gid, known.groups)
    assert unknown.start_time is None
    assert known == unknown
    assert hash(known) == hash(unknown)
    assert repr(known) == repr(unknown)
    for same in (pickle.loads(pickle.dumps(known)), copy.copy(known)):
        assert same == known
        assert same.start_time == pytest.approx(known.start_time, abs=1)


@pytest.mark.parametrize("how", ["connection", "closed connection", "pickle", "old kernel"])
def test_the_peer_as_a_descriptor(
    connected: tuple[Child, lowlevel.Socket], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told when the process ends, and nobody else is signalled; of an ended one there is none."""
    other, socket = connected
    known = peer_of(socket)
    if how == "closed connection":
        socket.close()
    elif how == "pickle":
        known = pickle.loads(pickle.dumps(known))
    elif how == "old kernel":
        monkeypatch.setattr(lowlevel, "peer_pidfd", refuse)
    with known.pidfd() as fd:
        assert not os.get_inheritable(fd.fileno())
        lowlevel.signal_pidfd(fd.fileno(), signal.SIGKILL)
        assert lowlevel.wait_ready(fd.fileno(), timeout_seconds=20)
        for _ in range(2):
            with pytest.raises(ProcessLookupError, match=f"process {other.pid}, the peer, has ended"):
                known.pidfd()
            other.wait()


def refuse(socket: lowlevel.Socket) -> int:
    """Be an older kernel."""
    raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))


def test_another_process_with_the_number() -> None:
    """It began at another time; and one of which only the number is known is not opened at all."""
    here, there = lowlevel.socket_pair()
    with here, there:
        me = peer_of(here)
        me.pidfd().close()
        make, values = me.__reduce__()
        other = make(*values[:-1], 1)
        with pytest.raises(ProcessLookupError, match="has ended"):
            other.pidfd()
    with pytest.raises(ProcessLookupError, match="cannot be told from a later one with the same number"):
        peer().pidfd()


def test_a_peer_can_be_sent() -> None:
    """By its four values: what else is known belongs to this process."""
    codec = Codec[Peer](Peer)
    assert codec.decode(codec.encode(peer(member_of=(1, 2)))) == peer(member_of=(1, 2))


@pytest.mark.parametrize(
    "name",
    [
        "clients",
        "clients_per_uid",
        "calls_in_flight",
        "message_bytes",
        "outbound_bytes",
        "handshake_seconds",
        "midframe_seconds",
        "stalled_seconds",
    ],
)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_limit_that_limits_nothing(name: str, value: float) -> None:
    """The limit is named, and what was given."""
    with pytest.raises(ValueError, match=rf"Limits\({name}={value!r}\): must be above 0"):
        Limits(**{name: value})  # type: ignore[arg-type]  # the type of each is its own


def test_a_message_longer_than_the_protocol_allows() -> None:
    """16 MiB at most, whatever is asked for."""
    assert Limits(message_bytes=LARGEST_MESSAGE_BYTES).message_bytes == 16 << 20
    with pytest.raises(ValueError, match="the protocol allows 16777216 at most"):
        Limits(message_bytes=LARGEST_MESSAGE_BYTES + 1)


def test_they_are_values() -> None:
    """Equal, hashable, and they pickle."""
    assert Limits() == Limits(clients=1024)
    assert {Limits(), Limits()} == {Limits()}
    assert pickle.loads(pickle.dumps(peer())) == peer()
