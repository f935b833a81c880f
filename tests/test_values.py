"""The values of the public surface: peers, rules and limits."""

from __future__ import annotations

import grp
import math
import os
import pickle
import pwd
import sys
from pathlib import Path

import pytest

from namedipc._values import LARGEST_MESSAGE_BYTES, Limits, Peer, anyone, groups, same_user, users


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
