"""The service loop against clients which do what no proper client does; the others notice nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
import trio
import trio.testing

from namedipc import Limits, Service, lowlevel, one_way
from namedipc._protocol.frames import REPLY, FrameReader, Kind, pack_frame
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._schema import Schema
from namedipc._shells.outcomes import IDLE, TURN
from namedipc._shells.service_loop import ServiceLoop
from namedipc._shells.suspended import Suspended

from .kitchen import Chef, Miller, Order
from .loop_support import pumped_loop
from .wire_client import HELLO, MILL, SCHEMA, call_frame, giant_frame, serving, wire_client

pytestmark = pytest.mark.usefixtures("no_leaks")


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
        (b"GET / HTTP/1.1\r\nHost: kitchen.example.org\r\n\r\n", "protocol"),
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
            await client.send(HELLO + call_frame("simmer", 1, "stew", deadline=time.monotonic() + 0.5))
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


# --- the loop by itself: each turn is the test's


def loop_of(
    tmp_path: Path, schema: Schema[Any], implementation: object, limits: Limits
) -> AbstractContextManager[ServiceLoop]:
    """A loop which pumps when it is told to, under `kitchen`."""
    return pumped_loop(tmp_path / "kitchen", schema, implementation, limits)


def test_a_call_does_not_wait_for_the_many_of_others(tmp_path: Path) -> None:
    """Ten clients have thousands of calls waiting, which have been read; one that asks once is answered before them."""
    with loop_of(tmp_path, SCHEMA, Chef(), Limits()) as loop, contextlib.ExitStack() as stack:
        modest = stack.enter_context(lowlevel.unix_connect(tmp_path / "kitchen"))
        modest.sendall(HELLO)
        while loop.pump() != IDLE:
            pass
        modest.recv(65536)
        modest.setblocking(False)
        calls = b"".join(call_frame("pid", id_) for id_ in range(1, 9001))
        for _ in range(10):
            greedy = stack.enter_context(lowlevel.unix_connect(tmp_path / "kitchen"))
            greedy.sendall(HELLO + calls)
        while len(loop.clients.more) < 10:
            assert loop.pump() == TURN
        assert loop.statistics().bytes_received < 10 * 70_000  # what was read is taken before more is read
        modest.sendall(call_frame("pid", 1))
        for _ in range(2):  # a turn may be up just before the one that is next, who is then the first of the other
            assert loop.pump() == TURN
        assert modest.recv(65536)
        assert len(loop.clients.more) + len(loop.clients.ready) == 10


def test_calls_are_not_taken_while_their_answers_are_not_read(tmp_path: Path) -> None:
    """A flight of small calls for large answers: those above the limit are run only once others have been read."""
    limits = Limits(outbound_bytes=3_000_000)
    grind = MILL.by_name["grind"]
    arguments = grind.arguments.encode((1_000_000,), {})
    calls = b"".join(pack_frame(Kind.CALL, arguments, method=grind.index, id=id_) for id_ in range(1, 21))
    with loop_of(tmp_path, MILL, Miller(), limits) as loop, lowlevel.unix_connect(tmp_path / "kitchen") as client:
        client.sendall(Hello(SERVICE, 1 << 20, MILL.fingerprint).pack() + calls)
        while loop.pump() != IDLE:
            pass
        assert loop.statistics().calls <= 5
        client.recv(HELLO_BYTES)
        reader = FrameReader(1 << 20)
        answers: list[int] = []
        while len(answers) < 20:
            reader.feed(client.recv(65536))
            loop.pump()
            while (frame := reader.next_frame()) is not None:
                answers.append(frame[3])
        assert answers == list(range(1, 21))


class Busy(Chef):
    """A chef who takes a fifth of a millisecond for each answer."""

    async def pid(self) -> int:
        """Compute."""
        until = time.perf_counter() + 0.0002
        while time.perf_counter() < until:
            pass
        return os.getpid()


def test_those_who_wait_when_a_turn_ends_come_next(tmp_path: Path) -> None:
    """Before anybody who comes later, and also where they leave meanwhile; they are not asked about again."""

    class Slow(Chef):
        def __init__(self) -> None:
            super().__init__()
            self.dishes: list[str] = []

        async def cook(self, order: Order, *, salt: bool = False) -> str:
            self.dishes.append(order.dish)
            time.sleep(0.002)  # longer than a turn
            return await super().cook(order, salt=salt)

    slow = Slow()
    names = [str(number) for number in range(70)]  # more than are asked about at once
    with loop_of(tmp_path, SCHEMA, slow, Limits()) as loop, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(lowlevel.unix_connect(tmp_path / "kitchen")) for _ in names]
        for client in clients:
            client.sendall(HELLO)
        while loop.pump() != IDLE:
            pass
        for name, client in zip(names, clients, strict=True):
            client.sendall(call_frame("cook", 1, Order(1, name)))
        assert loop.pump() == TURN
        assert slow.dishes == ["0"]
        clients[0].sendall(call_frame("cook", 2, Order(1, "late")))
        clients[1].close()
        assert [loop.pump() for _ in names[1:64]] == [TURN] * 63
        assert slow.dishes == names[:64]
        while loop.pump() != IDLE:
            pass
        assert sorted(slow.dishes) == sorted([*names, "late"])


def test_what_was_read_is_taken_where_nothing_new_comes(tmp_path: Path) -> None:
    """A client was said to have sent something while it was congested; what it had sent before comes first."""
    with loop_of(tmp_path, SCHEMA, Chef(), Limits()) as loop, lowlevel.unix_connect(tmp_path / "kitchen") as client:
        client.sendall(HELLO)
        while loop.pump() != IDLE:
            pass
        (connection,) = loop.clients.connections.values()
        for half_closes in (False, True):
            if half_closes:
                lowlevel.shutdown_write(client)
            connection.session.feed(call_frame("pid", 1))
            connection.unread = True
            loop.clients.queue(connection)
            while loop.pump() != IDLE:
                pass
        reader = FrameReader(1000)
        reader.feed(client.recv(65536)[HELLO_BYTES:])
        frames = [reader.next_frame() for _ in range(3)]
        assert [frame and frame[0] for frame in frames] == [REPLY, REPLY, None]
        assert loop.clients.connections == {}


def test_a_round_ends_in_time(tmp_path: Path) -> None:
    """A turn of a millisecond is not much longer where the calls of one client take long: few are run, not 32."""
    with loop_of(tmp_path, SCHEMA, Busy(), Limits()) as loop, lowlevel.unix_connect(tmp_path / "kitchen") as client:
        client.sendall(HELLO + b"".join(call_frame("pid", id_) for id_ in range(1, 101)))
        assert loop.pump() == TURN
        assert loop.statistics().calls < 10


class Patient(Chef):
    """A chef whose stew waits for whoever drives it."""

    async def simmer(self, name: str) -> str:
        """Wait."""
        await OneStep()
        return name


class OneStep:
    """Waits for nothing in particular."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def test_a_half_closed_client_gets_the_answers_behind_a_late_one(tmp_path: Path) -> None:
    """A handler that has waited answers while more calls of its client are yet to be taken: they are, then it ends."""
    calls = b"".join(call_frame("pid", id_) for id_ in range(2, 1002))
    with loop_of(tmp_path, SCHEMA, Patient(), Limits()) as loop, lowlevel.unix_connect(tmp_path / "kitchen") as client:
        client.sendall(HELLO + call_frame("simmer", 1, "stew") + calls)
        lowlevel.shutdown_write(client)
        while not isinstance(suspended := loop.pump(), Suspended):
            pass  # a turn may end before it has come so far
        suspended.close()
        assert loop.answers.settle(suspended)
        loop.answers.answer(suspended, "stew")
        client.setblocking(False)
        data = b""
        piece: bytes | None = None
        while piece != b"":
            loop.pump()  # beside the reading: a slow machine answers in many small pieces, and few of these fit
            with contextlib.suppress(BlockingIOError):
                piece = client.recv(65536)
                data += piece
        reader = FrameReader(1000)
        reader.feed(data[HELLO_BYTES:])
        ids = []
        while (frame := reader.next_frame()) is not None:
            ids.append(frame[3])
        assert ids == list(range(1, 1002))


async def test_one_way_calls_of_a_client_that_has_left_are_run(tmp_path: Path) -> None:
    """Also those which wait because as many as may be are in flight, and without a turn being spent in vain."""

    class Clerk:
        def __init__(self) -> None:
            self.filed: list[int] = []
            self.waiting = 0
            self.go_on = trio.Event()

        async def file(self, number: int) -> None:
            self.waiting += 1
            await self.go_on.wait()
            self.filed.append(number)

    clerk = Clerk()
    service = Service(tmp_path / "desk", Desk)
    async with service.serve(clerk, limits=Limits(calls_in_flight=2)) as server:
        async with service.connect() as desk:
            for number in range(4):
                await desk.file(number)
        while clerk.waiting < 2:
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()  # the loop sleeps, although the client has gone
        assert (server.statistics().clients, server.statistics().in_flight) == (1, 2)
        clerk.go_on.set()
        while server.statistics().clients:
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(clerk.filed) == [0, 1, 2, 3]


async def test_a_flood_of_one_way_calls_waits_for_its_handlers(tmp_path: Path) -> None:
    """It is read no further, and is kept within bounds; all of it is run, be the client there or not."""

    class Clerk:
        def __init__(self) -> None:
            self.filed: list[int] = []
            self.go_on = trio.Semaphore(0)

        async def file(self, number: int) -> None:
            await self.go_on.acquire()
            self.filed.append(number)

    clerk = Clerk()
    service = Service(tmp_path / "desk", Desk)
    most = 0
    async with service.serve(clerk, limits=Limits(calls_in_flight=3)) as server:
        async with service.connect() as desk:
            for number in range(200):
                await desk.file(number)
        while len(clerk.filed) < 200:
            await trio.testing.wait_all_tasks_blocked()
            most = max([most, *(len(c.postponed) for c in server._loop.clients.connections.values())])
            assert server.statistics().in_flight <= 3
            clerk.go_on.release()
        while server.statistics().clients:
            await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().errors == 0
    assert most == 3
    assert sorted(clerk.filed) == list(range(200))


class Desk(Protocol):
    """An interface with a one-way call."""

    @one_way
    async def file(self, number: int) -> None:
        """File it."""
        ...
