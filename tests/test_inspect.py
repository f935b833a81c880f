"""Asking a service, and calling it, without its interface."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from namedipc import (
    BlockingServer,
    Channel,
    InvalidMessage,
    IPCError,
    NameNotFound,
    NoServer,
    NotAllowed,
    ProtocolError,
    RemoteError,
    SchemaMismatch,
    Service,
    TimedOut,
    WrongKind,
    feed,
    inspect,
)
from namedipc._json_schema import json_schema
from namedipc._protocol.frames import SCHEMA, pack_frame
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._schema import Schema
from namedipc.inspect import JsonValue, call, identity, ping, schema, statistics, stream

from .post_office import Clerk, Post

pytestmark = pytest.mark.usefixtures("no_leaks")
SECONDS = 20.0


@pytest.fixture
def clerk() -> Clerk:
    """What answers."""
    return Clerk()


@pytest.fixture
def server(tmp_path: Path, clerk: Clerk) -> Iterator[BlockingServer]:
    """A post office."""
    with Service(tmp_path / "post", Post).serve(clerk, drain_seconds=0) as server:
        yield server


def settled(server: BlockingServer) -> None:
    """Wait until no call is in flight."""
    for _ in range(2000):
        if not server.statistics().in_flight:
            return
        threading.Event().wait(0.01)
    raise AssertionError("a call is still in flight")


def test_a_ping_takes_its_time(server: BlockingServer) -> None:
    """Less than the test may."""
    assert 0 < ping(server.path, timeout=SECONDS) < SECONDS


def test_who_and_what_and_how(server: BlockingServer) -> None:
    """Identity, schema and statistics are those of the service."""
    assert identity(server.path).pid == os.getpid()
    assert identity(str(server.path), timeout=SECONDS).interface == "Post"
    assert schema(server.path) == json_schema(Schema(Post, frame_globals=globals(), frame_locals={}))
    call(server.path, "notes")
    found = statistics(server.path)
    assert found.calls == 1
    assert found.clients >= 1
    assert found.latency_p50_seconds > 0


def test_calls_with_one_result(server: BlockingServer) -> None:
    """By place and by name, in any order of the two; defaults are the implementation's."""
    assert call(server.path, "swap", [1, 2], "b", times=2) == ["b", [1, 2], "b", [1, 2]]
    assert call(server.path, "swap", other="b", one=[]) == ["b", []]
    assert call(server.path, "swap", [], timeout=SECONDS) == ["", []]
    assert call(server.path, "notes") == []


def test_a_one_way_call_is_run(server: BlockingServer, clerk: Clerk) -> None:
    """None comes back at once; the call had been sent by then."""
    assert call(server.path, "note", "hello") is None
    while not clerk.written:
        assert call(server.path, "notes") in ([], ["hello"])
    assert clerk.written == ["hello"]


def test_streams_of_results(server: BlockingServer) -> None:
    """More than the window; and none at all."""
    assert list(stream(server.path, "count", 300, timeout=SECONDS)) == list(range(300))
    assert list(stream(server.path, "count", to=0)) == []


def test_streams_of_requests(server: BlockingServer) -> None:
    """By `feed`, with one result and with a stream of them."""
    parcels: list[JsonValue] = ["YWJj"] * 200
    assert call(server.path, "post", feed(parcels), stamps=2) == 1200
    letters: list[JsonValue] = ["a", "b"]
    assert list(stream(server.path, "echo", letters=feed(letters))) == ["a", "b"]


def test_a_stream_left_early_is_cancelled(server: BlockingServer, clerk: Clerk) -> None:
    """By `close`, and by dropping it."""
    numbers = stream(server.path, "count", 10**9)
    assert next(numbers) == 0
    numbers.close()
    settled(server)
    numbers = stream(server.path, "count", 10**9)
    assert next(numbers) == 0
    del numbers
    settled(server)
    assert clerk.left == 2


def unfit(items: list[JsonValue]) -> AsyncIterable[JsonValue]:
    """A stream of requests."""
    return feed(items)


@pytest.mark.parametrize(
    ("attempt", "kind", "message"),
    [
        (lambda path: call(path, "bake"), SchemaMismatch, r"Post.bake: the service has no such method \(it has burn, "),
        (
            lambda path: call(path, "count", 1),
            TypeError,
            r"^call\(Post.count\): it is answered with a stream; write st",
        ),
        (lambda path: next(stream(path, "notes")), TypeError, r"^stream\(Post.notes\): .* one result; write call\("),
        (lambda path: call(path, "notes", 1), TypeError, r"^Post.notes\(\) takes 0 arguments but 1 were given$"),
        (lambda path: call(path, "wait", 1, seconds=1), TypeError, r"got multiple values for argument 'seconds'$"),
        (lambda path: call(path, "post", ["YWJj"]), TypeError, r"'parcels': blocking code cannot draw from a list"),
        (lambda path: call(path, "swap"), InvalidMessage, "parameter 'one' is required and has not arrived"),
        (lambda path: call(path, "swap", ["a"]), InvalidMessage, "Expected `int`, got `str`"),
        (lambda path: call(path, "wait", float("nan")), InvalidMessage, "^Post.wait: .* not JSON compliant"),
        (lambda path: call(path, "post", unfit(["YWJj", {1}])), InvalidMessage, "^Post.post: an item of 'parcels': "),  # type: ignore[list-item]  # that it is no JSON is what is tried
        (lambda path: call(path, "forbidden"), NotAllowed, "Post.forbidden: not for user"),
        (lambda path: call(path, "route", {}), InvalidMessage, "Post.route cannot be called in JSON"),
        (lambda path: call(path, "wait", 100, timeout=0.05), TimedOut, "post: "),
        (lambda path: ping(path.with_name("nobody")), NameNotFound, "nobody"),
        (lambda path: ping(path.with_name("nobody"), wait_seconds=0.01), NameNotFound, "nobody"),
        (lambda path: ping(path.parent), WrongKind, "is a directory"),
    ],
)
def test_what_may_go_wrong(
    server: BlockingServer, attempt: Callable[[Path], object], kind: type[Exception], message: str
) -> None:
    """The library's own errors, and Python's for arguments; the service goes on."""
    with pytest.raises(kind, match=message):
        attempt(server.path)
    settled(server)
    assert call(server.path, "notes") == []


def test_exceptions_of_handlers(server: BlockingServer) -> None:
    """There is no class for them here: also a declared one is a RemoteError, and its fields are in a note."""
    with pytest.raises(RemoteError, match=r"Post\.burn: ValueError: a stone does not burn") as remote:
        call(server.path, "burn", "stone")
    assert remote.value.type_name == "ValueError"
    with pytest.raises(RemoteError, match=r"Post\.burn: Burnt: ") as declared:
        call(server.path, "burn", "love")
    assert declared.value.type_name == "Burnt"
    assert 'its fields: {"what": "love", "minutes": 3}' in declared.value.__notes__


def test_waiting_for_a_service(tmp_path: Path) -> None:
    """`wait_seconds` begins before there is one."""
    answers: list[float] = []
    path = tmp_path / "post"
    thread = threading.Thread(target=lambda: answers.append(ping(path, wait_seconds=SECONDS, timeout=SECONDS)))
    thread.start()
    with Service(path, Post).serve(Clerk()):
        thread.join(SECONDS)
    assert len(answers) == 1


def test_another_kind_of_name(tmp_path: Path) -> None:
    """A channel is none that can be asked."""
    channel = Channel(tmp_path / "channel", int)
    with channel.listen(), pytest.raises(WrongKind, match="its owner serves a channel there, not a service"):
        ping(tmp_path / "channel")


async def test_in_a_trio_task_it_is_refused(tmp_path: Path) -> None:
    """It would block them all; in a worker thread it is right."""
    with pytest.raises(RuntimeError, match=r"namedipc.inspect: asking .*post would block .*to_thread"):
        ping(tmp_path / "post")
    async with Service(tmp_path / "post", Post).serve(Clerk()):
        assert await trio.to_thread.run_sync(call, tmp_path / "post", "notes") == []


def test_a_draining_service_says_so(tmp_path: Path) -> None:
    """A call that is not run is an error of the library, whatever becomes of the connection."""
    service = Service(tmp_path / "post", Post)
    with service.serve(Clerk(), drain_seconds=0) as server:
        numbers = stream(server.path, "count", 10**9)
        next(numbers)
        server.drain(grace_seconds=0)
        with pytest.raises(IPCError):
            list(numbers)
    with pytest.raises((NoServer, NameNotFound)):
        call(tmp_path / "post", "notes")


# ------------------------------------------------------------ services which do not speak as they should


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"nonsense", "the service's schema cannot be read"),
        (b"[" * 100_000, "the service's schema cannot be read"),
        (b"[]", "the service's schema is no object of methods"),
    ],
)
def test_a_schema_that_cannot_be_read(text: bytes, message: str) -> None:
    """It ends the connection, and says why."""
    session = inspect._session("post")
    session.feed(Hello(SERVICE, 1 << 20, b"s" * 16).pack() + pack_frame(SCHEMA, text))
    assert isinstance(session.failure, SchemaMismatch)
    assert message in str(session.failure)
    assert len(b"".join(session.outgoing)) == HELLO_BYTES


@pytest.mark.parametrize(
    "document", ["[]", "{}", '{"methods": []}', '{"methods": {"notes": 1}}', "nonsense", "[" * 100_000]
)
def test_a_description_that_cannot_be_read(
    document: str, server: BlockingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the library, which names the path or the method."""
    monkeypatch.setattr(inspect, "_ask", lambda *_: document.encode())
    with pytest.raises((ProtocolError, InvalidMessage)):
        call(server.path, "notes")


def test_results_are_any_json() -> None:
    """As `json` reads it; what is none is told."""
    value: JsonValue = {"a": [None, 1, 2.5, "b", True]}
    assert inspect._value(json.dumps(value).encode(), "here") == value
    with pytest.raises(InvalidMessage, match=r"^here: what arrived is no JSON"):
        inspect._value(b"\xff", "here")
