"""The short way of a service's calls: whatever comes, all is as the long way has it, to the byte."""

from __future__ import annotations

import contextvars
import functools
import itertools
import math
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc import Limits, ServiceStatistics, current_call, lowlevel, raises
from namedipc._batches import join
from namedipc._protocol.frames import (
    CALL,
    CALLS,
    CANCEL,
    DEADLINE,
    DEADLINE_FLAG,
    GOODBYE,
    HEADER_BYTES,
    REPLY,
    pack_call,
    pack_frame,
)
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._schema import Schema
from namedipc._shells import service_answers, service_loop
from namedipc._shells.latency import ENDS, Latencies
from namedipc._shells.outcomes import IDLE
from namedipc._shells.service_loop import ServiceLoop
from namedipc._shells.suspended import Suspended

from .compiled_support import find_compiled
from .loop_support import pumped_loop

ServedAlone = find_compiled("served_alone", "ServedAlone")
pytestmark = pytest.mark.usefixtures("no_leaks")

chalk: contextvars.ContextVar[str] = contextvars.ContextVar("chalk", default="clean")


@attrs.frozen
class Letter:
    """A record."""

    text: str
    weight: int = 0


class Lost(Exception):
    """What is declared."""


class Desk(Protocol):
    """The interface."""

    async def weigh(self, letter: Letter, stamps: int = 0, *, fast: bool = False) -> int:
        """Answer at once."""
        ...

    async def tell(self) -> tuple[str, int, str, float]:
        """Answer what can be asked, and write on the board."""
        ...

    @raises(Lost)
    async def fail(self, number: int) -> int:
        """Raise."""
        ...

    async def fill(self, size: int) -> bytes:
        """Return so many bytes; a number instead below 0."""
        ...

    async def wait(self, number: int) -> int:
        """Wait."""
        ...

    async def close(self, number: int) -> int:
        """The service drops its clients meanwhile."""
        ...


@functools.cache
def never() -> Callable[[], object]:
    """What no test wakes."""

    class Never:
        def __await__(self) -> Iterator[str]:
            yield "waits"

    return Never


class Clerk:
    """The implementation."""

    def __init__(self) -> None:
        self.loop: ServiceLoop | None = None

    async def weigh(self, letter: Letter, stamps: int = 0, *, fast: bool = False) -> int:
        """Weigh."""
        return len(letter.text) + letter.weight + stamps + 100 * fast

    async def tell(self) -> tuple[str, int, str, float]:
        """Tell."""
        before = chalk.get()
        chalk.set("written on")
        call = current_call()
        return call.method, call.peer.pid, before, call.deadline

    async def fail(self, number: int) -> int:
        """Fail."""
        raise Lost(str(number)) if number else StopAsyncIteration

    async def fill(self, size: int) -> bytes:
        """Fill."""
        return b"x" * size if size >= 0 else size  # type: ignore[return-value]  # the mistake under test

    async def wait(self, number: int) -> int:
        """Wait."""
        await never()()  # type: ignore[misc]  # an awaitable of the simplest kind
        return number

    async def close(self, number: int) -> int:
        """Drop them."""
        assert self.loop is not None
        for connection in list(self.loop.clients.connections.values()):
            self.loop.clients.drop(connection)
        return number


SCHEMA: Schema[Desk] = Schema(Desk, frame_globals=globals(), frame_locals={})
HELLO = Hello(SERVICE, 1 << 20, SCHEMA.fingerprint).pack()
SMALL = Hello(SERVICE, 1000, SCHEMA.fingerprint).pack()
LIMITS = Limits(message_bytes=20_000, outbound_bytes=100_000)


@contextmanager
def desk(
    where: Path,
    *,
    short: bool,
    clerk: Clerk | None = None,
    limits: Limits = LIMITS,
    turn_seconds: float = 20.0,
    round_seconds: float = 20.0,
) -> Iterator[ServiceLoop]:
    """A loop which pumps when it is told to, with the short way or without; it is not the clock that ends a turn."""
    clerk = clerk or Clerk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_loop, "_short_way", ServedAlone if short else None)
        patch.setattr(service_loop, "TURN_SECONDS", turn_seconds)
        patch.setattr(service_loop, "ROUND_SECONDS", round_seconds)
        patch.setattr(service_answers, "trusts", lambda _: False)  # a traceback tells which way it was
        with pumped_loop(where, SCHEMA, clerk, limits) as loop:
            clerk.loop = loop
            yield loop


def pump(loop: ServiceLoop) -> list[Suspended]:
    """Until there is nothing to do; what waits."""
    waiting = []
    while (outcome := loop.pump()) != IDLE:
        if isinstance(outcome, Suspended):
            waiting.append(outcome)
    return waiting


def received(client: socket.socket) -> bytes:
    """All that has come."""
    client.setblocking(False)
    data = b""
    while True:
        try:
            more = client.recv(65536)
        except (BlockingIOError, ConnectionResetError):
            return data
        if not more:
            return data + b"<the end>"
        data += more


def call(method: str, id_: int, *args: object, deadline: float | None = None, **kwargs: object) -> bytes:
    """A call as bytes."""
    found = SCHEMA.by_name[method]
    return pack_call(found.index, id_, found.arguments.encode(args, kwargs), deadline)


def converse(
    where: Path, pieces: list[bytes], *, short: bool, limits: Limits = LIMITS
) -> tuple[bytes, list[int], ServiceStatistics, int]:
    """What a client is told that sends this, what waits, what is counted; and how many calls went the short way."""
    with desk(where, short=short, limits=limits) as loop, lowlevel.unix_connect(where) as client:
        waiting = []
        for piece in pieces:
            with suppress(BrokenPipeError):  # it is told why, and dropped
                lowlevel.send(client, piece)
            waiting += [suspended.id for suspended in pump(loop)]
        counted = loop.statistics()
        alone = loop.alone
        for connection in loop.clients.connections.values():
            for suspended in connection.calls.values():
                suspended.close()
        return received(client), waiting, counted, alone.calls if alone else 0


def same(pieces: list[bytes], *, short_calls: int | None = None, limits: Limits = LIMITS) -> bytes:
    """Converse both ways; what the client was told."""
    with tempfile.TemporaryDirectory() as directory:
        long_way = converse(Path(directory, "long"), pieces, short=False, limits=limits)
        short_way = converse(Path(directory, "short"), pieces, short=True, limits=limits)
    assert short_way[:2] == long_way[:2]
    assert counts(short_way[2]) == counts(long_way[2])
    assert short_calls is None or short_way[3] == short_calls
    return short_way[0]


def counts(statistics: ServiceStatistics) -> ServiceStatistics:
    """Without the durations."""
    return attrs.evolve(statistics, latency_p50_seconds=0, latency_p99_seconds=0, latency_max_seconds=0)


def test_each_call_that_comes_alone_goes_the_short_way() -> None:
    """The first, which comes with the hello, does not; each has a context of its own, and can be asked about."""
    calls = [call("weigh", 1, Letter("abc", 4), 5), call("weigh", 2, Letter("abc"), fast=True)]
    calls += [call("tell", 3), call("tell", 4), call("weigh", 5, Letter("abc", 4), 5)]
    told = same([HELLO, *calls], short_calls=5)
    assert told.count(b"clean") == 2
    assert b"written on" not in told
    same([HELLO + calls[0], *calls[1:]], short_calls=4)


def test_a_call_with_a_deadline_goes_the_short_way_until_then() -> None:
    """Its handler can ask for it, has a context of its own, and waits with it; what is too late, or no time, is not."""
    far = time.monotonic() + 1000
    calls = [
        call("tell", 1, deadline=far),
        call("tell", 2),
        call("tell", 3, deadline=far),
        call("wait", 4, 1, deadline=far),
    ]
    told = same([HELLO, *calls], short_calls=4)
    assert told.count(b"clean") == 3
    assert told.count(struct.pack(">d", far)) == 2
    for deadline in (time.monotonic() - 1, -math.inf, math.nan):
        same([HELLO, call("tell", 1, deadline=deadline), call("tell", 2)], short_calls=1)
    same([HELLO, call("tell", 1, deadline=math.inf)], short_calls=1)
    tell = SCHEMA.by_name["tell"].index
    for body in (b"", b"\0" * 7, b"\0" * 8):
        same([HELLO, pack_frame(CALL, body, flags=DEADLINE_FLAG, method=tell, id=1)], short_calls=0)


class Lent:
    """What answers by anything that can be called and gives something to wait for."""

    def __init__(self, clerk: Clerk) -> None:
        self.close, self.fail, self.wait, self.fill = clerk.close, clerk.fail, clerk.wait, clerk.fill
        self.weigh = functools.partial(clerk.weigh)
        self.tell = lambda: Later(clerk.tell())


@attrs.frozen
class Later:
    """An awaitable which is no coroutine."""

    inner: Coroutine[object, object, object]

    def __await__(self) -> Generator[object, object, object]:
        return self.inner.__await__()


def test_handlers_of_other_kinds(tmp_path: Path) -> None:
    """What is no `async def` is called all the same: by the short way, and with the same answer."""
    pieces = [HELLO, call("weigh", 1, Letter("abc"), 5), call("tell", 2), call("weigh", 3, Letter("a"), fast=True)]
    told = same([*pieces, call("fill", 4, 10)], short_calls=4)
    with pumped_loop(tmp_path / "desk", SCHEMA, Lent(Clerk()), LIMITS) as loop:
        with lowlevel.unix_connect(tmp_path / "desk") as client:
            for piece in [*pieces, call("fill", 4, 10)]:
                client.sendall(piece)
                pump(loop)
            assert received(client) == told
        assert loop.alone is not None
        assert loop.alone.calls == 4


# --- many at once


class Shift(Protocol):
    """An interface for many callers."""

    async def take(self, number: int) -> int:
        """Answer at once; something may happen meanwhile."""
        ...


SHIFT: Schema[Shift] = Schema(Shift, frame_globals=globals(), frame_locals={})
MANY = 20


class Crew:
    """Its implementation."""

    def __init__(self, event: Callable[[int], object]) -> None:
        self.event = event

    async def take(self, number: int) -> int:
        """Take."""
        if number >= 0:
            self.event(number)
        return number


@contextmanager
def crew(
    where: Path, event: Callable[[int], object], *, quick_seconds: float = 20.0, held_seconds: float = 20.0
) -> Iterator[tuple[ServiceLoop, list[socket.socket]]]:
    """A loop, and clients at rest, each of whom has sent a call. No turn ends by the clock."""
    with pumped_loop(where, SHIFT, Crew(event), LIMITS) as loop, ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(service_loop, "TURN_SECONDS", 20.0)
        assert loop.alone is not None
        loop.alone.quick_seconds, loop.alone.held_seconds = quick_seconds, held_seconds
        clients = [stack.enter_context(lowlevel.unix_connect(where)) for _ in range(MANY)]
        hello = Hello(SERVICE, 1 << 20, SHIFT.fingerprint).pack()
        body = SHIFT.by_name["take"].arguments.encode((-1,), {})
        for client in clients:
            client.sendall(hello + pack_call(0, 1, body, None))
        pump(loop)
        for client in clients:
            client.sendall(pack_call(0, 2, body, None))
        pump(loop)  # now they are at rest
        for number, client in enumerate(clients):
            assert received(client).count(b"\xff") == 2
            client.sendall(pack_call(0, 3, SHIFT.by_name["take"].arguments.encode((number,), {}), None))
        yield loop, clients


def answered(client: socket.socket) -> bool:
    """Whether something has come."""
    return lowlevel.wait_ready(client.fileno(), timeout_seconds=0)


def answer(number: int) -> bytes:
    """What the third call of a client is answered."""
    return pack_frame(REPLY, SHIFT.by_name["take"].result.encode(number), id=3)


def test_answers_of_many_leave_together(tmp_path: Path) -> None:
    """The first waits for the last of them."""
    seen: list[list[bool]] = []
    with crew(tmp_path / "desk", lambda _: seen.append([answered(client) for client in clients])) as (loop, clients):
        pump(loop)
        assert seen == [[False] * MANY] * MANY
        assert [received(client) for client in clients] == [answer(number) for number in range(MANY)]
        assert loop.statistics().calls == 3 * MANY


def test_an_answer_waits_for_quick_calls_only(tmp_path: Path) -> None:
    """One that takes longer is the last: after it whatever was held is sent, and nothing is held during the next."""
    seen: list[list[bool]] = []

    def event(number: int) -> None:
        seen.append([answered(client) for client in clients])
        if number == 3:
            time.sleep(0.0005)

    with crew(tmp_path / "desk", event, quick_seconds=0.0005) as (loop, clients):
        pump(loop)
        assert not any(any(each) for each in seen[:4])
        assert seen[4] == [True] * 4 + [False] * (MANY - 4)
        assert seen[5][4]


def test_no_answer_is_held_for_long(tmp_path: Path) -> None:
    """Once its time has passed, it is sent after the call that is under way."""
    seen: list[list[bool]] = []
    with crew(tmp_path / "desk", lambda _: seen.append([answered(client) for client in clients]), held_seconds=0.0) as (
        loop,
        clients,
    ):
        pump(loop)
        assert seen == [[at < number for at in range(MANY)] for number in range(MANY)]


def test_few_are_answered_at_once(tmp_path: Path) -> None:
    """Where not so many have sent something, to wait for the others would only be a delay."""
    seen: list[list[bool]] = []
    with crew(tmp_path / "desk", lambda _: seen.append([answered(client) for client in clients])) as (loop, clients):
        pump(loop)
        for client in clients[:15]:
            received(client)
            client.sendall(pack_call(0, 4, SHIFT.by_name["take"].arguments.encode((0,), {}), None))
        seen.clear()
        pump(loop)
        assert [each[:15] for each in seen] == [[at < number for at in range(15)] for number in range(15)]


@pytest.mark.parametrize("how", ["dropped", "drained", "interrupted", "left"])
def test_what_is_held_is_sent_whatever_the_next_handler_does(tmp_path: Path, how: str) -> None:
    """Drop the clients, stop the service, be interrupted; or a client leaves: who was answered is told so first."""

    def event(number: int) -> None:
        if number != 5:
            return
        if how == "dropped":
            for connection in list(loop.clients.connections.values()):
                loop.clients.drop(connection)
        elif how == "drained":
            loop.clients.stop_accepting()
        elif how == "interrupted":
            raise KeyboardInterrupt
        else:
            clients[2].close()

    with crew(tmp_path / "desk", event) as (loop, clients):
        with pytest.raises(KeyboardInterrupt) if how == "interrupted" else nullcontext():
            pump(loop)
        for number in range(5):
            if how != "left" or number != 2:
                assert received(clients[number]).startswith(answer(number))
        pump(loop)
        if how == "drained":
            assert received(clients[0]) == b""
            assert len(received(clients[7])) > len(answer(7))
        if how == "left":
            assert [received(client) for client in clients[3:]] == [b""] * 2 + [answer(n) for n in range(5, MANY)]
            assert len(loop.clients.connections) == MANY - 1


def test_held_answers_that_find_no_room_are_kept_and_sent(tmp_path: Path) -> None:
    """Whole, and before what follows."""
    with crew(tmp_path / "desk", lambda _: None) as (loop, clients):
        connection = next(iter(loop.clients.connections.values()))
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        filled = 0
        with suppress(BlockingIOError):
            while True:
                filled += connection.socket.send(bytes(1000), socket.MSG_DONTWAIT)
        pump(loop)
        assert b"".join(connection.outbound.first()) == answer(0)
        assert received(clients[0]) == bytes(filled)
        pump(loop)
        assert received(clients[0]) == answer(0)
        assert not connection.outbound


def test_clients_at_rest_are_told_which_of_their_calls_was_the_last(tmp_path: Path) -> None:
    """As it was taken by the short way, which keeps that for itself until somebody asks."""
    with crew(tmp_path / "desk", lambda _: None) as (loop, clients):
        pump(loop)
        assert all(connection.is_at_rest for connection in loop.clients.connections.values())
        loop.clients.stop_accepting()
        for number, client in enumerate(clients):
            assert received(client) == answer(number) + pack_frame(GOODBYE, id=3)


def test_who_is_next_may_have_left_and_another_have_its_descriptor(tmp_path: Path) -> None:
    """A turn ends among many; before the next one some are dropped, and others connect: each of these is answered."""
    with desk(tmp_path / "desk", short=True, turn_seconds=0.0) as loop, ExitStack() as stack:

        def connected() -> socket.socket:
            client = stack.enter_context(lowlevel.unix_connect(tmp_path / "desk"))
            client.sendall(HELLO)
            pump(loop)
            received(client)
            return client

        clients = [connected() for _ in range(100)]
        descriptors = list(loop.clients.connections)
        for client in clients[:20]:
            client.sendall(call("weigh", 1, Letter("a")))
        loop.pump()
        answered = [bool(received(client)) for client in clients[:20]]
        assert sum(answered) == 1
        for fd in descriptors[5:15]:
            loop.clients.drop(loop.clients.connections[fd])
        loop.clients.accept()
        others = [stack.enter_context(lowlevel.unix_connect(tmp_path / "desk")) for _ in range(4)]
        loop.clients.accept()
        assert set(loop.clients.connections) & set(descriptors[5:15])
        for client in others:
            client.sendall(HELLO + call("weigh", 1, Letter("ab")))
        pump(loop)
        assert all(received(client).endswith(b"\x02") for client in others)
        for number, client in enumerate(clients[:20]):
            if number not in range(5, 15):
                assert answered[number] or received(client).endswith(b"\x01")


def test_who_is_next_may_not_be_read_any_more(tmp_path: Path) -> None:
    """A turn ends before one that is paused by then: it is read as soon as that is over, as epoll tells of it again."""
    with desk(tmp_path / "desk", short=True, turn_seconds=0.0) as loop, ExitStack() as stack:
        clients = [stack.enter_context(lowlevel.unix_connect(tmp_path / "desk")) for _ in range(2)]
        for client in clients:
            client.sendall(HELLO)
        pump(loop)
        for client in clients:
            received(client)
            client.sendall(call("weigh", 1, Letter("a")))
        loop.pump()
        late = 1 if answered(clients[0]) or received(clients[0]) else 0
        connection = list(loop.clients.connections.values())[late]
        loop.clients.rouse(connection)
        loop.clients.pause(connection)
        pump(loop)
        assert received(clients[late]) == b""
        loop.clients.resume(connection)
        pump(loop)
        assert received(clients[late]).endswith(b"\x01")


def test_what_is_held_is_sent_though_sending_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is, the others are sent all the same, and then it is raised."""

    def rouse(number: int) -> None:
        if number == 9:
            loop.clients.rouse(connections[3])

    def interrupted(_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with crew(tmp_path / "desk", rouse) as (loop, clients):
        connections = list(loop.clients.connections.values())
        monkeypatch.setattr(loop.clients, "flush", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pump(loop)
        for number, client in enumerate(clients):
            assert received(client) == (b"" if number == 3 else answer(number))
        loop.clients.flush(connections[3])
        assert received(clients[3]) == answer(3)


def test_durations_are_counted_where_python_counts_them(tmp_path: Path) -> None:
    """In the same bucket, also at its very end."""
    seconds = [near for end in ENDS for near in (math.nextafter(end, 0), end, math.nextafter(end, 2 * end))]
    latencies = Latencies()
    for each in seconds:
        latencies.record(each)
    latencies.count_gathered()
    with desk(tmp_path / "desk", short=True) as loop:
        assert loop.alone is not None
        for each in seconds:
            loop.alone.record(each)
        assert loop.answers.latencies.counts == latencies.counts


def together(method: str, first_id: int, *bodies: bytes, deadline: float | None = None) -> bytes:
    """Calls that come together."""
    before = b"" if deadline is None else DEADLINE.pack(deadline)
    flags = 0 if deadline is None else DEADLINE_FLAG
    return pack_frame(CALLS, before + join(bodies), flags=flags, method=SCHEMA.by_name[method].index, id=first_id)


def arguments(method: str, *args: object, **kwargs: object) -> bytes:
    """Of one of them."""
    return SCHEMA.by_name[method].arguments.encode(args, kwargs)


def test_calls_that_come_together_are_begun_in_one_go() -> None:
    """Answered, failed, and waiting, in their order; each in a context of its own; and with whatever comes behind."""
    weigh = [arguments("weigh", Letter("a" * n), n) for n in range(40)]
    told = same([HELLO, together("weigh", 1, *weigh), together("tell", 100, *[arguments("tell")] * 5)], short_calls=45)
    assert told.count(b"clean") == 5
    assert b"written on" not in told
    same([HELLO, together("fail", 1, *[arguments("fail", n) for n in (1, 0, 2)]), call("weigh", 9, Letter("a"))])
    same([HELLO, together("fill", 1, *[arguments("fill", n) for n in (1, 5000, 0, -1, 30_000, 2)])])
    same([HELLO, together("wait", 1, *[arguments("wait", n) for n in range(3)]), call("weigh", 9, Letter("a"))])
    same([HELLO, together("close", 1, *[arguments("close", n) for n in range(3)])])
    for deadline in (time.monotonic() + 1000, time.monotonic() - 1, math.inf, math.nan):
        same([HELLO, together("tell", 1, *[arguments("tell")] * 3, deadline=deadline)])


def test_calls_in_frames_of_their_own_which_come_together_go_the_short_way() -> None:
    """As many tasks of a client send them: answered, failed and waiting; behind what is none, the long way has them."""
    weigh = [call("weigh", n, Letter("a" * n), n) for n in range(1, 71)]
    told = same([HELLO, b"".join(weigh) + call("tell", 71) + call("tell", 72)], short_calls=72)
    assert told.count(b"clean") == 2
    assert b"written on" not in told
    same([HELLO, b"".join(call("fail", n, n % 2) for n in range(1, 6)) + weigh[60]], short_calls=6)
    same(
        [HELLO, b"".join(call("fill", n, size) for n, size in enumerate((1, 5000, 0, -1, 30_000, 2), 1))], short_calls=6
    )
    waits = b"".join(call("wait", n, 1) for n in range(1, 4))
    same([HELLO, waits + weigh[60] + weigh[61], weigh[62] + weigh[63]], short_calls=7)
    for limit, short_calls in ((4, 5), (3, 3), (2, 2)):
        limits = attrs.evolve(LIMITS, calls_in_flight=limit)
        same([HELLO, waits + weigh[60] + weigh[61]], short_calls=short_calls, limits=limits)
    for id_ in (1, 3):  # of one that waits
        same([HELLO, waits + weigh[60] + weigh[id_ - 1] + weigh[61]], short_calls=4)
    same([HELLO, b"".join(call("close", n, n) for n in range(1, 4))], short_calls=1)
    same([HELLO, weigh[0] + weigh[1] + weigh[0][:20], weigh[0][20:] + weigh[1]], short_calls=2)
    same([HELLO, weigh[0] + pack_frame(CANCEL, id=1) + weigh[1] + weigh[2]], short_calls=1)
    far = time.monotonic() + 1000
    for deadline, short_calls in ((far, 3), (0.0, 0), (math.inf, 3), (math.nan, 0)):
        same([HELLO, b"".join(call("tell", n, deadline=deadline) for n in range(1, 4))], short_calls=short_calls)
    same([SMALL, b"".join(call("fill", n, size) for n, size in enumerate((1, 990, 1000, 1), 1))], short_calls=4)


@pytest.mark.parametrize(("round_seconds", "rounds"), [(20.0, [32, 32, 6]), (0.0, [1] * 70)])
def test_a_round_ends_among_calls_that_came_together(tmp_path: Path, round_seconds: float, rounds: list[int]) -> None:
    """After 32 of them, or its time; the answers are sent, and the others wait until other clients were looked at."""
    with (
        desk(tmp_path / "desk", short=True, turn_seconds=0.0, round_seconds=round_seconds) as loop,
        lowlevel.unix_connect(tmp_path / "desk") as client,
    ):
        client.sendall(HELLO)
        pump(loop)
        received(client)
        client.sendall(b"".join(call("weigh", n, Letter("a")) for n in range(1, 71)))
        answer = len(pack_frame(REPLY, SCHEMA.by_name["weigh"].result.encode(1), id=1))
        answers: list[int] = []
        while sum(answers) < 70:
            loop.pump()
            answers.append(len(received(client)) // answer)
        assert answers == rounds
        pump(loop)
        assert loop.alone is not None
        assert loop.alone.calls == 70


def test_a_service_that_drains_among_calls_that_came_together_runs_no_other(tmp_path: Path) -> None:
    """Who was answered is told so; the others are told that theirs were not run."""

    def event(number: int) -> None:
        if number == 102:
            loop.clients.stop_accepting()

    with crew(tmp_path / "desk", event) as (loop, clients):
        pump(loop)
        for client in clients:
            received(client)
        encode = SHIFT.by_name["take"].arguments.encode
        clients[0].sendall(b"".join(pack_call(0, n, encode((n,), {}), None) for n in range(100, 105)))
        pump(loop)
        result = SHIFT.by_name["take"].result
        told = [pack_frame(REPLY, result.encode(n), id=n) for n in range(100, 103)]
        told.insert(2, pack_frame(GOODBYE, id=102))
        assert received(clients[0]).startswith(b"".join(told))
        assert loop.statistics().errors == 2


def test_what_a_handler_raises_is_the_error_of_its_call() -> None:
    """Declared or not; and the next one is answered."""
    same([HELLO, call("fail", 1, 7), call("fail", 2, 0), call("weigh", 3, Letter("a"))], short_calls=3)


def test_what_does_not_fit_is_the_error_of_its_call() -> None:
    """Arguments, and results: of another type, longer than this side sends from here, than the client takes."""
    cook = SCHEMA.by_name["weigh"].index
    bad = [
        b"\x91\x01",
        b"\x91\x82\xa4text\x01",
        b"\x91" * 5000 + b"\x90",
        b"\xc1",
        b"",
        b"\x90",
        b"\x94\x01\x02\x03\x04",
    ]
    frames = [pack_frame(CALL, body, method=cook, id=id_) for id_, body in enumerate(bad, start=1)]
    same([HELLO, *frames, call("weigh", 99, Letter("a"))], short_calls=len(bad) + 1)
    for hello in (HELLO, SMALL):
        sizes = [-1, 0, 990, 997, 998, 1000, 4090, 4092, 4093, 4094, 4096, 4100, 15_000]
        same([hello, *[call("fill", id_, size) for id_, size in enumerate(sizes, start=1)]], short_calls=len(sizes))


def test_a_result_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is sent by the long way, because it is large; but for one which is refused."""
    codec = SCHEMA.by_name["fill"].result
    sizes: list[int] = []

    def encode(value: object, encode: Callable[[object], bytes] = codec.encode) -> bytes:
        body = encode(value)
        sizes.append(len(body))
        return body

    for way in ("encode", "encode_wire"):
        monkeypatch.setattr(codec, way, encode)
    pieces = [HELLO, call("fill", 1, 10), call("fill", 2, 5000), call("fill", 3, 15_000)]
    told, _, _, short_calls = converse(tmp_path / "desk", pieces, short=True)
    assert short_calls == 3
    assert len(told) == HELLO_BYTES + sum(HEADER_BYTES + size for size in sizes)
    assert len(sizes) == 3


def test_a_handler_that_waits_goes_on_from_there() -> None:
    """It is in the books; those behind it, of the same client, take the long way."""
    pieces = [
        HELLO,
        call("wait", 1, 1),
        call("weigh", 2, Letter("a")),
        call("wait", 3, 1),
        call("weigh", 1, Letter("a")),
    ]
    same(pieces, short_calls=1)


def test_a_client_that_is_dropped_by_its_handler_is_not_answered() -> None:
    """Its socket is closed by then."""
    told = same([HELLO, call("close", 1, 1)], short_calls=1)
    assert told[HELLO_BYTES:] in {b"", b"<the end>"}


def test_answers_that_find_no_room_are_kept_and_sent(tmp_path: Path) -> None:
    """Whole, and in order, whatever of the last one the socket has taken."""
    for short in (True, False):
        with desk(tmp_path / f"{short}", short=short) as loop, lowlevel.unix_connect(tmp_path / f"{short}") as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(HELLO)
            pump(loop)
            (connection,) = loop.clients.connections.values()
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sent = 0
            while not connection.outbound:
                sent += 1
                client.sendall(call("fill", sent, 3000))
                pump(loop)
            told = received(client)
            while connection.outbound:
                pump(loop)
                told += received(client)
            answer = len(told[HELLO_BYTES:]) // sent
            assert [told[HELLO_BYTES + at * answer :][8:12] for at in range(sent)] == [
                (at + 1).to_bytes(4, "little") for at in range(sent)
            ]
            assert loop.statistics().bytes_sent == len(told)


def test_who_has_gone_is_dropped(tmp_path: Path) -> None:
    """Its last call is run, and nobody is told."""
    with desk(tmp_path / "desk", short=True) as loop:
        with lowlevel.unix_connect(tmp_path / "desk") as client:
            client.sendall(HELLO)
            pump(loop)
            client.sendall(call("weigh", 1, Letter("a")))
        pump(loop)
        assert loop.statistics().clients == 0
        assert loop.statistics().calls == 1


def test_a_turn_ends_among_many_and_the_others_are_next(tmp_path: Path) -> None:
    """No client is looked at twice before each of those that epoll has told of was looked at once."""
    with desk(tmp_path / "desk", short=True, turn_seconds=0.0) as loop:  # each call takes longer than that
        clients = [lowlevel.unix_connect(tmp_path / "desk") for _ in range(20)]
        for client in clients:
            client.sendall(HELLO)
        pump(loop)
        order = []
        for client in clients:
            received(client)
            client.sendall(call("weigh", 1, Letter("a")))
        for _ in range(40):
            loop.pump()
            for number, client in enumerate(clients):
                if received(client):
                    order.append(number)
                    client.sendall(call("weigh", 1, Letter("a")))
        assert sorted(order[:20]) == sorted(order[20:40]) == list(range(20))
        for client in clients:
            client.close()


def test_an_interrupted_handler_ends_the_turn_and_is_not_half_answered(tmp_path: Path) -> None:
    """KeyboardInterrupt comes out of the pump, as it does on the long way; the context is left."""

    class Interrupted(Clerk):
        async def weigh(self, letter: Letter, stamps: int = 0, *, fast: bool = False) -> int:
            chalk.set("interrupted")
            raise KeyboardInterrupt

    with (
        desk(tmp_path / "desk", short=True, clerk=Interrupted()) as loop,
        lowlevel.unix_connect(tmp_path / "desk") as client,
    ):
        client.sendall(HELLO)
        pump(loop)
        received(client)
        client.sendall(call("weigh", 1, Letter("a")))
        with pytest.raises(KeyboardInterrupt):
            loop.pump()
        assert received(client) == b""
        assert chalk.get() == "clean"


ids = st.integers(0, 4)
a_call = st.one_of(
    st.builds(call, st.just("weigh"), ids, st.builds(Letter, st.text(max_size=5)), st.integers(0, 9)),
    st.builds(functools.partial(call, "weigh", fast=True), ids, st.builds(Letter, st.text(max_size=5))),
    st.builds(call, st.just("tell"), ids),
    st.builds(call, st.sampled_from(["fail", "wait"]), ids, st.just(1), deadline=st.sampled_from([0.0, 1e9])),
    st.builds(call, st.sampled_from(["fail", "wait"]), ids, st.integers(0, 2)),
    st.builds(call, st.just("fill"), ids, st.integers(-1, 9000)),
)
some_calls = st.one_of(
    *[
        st.builds(
            lambda method, id_, args: together(method, id_, *[arguments(method, arg) for arg in args]),
            st.just(method),
            ids,
            st.lists(argument, min_size=1, max_size=5),
        )
        for method, argument in (
            ("weigh", st.builds(Letter, st.text(max_size=5))),
            ("fail", st.integers(0, 2)),
            ("fill", st.integers(-1, 9000)),
            ("wait", st.integers(0, 2)),
        )
    ],
    st.builds(lambda id_, body: pack_frame(CALLS, body, id=id_), ids, st.binary(max_size=20)),
)
a_frame = st.one_of(
    a_call,
    a_call,
    a_call,
    some_calls,
    st.builds(
        lambda kind, body, flags, method, id_: pack_frame(kind, body, flags=flags, method=method, id=id_),
        st.sampled_from([CALL, CALL, CANCEL, GOODBYE, 2, 200]),
        st.binary(max_size=20),
        st.sampled_from([0, 0, 1, 2, 4, 8, 16, 64]),
        st.sampled_from([0, 1, 2, 5, 6, 0xFFFD, 0xFFFF]),
        ids,
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(a_frame, min_size=1, max_size=12), st.data())
def test_any_conversation_is_the_same_both_ways(frames: list[bytes], data: st.DataObject) -> None:
    """Frames of any kind, cut anywhere or come together: the answers, what waits, and the counts are the same."""
    stream = b"".join(frames)
    ends = {0}
    for frame in frames:
        ends.add(max(ends) + len(frame))
    cuts = data.draw(st.sets(st.sampled_from(sorted(ends)) | st.integers(0, len(stream)), max_size=len(frames) + 2))
    at = sorted({0, len(stream), *cuts})
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(at)]
    same([HELLO, *pieces])
