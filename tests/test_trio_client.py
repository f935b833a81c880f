"""The trio client: one connection shared by many tasks, and cancelled at every moment."""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import Client, Closed, RawChannel, RawConnection, Service, TimedOut
from namedipc._shells.trio_client import TrioClientLink

from .conftest import Children
from .kitchen import SERVER_SCRIPT, Chef, Kitchen, Order

pytestmark = pytest.mark.usefixtures("no_leaks")


@asynccontextmanager
async def connected(tmp_path: Path) -> AsyncIterator[tuple[Kitchen, Chef, Client[Kitchen]]]:
    """A client of a kitchen in this loop; at the end its connection must still be sound."""
    service = Service(tmp_path / "kitchen", Kitchen)
    chef = Chef()
    client = service.connect()
    async with service.serve(chef), client as kitchen:
        yield kitchen, chef, client
        assert await kitchen.cook(Order(9, "pie")) == "pie for 9"


def link_of(client: Client[Kitchen]) -> TrioClientLink:
    """What moves its bytes."""
    links = client._links
    assert links is not None
    link = links.link
    assert isinstance(link, TrioClientLink)
    return link


async def test_answers_find_their_calls_whatever_their_order(tmp_path: Path) -> None:
    """A call that waits, begun first, is answered last; a hundred at once each get their own."""
    order: list[str] = []

    async with connected(tmp_path) as (kitchen, chef, _):

        async def simmer(name: str) -> None:
            order.append(await kitchen.simmer(name))

        async def cook(table: int) -> None:
            assert await kitchen.cook(Order(table, "pie")) == f"pie for {table}"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(simmer, "stew")
            await chef.arrived.wait()
            async with trio.open_nursery() as many:
                for table in range(100):
                    many.start_soon(cook, table)
            order.append("pies")
            await kitchen.release("stew")
    assert order == ["pies", "stew"]


async def test_cancelling_the_reader_hands_the_reading_on(tmp_path: Path) -> None:
    """The task that reads for all is cancelled; the others still get their answers."""
    async with connected(tmp_path) as (kitchen, chef, _):
        answers: list[str] = []

        async def simmer(name: str) -> None:
            answers.append(await kitchen.simmer(name))

        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as inner:
                inner.start_soon(kitchen.simmer, "first")  # the reader
                await chef.arrived.wait()
                for name in ("second", "third"):
                    outer.start_soon(simmer, name)
                    await chef.arrived.wait()
                await trio.testing.wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
            while chef.cancelled != ["first"]:
                await trio.lowlevel.checkpoint()
            for name in ("second", "third"):
                await kitchen.release(name)
        assert sorted(answers) == ["second", "third"]


async def test_cancelling_reaches_the_handler(tmp_path: Path) -> None:
    """A cancel scope around the call cancels the handler in the service; the connection stays."""
    async with connected(tmp_path) as (kitchen, chef, _):
        with trio.move_on_after(0.02) as scope:
            await kitchen.simmer("stew")
        assert scope.cancelled_caught
        with trio.fail_after(10):
            while chef.cancelled != ["stew"]:
                await trio.sleep(0.001)


async def test_a_cancelled_scope_sends_nothing(tmp_path: Path) -> None:
    """A call inside of a scope that has been cancelled before is not sent at all."""
    async with connected(tmp_path) as (kitchen, chef, client):
        before = client.statistics()
        with trio.CancelScope() as scope:
            scope.cancel()
            await kitchen.ask()
        assert scope.cancelled_caught
        assert client.statistics() == before
        assert chef.seen == []


async def test_random_cancellations_disturb_no_other_call(tmp_path: Path) -> None:
    """Hundreds of calls, cancelled after a random number of checkpoints: every other one has its right answer."""
    rng = random.Random(7)
    async with connected(tmp_path) as (kitchen, _, _):
        answered = 0

        async def some_calls(table: int) -> None:
            nonlocal answered
            for _ in range(20):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        if rng.random() < 0.5:
                            nursery.start_soon(cancel_soon, scope, rng.randrange(6))
                        assert await kitchen.cook(Order(table, "pie")) == f"pie for {table}"
                        answered += 1
                        assert await kitchen.remember(str(table)) == "none"
                        nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for table in range(10):
                nursery.start_soon(some_calls, table)
        assert answered >= 100


async def cancel_soon(scope: trio.CancelScope, checkpoints: int) -> None:
    """Cancel after so many turns of the loop."""
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_closing_ends_calls_in_flight(tmp_path: Path) -> None:
    """Leaving the `with` while other tasks call: they get Closed, which is trio's ClosedResourceError too."""
    service = Service(tmp_path / "kitchen", Kitchen)
    chef = Chef()

    async def call(kitchen: Kitchen) -> None:
        with pytest.raises(trio.ClosedResourceError) as caught:
            await kitchen.simmer("stew")
        assert isinstance(caught.value, Closed)

    async with service.serve(chef), trio.open_nursery() as nursery:
        client = service.connect()
        async with client as kitchen:
            for _ in range(3):
                nursery.start_soon(call, kitchen)
                await chef.arrived.wait()
        with pytest.raises(Closed, match="closed"):
            await kitchen.pid()
        with pytest.raises(Closed, match="not open"):
            _ = client.peer


async def test_closing_in_the_turn_in_which_something_comes(tmp_path: Path) -> None:
    """The reader, woken by the service's hello, finds the socket closed by another task: Closed, as ever."""
    service = Service(tmp_path / "kitchen", Kitchen)
    chef = Chef()

    async def call(kitchen: Kitchen) -> None:
        with pytest.raises(Closed):
            await kitchen.simmer("stew")

    async with service.serve(chef), trio.open_nursery() as nursery:
        for _ in range(20):  # trio runs the two tasks of a turn in random order
            async with service.connect() as kitchen:
                arrived = chef.arrived
                nursery.start_soon(call, kitchen)
                await arrived.wait()


async def test_a_deadline_ends_the_call_with_too_slow_error_of_trio(tmp_path: Path) -> None:
    """The server's own deadline may be first; the caller sees its own scope's end all the same."""
    async with connected(tmp_path) as (kitchen, _, _):
        for _ in range(20):
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.002):
                await kitchen.simmer("stew")


async def test_virtual_time_makes_no_deadline_for_the_service(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Under a MockClock a deadline stays here: the service would take it for real time."""
    async with connected(tmp_path) as (kitchen, _, _):
        with trio.fail_after(5):
            _, _, deadline = await kitchen.ask()
        assert deadline == float("inf")


async def test_calls_that_never_wait_let_other_tasks_run(tmp_path: Path, child: Children) -> None:
    """A task that calls and calls leaves turns to the others, however fast the answers come."""
    service = Service(tmp_path / "kitchen", Kitchen)
    owner = child(SERVER_SCRIPT, str(service.path))
    await trio.to_thread.run_sync(owner.expect, "ready")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0)
            turns += 1

    async with service.connect() as kitchen, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        begun = trio.current_time()
        while trio.current_time() < begun + 0.2:
            await kitchen.cook(Order(1, "pie"))
        nursery.cancel_scope.cancel()
    assert turns > 20


@asynccontextmanager
async def deaf_service(tmp_path: Path) -> AsyncIterator[tuple[Kitchen, TrioClientLink, RawConnection]]:
    """A client of what reads nothing unless the test does."""
    client = Service(tmp_path / "deaf", Kitchen).connect()
    async with RawChannel(tmp_path / "deaf").listen() as listener:
        (tmp_path / ".deaf.lock").write_bytes(b"")  # no card: this is no channel of ours
        async with client as kitchen, await listener.accept() as deaf:
            link = link_of(client)
            link._session.their_message_bytes = 1 << 20  # as if it had said its hello
            yield kitchen, link, deaf


async def test_a_call_is_withdrawn_while_nothing_of_it_has_left(tmp_path: Path) -> None:
    """With a service that reads nothing: a cancelled call that waits behind others is taken back, not sent later."""
    async with deaf_service(tmp_path) as (kitchen, link, _), trio.open_nursery() as nursery:
        nursery.start_soon(kitchen.echo, b"a" * 900_000)
        await trio.testing.wait_all_tasks_blocked()
        waiting = link._outbound_bytes
        with trio.move_on_after(0.01):
            await kitchen.echo(b"b" * 900_000)
        assert link._outbound_bytes == waiting
        nursery.cancel_scope.cancel()


async def test_a_call_in_the_place_of_one_that_was_withdrawn(tmp_path: Path) -> None:
    """At once, while the socket is full: there is one who waits for room all the same."""
    async with deaf_service(tmp_path) as (kitchen, link, deaf), trio.open_nursery() as nursery:
        while not link._outbound:
            scope = trio.CancelScope()

            async def call(scope: trio.CancelScope = scope) -> None:
                with scope:
                    await kitchen.echo(b"a" * 5000)

            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            while link._outbound and link._begun:  # what is left of it leaves, and no more than that
                await deaf.receive_some(1000)
                await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not link._outbound
        nursery.start_soon(kitchen.echo, b"b" * 5000)
        await trio.testing.wait_all_tasks_blocked()
        assert link._outbound
        nursery.cancel_scope.cancel()


async def test_calls_of_one_turn_leave_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once answers have come together the tasks that they wake call again with few writes, not one for each."""
    tasks, rounds = 50, 10
    async with connected(tmp_path) as (kitchen, _, client):
        writes = 0
        link = link_of(client)
        send = link._send

        def counting(data: bytes) -> int:
            nonlocal writes
            writes += 1
            return send(data)

        async def cook(table: int) -> None:
            for _ in range(rounds):
                assert await kitchen.cook(Order(table, "pie")) == f"pie for {table}"

        async with trio.open_nursery() as nursery:
            monkeypatch.setattr(link, "_send", counting)
            for table in range(tasks):
                nursery.start_soon(cook, table)
        # The first round has nothing to go by; in each other one the service answers in a few pieces.
        assert writes < tasks + tasks * rounds / 4


async def test_what_is_gathered_is_withdrawn_or_sent(tmp_path: Path) -> None:
    """Calls that are cancelled in the turn in which they were made: the others, and the next ones, are as they were."""
    async with connected(tmp_path) as (kitchen, _, client):
        link = link_of(client)
        await kitchen.pid()

        async def cook(table: int) -> None:
            assert await kitchen.cook(Order(table, "pie")) == f"pie for {table}"

        for _ in range(20):  # trio runs the tasks of a turn in random order
            link._come_together = True
            async with trio.open_nursery() as nursery, trio.open_nursery() as cancelled:
                cancelled.start_soon(kitchen.simmer, "stew")
                nursery.start_soon(cook, 1)
                cancelled.start_soon(kitchen.simmer, "stew")
                await trio.lowlevel.checkpoint()
                cancelled.cancel_scope.cancel()
            assert link.is_idle


async def test_closing_sends_what_is_gathered(tmp_path: Path) -> None:
    """Calls which wait for others of their turn, when the client is closed, end as those in flight."""
    service = Service(tmp_path / "kitchen", Kitchen)
    ended = 0

    async def call(kitchen: Kitchen) -> None:
        nonlocal ended
        with pytest.raises(Closed):
            await kitchen.simmer("stew")
        ended += 1

    async with service.serve(Chef()), trio.open_nursery() as nursery:
        for _ in range(20):
            client = service.connect()
            async with client as kitchen:
                await kitchen.pid()
                link_of(client)._come_together = True
                nursery.start_soon(call, kitchen)
                nursery.start_soon(call, kitchen)
                await trio.lowlevel.checkpoint()
    assert ended == 40


async def test_a_timeout_belongs_to_blocking_code(tmp_path: Path) -> None:
    """`connect(timeout=...)` under `async with` says what to write instead."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with pytest.raises(ValueError, match="fail_after"):
        async with service.connect(timeout=1):
            pass


async def test_the_proxy_has_names_that_help(tmp_path: Path) -> None:
    """Its repr and its methods say what they belong to; Python's own complaint names the method."""
    async with connected(tmp_path) as (kitchen, _, client):
        assert "Kitchen" in repr(kitchen)
        assert kitchen.cook.__qualname__ == "Kitchen.cook"
        with pytest.raises(TypeError, match=r"Kitchen\.cook"):
            await kitchen.cook()  # type: ignore[call-arg]  # the mistake under test
        with pytest.raises(ValueError, match="order"):
            await kitchen.cook("soup")  # type: ignore[arg-type]  # the mistake under test
        assert client.peer.pid == os.getpid()


async def test_waiting_for_a_service_that_comes_later(tmp_path: Path) -> None:
    """`wait_seconds` waits for a name that is not there yet; cancelling the wait leaves nothing."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with trio.move_on_after(0.01):
        async with service.connect(wait_seconds=60):
            pass
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            async with service.connect(wait_seconds=60) as kitchen:
                assert await kitchen.pid() == os.getpid()
            nursery.cancel_scope.cancel()

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        async with service.serve(Chef()):
            await trio.sleep_forever()


async def test_a_handler_s_own_calls_keep_its_deadline(tmp_path: Path) -> None:
    """A handler that calls another service before it has waited passes its caller's deadline on."""
    behind = Service(tmp_path / "behind", Kitchen)

    class Waiter(Chef):
        def __init__(self, behind: Kitchen) -> None:
            super().__init__()
            self._behind = behind

        async def ask(self) -> tuple[str, int, float]:
            return await self._behind.ask()

    async with behind.serve(Chef()), behind.connect() as kitchen:
        front = Service(tmp_path / "front", Kitchen)
        async with front.serve(Waiter(kitchen)), front.connect() as asked:
            with trio.fail_after(77):
                _, _, deadline = await asked.ask()
            assert 0 < deadline - time.monotonic() < 78
            assert (await asked.ask())[2] == float("inf")


def test_timed_out_is_for_blocking_code_only() -> None:
    """The error of a deadline that the service reports on its own is TimedOut."""
    assert issubclass(TimedOut, TimeoutError)


# ---------------------------------------------------------------- a moment of waiting


@pytest.fixture
def one_core() -> Iterator[None]:
    """This process, and those that it starts, have one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


CALLS = 1000
CALLER = f"""
    import sys
    from namedipc import Service
    from tests.kitchen import Kitchen
    with Service(sys.argv[1], Kitchen).connect() as kitchen:
        for _ in range({CALLS}):
            kitchen.call(Kitchen.pid)
    print("done", flush=True)
"""


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("spin", [True, False])
async def test_a_service_dozes_where_polling_is_no_help(tmp_path: Path, child: Children, *, spin: bool) -> None:
    """On a shared core it sleeps by itself between two calls, and soon no longer polls; or neither. Counted."""
    service = Service(tmp_path / "kitchen", Kitchen)
    async with service.serve(Chef(), spin=spin) as server:
        caller = child(CALLER, str(service.path))
        await trio.to_thread.run_sync(caller.expect, "done")
        loop = server._loop
        assert server.statistics().calls == CALLS
        dozed = loop.dozer.wins + loop.dozer.losses
        if spin:
            assert loop.spinner is not None
            assert loop.spinner.wins + loop.spinner.losses < 100
            assert dozed > 0
        else:
            assert loop.spinner is None
            assert dozed == 0


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("spin", [True, False])
async def test_a_client_dozes_where_polling_is_no_help(tmp_path: Path, child: Children, *, spin: bool) -> None:
    """The same at the other end."""
    path = tmp_path / "kitchen"
    child(SERVER_SCRIPT, str(path)).expect("ready")
    client = Service(path, Kitchen).connect(spin=spin)
    async with client as kitchen:
        for _ in range(CALLS):
            await kitchen.pid()
        link = link_of(client)
        dozed = link._dozer.wins + link._dozer.losses
        assert (dozed > 0) == spin
        assert spin == (link._spinner is not None)
        if link._spinner is not None:
            assert link._spinner.wins + link._spinner.losses < 100


@pytest.mark.usefixtures("one_core")
async def test_nobody_dozes_where_time_is_virtual(tmp_path: Path, child: Children, mock_clock: object) -> None:
    """A clock of a test stands still while nobody moves it."""
    path = tmp_path / "kitchen"
    child(SERVER_SCRIPT, str(path)).expect("ready")
    client = Service(path, Kitchen).connect()
    async with client as kitchen:
        for _ in range(100):
            await kitchen.pid()
        link = link_of(client)
        assert link._dozer.wins + link._dozer.losses == 0
