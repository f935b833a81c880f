"""The tasks around the service loop: the role goes round, waiting handlers are finished, and the end is orderly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import ConnectionLost, Service
from namedipc._shells.trio_service import MOST_PARKED

from .conftest import Children
from .kitchen import Chef, Kitchen, Order

pytestmark = pytest.mark.usefixtures("no_leaks")

STUBBORN_SCRIPT = """
    import sys
    from namedipc import Service
    from tests.kitchen import Chef, Kitchen

    class Telling(Chef):
        async def simmer(self, name):
            print("simmering", flush=True)
            return await super().simmer(name)

    chef = Telling()
    Service(sys.argv[1], Kitchen).run(chef, drain_seconds=600, ready=lambda server: print("ready", flush=True))
    print(chef.cancelled, flush=True)
"""


async def test_more_handlers_wait_than_are_ever_parked(tmp_path: Path) -> None:
    """Each waiting handler has a task; afterwards at most 64 tasks are kept, and calls are answered as before."""
    service = Service(tmp_path / "kitchen", Kitchen)
    count = MOST_PARKED + 40
    answers: list[str] = []
    async with service.serve(Chef()) as server, service.connect() as kitchen:

        async def simmer() -> None:
            answers.append(await kitchen.simmer("stew"))

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(simmer)
            await trio.testing.wait_all_tasks_blocked()
            assert server.statistics().in_flight == count
            assert await kitchen.release("stew") == count
        assert answers == ["stew"] * count
        assert len(server._parked) <= MOST_PARKED
        assert server.statistics().in_flight == 0
        assert await kitchen.cook(Order(1, "pie")) == "pie for 1"


async def test_the_parked_are_used_again(tmp_path: Path) -> None:
    """Calls that wait one after the other need two tasks altogether, not one each."""
    service = Service(tmp_path / "kitchen", Kitchen)
    async with service.serve(Chef()) as server, service.connect() as kitchen:
        for number in range(50):
            assert await kitchen.remember(str(number)) == "none"
        tasks = server._tasks
        assert tasks is not None
        assert len(tasks.child_tasks) <= 4  # the leader, one parked, who keeps the time, and who waits for a successor


async def test_draining_twice_is_draining_once(tmp_path: Path) -> None:
    """Also of two tasks at the same time; both return when it has ended."""
    service = Service(tmp_path / "kitchen", Kitchen)
    async with service.serve(Chef()) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain)
            nursery.start_soon(server.drain)
        await server.drain()
        await server.wait_closed()


async def test_draining_waits_no_longer_than_its_grace(tmp_path: Path) -> None:
    """`grace_seconds` of the call goes before the `drain_seconds` of `serve`."""
    service = Service(tmp_path / "kitchen", Kitchen)
    chef = Chef()

    async def call() -> None:
        async with service.connect() as kitchen:
            with pytest.raises(ConnectionLost):
                await kitchen.simmer("stew")

    async with service.serve(chef, drain_seconds=600) as server, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await chef.arrived.wait()
        with trio.fail_after(20):
            await server.drain(grace_seconds=0.01)
    assert chef.cancelled == ["stew"]


async def test_a_cancelled_drain_ends_the_service_at_once(tmp_path: Path) -> None:
    """The calls in flight are cancelled, and the name is gone."""
    service = Service(tmp_path / "kitchen", Kitchen)
    chef = Chef()

    async def call() -> None:
        async with service.connect() as kitchen:
            with pytest.raises(ConnectionLost):
                await kitchen.simmer("stew")

    async with service.serve(chef, drain_seconds=600) as server, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await chef.arrived.wait()
        with trio.move_on_after(0.01) as scope:
            await server.drain()
        assert scope.cancelled_caught
        await server.wait_closed()
        assert os.listdir(tmp_path) == []
    assert chef.cancelled == ["stew"]


async def test_a_failure_of_the_service_itself_comes_out_of_the_with(tmp_path: Path) -> None:
    """Not a handler's error, which is its caller's: the body is cancelled, and the reason is raised as it is."""
    service = Service(tmp_path / "kitchen", Kitchen)
    error = RuntimeError("a bug")

    def broken() -> int:
        raise error

    with pytest.raises(RuntimeError) as caught:  # the body is the test
        async with service.serve(Chef()) as server, service.connect() as kitchen:
            server._loop.pump = broken  # type: ignore[method-assign]  # the bug
            await kitchen.pid()
    assert caught.value is error
    assert os.listdir(tmp_path) == []


def test_a_second_signal_cuts_the_grace_short(tmp_path: Path, child: Children) -> None:
    """The first SIGTERM waits ten minutes for the call in flight; SIGINT after it cancels the call."""
    service = Service(tmp_path / "kitchen", Kitchen)
    owner = child(STUBBORN_SCRIPT, str(service.path))
    owner.expect("ready")

    async def main() -> None:
        async with service.connect() as kitchen, trio.open_nursery() as nursery:

            async def call() -> None:
                with pytest.raises(ConnectionLost):
                    await kitchen.simmer("stew")

            nursery.start_soon(call)
            await trio.to_thread.run_sync(owner.expect, "simmering")
            os.kill(owner.pid, signal.SIGTERM)
            with trio.fail_after(20):
                while service.exists():
                    await trio.sleep(0.001)
            os.kill(owner.pid, signal.SIGINT)

    trio.run(main)
    owner.expect("['stew']")
    assert owner.wait() == 0
