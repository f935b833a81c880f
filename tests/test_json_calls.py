"""Calls in JSON, as they travel: arguments, results, items both ways, and errors."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from namedipc import Limits, Service
from namedipc._protocol.frames import CALL, CANCEL, END, ERROR, ITEM, JSON_FLAG, ONE_WAY_FLAG, REPLY, pack_frame
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._schema import Schema

from .post_office import Clerk, Post
from .wire_client import WireClient, wire_client

SCHEMA: Schema[Post] = Schema(Post, frame_globals=globals(), frame_locals={})
HELLO = Hello(SERVICE, 1 << 16, SCHEMA.fingerprint, 64, 1 << 18).pack()


@asynccontextmanager
async def talking(tmp_path: Path, limits: Limits | None = None) -> AsyncIterator[WireClient]:
    """A client made of bytes, at a post office."""
    async with Service(tmp_path / "post", Post).serve(Clerk(), limits=limits or Limits()) as server:
        with wire_client(server.path) as client:
            await client.send(HELLO)
            yield client


async def send(client: WireClient, method: str, arguments: str, id_: int = 1, flags: int = 0) -> None:
    """Call in JSON."""
    index = SCHEMA.by_name[method].index
    await client.send(pack_frame(CALL, arguments.encode(), flags=JSON_FLAG | flags, method=index, id=id_))


async def answer(client: WireClient, kind: int = REPLY, id_: int = 1) -> str:
    """The body of the next frame, which is of this kind."""
    frame = await client.frame()
    assert frame is not None
    assert (frame[0], frame[3]) == (kind, id_), frame
    return frame[4].decode()


@pytest.mark.parametrize(
    ("method", "arguments", "result"),
    [
        ("swap", "[[1, 2]]", '["",[1,2]]'),
        ("swap", '[[1, 2], "b"]', '["b",[1,2]]'),
        ("swap", '{"one": [], "times": 2}', '["",[],"",[]]'),
        ("notes", "", "[]"),
        ("notes", "[]", "[]"),
        ("wait", "[0.001]", "0.001"),
    ],
)
async def test_arguments_and_results_are_json(tmp_path: Path, method: str, arguments: str, result: str) -> None:
    """By place, by name, or none; whether the handler waits or not."""
    async with talking(tmp_path) as client:
        await send(client, method, arguments)
        assert await answer(client) == result


async def test_other_calls_of_the_connection_are_not(tmp_path: Path) -> None:
    """The flag is the call's."""
    async with talking(tmp_path) as client:
        await send(client, "notes", "")
        assert await answer(client) == "[]"
        await client.send(pack_frame(CALL, b"\x90", method=SCHEMA.by_name["notes"].index, id=2))
        assert await client.reply(2) == []


async def test_a_stream_of_results_is_json(tmp_path: Path) -> None:
    """Each item, then the end."""
    async with talking(tmp_path) as client:
        await send(client, "count", "[3]")
        assert [await answer(client, ITEM) for _ in range(3)] == ["0", "1", "2"]
        assert await answer(client, END) == ""


async def test_a_stream_of_requests_is_json(tmp_path: Path) -> None:
    """In its place among the arguments stands its number."""
    async with talking(tmp_path) as client:
        await send(client, "post", '{"parcels": 0, "stamps": 2}')
        await client.send(pack_frame(ITEM, b'"YWJj"', id=1) + pack_frame(ITEM, b'""', id=1) + pack_frame(END, id=1))
        assert await answer(client) == "6"


async def test_a_one_way_call_may_be_json(tmp_path: Path) -> None:
    """It is run, and nothing answers it, nor what is wrong with it."""
    async with talking(tmp_path) as client:
        await send(client, "note", '["hello"]', 0, ONE_WAY_FLAG)
        await send(client, "note", "nonsense", 0, ONE_WAY_FLAG)
        await send(client, "route", "[]", 0, ONE_WAY_FLAG)
        await send(client, "notes", "")
        assert await answer(client) == '["hello"]'


async def fault(client: WireClient, id_: int = 1) -> dict[str, object]:
    """The next frame is the error of this call, in JSON."""
    found = json.loads(await answer(client, ERROR, id_))
    assert isinstance(found, dict)
    found.pop("traceback_text")
    return found


@pytest.mark.parametrize(
    ("letter", "expected"),
    [
        ("love", {"code": "declared", "type_name": "Burnt", "fields": {"what": "love", "minutes": 3}}),
        ("bill", {"code": "declared", "type_name": "Lost", "fields": "the bill", "message": "the bill"}),
        ("stone", {"code": "remote", "type_name": "ValueError", "message": "a stone does not burn"}),
    ],
)
async def test_what_a_handler_raises_is_json(tmp_path: Path, letter: str, expected: dict[str, object]) -> None:
    """The fields of a declared exception as an object, or its text."""
    async with talking(tmp_path) as client:
        await send(client, "burn", json.dumps([letter]))
        assert (await fault(client)).items() >= expected.items()


@pytest.mark.parametrize(
    ("method", "arguments", "code", "message"),
    [
        ("swap", "[1]", "invalid", "Post.swap: what arrived does not fit: Expected `array`, got `int` - at `one`"),
        ("swap", "[[1]", "invalid", "Post.swap: what arrived does not fit"),
        ("swap", "\x91\x90", "invalid", "Post.swap"),
        ("forbidden", "", "not-allowed", "not for user"),
        ("route", "[{}]", "invalid", "Post.route cannot be called in JSON: "),
        ("post", "[1]", "invalid", "expected the number of its stream, 0"),
    ],
)
async def test_refusals_are_json(tmp_path: Path, method: str, arguments: str, code: str, message: str) -> None:
    """Whatever the service itself finds wrong; the connection goes on."""
    async with talking(tmp_path) as client:
        await send(client, method, arguments)
        found = await fault(client)
        assert found["code"] == code
        assert message in str(found["message"])
        await send(client, "notes", "", 2)
        assert await answer(client, REPLY, 2) == "[]"


async def test_a_result_that_is_too_long(tmp_path: Path) -> None:
    """Its length is that of the JSON."""
    async with talking(tmp_path) as client:
        await send(client, "swap", json.dumps([[], "x" * 60_000, 2]).replace(", 2]", "]"))
        assert len(await answer(client)) > 60_000
        await send(client, "swap", json.dumps({"one": [], "other": "x" * 40_000, "times": 2}))
        assert (await fault(client))["code"] == "too-large"


async def test_cancelled_and_late_calls_end_in_json(tmp_path: Path) -> None:
    """One that waits, by CANCEL; and one by its deadline, before it begins and while it waits."""
    async with talking(tmp_path) as client:
        await send(client, "wait", "[100]")
        await client.send(pack_frame(CANCEL, id=1))
        assert (await fault(client))["code"] == "cancelled"
        wait = SCHEMA.by_name["wait"].index
        for deadline in (0.0, time.monotonic() + 0.05):
            body = struct.pack("<d", deadline) + b"[100]"
            await client.send(pack_frame(CALL, body, flags=JSON_FLAG | 1, method=wait, id=1))
            assert (await fault(client))["code"] == "deadline"


async def test_an_item_that_is_no_json_ends_its_call(tmp_path: Path) -> None:
    """As an item of another type does."""
    async with talking(tmp_path) as client:
        await send(client, "post", "[0]")
        await client.send(pack_frame(ITEM, b"\x91", id=1))
        assert (await fault(client))["type_name"] == "InvalidMessage"
