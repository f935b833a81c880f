"""The service loop against clients which do what no proper client does; the others notice nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import LimitReached, Limits, Server, Service, lowlevel
from namedipc._protocol.frames import ERROR, REPLY, Kind, pack_frame
from namedipc._protocol.hello import Hello

from .kitchen import Chef, Kitchen, Order
from .wire_client import HELLO, SCHEMA, call_frame, giant_frame, wire_client

pytestmark = pytest.mark.usefixtures("no_leaks")


@asynccontextmanager
async def serving(tmp_path: Path, limits: Limits | None = None) -> AsyncIterator[tuple[Path, Kitchen, Chef, Server]]:
    """A kitchen, and a proper client which is asked at the end whether it has noticed anything."""
    service = Service(tmp_path / "kitchen", Kitchen)
    chef = Chef()
    async with service.serve(chef, limits=limits or Limits()) as server, service.connect() as witness:
        assert await witness.pid() == os.getpid()
        yield server.path, witness, chef, server
        assert await witness.cook(Order(1, "soup")) == "soup for 1"


async def test_a_hello_and_calls_in_one_flight(tmp_path: Path) -> None:
    """Three calls behind the hello are answered in order; so are they if they come byte by byte."""
    flight = HELLO + b"".join(call_frame("cook", id_, Order(id_, "pie")) for id_ in (1, 2, 3))
    async with serving(tmp_path) as (path, _, _, _):
        for pieces in ([flight], [flight[i : i + 1] for i in range(len(flight))]):
            with wire_client(path) as client:
                for piece in pieces:
                    await client.send(piece)
                    await trio.lowlevel.checkpoint()
                assert [await client.reply(id_) for id_ in (1, 2, 3)] == [f"pie for {id_}" for id_ in (1, 2, 3)]


@pytest.mark.parametrize(
    ("offence", "code"),
    [
        (b"GET /recipes HTTP/1.1\r\nHost: kitchen\r\n\r\n", "protocol"),
        (Hello(2, 1 << 20, b"x" * 16).pack(), "kind"),
        (HELLO[:4] + b"\x09" + HELLO[5:], "protocol"),
        (HELLO + giant_frame(), "protocol"),
        (HELLO + pack_frame(200), "protocol"),
        (HELLO + pack_frame(Kind.CALL, b"\x90", method=999, id=1), "protocol"),
        (HELLO + call_frame("pid", 0), "protocol"),
        (HELLO + pack_frame(Kind.CALL, b"", flags=1, method=1, id=1), "protocol"),
    ],
    ids=["http", "a channel's hello", "version", "giant", "unknown kind", "unknown method", "id 0", "no deadline"],
)
async def test_an_offender_is_told_and_dropped(tmp_path: Path, offence: bytes, code: str) -> None:
    """An ERROR frame of id 0 with the code, then the end."""
    async with serving(tmp_path) as (path, _, _, _):
        with wire_client(path) as client:
            await client.send(offence)
            assert await client.fault(0) == code
            await client.end()


async def test_arguments_that_do_not_fit_fail_their_call_only(tmp_path: Path) -> None:
    """Bad types, bad UTF-8, deep nesting, garbage: the error of that call; the connection goes on."""
    cook = SCHEMA.by_name["cook"].index
    bodies = [b"\x91\x01", b"\x91\x82\xa5table\x01\xa4dish\xa2\xff\xfe", b"\x91" * 5000 + b"\x90", b"\xc1", b""]
    async with serving(tmp_path) as (path, _, _, _):
        with wire_client(path) as client:
            await client.send(HELLO)
            for id_, body in enumerate(bodies, start=1):
                await client.send(pack_frame(Kind.CALL, body, method=cook, id=id_))
                assert await client.fault(id_) == "invalid"
            await client.call("cook", 9, Order(1, "pie"))
            assert await client.reply(9) == "pie for 1"


async def test_a_client_that_says_nothing_is_dropped_in_time(tmp_path: Path) -> None:
    """No hello within `handshake_seconds`: an error and the end."""
    async with serving(tmp_path, Limits(handshake_seconds=0.05)) as (path, _, _, _):
        with wire_client(path) as client:
            await client.send(HELLO[:10])
            assert await client.fault(0) == "deadline"
            await client.end()


async def test_a_frame_that_does_not_end_is_dropped_in_time(tmp_path: Path) -> None:
    """Half a call, and nothing for `midframe_seconds`."""
    async with serving(tmp_path, Limits(midframe_seconds=0.05)) as (path, _, _, _):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("pid", 1)[:-1])
            assert await client.fault(0) == "deadline"
            await client.end()


async def test_a_client_that_does_not_read_is_not_read_either_and_then_dropped(tmp_path: Path) -> None:
    """Its answers stay within `outbound_bytes` and a frame or so, and after `stalled_seconds` it is dropped."""
    limits = Limits(outbound_bytes=100_000, stalled_seconds=0.2)
    async with serving(tmp_path, limits) as (path, _, _, server):
        with wire_client(path) as client:
            await client.send(HELLO)
            sent = 0
            with trio.move_on_after(10) as patience:
                try:
                    while True:
                        sent += 1
                        await client.call("echo", sent, b"x" * 50_000)
                except (BrokenPipeError, ConnectionResetError):
                    pass
            assert not patience.cancelled_caught
            # What the kernel holds both ways, what the service may hold, and what it was reading.
            assert sent * 50_000 < 2_000_000
            assert server.statistics().clients == 1


async def test_a_vanished_client_cancels_its_handlers(tmp_path: Path) -> None:
    """Closing the socket is enough; the handler's cancellation is seen in the handler."""
    async with serving(tmp_path) as (path, _, chef, server):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("simmer", 1, "stew"))
            await chef.arrived.wait()
        with trio.fail_after(10):
            while chef.cancelled != ["stew"]:
                await trio.sleep(0.001)
        assert server.statistics().in_flight == 0


async def test_a_half_closed_client_gets_its_answers(tmp_path: Path) -> None:
    """SHUT_WR means no more calls; those which wait are answered, and no core burns meanwhile."""
    async with serving(tmp_path) as (path, witness, chef, _):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("simmer", 1, "stew"))
            await chef.arrived.wait()
            lowlevel.shutdown_write(client.socket)
            await trio.testing.wait_all_tasks_blocked()
            before = time.process_time()
            await trio.sleep(0.2)
            assert time.process_time() - before < 0.15
            assert await witness.release("stew") == 1
            assert await client.reply(1) == "stew"
            await client.end()


async def test_a_cancelled_call_gets_one_last_frame(tmp_path: Path) -> None:
    """CANCEL ends the handler, and the call has exactly one terminal frame; a late CANCEL does nothing."""
    async with serving(tmp_path) as (path, _, chef, _):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("simmer", 1, "stew"))
            await chef.arrived.wait()
            await client.send(pack_frame(Kind.CANCEL, id=1))
            assert await client.fault(1) == "cancelled"
            await client.send(pack_frame(Kind.CANCEL, id=1) + call_frame("pid", 1) + pack_frame(Kind.CANCEL, id=1))
            assert await client.reply(1) == os.getpid()
            assert chef.cancelled == ["stew"]


async def test_deadlines_are_the_handlers_too(tmp_path: Path) -> None:
    """A call whose deadline passes is cancelled by the server itself; one that comes too late is not run."""
    async with serving(tmp_path) as (path, _, chef, _):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("simmer", 1, "stew", deadline=time.monotonic() + 0.05))
            assert await client.fault(1) == "deadline"
            assert chef.cancelled == ["stew"]
            await client.call("ask", 2, deadline=time.monotonic() - 1)
            assert await client.fault(2) == "deadline"
            assert chef.seen == []


async def test_more_calls_in_flight_than_allowed_are_refused(tmp_path: Path) -> None:
    """The call above `calls_in_flight` is an error of its own; the others go on."""
    async with serving(tmp_path, Limits(calls_in_flight=2)) as (path, witness, _, _):
        with wire_client(path) as client:
            await client.send(HELLO + b"".join(call_frame("simmer", id_, "stew") for id_ in (1, 2, 3)))
            assert await client.fault(3) == "limit"
            assert await witness.release("stew") == 2
            frames = [await client.frame(), await client.frame()]
            assert sorted((frame[0], frame[3]) for frame in frames if frame) == [(REPLY, 1), (REPLY, 2)]


async def test_the_same_id_twice_is_an_offence(tmp_path: Path) -> None:
    """A second call under an id in flight: nobody could tell their answers apart."""
    async with serving(tmp_path) as (path, _, chef, _):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("simmer", 1, "stew") + call_frame("simmer", 1, "stew"))
            assert await client.fault(0) == "protocol"
            await client.end()
        with trio.fail_after(10):
            while chef.cancelled != ["stew"]:
                await trio.sleep(0.001)


async def test_many_calls_of_one_client_do_not_hold_up_another(tmp_path: Path) -> None:
    """With a thousand calls of one client waiting, another is answered before all of them."""
    async with serving(tmp_path) as (path, _, _, server):
        with wire_client(path) as greedy, wire_client(path) as modest:
            await modest.send(HELLO + call_frame("pid", 1))
            await modest.reply(1)
            await greedy.send(HELLO)
            await greedy.send(b"".join(call_frame("cook", id_, Order(1, "pie")) for id_ in range(1, 1001)))
            await modest.call("pid", 2)
            before = server.statistics().calls
            assert await modest.reply(2) == os.getpid()
            assert server.statistics().calls - before < 1000
            for id_ in range(1, 1001):
                assert await greedy.reply(id_) == "pie for 1"


async def test_connections_above_those_of_a_user_are_refused(tmp_path: Path) -> None:
    """A flood of connections of one user: those above the limit are told, the rest is served."""
    async with serving(tmp_path, Limits(clients_per_uid=4)) as (path, _, _, server):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(wire_client(path)) for _ in range(20)]
            for client in clients[3:]:
                assert await client.fault(0) == "limit"
            assert server.statistics().clients == 4
            for client in clients[:3]:
                await client.send(HELLO + call_frame("pid", 1))
                assert await client.reply(1) == os.getpid()


async def test_out_of_descriptors_is_survived(tmp_path: Path) -> None:
    """Where no descriptor is left a connection is turned away and the service goes on; later ones are served."""
    service = Service(tmp_path / "kitchen", Kitchen)
    async with serving(tmp_path) as (path, witness, _, _):
        with wire_client(path) as waiting:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.socket.fileno() + 1, hard))
            try:
                before = time.process_time()
                for _ in range(20):
                    assert await witness.pid() == os.getpid()
                    await trio.sleep(0.005)
                assert time.process_time() - before < 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with trio.fail_after(10):
            async with service.connect() as kitchen:
                assert await kitchen.pid() == os.getpid()


async def test_an_idle_service_does_nothing(tmp_path: Path) -> None:
    """Twenty clients that are silent cost no CPU: no timer runs, nothing polls."""
    async with serving(tmp_path) as (path, _, _, _):
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(wire_client(path))
                await client.send(HELLO + call_frame("pid", 1))
                await client.reply(1)
            await trio.testing.wait_all_tasks_blocked()
            before = time.process_time()
            await trio.sleep(0.3)
            assert time.process_time() - before < 0.05


async def test_a_refused_client_gets_the_hello_too(tmp_path: Path) -> None:
    """So that it can read the error frame, whatever it had sent."""
    async with serving(tmp_path, Limits(clients=1)) as (path, _, _, _):
        with wire_client(path) as client:
            frame = await client.frame()
            assert frame is not None
            assert (frame[0], frame[3]) == (ERROR, 0)
        with pytest.raises(LimitReached):
            async with Service(path, Kitchen).connect() as kitchen:
                await kitchen.pid()


async def test_a_suspended_handler_can_be_looked_into(tmp_path: Path) -> None:
    """The driver shows the handler's frame, so that debuggers see what it waits for."""
    frames: list[str] = []
    async with serving(tmp_path) as (path, witness, chef, server):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("simmer", 1, "stew"))
            await chef.arrived.wait()
            (connection,) = [c for c in server._loop.clients.connections.values() if c.calls]
            suspended = connection.calls[1]
            frame = suspended.cr_frame
            frames.append(getattr(getattr(frame, "f_code", None), "co_name", ""))
            assert suspended.cr_await is not None
            assert await witness.release("stew") == 1
            assert await client.reply(1) == "stew"
    assert frames == ["simmer"]
