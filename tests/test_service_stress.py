"""A few seconds of the campaign against a service, and by themselves the faults that it has found."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

import pytest
import trio
import trio.testing

from namedipc import Closed, Limits, Service, lowlevel, one_way
from namedipc._protocol.frames import ONE_WAY_FLAG, pack_call
from namedipc._protocol.hello import SERVICE, Hello

from .service_stress import misfit
from .stress_service import Fate

SECONDS = os.environ.get("NAMEDIPC_CAMPAIGN", "4")


@pytest.mark.timeout(200 + 2 * float(SECONDS))
def test_every_call_is_accounted_for_and_nothing_is_left_behind() -> None:
    """Clients at random, killed and stopped, in trio and in threads. NAMEDIPC_CAMPAIGN: for how many seconds."""
    command = [sys.executable, "-m", "tests.service_stress", "--seconds", SECONDS, "--clients", "24"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    print(done.stdout)


@pytest.mark.parametrize(
    ("fate", "served", "reason"),
    [
        (Fate.ANSWERED, [Fate.BEGAN, Fate.ANSWERED], ""),
        (Fate.TIMED_OUT, [], ""),
        (Fate.TIMED_OUT, [Fate.BEGAN, Fate.ANSWERED], ""),
        (Fate.ANSWERED, [], "not run"),
        (Fate.SENT, [], "not run"),
        (Fate.RAISED, [Fate.BEGAN, Fate.CANCELLED], "another end"),
        (Fate.REFUSED, [Fate.BEGAN, Fate.ANSWERED], "run all the same"),
        (Fate.UNTOLD, [Fate.BEGAN], "has not ended"),
        (Fate.ANSWERED, [Fate.BEGAN, Fate.ANSWERED] * 2, "more than once"),
    ],
)
def test_the_campaign_notices_what_does_not_go_together(fate: Fate, served: list[Fate], reason: str) -> None:
    """Both ledgers of one call are compared."""
    assert reason in misfit(fate, served, is_killed=False)
    assert bool(misfit(fate, served, is_killed=False)) == bool(reason)


# ---------------------------------------------------------------- what it has found


class Guests(Protocol):
    """An interface."""

    async def leave(self) -> None:
        """Have the client go before this is answered."""
        ...

    @one_way
    async def note(self, text: str) -> None:
        """Write it down."""
        ...


@pytest.mark.usefixtures("no_leaks")
async def test_one_way_calls_of_a_client_that_has_gone_are_run(tmp_path: Path) -> None:
    """An answer finds nobody who reads; what the client had sent behind its call is read all the same."""
    service = Service(tmp_path / "guests", Guests)
    by_name = service._schema.by_name
    socket: lowlevel.Socket
    written = trio.Event()

    class Desk:
        async def leave(self) -> None:
            body = by_name["note"].arguments.encode(("farewell",), {})
            lowlevel.send(socket, pack_call(by_name["note"].index, 0, body, None, ONE_WAY_FLAG))
            socket.close()

        async def note(self, text: str) -> None:
            assert text == "farewell"
            written.set()

    async with service.serve(Desk()) as server:
        socket = lowlevel.unix_connect(service.path)
        hello = Hello(SERVICE, 1 << 20, service._schema.fingerprint, 1, 1).pack()
        body = by_name["leave"].arguments.encode((), {})
        lowlevel.send(socket, hello + pack_call(by_name["leave"].index, 1, body, None))
        with trio.fail_after(10):
            await written.wait()
            while server.peers():
                await trio.lowlevel.checkpoint()


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("drains", [False, True])
async def test_one_way_calls_which_wait_outlive_their_client(tmp_path: Path, drains: bool) -> None:
    """More than the service runs at once, from a client that leaves in order; the service may end meanwhile."""
    service = Service(tmp_path / "guests", Guests)
    begun: list[str] = []
    go_on = trio.Event()
    left = trio.Event()

    class Desk:
        async def leave(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                left.set()

        async def note(self, text: str) -> None:
            begun.append(text)
            await go_on.wait()

    async with service.serve(Desk(), limits=Limits(calls_in_flight=4)) as server:
        async with service.connect() as guests, trio.open_nursery() as nursery:
            nursery.start_soon(guests.leave)
            while not server.statistics().in_flight:
                await trio.lowlevel.checkpoint()
            for text in "abcdefg":
                await guests.note(text)
            while len(begun) < 3:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await left.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)  # the service sleeps: it does not spin on the lost socket
            go_on.set()
            while server.peers() and not drains:
                await trio.lowlevel.checkpoint()
    assert sorted(begun) == list("abcdefg")


@pytest.mark.usefixtures("no_leaks")
def test_a_one_way_call_that_could_not_be_sent_is_no_success(tmp_path: Path) -> None:
    """The service does not read; the client is closed while a call waits for the socket."""
    service = Service(tmp_path / "guests", Guests)
    ends: list[type[BaseException]] = []

    def write() -> None:
        try:
            while True:
                guests.call(Guests.note, "x" * 10_000)
        except BaseException as error:
            ends.append(type(error))

    with lowlevel.unix_listen(service.path), service.connect() as guests:
        writer = threading.Thread(target=write)
        writer.start()
        while guests._links.link._reader is None:
            pass
        guests.close()
        writer.join(20)
    assert ends == [Closed]


@pytest.mark.usefixtures("no_leaks")
def test_closing_leaves_the_descriptor_to_the_thread_that_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client is closed by one thread just before another begins to wait: that gets Closed, not what the number is."""

    class Door:
        async def leave(self) -> None:
            await trio.sleep_forever()

        async def note(self, text: str) -> None: ...

    service = Service(tmp_path / "guests", Guests)
    wait_ready = lowlevel.wait_ready
    with service.serve(Door(), drain_seconds=0), service.connect(timeout=20, spin=False) as guests:

        def wait_after_close(fd: int, **options: float | None) -> object:
            closer = threading.Thread(target=guests.close)
            closer.start()
            closer.join()
            return wait_ready(fd, **options)  # type: ignore[arg-type]  # what was given, as it was

        monkeypatch.setattr(lowlevel, "wait_ready", wait_after_close)
        with pytest.raises(Closed):
            guests.call(Guests.leave)
