"""Handing a name over: no connection refused, no call lost, and one owner, whoever dies in the middle."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from namedipc import Channel, IPCError, NameTaken, NoServer, Service, TimedOut, WrongKind, _names, lowlevel
from namedipc._card import make_card
from namedipc._shells import handover
from namedipc._shells.connecting import Pause
from namedipc._shells.handover import ACCEPT, BUSY, MINE, OFFER, TAKE, YOURS, claiming, handing_over
from namedipc._shells.waiting import Clock, carry_out

from .conftest import Child, Children
from .kitchen import Chef, Kitchen, Order

R = TypeVar("R")

CARD = make_card("service")


@pytest.fixture(autouse=True)
def checked(no_leaks: None) -> None:
    """No test of this module leaves a descriptor open."""


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A name in an empty directory."""
    return tmp_path / "kitchen"


# --- restarts under load


SERVER = """
    import sys
    import trio
    from namedipc import Service
    from tests.handover_support import Till, TillService

    till = TillService()
    Service(sys.argv[1], Till).run(till, takeover=True, ready=lambda server: print("ready", flush=True))
    print(*till.numbers, flush=True)
"""

CUSTOMERS = """
    import sys
    from tests.handover_support import be_customers
    be_customers(sys.argv[1])
"""


def test_restarts_under_load_refuse_no_connection_and_lose_no_call(name: Path, child: Children) -> None:
    """Five owners, one after the other; every number that a customer was told of was booked by one of them, once."""
    servers = [child(SERVER, str(name))]
    servers[0].expect("ready")
    customers = child(CUSTOMERS, str(name))
    customers.expect("busy")
    booked: list[int] = []
    for _ in range(4):
        servers.append(child(SERVER, str(name)))
        servers[-1].expect("ready")
        customers.say("more")  # each of them has been answered by the new owner before the next takes over
        customers.expect("busy")
        booked += map(int, servers[-2].read_line().split())
        assert servers[-2].wait() == 0
    customers.say("enough")
    answered = sorted(map(int, customers.read_line().split()))
    assert customers.read_line() == "refused: []"
    os.kill(servers[-1].pid, signal.SIGTERM)
    booked += map(int, servers[-1].read_line().split())
    assert sorted(booked) == answered
    assert len(set(booked)) == len(booked) > 100
    assert os.listdir(name.parent) == []
