"""Carrying out a plan in blocking code: it waits for what the plan says, and no longer than its clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from namedipc import lowlevel
from namedipc._errors import NameNotFound, TimedOut
from namedipc._shells.connecting import Connected, Pause, Plan
from namedipc._shells.waiting import LOOKS_AFTER_TIME, Clock, carry_out
from namedipc._values import Peer

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def a_result() -> Iterator[Connected]:
    """What a plan ends with; for these tests it need not be connected to anything."""
    with lowlevel.unix_socket() as socket:
        yield Connected(socket, Peer(0, 0, 0, ()))


def test_the_pauses_are_kept() -> None:
    """The plan goes on after each, and its result is returned."""
    began = monotonic()

    def plan() -> Plan:
        yield Pause(None, 0.01)
        assert monotonic() - began >= 0.01
        yield Pause(None, 0.01)
        assert monotonic() - began >= 0.02
        return result

    with a_result() as result:
        assert carry_out(plan(), Clock(None), "/run/name") is result


def test_a_descriptor_ends_the_pause() -> None:
    """As soon as it can be read, however long the pause."""

    def plan() -> Plan:
        yield Pause(here.fileno(), 20.0)
        assert lowlevel.receive_now(here, 10) == b"now"
        return result

    here, there = lowlevel.socket_pair()
    with here, there, a_result() as result:
        later = threading.Timer(0.02, there.sendall, [b"now"])
        later.start()
        began = monotonic()
        assert carry_out(plan(), Clock(None), "/run/name") is result
        assert monotonic() - began < 10
        later.join()


@pytest.mark.parametrize("with_descriptor", [False, True])
def test_the_clock_runs_out(with_descriptor: bool) -> None:
    """The pause is cut, the plan is closed, and the error names what was waited for."""
    closed: list[bool] = []

    def plan() -> Plan:
        try:
            while True:
                yield Pause(here.fileno() if with_descriptor else None, 20.0)
        finally:
            closed.append(True)

    here, there = lowlevel.socket_pair()
    with here, there, pytest.raises(TimedOut, match=r"/run/name: not connected within 0.01 seconds"):
        carry_out(plan(), Clock(0.01), "/run/name: not connected")
    assert closed == [True]


def test_a_plan_that_never_waits_ends_as_well() -> None:
    """When the time is over it still gets some turns, for what is there; not so many as junk without end takes."""

    def plan(turns: int) -> Plan:
        for _ in range(turns):
            yield Pause(None, 0)
        return result

    with a_result() as result:
        assert carry_out(plan(LOOKS_AFTER_TIME), Clock(0), "/run/name") is result
        with pytest.raises(TimedOut, match=r"^/run/name within 0 seconds$"):
            carry_out(plan(LOOKS_AFTER_TIME + 1), Clock(0), "/run/name")


def test_the_plans_error_is_raised() -> None:
    """As it is."""

    def plan() -> Plan:
        yield Pause(None, 0.0)
        raise NameNotFound("gone")

    with pytest.raises(NameNotFound, match="gone"):
        carry_out(plan(), Clock(None), "/run/name")


def test_a_clock() -> None:
    """None is for ever; nothing is left below zero."""
    assert (Clock(None).left(), Clock(None).expired()) == (None, False)
    assert (Clock(0).left(), Clock(0).expired()) == (0.0, True)
    assert (Clock(-1).left(), Clock(-1).expired()) == (0.0, True)
    clock = Clock(1000)
    assert not clock.expired()
    left = clock.left()
    assert left is not None
    assert 900 < left <= 1000
