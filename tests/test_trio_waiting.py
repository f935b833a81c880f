"""Carrying out a plan in trio: the same plans, and a cancellation closes them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from namedipc import lowlevel
from namedipc._errors import NameNotFound
from namedipc._shells.connecting import Connected, Pause, Plan
from namedipc._shells.trio_waiting import carry_out
from namedipc._values import Peer

from .test_waiting import a_result

pytestmark = pytest.mark.usefixtures("no_leaks")


async def test_the_pauses_are_kept(autojump_clock: trio.testing.MockClock) -> None:
    """The plan goes on after each, and its result is returned."""

    def plan() -> Plan:
        yield Pause(None, 10.0)
        assert trio.current_time() - began == 10.0
        yield Pause(None, 5.0)
        return result

    began = trio.current_time()
    with a_result() as result:
        assert await carry_out(plan()) is result
    assert trio.current_time() - began == 15.0


async def test_a_descriptor_ends_the_pause() -> None:
    """As soon as it can be read; the other tasks run meanwhile."""

    def plan() -> Plan:
        yield Pause(here.fileno(), 1000.0)
        assert lowlevel.receive_now(here, 10) == b"now"
        return result

    async def speak() -> None:
        await trio.testing.wait_all_tasks_blocked()
        there.sendall(b"now")

    here, there = lowlevel.socket_pair()
    with here, there, a_result() as result, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)
            assert await carry_out(plan()) is result


async def test_the_plans_error_is_raised() -> None:
    """As it is."""

    def plan() -> Plan:
        yield Pause(None, 0.0)
        raise NameNotFound("gone")

    with pytest.raises(NameNotFound, match="gone"):
        await carry_out(plan())


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_cancellation_closes_the_plan(at_once: bool) -> None:
    """What it holds is let go; one that comes before the beginning opens nothing."""
    seen = []

    def plan() -> Plan:
        seen.append("open")
        try:
            yield Pause(None, 1000.0)
        finally:
            seen.append("close")
        raise AssertionError("resumed")

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry_out, plan())
            if not at_once:
                await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert seen == ([] if at_once else ["open", "close"])


async def test_it_always_checkpoints() -> None:
    """Also where the plan waits for nothing."""

    def plan() -> Plan:
        yield from ()
        return Connected(socket, Peer(0, 0, 0, ()))

    with lowlevel.unix_socket() as socket, trio.testing.assert_checkpoints():
        await carry_out(plan())
