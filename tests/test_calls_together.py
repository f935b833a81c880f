"""Calls that came together: each is run, refused, cancelled and counted as if it had come in a frame of its own."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
import trio

from namedipc import Call, Limits, Peer, Server, Service, allow, current_call, lowlevel
from namedipc._batches import join
from namedipc._faults import pack_headers
from namedipc._protocol.frames import (
    CALLS,
    CANCEL,
    DEADLINE_FLAG,
    ERROR,
    GOODBYE,
    HEADERS_FLAG,
    REPLIES,
    REPLY,
    Frame,
    FrameReader,
    pack_call,
    pack_frame,
    with_deadline,
    with_headers,
)
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._schema import Schema
from namedipc._shells import service_loop
from namedipc._shells.outcomes import IDLE
from namedipc._shells.service_loop import ServiceLoop
from namedipc._shells.suspended import ActiveCall, Suspended, active_call

from .loop_support import pumped_loop
from .wire_client import WireClient, code_of, wire_client

pytestmark = pytest.mark.usefixtures("no_leaks")

chalk: contextvars.ContextVar[str] = contextvars.ContextVar("chalk", default="clean")


class Desk(Protocol):
    """The interface."""

    async def weigh(self, letter: str, stamps: int = 0, *, fast: bool = False) -> int:
        """Answer at once."""
        ...

    async def tell(self) -> tuple[str, float, dict[str, str]]:
        """Answer what can be asked."""
        ...

    async def chalk(self, text: str) -> str:
        """Write on the board; return what was there."""
        ...

    async def collect(self, number: int) -> list[int]:
        """Return all the numbers so far."""
        ...

    async def fill(self, size: int) -> bytes:
        """Return so many bytes; a number instead below 0."""
        ...

    async def wait(self, number: int) -> int:
        """Wait where the number is odd."""
        ...

    async def secret(self, number: int) -> int:
        """Not for everybody."""
        ...

    async def view(self, size: int) -> memoryview:
        """Return so many bytes, which may travel beside the answer."""
        ...


def nobody(_: Peer) -> bool:
    """A rule."""
    return False


class Clerk:
    """The implementation."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.active: list[ActiveCall] = []
        self.go_on = trio.Event()

    async def weigh(self, letter: str, stamps: int = 0, *, fast: bool = False) -> int:
        """Weigh."""
        if letter == "bomb":
            raise ValueError(letter)
        return len(letter) + stamps + 100 * fast

    async def tell(self) -> tuple[str, float, dict[str, str]]:
        """Tell, and leave something."""
        call = current_call()
        self.active.append(active_call.get())
        headers = dict(call.headers)
        call.headers["left"] = "behind"
        return call.method, call.deadline, headers

    async def chalk(self, text: str) -> str:
        """Write."""
        before = chalk.get()
        chalk.set(text)
        return before

    async def collect(self, number: int) -> list[int]:
        """The same list each time."""
        self.numbers.append(number)
        return self.numbers

    async def fill(self, size: int) -> bytes:
        """Fill."""
        return bytes(size) if size >= 0 else size  # type: ignore[return-value]  # the mistake under test

    async def wait(self, number: int) -> int:
        """Wait."""
        self.begun.append(number)
        self.active.append(active_call.get())
        if number % 2:
            try:
                await self.go_on.wait()
            except trio.Cancelled:
                self.cancelled.append(number)
                raise
        return number

    @allow(nobody)
    async def secret(self, number: int) -> int:
        """Tell."""
        return number

    async def view(self, size: int) -> memoryview:
        """Fill."""
        return memoryview(bytes(size))


SCHEMA: Schema[Desk] = Schema(Desk, frame_globals=globals(), frame_locals={})
HELLO = Hello(SERVICE, 1 << 20, SCHEMA.fingerprint).pack()


def arguments(method: str, *args: object, **kwargs: object) -> bytes:
    """The arguments of a call."""
    return SCHEMA.by_name[method].arguments.encode(args, kwargs)


def calls_frame(method: str, first_id: int, *bodies: bytes, before: bytes = b"", flags: int = 0) -> bytes:
    """Calls that go together."""
    body = before + join(bodies)
    return pack_frame(CALLS, body, flags=flags, method=SCHEMA.by_name[method].index, id=first_id)


def weigh(first_id: int, *letters: str) -> bytes:
    """Calls which are answered at once."""
    return calls_frame("weigh", first_id, *(arguments("weigh", letter) for letter in letters))


@asynccontextmanager
async def served(tmp_path: Path, limits: Limits | None = None) -> AsyncIterator[tuple[WireClient, Clerk, Server]]:
    """A desk, and a client which has said hello."""
    clerk = Clerk()
    async with Service(tmp_path / "desk", Desk).serve(clerk, limits=limits or Limits()) as server:
        with wire_client(server.path) as client:
            await client.send(HELLO)
            yield client, clerk, server


async def answers(client: WireClient, count: int) -> dict[int, object]:
    """Read the answers to so many calls: a result, or the code of an error, by its id; each comes once."""
    found: dict[int, object] = {}
    while len(found) < count:
        frame = await client.frame()
        assert frame is not None
        for id_, answer in answers_of(frame):
            assert id_ not in found
            found[id_] = answer
    return found


def answers_of(frame: Frame) -> list[tuple[int, object]]:
    """What a frame answers."""
    kind, _flags, _method, id_, body = frame
    if kind == REPLIES:
        return list(enumerate(msgspec.msgpack.decode(body), id_))
    assert kind in {REPLY, ERROR}
    return [(id_, code_of(frame) if kind == ERROR else msgspec.msgpack.decode(body))]


# --- each as if it had come alone


async def test_calls_that_come_together_are_answered_together(tmp_path: Path) -> None:
    """In fewer frames than there are calls; behind them the connection goes on as before."""
    async with served(tmp_path) as (client, _, _):
        await client.send(weigh(5, *"abc", *["dd"] * 61))
        await client.send(pack_call(SCHEMA.by_name["tell"].index, 99, b"\x90", None))
        assert await answers(client, 65) == {
            **dict.fromkeys(range(5, 8), 1),
            **dict.fromkeys(range(8, 69), 2),
            99: ["tell", float("inf"), {}],
        }


async def test_arguments_that_do_not_fit_fail_their_call_only(tmp_path: Path) -> None:
    """Bad types, bad UTF-8, too many, deep nesting; those by name, or of another number, are as good as others."""
    bodies = [
        arguments("weigh", "a"),
        b"\x91\x01",
        arguments("weigh", "bb", fast=True),
        b"\x91\xa1\xff",
        arguments("weigh", "ccc", 5),
        b"\x94\xa1a\x01\xc3\x01",
        b"\xc0",
        arguments("weigh", "dddd"),
    ]
    async with served(tmp_path) as (client, _, _):
        await client.send(calls_frame("weigh", 1, *bodies))
        bad = "invalid"
        assert await answers(client, 8) == {1: 1, 2: bad, 3: 102, 4: bad, 5: 8, 6: bad, 7: bad, 8: 4}


@pytest.mark.parametrize(
    "body",
    [b"\x93\x91\xa1a\x91\xa1b", b"\x93\x91\xa1a\x91\xa1b\x91\xa1cx", b"\x93\xc1\xc1\xc1", b"\x93" + b"\x91" * 5000],
    ids=["too short", "too long", "no msgpack", "nested"],
)
async def test_a_damaged_array_is_an_error_of_each_call(tmp_path: Path, body: bytes) -> None:
    """How many there are is known, and no more than that; the connection goes on."""
    async with served(tmp_path) as (client, _, _):
        await client.send(pack_frame(CALLS, body, method=SCHEMA.by_name["weigh"].index, id=1))
        assert await answers(client, 3) == dict.fromkeys([1, 2, 3], "invalid")
        await client.send(weigh(4, "a", "b"))
        assert await answers(client, 2) == {4: 1, 5: 1}


async def test_what_a_handler_raises_is_its_call_s_only(tmp_path: Path) -> None:
    """Those around it are answered; the service counts each call, each error and each latency."""
    async with served(tmp_path) as (client, _, server):
        await client.send(weigh(1, "a", "bomb", "ccc", "dd", "bomb"))
        assert await answers(client, 5) == {1: 1, 2: "remote", 3: 3, 4: 2, 5: "remote"}
        statistics = server.statistics()
        assert (statistics.calls, statistics.errors, statistics.in_flight) == (5, 2, 0)
        assert server._loop.answers.latencies.count == 5
        assert 0 < statistics.latency_p50_seconds <= statistics.latency_max_seconds


async def test_each_call_has_a_context_and_headers_of_its_own(tmp_path: Path) -> None:
    """What one handler leaves there no other finds; deadline and headers are said once for all."""
    deadline = time.monotonic() + 100
    before = with_deadline(deadline, with_headers(pack_headers({"a": "b"}), b""))
    flags = DEADLINE_FLAG | HEADERS_FLAG
    async with served(tmp_path) as (client, clerk, _):
        await client.send(calls_frame("chalk", 1, *[arguments("chalk", text) for text in "abc"]))
        assert await answers(client, 3) == dict.fromkeys([1, 2, 3], "clean")
        await client.send(calls_frame("tell", 4, *[b"\x90"] * 3))
        assert await answers(client, 3) == {id_: ["tell", float("inf"), {}] for id_ in (4, 5, 6)}
        await client.send(calls_frame("tell", 7, *[b"\x90"] * 3, before=before, flags=flags))
        assert await answers(client, 3) == {id_: ["tell", deadline, {"a": "b"}] for id_ in (7, 8, 9)}
        assert not any(active.inline for active in clerk.active)


async def test_a_result_is_what_it_was_when_its_handler_ended(tmp_path: Path) -> None:
    """Whatever the next handler does with it."""
    async with served(tmp_path) as (client, _, _):
        await client.send(calls_frame("collect", 1, *[arguments("collect", number) for number in range(3)]))
        assert await answers(client, 3) == {1: [0], 2: [0, 1], 3: [0, 1, 2]}


async def test_results_which_are_large_or_do_not_fit(tmp_path: Path) -> None:
    """No frame is longer than the client accepts; what is, and what cannot be sent, is an error of its call."""
    sizes = [1, 500, 500, 2000, 3, -1, 4, 990, 995, 1, 998, 997]  # three bytes before them say how many there are
    found: dict[int, object] = {}
    async with Service(tmp_path / "desk", Desk).serve(Clerk()) as server:
        with wire_client(server.path) as client:
            hello = Hello(SERVICE, 1000, SCHEMA.fingerprint).pack()
            await client.send(hello + calls_frame("fill", 1, *[arguments("fill", size) for size in sizes]))
            while len(found) < len(sizes):
                frame = await client.frame()
                assert frame is not None
                assert len(frame[4]) <= 1000
                found |= answers_of(frame)
    faults = {4: "too-large", 6: "invalid", 11: "too-large"}
    assert found == {id_: faults.get(id_) or bytes(size) for id_, size in enumerate(sizes, 1)}


async def test_a_large_result_comes_alone(tmp_path: Path) -> None:
    """And those around it together."""
    sizes = [1, 2, 100_000, 3, 4]
    async with served(tmp_path) as (client, _, _):
        await client.send(calls_frame("fill", 1, *[arguments("fill", size) for size in sizes]))
        assert await answers(client, 5) == {id_: bytes(size) for id_, size in enumerate(sizes, 1)}


async def test_what_may_travel_beside_its_answer_is_run_one_by_one(tmp_path: Path) -> None:
    """This client maps no buffers, so that all is within."""
    async with served(tmp_path) as (client, _, _):
        await client.send(calls_frame("view", 1, *[arguments("view", size) for size in (1, 2, 3)]))
        assert await answers(client, 3) == {1: b"\0", 2: b"\0\0", 3: b"\0\0\0"}


async def test_rules_and_deadlines_refuse_each_call(tmp_path: Path) -> None:
    """A method for fewer than the service; a deadline that has passed."""
    async with served(tmp_path) as (client, clerk, _):
        await client.send(calls_frame("secret", 1, *[arguments("secret", 1)] * 3))
        assert await answers(client, 3) == dict.fromkeys([1, 2, 3], "not-allowed")
        late = with_deadline(time.monotonic(), b"")
        await client.send(calls_frame("wait", 4, *[arguments("wait", 2)] * 3, before=late, flags=DEADLINE_FLAG))
        assert await answers(client, 3) == dict.fromkeys([4, 5, 6], "deadline")
        assert clerk.begun == []


class Interruptible(Protocol):
    """An interface."""

    async def is_protected(self, number: int) -> bool:
        """Whether KeyboardInterrupt would be kept from the handler."""
        ...


class Interrupted:
    """Its implementation."""

    async def is_protected(self, number: int) -> bool:
        """Ask trio; having waited first, if that is asked for."""
        if number < 0:
            await trio.lowlevel.checkpoint()
        return trio.lowlevel.currently_ki_protected()


async def test_handlers_are_not_protected_from_the_keyboard(tmp_path: Path) -> None:
    """Whether their call came alone or with others, also once they have waited; but where somebody else calls them."""
    service = Service(tmp_path / "desk", Interruptible)
    client = service.connect()
    async with service.serve(Interrupted()), client as proxy:
        assert not await proxy.is_protected(1)
        assert not await proxy.is_protected(-1)
        assert not await proxy.is_protected(2)

        @trio.lowlevel.enable_ki_protection
        async def protected() -> bool:
            return await Interrupted().is_protected(1)

        assert await protected()
        assert await client.call_each(Interruptible.is_protected, range(3)) == [False] * 3


async def test_a_tracer_sees_each_call(tmp_path: Path) -> None:
    """With the headers that came with all of them."""
    seen: list[tuple[str, dict[str, str]]] = []

    @contextmanager
    def trace(call: Call) -> Iterator[None]:
        seen.append((call.method, dict(call.headers)))
        call.headers["left"] = "behind"
        yield

    @contextmanager
    def label(call: Call) -> Iterator[None]:
        call.headers["a"] = "b"
        yield

    service = Service(tmp_path / "desk", Desk)
    labelled, plain = service.connect(trace=label), service.connect()
    async with service.serve(Clerk(), trace=trace), labelled, plain:
        assert await labelled.call_each(Desk.weigh, ["a", "bb", "ccc"]) == [1, 2, 3]
        assert await plain.call_each(Desk.weigh, ["a", "bb"]) == [1, 2]
    assert seen == [("weigh", {"a": "b"})] * 3 + [("weigh", {})] * 2


# --- handlers that wait


async def test_handlers_that_wait_let_the_others_go_on(tmp_path: Path) -> None:
    """They begin in order; each can be cancelled by its id; the others are answered when they have ended."""
    async with served(tmp_path) as (client, clerk, server):
        await client.send(calls_frame("wait", 1, *[arguments("wait", number) for number in range(8)]))
        assert await answers(client, 4) == {1: 0, 3: 2, 5: 4, 7: 6}
        assert clerk.begun == list(range(8))
        assert server.statistics().in_flight == 4
        await client.send(pack_frame(CANCEL, id=4) + pack_frame(CANCEL, id=5) + weigh(9, "a", "b"))
        assert await answers(client, 3) == {4: "cancelled", 9: 1, 10: 1}
        assert clerk.cancelled == [3]
        clerk.go_on.set()
        assert await answers(client, 3) == {2: 1, 6: 5, 8: 7}
        statistics = server.statistics()
        assert (statistics.calls, statistics.errors, statistics.in_flight) == (10, 1, 0)
        assert not any(active.inline for active in clerk.active)


async def test_no_more_handlers_wait_than_may(tmp_path: Path) -> None:
    """Those beyond are refused, each by itself; a run of as many as may be is none too many."""
    async with served(tmp_path, Limits(calls_in_flight=4)) as (client, clerk, _):
        waiting = [arguments("wait", 1)] * 3
        await client.send(calls_frame("wait", 1, *waiting) + calls_frame("wait", 4, *waiting))
        assert await answers(client, 2) == {5: "limit", 6: "limit"}
        await client.send(weigh(7, "a", "b"))
        assert await answers(client, 2) == {7: "limit", 8: "limit"}
        clerk.go_on.set()
        assert await answers(client, 4) == dict.fromkeys([1, 2, 3, 4], 1)
        await client.send(weigh(9, *"abcd"))
        assert await answers(client, 4) == dict.fromkeys([9, 10, 11, 12], 1)


async def test_a_deadline_ends_handlers_that_wait(tmp_path: Path) -> None:
    """Each of them."""
    async with served(tmp_path) as (client, clerk, _):
        soon = with_deadline(time.monotonic() + 0.5, b"")
        await client.send(calls_frame("wait", 1, *[arguments("wait", 1)] * 3, before=soon, flags=DEADLINE_FLAG))
        assert await answers(client, 3) == dict.fromkeys([1, 2, 3], "deadline")
        assert len(clerk.cancelled) in {0, 3}  # 0: the machine was so slow that they have not begun


# --- the loop by hand


class Turns(Clerk):
    """A clerk whose every weighing takes longer than a round, and who waits for whoever drives the loop."""

    async def weigh(self, letter: str, stamps: int = 0, *, fast: bool = False) -> int:
        """Compute."""
        self.begun.append(stamps)
        until = time.perf_counter() + 0.0002
        while time.perf_counter() < until:
            pass
        return len(letter)

    async def wait(self, number: int) -> int:
        """Wait for nothing in particular."""
        self.begun.append(number)
        await OneStep()
        return number


class OneStep:
    """Is waited for once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def pumped(tmp_path: Path, clerk: Clerk) -> AbstractContextManager[ServiceLoop]:
    """A loop that the test drives."""
    return pumped_loop(tmp_path / "desk", SCHEMA, clerk, Limits())


def received(client: lowlevel.Socket) -> list[Frame]:
    """The frames behind the hello, so far."""
    reader = FrameReader(1 << 20)
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while data := client.recv(65536):
            reader.feed(data)
    assert reader.take(HELLO_BYTES) is not None
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    return frames


def test_what_ends_at_once_is_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back, as long as the time of a round is not up; an error is a frame between two."""
    monkeypatch.setattr(service_loop, "ROUND_SECONDS", 60.0)
    with pumped(tmp_path, Clerk()) as loop, lowlevel.unix_connect(tmp_path / "desk") as client:
        client.sendall(HELLO + weigh(1, *["a"] * 64) + weigh(65, "a", "bb", "bomb", "c", "bomb", "d", "e"))
        while loop.pump() != IDLE:
            pass
        frames = received(client)
        assert frames[0] == (REPLIES, 0, 0, 1, join([b"\x01"] * 64))
        assert [(frame[0], frame[3]) for frame in frames[1:]] == [
            (REPLIES, 65),
            (ERROR, 67),
            (REPLY, 68),
            (ERROR, 69),
            (REPLIES, 70),
        ]


def test_a_run_lets_other_clients_have_their_turn(tmp_path: Path) -> None:
    """One of its calls a round where each takes so long; a client that asks meanwhile is answered in between."""
    clerk = Turns()
    with pumped(tmp_path, clerk) as loop, contextlib.ExitStack() as stack:
        greedy, modest = (stack.enter_context(lowlevel.unix_connect(tmp_path / "desk")) for _ in range(2))
        greedy.sendall(HELLO + calls_frame("weigh", 1, *[arguments("weigh", "a", 1)] * 30))
        modest.sendall(HELLO + pack_call(SCHEMA.by_name["weigh"].index, 1, arguments("weigh", "b", 2), None))
        while loop.pump() != IDLE:
            pass
        assert len(clerk.begun) == 31
        assert 2 in clerk.begun[:3]
        assert sorted(id_ for frame in received(greedy) for id_, _ in answers_of(frame)) == list(range(1, 31))
        assert loop.statistics().latency_max_seconds < 1


def test_what_has_not_begun_as_the_service_ends_is_not_run(tmp_path: Path) -> None:
    """The goodbye names the last call that has begun; those behind it are told that they were not."""
    clerk = Turns()
    with pumped(tmp_path, clerk) as loop, lowlevel.unix_connect(tmp_path / "desk") as client:
        client.sendall(HELLO + calls_frame("wait", 7, *[arguments("wait", number) for number in range(5)]))
        suspended: Suspended | int = IDLE
        for _ in range(2):
            while not isinstance(suspended := loop.pump(), Suspended):
                pass
            suspended.close()
            assert loop.answers.settle(suspended)
            loop.answers.answer(suspended, suspended.id)
        loop.clients.stop_accepting()
        while loop.pump() != IDLE:
            pass
        assert clerk.begun == [0, 1]
        frames = received(client)
        assert [(frame[0], frame[3]) for frame in frames[:3]] == [(REPLY, 7), (REPLY, 8), (GOODBYE, 8)]
        assert [answers_of(frame) for frame in frames[3:]] == [[(id_, "draining")] for id_ in (9, 10, 11)]


def test_a_service_that_ends_while_a_run_is_answered_together_refuses_the_rest(tmp_path: Path) -> None:
    """A handler that never waits has it end; what was run before, and this very call, are answered."""

    class Last(Clerk):
        async def weigh(self, letter: str, stamps: int = 0, *, fast: bool = False) -> int:
            if letter == "last":
                loop.clients.stop_accepting()
            return len(letter)

    with pumped(tmp_path, Last()) as loop, lowlevel.unix_connect(tmp_path / "desk") as client:
        client.sendall(HELLO + weigh(1, "a", "last", "b", "c"))
        while loop.pump() != IDLE:
            pass
        found = [answer for frame in received(client) if frame[0] != GOODBYE for answer in answers_of(frame)]
        assert sorted(found) == [(1, 1), (2, 4), (3, "draining"), (4, "draining")]


def test_a_client_that_leaves_takes_the_rest_of_its_run_along(tmp_path: Path) -> None:
    """Nobody waits for it any more; the loop has nothing left to do."""
    clerk = Turns()
    with pumped(tmp_path, clerk) as loop:
        with lowlevel.unix_connect(tmp_path / "desk") as client:
            client.sendall(HELLO + calls_frame("wait", 1, *[arguments("wait", number) for number in range(200)]))
            while not isinstance(suspended := loop.pump(), Suspended):
                pass
        loop.clients.drop(suspended.connection)
        assert suspended.cancelled
        suspended.close()
        assert loop.answers.settle(suspended)
        while loop.pump() != IDLE:
            pass
        assert clerk.begun == [0]


# --- what no client may say


@pytest.mark.parametrize("first", [3, 4, 5])
async def test_ids_that_are_in_use_end_the_connection(tmp_path: Path, first: int) -> None:
    """Wherever among the new ones they are; none of these is run."""
    async with served(tmp_path) as (client, clerk, server):
        waiting = pack_call(SCHEMA.by_name["wait"].index, 5, arguments("wait", 1), None)
        await client.send(waiting + calls_frame("wait", first, *[arguments("wait", 2)] * 3))
        assert await client.fault(0) == "protocol"
        await client.end()
        assert clerk.begun == [1]
        assert server.statistics().calls == 1
