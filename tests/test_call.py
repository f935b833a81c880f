"""One call, as its handler and tracers see it."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import trio

from namedipc import Call, Peer, Service, current_call, in_thread, one_way
from namedipc._call import traced
from namedipc._shells.suspended import ActiveCall, active_call

PEER = Peer(11, 12, 13, ())


@contextlib.contextmanager
def being_handled(active: ActiveCall) -> Iterator[None]:
    """As the loop runs a handler."""
    token = active_call.set(active)
    try:
        yield
    finally:
        active_call.reset(token)


def test_a_call_tells_what_is_known_of_it() -> None:
    """Interface, method, peer, deadline and headers; no deadline is one that never comes."""
    call = Call(ActiveCall("cook", PEER, 2.5, {"a": "b"}, "Kitchen"))
    assert (call.interface, call.method, call.peer) == ("Kitchen", "cook", PEER)
    assert (call.deadline, call.headers) == (2.5, {"a": "b"})
    assert Call(ActiveCall("cook", PEER, None, {}, "Kitchen")).deadline == math.inf
    assert repr(call) == "<Call of cook with process 11 of user 12>"


def test_a_call_cannot_be_changed() -> None:
    """What was received is what it was; nothing can be left on it by mistake."""
    call = Call(ActiveCall("cook", PEER, 2.5, {}, "Kitchen"))
    for name in ("interface", "method", "peer", "deadline", "headers", "note"):
        with pytest.raises(AttributeError):
            setattr(call, name, None)


def test_there_is_no_call_outside_of_a_handler() -> None:
    """The error says where it may be asked for."""
    with pytest.raises(RuntimeError, match=r"^current_call\(\): no call is being handled here; use it inside a method"):
        current_call()
    with being_handled(ActiveCall("cook", PEER, None, {}, "Kitchen")):
        assert current_call().method == "cook"
    with pytest.raises(RuntimeError):
        current_call()


def test_what_stands_for_many_calls_is_not_given_away() -> None:
    """What a handler leaves in the headers of its call, no other call has; for the rest of that call it stays."""
    shared = ActiveCall("cook", PEER, None, {}, "Kitchen", is_shared=True)
    for _ in range(2):
        with being_handled(shared):
            assert current_call().headers == {}
            current_call().headers["a"] = "b"
            assert current_call().headers == {"a": "b"}
            assert (current_call().method, current_call().peer, current_call().interface) == ("cook", PEER, "Kitchen")
    assert shared.headers == {}


async def test_a_traced_handler_runs_inside_of_the_trace() -> None:
    """The tracer gets the call, and is left with the handler's result, or its exception."""
    told: list[str] = []

    @contextlib.contextmanager
    def trace(call: Call) -> Iterator[None]:
        told.append(f"begin {call.method}")
        try:
            yield
        except ValueError as error:
            told.append(f"failed {error}")
            raise
        told.append("end")

    async def handler(number: int, *, fail: bool = False) -> int:
        told.append("run")
        await trio.lowlevel.checkpoint()
        if fail:
            raise ValueError("no")
        return number + 1

    handle = traced(trace, handler)
    with being_handled(ActiveCall("cook", PEER, None, {}, "Kitchen")):
        assert await handle(1) == 2
        with pytest.raises(ValueError, match="no"):
            await handle(1, fail=True)
    assert told == ["begin cook", "run", "end", "begin cook", "run", "failed no"]


class Desk(Protocol):
    """Tells what its handlers see."""

    async def headers(self) -> dict[str, str]: ...

    async def threaded(self) -> tuple[str, dict[str, str]]: ...

    def streamed(self) -> AsyncIterator[str]: ...

    @one_way
    async def note(self) -> None: ...

    async def remaining(self) -> float: ...


class Clerk:
    """The implementation."""

    def __init__(self) -> None:
        self.notes: list[dict[str, str]] = []

    async def headers(self) -> dict[str, str]:
        """Tell."""
        await trio.lowlevel.checkpoint()
        return current_call().headers

    @in_thread
    def threaded(self) -> tuple[str, dict[str, str]]:
        """Tell from another thread."""
        return current_call().method, current_call().headers

    async def streamed(self) -> AsyncIterator[str]:
        """Tell, an item at a time."""
        for _ in range(2):
            yield f"{current_call().method} {current_call().headers}"
            await trio.lowlevel.checkpoint()

    async def note(self) -> None:
        """Remember."""
        self.notes.append(current_call().headers)

    async def remaining(self) -> float:
        """Tell how long the caller waits."""
        return current_call().deadline - time.monotonic()


async def test_handlers_of_every_kind_know_their_call(tmp_path: Path) -> None:
    """Inline, suspended, in a thread, in a stream, one way: method and headers are those of this call."""
    service, clerk = Service(tmp_path / "desk", Desk), Clerk()
    client = service.connect()
    async with service.serve(clerk), client as desk:
        assert await desk.headers() == {}
        other = client.with_options(headers={"a": "1", "b": ""})
        assert await other.headers() == {"a": "1", "b": ""}
        assert await other.threaded() == ("threaded", {"a": "1", "b": ""})
        assert [item async for item in other.streamed()] == ["streamed {'a': '1', 'b': ''}"] * 2
        await other.note()
        assert await desk.headers() == {}
        assert clerk.notes == [{"a": "1", "b": ""}]
        assert await desk.remaining() == math.inf
        with trio.fail_after(1000):
            assert 0 < await desk.remaining() <= 1000


async def test_tracers_of_both_sides_see_the_call(tmp_path: Path) -> None:
    """The client's adds to the headers, the service's reads them; each is told who is at the other end."""
    seen: list[tuple[str, str, int, dict[str, str]]] = []

    @contextlib.contextmanager
    def of_client(call: Call) -> Iterator[None]:
        call.headers["trace"] = "7"
        seen.append(("client", call.method, call.peer.pid, dict(call.headers)))
        yield

    @contextlib.contextmanager
    def of_service(call: Call) -> Iterator[None]:
        seen.append(("service", call.method, call.peer.pid, dict(call.headers)))
        yield

    service = Service(tmp_path / "desk", Desk)
    client = service.connect(trace=of_client)
    async with service.serve(Clerk(), trace=of_service), client as desk:
        assert await desk.headers() == {"trace": "7"}
        assert await client.with_options(headers={"mine": "x"}).headers() == {"mine": "x", "trace": "7"}
    pid = os.getpid()
    assert seen == [
        ("client", "headers", pid, {"trace": "7"}),
        ("service", "headers", pid, {"trace": "7"}),
        ("client", "headers", pid, {"mine": "x", "trace": "7"}),
        ("service", "headers", pid, {"mine": "x", "trace": "7"}),
    ]
