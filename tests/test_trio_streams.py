"""Streams, in trio at both ends: left early, cancelled, slow, large, and fed by sources of every kind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import (
    Busy,
    Client,
    Closed,
    InvalidMessage,
    Limits,
    RemoteError,
    Server,
    Service,
    TooLarge,
    aclosing,
    feed,
)
from namedipc._protocol.frames import ITEM, pack_call
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._schema import Schema
from namedipc._shells.trio_client import TrioClientLink

from .conftest import Children
from .orchestra import Band, Orchestra, mood
from .wire_client import wire_client

pytestmark = pytest.mark.usefixtures("no_leaks")

ENDLESS = 10**9


@asynccontextmanager
async def playing(
    tmp_path: Path, limits: Limits | None = None
) -> AsyncIterator[tuple[Orchestra, Band, Client[Orchestra], Server]]:
    """An orchestra in this loop, and a client; at the end nothing is in flight, and the connection is sound."""
    service = Service(tmp_path / "orchestra", Orchestra)
    band = Band()
    client = service.connect()
    with trio.fail_after(30):
        async with service.serve(band, limits=limits or Limits()) as server, client as orchestra:
            yield orchestra, band, client, server
            await quiet(server)
            assert await orchestra.double(21) == 42
            assert link_of(client)._session.pending == {}
            assert trio.lowlevel.current_statistics().tasks_living < 30


def link_of(client: Client[Orchestra]) -> TrioClientLink:
    """The connection behind a client."""
    assert client._links is not None
    assert isinstance(client._links.link, TrioClientLink)
    return client._links.link


async def quiet(server: Server) -> None:
    """Wait until no handler runs."""
    while server.statistics().in_flight:
        await trio.sleep(0.001)


async def soon(what: object) -> None:
    """Wait until a function says True."""
    assert callable(what)
    while not what():
        await trio.sleep(0.001)


# ---------------------------------------------------------------- left early


async def test_a_stream_left_by_aclosing_is_cancelled_at_once(tmp_path: Path) -> None:
    """The handler waits for the consumer, is cancelled, and its generator is closed; other calls go on."""
    async with playing(tmp_path) as (orchestra, band, _, server), trio.open_nursery() as nursery:
        nursery.start_soon(orchestra.rest, "other")
        async with aclosing(orchestra.play(ENDLESS)) as numbers:
            async for number in numbers:
                if number == 200:
                    break
        await soon(lambda: band.log == ["closed"])
        assert server.statistics().in_flight == 1
        assert await orchestra.cue("other") == 1


async def test_a_stream_that_waits_in_its_own_await_is_cancelled_there(tmp_path: Path) -> None:
    """The handler is in the middle of something of its own: it sees Cancelled, and its generator ends."""
    async with playing(tmp_path) as (orchestra, band, _, _):
        async with aclosing(orchestra.hum("tune")) as numbers, trio.open_nursery() as nursery:
            nursery.start_soon(cue_once, orchestra, "tune")
            assert await anext(numbers) == 0
        await soon(lambda: band.log == ["cancelled", "closed"])


async def cue_once(orchestra: Orchestra, name: str) -> None:
    """Until there is somebody to hear it."""
    while not await orchestra.cue(name):
        await trio.lowlevel.checkpoint()


async def test_a_dropped_stream_is_cancelled(tmp_path: Path) -> None:
    """`break` without aclosing, and `del`: the object's end is the stream's."""
    async with playing(tmp_path) as (orchestra, band, _, server):
        async for _ in orchestra.play(ENDLESS):
            break
        await quiet(server)
        numbers = orchestra.play(ENDLESS)
        assert await anext(numbers) == 0
        del numbers
        await quiet(server)
        assert band.log == ["closed", "closed"]


async def test_a_stream_dropped_by_another_thread_is_cancelled(tmp_path: Path) -> None:
    """A finalizer that runs in another thread tells trio, and touches nothing itself."""
    async with playing(tmp_path) as (orchestra, _, _, server):
        kept = [orchestra.echo(endless_words())]
        assert await anext(kept[0]) == "A"
        await trio.to_thread.run_sync(kept.clear)
        await quiet(server)


async def endless_words() -> AsyncIterator[str]:
    """A source."""
    while True:
        yield "a"


async def test_a_finalizer_changes_nothing_in_the_middle_of_something_else(tmp_path: Path) -> None:
    """It may run at any line, also while a frame is being written: what it has to do is done in a turn of its own."""
    async with playing(tmp_path) as (orchestra, _, client, server):
        numbers = orchestra.play(ENDLESS)
        assert await anext(numbers) == 0
        before = client.statistics().bytes_sent, dict(link_of(client)._session.pending)
        del numbers
        gc.collect()
        assert (client.statistics().bytes_sent, dict(link_of(client)._session.pending)) == before
        await quiet(server)


def test_a_stream_that_outlives_trio_does_no_harm(tmp_path: Path) -> None:
    """Its finalizer runs when there is no loop any more."""
    kept: list[AsyncIterator[object]] = []

    async def main() -> None:
        service = Service(tmp_path / "orchestra", Orchestra)
        async with service.serve(Band()), service.connect() as orchestra:
            kept.append(orchestra.play(ENDLESS))
            kept.append(orchestra.echo(endless_words()))
            for stream in kept:
                await anext(stream)

    trio.run(main)
    thread = threading.Thread(target=kept.pop)
    thread.start()
    thread.join()
    kept.clear()


async def test_a_cancelled_scope_around_a_stream(tmp_path: Path) -> None:
    """A deadline ends the loop over a stream which is silent, and one which never is."""
    async with playing(tmp_path) as (orchestra, band, _, server):
        with trio.move_on_after(0.02) as scope:
            async with aclosing(orchestra.hum("silent")) as numbers:
                async for _ in numbers:
                    pass
        assert scope.cancelled_caught
        await quiet(server)
        with trio.move_on_after(0.02) as scope:
            async with aclosing(orchestra.play(ENDLESS)) as numbers:
                async for _ in numbers:
                    pass
        assert scope.cancelled_caught
        await quiet(server)
        assert band.log[-1] == "closed"


async def test_items_which_are_there_do_not_hide_a_cancellation(tmp_path: Path) -> None:
    """With an item at hand the next one is refused to a cancelled task; it is there afterwards."""
    async with playing(tmp_path) as (orchestra, _, _, _), aclosing(orchestra.play(100)) as numbers:
        assert await anext(numbers) == 0
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(numbers)
        assert scope.cancelled_caught
        assert [number async for number in numbers] == list(range(1, 100))


async def test_closing_the_client_ends_its_streams(tmp_path: Path) -> None:
    """The consumer gets Closed, the handler is cancelled, the source is closed."""
    service = Service(tmp_path / "orchestra", Orchestra)
    band = Band()
    ended: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "a"
            await trio.sleep_forever()
        finally:
            ended.append("source")

    async def consume(orchestra: Orchestra, begun: trio.Event) -> None:
        words = orchestra.echo(source())
        assert await anext(words) == "A"
        begun.set()
        with pytest.raises(Closed):
            await anext(words)
        ended.append("consumer")

    async with service.serve(band) as server, trio.open_nursery() as nursery:
        async with service.connect() as orchestra:
            begun = trio.Event()
            nursery.start_soon(consume, orchestra, begun)
            await begun.wait()
            await trio.testing.wait_all_tasks_blocked()
        await quiet(server)
    assert sorted(ended) == ["consumer", "source"]
    assert band.log == ["closed"]


async def test_a_killed_client_s_stream_is_cancelled(tmp_path: Path, child: Children) -> None:
    """The process is gone in the middle of a stream, with the window full."""
    script = """
        import sys, trio
        from namedipc import Service
        from tests.orchestra import Orchestra
        async def main():
            async with Service(sys.argv[1], Orchestra).connect() as orchestra:
                numbers = orchestra.play(10**9)
                await anext(numbers)
                print("begun", flush=True)
                await trio.sleep_forever()
        trio.run(main)
    """
    async with playing(tmp_path) as (_, band, _, server):
        other = child(script, str(server.path))
        await trio.to_thread.run_sync(other.expect, "begun")
        other.kill()
        await soon(lambda: band.log == ["closed"])


async def test_a_stream_closed_while_another_task_waits_for_it(tmp_path: Path) -> None:
    """The task that waits gets Closed, be it the one that reads for all or not."""
    async with playing(tmp_path) as (orchestra, _, _, server):
        for with_reader in (False, True):
            async with trio.open_nursery() as nursery:
                if with_reader:
                    nursery.start_soon(orchestra.rest, "reader")
                    await trio.testing.wait_all_tasks_blocked()
                numbers = orchestra.hum("silent")

                async def consume(numbers: AsyncIterator[int] = numbers) -> None:
                    with pytest.raises(Closed, match="closed"):
                        await anext(numbers)

                nursery.start_soon(consume)
                await trio.testing.wait_all_tasks_blocked()
                async with aclosing(numbers):
                    pass
                await orchestra.cue("reader")
        await quiet(server)


async def test_two_tasks_at_one_stream(tmp_path: Path) -> None:
    """The second is told Busy; the first goes on."""
    async with playing(tmp_path) as (orchestra, _, _, _), aclosing(orchestra.hum("tune")) as numbers:

        async def first() -> None:
            assert await anext(numbers) == 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Busy):
                await anext(numbers)
            with pytest.raises(trio.BusyResourceError):
                await anext(numbers)
            await orchestra.cue("tune")


async def test_cancelling_a_wait_for_an_item_loses_none(tmp_path: Path) -> None:
    """Cancelled after each number of turns: the items come in order, and all of them."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        got: list[int] = []
        async with aclosing(orchestra.play(300)) as numbers:
            turns = 0
            while len(got) < 300:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, nursery.cancel_scope, turns % 4)
                    got.append(await anext(numbers))
                turns += 1
        assert got == list(range(300))


async def cancel_after(scope: trio.CancelScope, turns: int) -> None:
    """Cancel after so many turns of the loop."""
    for _ in range(turns):
        await trio.lowlevel.cancel_shielded_checkpoint()
    scope.cancel()


# ---------------------------------------------------------------- flow control


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_slow_consumer_stops_its_producer_only(tmp_path: Path, size: int) -> None:
    """The window of the client is 64 items and 256 KiB: the producer makes no more; others are answered."""
    async with playing(tmp_path) as (orchestra, band, _, _), aclosing(orchestra.blocks(size, ENDLESS)) as blocks:
        assert len(await anext(blocks)) == size
        await trio.testing.wait_all_tasks_blocked(0.01)
        made = band.made
        assert made <= (66 if size == 1 else 5)
        for number in range(50):
            assert await orchestra.double(number) == 2 * number
        assert band.made == made


@pytest.mark.parametrize("limits", [Limits(stream_items=2), Limits(stream_bytes=3000)])
async def test_a_slow_handler_stops_its_source(tmp_path: Path, limits: Limits) -> None:
    """The window of the service, in items and in bytes: nothing is drawn beyond it until the handler goes on."""
    drawn = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal drawn
        for _ in range(40):
            drawn += 1
            yield bytes(1000)

    async with playing(tmp_path, limits) as (orchestra, _, _, _), trio.open_nursery() as nursery:
        taken: list[int] = []

        async def glance() -> None:
            taken.append(await orchestra.glance(source(), "go on"))

        nursery.start_soon(glance)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert drawn <= 6
        for number in range(20):
            assert await orchestra.double(number) == 2 * number
        assert drawn <= 6
        await orchestra.cue("go on")
        await soon(lambda: taken == [40])
        assert drawn == 40


async def test_an_item_larger_than_the_window_passes(tmp_path: Path) -> None:
    """In both directions; one larger than a message may be is the caller's error, and ends the call only."""
    async with playing(tmp_path, Limits(stream_items=1, stream_bytes=100)) as (orchestra, _, _, _):
        assert await orchestra.weigh(feed([bytes(300_000)] * 5)) == 1_500_000
        assert [len(block) async for block in orchestra.blocks(900_000, 3)] == [900_000] * 3
        with pytest.raises(TooLarge, match="weigh"):
            await orchestra.weigh(feed([b"", bytes(2_000_000)]))


def generous_call(method: str, *args: object) -> bytes:
    """The hello of a client with windows that have no end, and a call."""
    schema: Schema[Orchestra] = Schema(Orchestra, frame_globals=globals(), frame_locals={})
    found = schema.by_name[method]
    hello = Hello(SERVICE, 1 << 20, schema.fingerprint, (1 << 32) - 1, (1 << 32) - 1)
    return hello.pack() + pack_call(found.index, 1, found.arguments.encode(args, {}), None)


@pytest.mark.parametrize(("size", "most"), [(10, 50_000), (100_000, 40)])
async def test_a_client_that_does_not_read_stops_its_producer(tmp_path: Path, size: int, most: int) -> None:
    """However large its window: no more is made than may wait for it, others are served, and reading goes on."""
    limits = Limits(outbound_bytes=1_000_000)
    async with playing(tmp_path, limits) as (orchestra, band, _, server):
        with wire_client(server.path) as client:
            await client.send(generous_call("blocks", size, ENDLESS))
            before = -1
            while band.made != before:
                before = band.made
                for number in range(20):
                    assert await orchestra.double(number) == 2 * number
            assert 0 < band.made < most
            assert server.statistics().bytes_received < 10_000
            for _ in range(band.made + 10):
                frame = await client.frame()
                assert frame is not None
                assert frame[0] == ITEM
            assert band.made > before
        await quiet(server)


async def test_a_client_that_has_gone_before_its_stream_begins(tmp_path: Path) -> None:
    """The first items already find nobody: the handler is cancelled all the same."""
    async with playing(tmp_path) as (orchestra, band, _, server):
        for size in (10, 900_000):
            with wire_client(server.path) as client:
                await client.send(generous_call("blocks", size, ENDLESS))
            await soon(lambda: server.statistics().clients == 1)
            await quiet(server)
            assert await orchestra.double(1) == 2
        assert band.made > 0


async def test_many_streams_at_once_have_their_own_items(tmp_path: Path) -> None:
    """Twenty streams both ways on one connection, each in order."""
    async with playing(tmp_path, Limits(stream_items=3)) as (orchestra, _, _, _):

        async def work(name: int) -> None:
            words = [f"{name} x {number}" for number in range(100)]
            assert [word async for word in orchestra.echo(feed(words))] == [word.upper() for word in words]

        async with trio.open_nursery() as nursery:
            for name in range(20):
                nursery.start_soon(work, name)


# ---------------------------------------------------------------- sources


async def test_a_source_s_own_error_is_the_caller_s(tmp_path: Path) -> None:
    """It arrives as itself, and the handler is cancelled: with one result, and with a stream of them."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise KeyError("mine")

    async def failing_words() -> AsyncIterator[str]:
        yield "a"
        raise KeyError("mine")

    async with playing(tmp_path) as (orchestra, band, _, server):
        with pytest.raises(KeyError, match="mine"):
            await orchestra.glance(failing(), "never")
        await quiet(server)
        assert band.log == ["cancelled"]
        words = orchestra.echo(failing_words())
        assert await anext(words) == "A"
        with pytest.raises(KeyError, match="mine"):
            await anext(words)
        with pytest.raises(StopAsyncIteration):
            await anext(words)
        with pytest.raises(InvalidMessage, match="an item of 'parts'"):
            await orchestra.weigh(feed(["text"]))  # type: ignore[list-item]  # the mistake under test


async def test_a_source_that_cannot_even_begin(tmp_path: Path) -> None:
    """What its `__aiter__` raises is the caller's error, and no group."""

    class Wrong:
        def __aiter__(self) -> AsyncIterator[bytes]:
            raise KeyError("mine")

    async with playing(tmp_path) as (orchestra, _, _, _):
        with pytest.raises(KeyError, match="mine"):
            await orchestra.weigh(Wrong())


async def test_a_handler_that_returns_early_ends_the_source(tmp_path: Path) -> None:
    """The source is closed, also one that waits for ever, and one which has a nursery inside."""
    ended: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"a"
        finally:
            ended.append("endless")

    async def blocked() -> AsyncIterator[bytes]:
        yield b"a"
        try:
            await trio.sleep_forever()
        finally:
            ended.append("blocked")

    class WithNursery:
        def __init__(self) -> None:
            self.drawn = 0

        def __aiter__(self) -> WithNursery:
            return self

        async def __anext__(self) -> bytes:
            self.drawn += 1
            if self.drawn > 1:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(trio.sleep_forever)
            return b"a"

        async def aclose(self) -> None:
            ended.append("nursery")

    async with playing(tmp_path) as (orchestra, _, _, _):
        assert await orchestra.sip(endless(), 100) == 100
        assert await orchestra.sip(blocked(), 1) == 1
        assert await orchestra.sip(WithNursery(), 1) == 1
        assert ended == ["endless", "blocked", "nursery"]


async def test_leaving_a_fed_stream_closes_its_source(tmp_path: Path) -> None:
    """Also one with a nursery inside, whose Cancelled comes in a group: that is no error of the source."""
    ended: list[str] = []

    class WithNursery:
        def __aiter__(self) -> WithNursery:
            return self

        async def __anext__(self) -> str:
            if ended:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(trio.sleep_forever)
            ended.append("drawn")
            return "a"

        async def aclose(self) -> None:
            ended.append("closed")

    async with playing(tmp_path) as (orchestra, _, _, _):
        async with aclosing(orchestra.echo(WithNursery())) as words:
            assert await anext(words) == "A"
            await trio.testing.wait_all_tasks_blocked()
        assert ended == ["drawn", "closed"]


async def test_an_error_of_the_service_closes_the_source_first(tmp_path: Path) -> None:
    """When the consumer gets the error its source has been closed."""
    ended: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "a"
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0)
                ended.append("closed")

    class Failing(Band):
        async def echo(self, words: object) -> AsyncIterator[str]:
            yield "A"
            raise ValueError("broken")

    service = Service(tmp_path / "orchestra", Orchestra)
    async with service.serve(Failing()), service.connect() as orchestra:
        words = orchestra.echo(source())
        assert await anext(words) == "A"
        with pytest.raises(RemoteError, match="broken"):
            await anext(words)
        assert ended == ["closed"]


async def test_a_memory_channel_is_a_source(tmp_path: Path) -> None:
    """It is drawn as it is filled, and closed at the end."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        send, receive = trio.open_memory_channel[bytes](0)
        async with trio.open_nursery() as nursery:

            async def fill() -> None:
                async with send:
                    for _ in range(200):
                        await send.send(b"ab")

            nursery.start_soon(fill)
            assert await orchestra.weigh(receive, factor=2) == 800
        with pytest.raises(trio.ClosedResourceError):
            receive.receive_nowait()


async def test_a_source_sees_the_caller_s_context(tmp_path: Path) -> None:
    """Context variables, of a call with one result and of a stream."""

    async def source() -> AsyncIterator[str]:
        yield mood.get()

    async def parts() -> AsyncIterator[bytes]:
        yield mood.get().encode()

    async with playing(tmp_path) as (orchestra, _, _, _):
        token = mood.set("merry")
        assert await orchestra.weigh(parts()) == 5
        assert [word async for word in orchestra.echo(source())] == ["MERRY"]
        mood.reset(token)


async def test_several_request_streams_are_drawn_alike(tmp_path: Path) -> None:
    """A handler that takes by turns gets by turns, though one window is tiny."""
    async with playing(tmp_path, Limits(stream_items=1)) as (orchestra, _, _, _):
        merged = await orchestra.merge(feed(range(0, 200, 2)), low=feed(range(1, 200, 2)))
        assert merged == list(range(200))


async def test_a_dialogue(tmp_path: Path) -> None:
    """Each request is answered before the next one is drawn, as the source wants it."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        send, receive = trio.open_memory_channel[str](0)

        async def questions() -> AsyncIterator[str]:
            async with receive:
                async for word in receive:
                    yield word

        async with aclosing(orchestra.echo(questions())) as answers, trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(send.send, f"word {number}")
                assert await anext(answers) == f"WORD {number}"


async def test_a_task_of_the_handler_may_draw(tmp_path: Path) -> None:
    """The leave to send more is given although the handler itself does not run."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        assert await orchestra.weigh_in_task(feed([b"a"] * 1000)) == 1000


async def test_a_handler_cancelled_while_it_waits_for_a_request(tmp_path: Path) -> None:
    """Cancelling the caller cancels it there; nothing is left."""

    async def silent() -> AsyncIterator[bytes]:
        await trio.Event().wait()
        yield b""

    async with playing(tmp_path) as (orchestra, _, _, server):
        with trio.move_on_after(0.02) as scope:
            await orchestra.weigh(silent())
        assert scope.cancelled_caught
        await quiet(server)


# ---------------------------------------------------------------- errors


async def test_an_error_in_the_middle_of_a_stream_comes_behind_its_items(tmp_path: Path) -> None:
    """All items, then the error, then the end."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        numbers = orchestra.falter(150)
        for number in range(150):
            assert await anext(numbers) == number
        with pytest.raises(RemoteError, match="a string broke"):
            await anext(numbers)
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)


async def test_a_generator_that_yields_inside_a_cancel_scope_is_told(tmp_path: Path) -> None:
    """Its stray Cancelled ends its own call, with advice; the service goes on."""
    async with playing(tmp_path) as (orchestra, _, _, _):
        with pytest.raises(RemoteError, match="as_safe_channel"):
            async for _ in orchestra.stray():
                pass


async def test_an_item_that_the_interface_does_not_declare(tmp_path: Path) -> None:
    """It ends the stream with an error which names the method; so does one that is too long."""

    class Wrong(Band):
        async def play(self, count: int) -> AsyncIterator[int]:
            yield 0
            yield "text"  # type: ignore[misc]  # the mistake under test

    service = Service(tmp_path / "orchestra", Orchestra)
    async with service.serve(Wrong()), service.connect() as orchestra:
        numbers = orchestra.play(2)
        assert await anext(numbers) == 0
        with pytest.raises(InvalidMessage, match=r"an item of Orchestra\.play"):
            await anext(numbers)
        with pytest.raises(TooLarge, match="the caller accepts"):
            async for _ in orchestra.blocks((16 << 20) + 1, 1):
                pass
        assert await orchestra.pid() == os.getpid()
