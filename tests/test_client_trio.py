"""The proxy of trio: batches, one-way calls, marks, headers, and connecting again; and cancelled at every moment."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import (
    Call,
    Client,
    Closed,
    ConnectionLost,
    InvalidMessage,
    Limits,
    NotAllowed,
    ProtocolError,
    RemoteError,
    Service,
    aclosing,
    current_call,
    feed,
)

from .conftest import Child, Children
from .orchestra import SERVER_SCRIPT, Band, BowBroke, Orchestra, OutOfTune, StringBroke, mood
from .test_trio_streams import ENDLESS, cancel_after, link_of, playing, quiet, soon

pytestmark = pytest.mark.usefixtures("no_leaks")


# ---------------------------------------------------------------- batches


async def test_a_batch_is_answered_in_order(tmp_path: Path) -> None:
    """More calls than are run at once, some of which wait; none at all; large ones; one link shared with others."""
    async with playing(tmp_path, Limits(calls_in_flight=8)) as (orchestra, _, client, _):
        results: list[list[int]] = []

        async def batch() -> None:
            results.append(await client.call_each(Orchestra.patient, range(300)))

        async def single() -> None:
            assert await orchestra.patient(7) == 14

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(batch)
            for _ in range(2):
                nursery.start_soon(single)
        assert results == [[2 * number for number in range(300)]] * 3
        assert await client.call_each(Orchestra.double, []) == []
        blocks = [bytes([number]) * 200_000 for number in range(40)]
        assert await client.call_each(Orchestra.reverse, blocks) == blocks


async def test_the_first_error_of_a_batch_in_order_wins(tmp_path: Path) -> None:
    """Whichever fails first in time; those behind it are cancelled."""
    async with playing(tmp_path) as (orchestra, band, client, server):
        errors: list[str] = []

        async def batch() -> None:
            try:
                await client.call_each(Orchestra.patient, [2, 2, -3, -1, 2])
            except RemoteError as error:
                errors.append(error.message)

        for _ in range(20):
            await batch()
        assert errors == ["-3 is below 0"] * 20
        async with trio.open_nursery() as nursery:

            async def rests() -> None:
                with pytest.raises(InvalidMessage):
                    await client.call_each(Orchestra.rest, ["a", 1])  # type: ignore[arg-type]  # the mistake under test

            nursery.start_soon(rests)
        await quiet(server)
        assert server.statistics().in_flight == 0
        with trio.move_on_after(0.02) as scope:
            await client.call_each(Orchestra.rest, ["a", "b", "c"])
        assert scope.cancelled_caught
        await quiet(server)
        assert sorted(band.log) == ["cancelled a", "cancelled b", "cancelled c"]
        assert await orchestra.double(1) == 2


# ---------------------------------------------------------------- one way


async def test_one_way_calls_keep_their_order_and_harm_nobody(tmp_path: Path) -> None:
    """Before and behind calls that are answered; one that raises; one that does not decode is the caller's error."""
    async with playing(tmp_path) as (orchestra, _, _, server):
        for number in range(100):
            await orchestra.note(str(number))
            if number % 10 == 0:
                assert len(await orchestra.notes()) == number + 1
        await orchestra.note("bad")
        await orchestra.note("last")
        assert (await orchestra.notes())[-2:] == ["99", "last"]
        with pytest.raises(InvalidMessage):
            await orchestra.note(7)  # type: ignore[arg-type]  # the mistake under test
        assert server.statistics().errors == 1


async def test_one_way_calls_above_the_limit_run_later(tmp_path: Path) -> None:
    """Postponed, in order, until others have ended; also those of a client which has left; also while draining."""
    service = Service(tmp_path / "orchestra", Orchestra)
    band = Band()
    async with service.serve(band, limits=Limits(calls_in_flight=3)) as server:
        for leaves_first in (False, True):
            band.written.clear()
            async with service.connect() as orchestra, service.connect() as other:
                for number in range(6):
                    await orchestra.hold(f"{number}")
                await soon(lambda: server.statistics().in_flight == 3)
                if not leaves_first:
                    for _ in range(3):
                        assert await other.cue("0") in (0, 1)
                        for number in range(6):
                            await other.cue(f"{number}")
                        await soon(lambda: True)
            async with service.connect() as other:
                with trio.fail_after(10):
                    while len(band.written) < 6:
                        for number in range(6):
                            await other.cue(f"{number}")
            assert sorted(band.written) == list("012345")
    band.written.clear()
    async with service.serve(band, limits=Limits(calls_in_flight=1)), service.connect() as orchestra:
        for number in range(100):
            await orchestra.note(f"{number}")
    assert band.written == [f"{number}" for number in range(100)]


async def test_one_way_calls_of_a_killed_client_run(tmp_path: Path, child: Children) -> None:
    """What has reached the service is run, be the client there or not."""
    script = """
        import sys
        from namedipc import Service
        from tests.orchestra import Orchestra
        with Service(sys.argv[1], Orchestra).connect() as client:
            for number in range(100):
                client.call(Orchestra.note, str(number))
            for number in range(5):
                client.call(Orchestra.hold, "held")
            print("sent", flush=True)
            input()
    """
    service = Service(tmp_path / "orchestra", Orchestra)
    band = Band()
    async with service.serve(band, limits=Limits(calls_in_flight=3)) as server, service.connect() as other:
        client = child(script, str(service.path))
        await trio.to_thread.run_sync(client.expect, "sent")
        client.kill()
        with trio.fail_after(10):
            await soon(lambda: server.statistics().in_flight == 3)
            while len(band.written) < 105:
                await other.cue("held")
            await soon(lambda: server.statistics().clients == 1)
        assert band.written == [str(number) for number in range(100)] + ["held"] * 5


async def test_one_way_calls_wait_for_a_service_that_does_not_read(tmp_path: Path, child: Children) -> None:
    """A stopped service: the caller waits once the socket is full; cancelled, the call is withdrawn or sent whole."""
    owner = child(SERVER_SCRIPT, str(tmp_path / "orchestra"))
    await trio.to_thread.run_sync(owner.expect, "ready")
    async with Service(tmp_path / "orchestra", Orchestra).connect() as orchestra:
        assert await orchestra.pid() == owner.pid
        os.kill(owner.pid, signal.SIGSTOP)
        sent = 0
        with trio.move_on_after(0.2):
            while True:
                await orchestra.note(f"{sent} " + "x" * 50_000)
                sent += 1
        os.kill(owner.pid, signal.SIGCONT)
        with trio.fail_after(10):
            await orchestra.note("end")
            notes = [note.split()[0] for note in await orchestra.notes()]
        assert notes in ([*map(str, range(sent)), "end"], [*map(str, range(sent + 1)), "end"])


# ---------------------------------------------------------------- marks


async def test_declared_exceptions_come_back(tmp_path: Path) -> None:
    """With their fields, by their base, by their text; what does not fit, or is not declared, is told apart."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        with pytest.raises(StringBroke) as broke:
            await orchestra.break_something("string")
        assert (broke.value.string, broke.value.left) == ("e", 2)
        with pytest.raises(StringBroke) as bow:
            await orchestra.break_something("bow")
        assert not isinstance(bow.value, BowBroke)
        with pytest.raises(OutOfTune, match="a little"):
            await orchestra.break_something("tune")
        with pytest.raises(ProtocolError, match=r"StringBroke.*left"):
            await orchestra.break_something("misfit")
        with pytest.raises(RemoteError) as other:
            await orchestra.break_something("other")
        assert other.value.type_name == "KeyError"


async def test_a_rule_refuses_one_method(tmp_path: Path) -> None:
    """By `@allow`; a rule that raises refuses, too; the rest of the service is served."""
    async with playing(tmp_path) as (orchestra, _, client, _):
        for method in (orchestra.secret, orchestra.broken_rule):
            with pytest.raises(NotAllowed, match="not for user"):
                await method()
        assert client.statistics().messages_sent == 2


async def test_blocking_code_in_a_thread(tmp_path: Path) -> None:
    """current_call() works there, errors arrive, the context is the call's own, and cancelling waits for the end."""
    async with playing(tmp_path) as (orchestra, band, client, server):
        assert (await client.with_options(headers={"who": "me"}).worker("work")).startswith("worker me ")
        assert mood.get() == "calm"
        with pytest.raises(RemoteError, match="raise"):
            await orchestra.worker("raise")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(orchestra.worker, "wait")
            await trio.to_thread.run_sync(band.in_worker.wait, 10)
            nursery.cancel_scope.cancel()
        assert server.statistics().in_flight == 1
        band.go_on.set()


async def test_headers_and_tracers_at_both_sides(tmp_path: Path) -> None:
    """What a tracer adds arrives, for calls, streams, batches and one-way calls; a tracer of the service sees each."""
    seen: list[str] = []

    @contextlib.contextmanager
    def client_tracer(call: Call) -> Iterator[None]:
        call.headers["trace"] = call.method
        seen.append(f"> {call.method} {call.peer.pid == os.getpid()}")
        yield
        seen.append(f"< {call.method}")

    @contextlib.contextmanager
    def server_tracer(call: Call) -> Iterator[None]:
        assert call.headers["trace"] == current_call().headers["trace"] == call.method
        seen.append(f"  {call.method}")
        yield

    service = Service(tmp_path / "orchestra", Orchestra)
    band = Band()
    client = service.connect(trace=client_tracer)
    async with service.serve(band, trace=server_tracer), client as orchestra:
        assert await orchestra.headers() == {"trace": "headers"}
        assert seen == ["> headers True", "  headers", "< headers"]
        assert [item async for item in orchestra.headers_stream()] == [{"trace": "headers_stream"}] * 2
        assert await orchestra.weigh(feed([b"a"])) == 1
        await orchestra.note("text")
        assert await client.call_each(Orchestra.double, [1, 2]) == [2, 4]
        with_header = client.with_options(headers={"a": "b"})
        assert await with_header.headers() == {"a": "b", "trace": "headers"}
        with pytest.raises(RemoteError):
            await orchestra.double(-1)
        assert seen.count("  double") == 3


# ---------------------------------------------------------------- connecting again


async def restarted(child: Children, owner: Child, path: Path) -> Child:
    """Kill the owner, and have another one."""
    owner.kill()
    return await started(child, path)


async def started(child: Children, path: Path) -> Child:
    """A process that serves."""
    owner = child(SERVER_SCRIPT, str(path))
    await trio.to_thread.run_sync(owner.expect, "ready")
    return owner


async def test_idempotent_calls_survive_a_killed_service(tmp_path: Path, child: Children) -> None:
    """Called afterwards, or in flight at that moment, by many tasks: connected once; others get ConnectionLost."""
    path = tmp_path / "orchestra"
    service = Service(path, Orchestra)
    owner = await started(child, path)
    client = service.connect(wait_seconds=10)
    async with client as orchestra:
        assert await orchestra.tune(1) == 1
        owner = await restarted(child, owner, path)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(orchestra.tune, number)
        assert await orchestra.pid() == owner.pid == client.peer.pid
        pids: list[int] = []
        lost: list[ConnectionLost] = []

        async def lull() -> None:
            pids.append(await orchestra.lull("now"))

        async def rest(name: str) -> None:
            with pytest.raises(ConnectionLost) as error:
                await orchestra.rest(name)
            lost.append(error.value)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(lull)
            for name in ("a", "b"):
                nursery.start_soon(rest, name)
            await in_flight(client, 12)
            owner = await restarted(child, owner, path)
            async with service.connect() as other:
                while len(pids) < 10:
                    await other.cue("now")
        assert pids == [owner.pid] * 10
        assert [sorted(error.calls) for error in lost] == [["Orchestra.lull"] * 10 + ["Orchestra.rest"] * 2] * 2
        assert lost[0] is not lost[1]


async def in_flight(client: Client[Orchestra], count: int) -> None:
    """Wait until so many calls have been sent, and the service has them: a later one is answered."""
    assert client._links is not None
    while len(link_of(client)._session.pending) < count:
        await trio.lowlevel.checkpoint()


async def test_a_poison_call_is_not_repeated_for_ever(tmp_path: Path, child: Children) -> None:
    """The service dies of it, and its successor, too: then it is the caller's error."""
    path = tmp_path / "orchestra"
    owner = await started(child, path)
    async with Service(path, Orchestra).connect(wait_seconds=20) as orchestra:

        async def poison() -> None:
            with pytest.raises(ConnectionLost):
                await orchestra.collapse()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poison)
            await trio.to_thread.run_sync(owner.wait)
            successor = child(SERVER_SCRIPT, str(path))  # it may be dead before it has said that it is ready
            await trio.to_thread.run_sync(successor.wait)
            owner = await started(child, path)
        assert await orchestra.tune(1) == 1
        assert owner.process.poll() is None


async def test_after_an_orderly_end_calls_go_to_the_successor(tmp_path: Path) -> None:
    """Any call that was not run: single, one-way and batch; with retry=False, or nobody there, it is an error."""
    service = Service(tmp_path / "orchestra", Orchestra)
    client = service.connect()
    bands = [Band() for _ in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        async with service.serve(bands[0]):
            orchestra = await stack.enter_async_context(client)
            await orchestra.note("first")
        with pytest.raises(ConnectionLost, match="has shut down") as refused:
            await client.with_options(retry=False).double(1)
        with pytest.raises(ConnectionLost, match="has shut down") as nobody:
            await orchestra.double(1)
        assert refused.value.calls == nobody.value.calls == ()
        assert nobody.value.__cause__ is not None
        async with service.serve(bands[1]):
            await orchestra.note("second")
            assert await orchestra.notes() == ["second"]
        async with service.serve(bands[2]):
            assert await client.call_each(Orchestra.double, range(10)) == list(range(0, 20, 2))
        async with trio.open_nursery() as nursery:
            answered = trio.Event()

            async def patient() -> None:
                assert await client.with_options(retry=True).double(4) == 8
                answered.set()

            nursery.start_soon(patient)
            await trio.testing.wait_all_tasks_blocked()
            async with service.serve(bands[3]):
                await answered.wait()
                assert [number async for number in orchestra.play(3)] == [0, 1, 2]
    assert [band.written for band in bands] == [["first"], ["second"], [], []]


async def test_a_batch_resumes_where_it_was(tmp_path: Path, child: Children) -> None:
    """The service ends in order in the middle: what was answered is not asked again, and all are answered once."""
    path = tmp_path / "orchestra"
    owner = await started(child, path)
    client = Service(path, Orchestra).connect(wait_seconds=20)
    async with client:
        results: list[list[int]] = []

        async def batch() -> None:
            results.append(await client.call_each(Orchestra.patient, range(20_000)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(batch)
            while client.statistics().messages_received < 1000:
                await trio.lowlevel.checkpoint()
            os.kill(owner.pid, signal.SIGTERM)
            await trio.to_thread.run_sync(owner.expect, "drained")
            await started(child, path)
        assert results == [[2 * number for number in range(20_000)]]


async def test_a_stream_is_not_repeated(tmp_path: Path, child: Children) -> None:
    """Its service is killed: ConnectionLost, behind the items that had come; the source is closed."""
    path = tmp_path / "orchestra"
    owner = await started(child, path)
    async with Service(path, Orchestra).connect() as orchestra, aclosing(orchestra.play(ENDLESS)) as numbers:
        assert await anext(numbers) == 0
        owner.kill()
        with pytest.raises(ConnectionLost, match="without a goodbye"):
            async for _ in numbers:
                pass
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)


async def test_closing_while_a_task_connects_again(tmp_path: Path) -> None:
    """The task gets Closed, and no connection is made."""
    service = Service(tmp_path / "orchestra", Orchestra)
    client = service.connect()
    async with trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        async with service.serve(Band()):
            orchestra = await stack.enter_async_context(client)
            assert await orchestra.double(1) == 2
        patient = client.with_options(retry=True)

        async def call() -> None:
            with pytest.raises(Closed):
                await patient.double(1)

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()


async def test_tasks_that_connect_again_in_vain_do_so_once(tmp_path: Path, child: Children) -> None:
    """Those that waited for their turn get the same answer: they do not wait one after the other."""
    path = tmp_path / "orchestra"
    owner = await started(child, path)
    async with Service(path, Orchestra).connect(wait_seconds=0.3) as orchestra:
        assert await orchestra.tune(1) == 1
        owner.kill()
        begun = trio.current_time()

        async def call() -> None:
            with pytest.raises(ConnectionLost):
                await orchestra.tune(1)

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(call)
        assert trio.current_time() - begun < 6


# ---------------------------------------------------------------- cancelled at every moment


async def all_of_play(orchestra: Orchestra, client: Client[Orchestra]) -> object:
    """A stream of replies."""
    async with aclosing(orchestra.play(150)) as numbers:
        return [number async for number in numbers]


async def a_dialogue(orchestra: Orchestra, client: Client[Orchestra]) -> object:
    """Streams both ways."""
    async with aclosing(orchestra.echo(feed(["a", "b"] * 40))) as words:
        return [word async for word in words]


async def a_sum(orchestra: Orchestra, client: Client[Orchestra]) -> object:
    """A stream of requests."""
    return await orchestra.weigh(feed([b"ab"] * 150))


async def a_batch(orchestra: Orchestra, client: Client[Orchestra]) -> object:
    """Many calls."""
    return await client.call_each(Orchestra.patient, range(100))


async def some_notes(orchestra: Orchestra, client: Client[Orchestra]) -> object:
    """One way."""
    for _ in range(20):
        await orchestra.note("text")
    return await orchestra.patient(1)


KINDS: list[tuple[Callable[[Orchestra, Client[Orchestra]], Awaitable[object]], object]] = [
    (all_of_play, list(range(150))),
    (a_dialogue, ["A", "B"] * 40),
    (a_sum, 300),
    (a_batch, [2 * number for number in range(100)]),
    (some_notes, 2),
]


@pytest.mark.parametrize(("use", "result"), KINDS, ids=[use.__name__ for use, _ in KINDS])
async def test_cancelled_at_every_turn(
    tmp_path: Path,
    use: Callable[[Orchestra, Client[Orchestra]], Awaitable[object]],
    result: object,
) -> None:
    """After one turn of the loop, after two, and so on until it ends by itself: others are not disturbed."""
    async with playing(tmp_path, Limits(stream_items=7, calls_in_flight=30)) as (orchestra, _, client, _):
        stop = False

        async def disturbed() -> None:
            number = 0
            while not stop:
                number += 1
                assert await orchestra.patient(number) == 2 * number

        async with trio.open_nursery() as nursery:
            nursery.start_soon(disturbed)
            nursery.start_soon(disturbed)
            for turns in range(400):
                done = False
                async with trio.open_nursery() as inner:
                    inner.start_soon(cancel_after, inner.cancel_scope, turns)
                    assert await use(orchestra, client) == result
                    done = True
                    inner.cancel_scope.cancel()
                if done and turns > 60:
                    break
            stop = True
        assert done


async def nested(orchestra: Orchestra) -> AsyncIterator[str]:
    """A source which calls the same service by the same connection."""
    for number in range(20):
        yield str(await orchestra.patient(number))


async def test_a_source_may_call_by_the_same_connection(tmp_path: Path) -> None:
    """Whoever reads at that moment, nothing waits for itself."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        words = [word async for word in orchestra.echo(nested(orchestra))]
        assert words == [str(2 * number) for number in range(20)]
