"""Client: what `connect` returns before it is open, while it is open, and after."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest
import trio

from namedipc import BlockingClient, Client, Closed, Limits, Service

from .kitchen import Chef, Kitchen, Order

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_client_is_a_recipe_until_it_is_entered(tmp_path: Path) -> None:
    """Nothing is connected by `connect()`; entered again after it was left it connects anew; not twice at once."""
    service = Service(tmp_path / "kitchen", Kitchen)
    client = service.connect()
    assert "not opened yet" in repr(client)
    with pytest.raises(Closed, match="not open"):
        client.statistics()
    with service.serve(Chef()) as server:
        for _ in range(2):
            with client as kitchen:
                assert kitchen.call(Kitchen.pid) == os.getpid() == client.peer.pid
                with pytest.raises(RuntimeError, match="already entered"), client:
                    pass
                assert client.statistics() == kitchen.statistics()
                assert client.statistics().messages_sent == 1
        assert server.statistics().calls == 2


def test_options_make_another_client_on_the_same_connection(tmp_path: Path) -> None:
    """`with_options` leaves the first one as it is; closing one closes the connection of both."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with service.serve(Chef()) as server, service.connect() as kitchen:
        other = kitchen.with_options(timeout=5)
        assert other.call(Kitchen.cook, Order(1, "pie")) == kitchen.call(Kitchen.cook, Order(1, "pie"))
        assert len(server.peers()) == 1
        assert other.peer == kitchen.peer
        other.close()
        with pytest.raises(Closed):
            kitchen.call(Kitchen.pid)


async def test_each_world_has_its_own_way_in(tmp_path: Path) -> None:
    """`with` inside of a trio task is refused; in a worker thread it is right."""
    service = Service(tmp_path / "kitchen", Kitchen)

    def blocking() -> int:
        with service.connect(timeout=20) as kitchen:
            return kitchen.call(Kitchen.pid)

    async with service.serve(Chef()):
        with pytest.raises(RuntimeError, match="async with"), service.connect():
            pass
        assert await trio.to_thread.run_sync(blocking) == os.getpid()


def test_async_with_outside_of_trio_says_what_to_write(tmp_path: Path) -> None:
    """In asyncio the blocking client in a thread is the way."""
    import asyncio

    async def main() -> None:
        async with Service(tmp_path / "kitchen", Kitchen).connect():
            pass

    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
        asyncio.run(main())


def test_a_blocking_client_in_asyncio(tmp_path: Path) -> None:
    """`asyncio.to_thread(kitchen.call, ...)` is typed, and works."""
    import asyncio

    service = Service(tmp_path / "kitchen", Kitchen)
    with service.serve(Chef()), service.connect() as kitchen:
        assert asyncio.run(asyncio.to_thread(kitchen.call, Kitchen.cook, Order(1, "pie"))) == "pie for 1"


class Press(Protocol):
    """An interface whose calls end when they are told to."""

    async def print(self, page: int) -> int:
        """Print a page."""
        ...


class Printer:
    """Ends its calls one by one, in order."""

    def __init__(self) -> None:
        self.printed: list[int] = []
        self.pages: dict[int, trio.Event] = {}

    async def print(self, page: int) -> int:
        """Wait, and print."""
        self.pages[page] = trio.Event()
        await self.pages[page].wait()
        self.printed.append(page)
        return page


@pytest.mark.parametrize("world", ["trio", "blocking"])
async def test_a_batch_whose_service_ends_runs_each_call_once(tmp_path: Path, world: str) -> None:
    """Those in flight as it says goodbye are answered, one after the other; only the rest goes to the successor."""
    service = Service(tmp_path / "press", Press)
    first, second = Printer(), Printer()
    pages = range(30)
    opened: list[Client[Press] | BlockingClient[Press]] = []
    results: list[int] = []

    async def in_trio() -> None:
        client = service.connect()
        async with client:
            opened.append(client)
            results.extend(await client.call_each(Press.print, pages))

    def in_blocking() -> None:
        with service.connect(timeout=20) as press:
            opened.append(press)
            results.extend(press.call_each(Press.print, pages))

    async def finish(printer: Printer) -> None:
        while printer.pages:
            page = min(printer.pages)
            before = opened[0].statistics().messages_received
            printer.pages.pop(page).set()
            while len(results) < 30 and opened[0].statistics().messages_received == before:
                await trio.lowlevel.checkpoint()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, service.serve(first, limits=Limits(calls_in_flight=8)) as ending:
            if world == "trio":
                nursery.start_soon(in_trio)
            else:
                nursery.start_soon(trio.to_thread.run_sync, in_blocking)
            while len(first.pages) < 6:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(ending.drain)
            while service.exists():
                await trio.lowlevel.checkpoint()
            async with service.serve(second):
                await finish(first)
                while len(results) < 30:
                    await finish(second)
                    await trio.lowlevel.checkpoint()
    assert results == list(pages)
    assert (first.printed, second.printed) == (list(range(6)), list(range(6, 30)))
