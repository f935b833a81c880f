"""The reserved interface: what every service answers, whoever asks, and before the schemas were compared."""

from __future__ import annotations

import datetime
import json
import os
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

import namedipc
from namedipc import Limits, ProtocolError, Server, Service, ServiceStatistics
from namedipc._codec import Codec
from namedipc._json_schema import json_schema
from namedipc._protocol.frames import BIND, CALL, ERROR, FIRST_RESERVED, JSON_FLAG, REPLY, SCHEMA, Reserved, pack_frame
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._protocol.session import ASKED, ServerSession
from namedipc._schema import Schema
from namedipc._shells.reserved import IDENTITY, STATISTICS, ReservedAnswers

from .post_office import Clerk, Post
from .wire_client import WireClient, wire_client

ONE_WAY = 8
STRANGER = Hello(SERVICE, 1 << 20, bytes(16), 64, 1 << 18).pack()
SCHEMA_OF_POST: Schema[Post] = Schema(Post, frame_globals=globals(), frame_locals={})
NUMBERS = list(Reserved)


def asked(number: int, id_: int = 1, flags: int = JSON_FLAG) -> bytes:
    """A call of the reserved interface."""
    return pack_frame(CALL, flags=flags, method=number, id=id_)


# ------------------------------------------------------------ the session


def session_of(state: str, methods: int = 2) -> ServerSession:
    """A session in which the client has the same fingerprint (open), another (held), or another and has bound."""
    session = ServerSession(Hello(SERVICE, 1000, b"m" * 16), b"{}", methods=methods, held_frames=1, held_bytes=100)
    print_ = b"m" * 16 if state == "open" else bytes(16)
    session.feed(Hello(SERVICE, 1000, print_).pack())
    assert session.next_event() is None
    if state == "bound":
        session.feed(pack_frame(BIND, struct.pack("<H", 1)))
        assert session.next_event() is None
    return session


@pytest.mark.parametrize("state", ["open", "held", "bound"])
@pytest.mark.parametrize("number", NUMBERS)
def test_it_is_asked_in_every_state(state: str, number: int) -> None:
    """As an event of its own kind; it counts neither as held nor as a call that a goodbye speaks of."""
    session = session_of(state)
    for id_ in (1, 2, 3):
        session.feed(asked(number, id_))
        assert session.next_event() == (ASKED, JSON_FLAG, number, id_, b"")
    assert session.last_id == 0


def test_calls_stay_held_while_it_is_asked() -> None:
    """Their order is theirs; what is asked passes them."""
    session = session_of("held")
    session.feed(pack_frame(CALL, b"held", method=0, id=1) + asked(Reserved.PING, 2))
    assert session.next_event() == (ASKED, JSON_FLAG, Reserved.PING, 2, b"")
    assert session.next_event() is None
    session.feed(pack_frame(BIND, struct.pack("<H", 1)))
    assert session.next_event() == (CALL, 0, 1, 1, b"held")


@pytest.mark.parametrize("state", ["open", "held", "bound"])
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (asked(FIRST_RESERVED), "call of method 65520"),
        (asked(Reserved.PING, flags=64), "unknown flags: 0x40"),
    ],
)
def test_what_is_not_there_is_refused(state: str, frame: bytes, reason: str) -> None:
    """A number that means nothing yet, and flags that mean nothing."""
    session = session_of(state)
    session.feed(frame)
    with pytest.raises(ProtocolError, match=reason):
        session.next_event()


def test_bind_cannot_give_a_reserved_number_to_a_method() -> None:
    """So that these always mean the same."""
    body = bytes(2 * (FIRST_RESERVED + 1))
    session = ServerSession(Hello(SERVICE, 1 << 20, b"m" * 16), b"{}", methods=2, held_frames=1, held_bytes=100)
    session.feed(Hello(SERVICE, 1000, bytes(16)).pack() + pack_frame(BIND, body))
    with pytest.raises(ProtocolError, match="BIND speaks of 65521 methods; the numbers from 65520 are reserved"):
        session.next_event()


# ------------------------------------------------------------ the answers


STATISTICS_NOW = ServiceStatistics(
    clients=1,
    calls=2,
    errors=0,
    in_flight=0,
    bytes_received=3,
    bytes_sent=4,
    latency_p50_seconds=0.5,
    latency_p99_seconds=1.0,
    latency_max_seconds=2.0,
)


def test_the_answers_in_both_encodings() -> None:
    """Statistics, identity and the answer to a ping as any value; the document always as JSON."""
    answers = ReservedAnswers(SCHEMA_OF_POST, lambda: STATISTICS_NOW)
    packed = {number: answers.body(number, is_json=False) for number in NUMBERS}
    texts = {number: answers.body(number, is_json=True) for number in NUMBERS}
    assert (packed[Reserved.PING], texts[Reserved.PING]) == (b"\xc0", b"null")
    assert STATISTICS.decode(packed[Reserved.STATISTICS]) == STATISTICS_NOW
    assert STATISTICS.decode_json(texts[Reserved.STATISTICS]) == STATISTICS_NOW
    assert IDENTITY.decode(packed[Reserved.IDENTITY]) == IDENTITY.decode_json(texts[Reserved.IDENTITY])
    assert packed[Reserved.SCHEMA] is texts[Reserved.SCHEMA]
    assert json.loads(texts[Reserved.SCHEMA]) == json_schema(SCHEMA_OF_POST)


def test_who_a_service_is() -> None:
    """This process, since a moment ago."""
    answers = ReservedAnswers(SCHEMA_OF_POST, lambda: STATISTICS_NOW)
    identity = IDENTITY.decode(answers.body(Reserved.IDENTITY, is_json=False))
    assert (identity.pid, identity.uid, identity.interface) == (os.getpid(), os.geteuid(), "Post")
    assert identity.version == namedipc.__version__
    assert Path(identity.executable) == Path(sys.executable).resolve()
    age = datetime.datetime.now(datetime.UTC) - identity.began
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=1)


def test_a_program_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc hides it, the text is empty."""

    def hidden(_pid: int) -> str:
        raise PermissionError

    monkeypatch.setattr("namedipc.lowlevel.process_executable", hidden)
    answers = ReservedAnswers(SCHEMA_OF_POST, lambda: STATISTICS_NOW)
    assert IDENTITY.decode(answers.body(Reserved.IDENTITY, is_json=False)).executable == ""


# ------------------------------------------------------------ the service


@asynccontextmanager
async def serving(path: Path, limits: Limits | None = None) -> AsyncIterator[Server]:
    """A post office."""
    async with Service(path, Post).serve(Clerk(), limits=limits or Limits()) as server:
        yield server


async def greeted(client: WireClient, hello: bytes = STRANGER) -> None:
    """Say hello as somebody of another interface, and hear the schema."""
    await client.send(hello)
    frame = await client.frame()
    assert frame is not None
    assert frame[0] == SCHEMA


async def test_a_stranger_asks(tmp_path: Path) -> None:
    """Without BIND, in any encoding; a one-way question is not answered, and none counts as a call."""
    async with serving(tmp_path / "post") as server:
        with wire_client(server.path) as client:
            await greeted(client)
            for id_, number in enumerate(NUMBERS, 1):
                await client.send(asked(number, id_))
                frame = await client.frame()
                assert frame is not None
                assert (frame[0], frame[3]) == (REPLY, id_)
                json.loads(frame[4])
            await client.send(asked(Reserved.PING, 0, JSON_FLAG | ONE_WAY) + asked(Reserved.PING, 9, 0))
            assert await client.reply(9) is None
        assert server.statistics().calls == 0
        assert server.statistics().bytes_sent > 0


async def test_an_id_in_use_is_refused(tmp_path: Path) -> None:
    """As for any call; and 0 is the connection's."""
    async with serving(tmp_path / "post") as server:
        wait = SCHEMA_OF_POST.by_name["wait"].index
        for first in (asked(Reserved.PING, 0), pack_frame(CALL, b"\x91\x0a", method=wait, id=1) + asked(Reserved.PING)):
            with wire_client(server.path) as client:
                await client.send(Hello(SERVICE, 1 << 20, SCHEMA_OF_POST.fingerprint).pack() + first)
                assert await client.fault(0) == "protocol"
                await client.end()


async def test_a_document_that_is_too_long(tmp_path: Path) -> None:
    """For who asks: an error of that call, in its encoding."""
    async with serving(tmp_path / "post") as server:
        with wire_client(server.path) as client:
            await greeted(client, Hello(SERVICE, 100, bytes(16)).pack())
            await client.send(asked(Reserved.SCHEMA))
            frame = await client.frame()
            assert frame is not None
            assert (frame[0], frame[3]) == (ERROR, 1)
            assert json.loads(frame[4])["code"] == "too-large"
            await client.send(asked(Reserved.SCHEMA, 2, 0))
            assert await client.fault(2) == "too-large"


async def test_statistics_have_the_latencies(tmp_path: Path) -> None:
    """Of calls that have run, whether they waited or not; not of streams, and not of what was refused."""
    service = Service(tmp_path / "post", Post)
    async with service.serve(Clerk()) as server, service.connect() as post:
        assert [number async for number in post.count(500)] == list(range(500))
        with pytest.raises(namedipc.NotAllowed):
            await post.forbidden()
        assert server.statistics().latency_max_seconds == 0.0
        for _ in range(300):
            await post.notes()
        before = server.statistics()
        assert 0 < before.latency_p50_seconds <= before.latency_p99_seconds <= before.latency_max_seconds
        await post.wait(0.05)
        after = server.statistics()
        assert after.latency_max_seconds >= 0.048  # to half a bucket
        assert after.latency_p50_seconds < 0.048


async def test_answers_of_which_the_types_are_known(tmp_path: Path) -> None:
    """msgpack, for who prefers it: a map for each class."""
    async with serving(tmp_path / "post") as server:
        with wire_client(server.path) as client:
            await greeted(client)
            await client.send(asked(Reserved.STATISTICS, 1, 0))
            found = await client.reply(1)
            assert msgspec.convert(found, dict[str, float])["clients"] == 1
            await client.send(asked(Reserved.IDENTITY, 2, 0))
            answer = await client.reply(2)
            assert isinstance(answer, dict)
            assert answer["pid"] == os.getpid()


def test_codecs_are_those_of_the_classes() -> None:
    """So what another language reads is the attributes, by their names."""
    assert IDENTITY.type_name == "Identity"
    assert STATISTICS.description == Codec(ServiceStatistics).description
