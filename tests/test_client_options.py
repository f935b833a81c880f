"""What a caller asks for beside the arguments: being repeated, headers, a tracer; and which method was meant."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Protocol

import attrs
import pytest

from namedipc import Call, Fd, Peer, idempotent, one_way
from namedipc._client_options import Options, Repeats, encode_call, find_method
from namedipc._errors import ConnectionLost, InvalidMessage
from namedipc._faults import unpack_headers
from namedipc._protocol.calls import NotRun
from namedipc._protocol.frames import HEADERS_FLAG, split_headers
from namedipc._schema import Schema

LOST = ConnectionLost("gone")
UNRUN = NotRun(LOST)
PEER = Peer(11, 12, 13, ())


class Base(Protocol):
    """What is inherited."""

    async def ping(self) -> int: ...


class Kitchen(Base, Protocol):
    """A method of every kind."""

    async def cook(self, dish: str) -> str: ...

    @idempotent
    async def seats(self) -> int: ...

    def progress(self, table: int) -> AsyncIterator[float]: ...

    async def deliver(self, crates: AsyncIterable[bytes]) -> int: ...

    @one_way
    async def note(self, text: str) -> None: ...

    async def keep(self, file: Fd) -> None: ...


SCHEMA: Schema[Kitchen] = Schema(Kitchen, frame_globals=globals(), frame_locals={})


# --- being repeated


@pytest.mark.parametrize("retry", [None, True, False])
@pytest.mark.parametrize("is_idempotent", [False, True])
def test_what_a_leaving_service_has_not_run_is_repeated(retry: bool | None, is_idempotent: bool) -> None:
    """Whatever the method, and as often as it happens: unless the caller forbids it."""
    repeats = Repeats(retry, is_idempotent=is_idempotent)
    assert [repeats.allow(UNRUN, may_move=True) for _ in range(3)] == [retry is not False] * 3


@pytest.mark.parametrize("error", [LOST, UNRUN])
@pytest.mark.parametrize(
    ("retry", "is_idempotent", "allowed"),
    [
        (None, False, [False, False, False]),
        (None, True, [True, False, False]),
        (True, False, [False, False, False]),
        (True, True, [True, True, True]),
        (False, False, [False, False, False]),
        (False, True, [False, False, False]),
    ],
)
def test_a_lost_call_is_repeated_only_if_its_method_is_idempotent(
    error: ConnectionLost | NotRun, retry: bool | None, is_idempotent: bool, allowed: list[bool]
) -> None:
    """Once, or as often as it takes; so is one that found its connection at an end."""
    repeats = Repeats(retry, is_idempotent=is_idempotent)
    assert [repeats.allow(error, may_move=False) for _ in range(3)] == allowed


@pytest.mark.parametrize("is_idempotent", [False, True])
def test_what_may_have_been_run_by_a_leaving_service_is_lost(is_idempotent: bool) -> None:
    """A goodbye makes only those certain which it does not name."""
    repeats = Repeats(None, is_idempotent=is_idempotent)
    assert [repeats.allow(LOST, may_move=True) for _ in range(2)] == [is_idempotent, False]


def test_a_restart_does_not_use_up_the_one_repetition() -> None:
    """A call that was not run has not been tried."""
    repeats = Repeats(None, is_idempotent=True)
    assert repeats.allow(UNRUN, may_move=True)
    assert repeats.allow(LOST, may_move=False)
    assert not repeats.allow(LOST, may_move=False)
    assert repeats.allow(UNRUN, may_move=True)


def test_options_know_what_a_method_declares() -> None:
    """Each call has repetitions of its own; what takes descriptors along cannot be sent again."""
    options = Options()
    for _ in range(2):
        assert options.repeats(SCHEMA.by_name["seats"]).allow(LOST, may_move=False)
    assert not options.repeats(SCHEMA.by_name["cook"]).allow(LOST, may_move=False)
    assert options.repeats(SCHEMA.by_name["cook"]).allow(UNRUN, may_move=True)
    assert not options.repeats(SCHEMA.by_name["keep"]).allow(UNRUN, may_move=True)


@pytest.mark.parametrize(("retry", "seconds"), [(None, None), (False, None), (True, float("inf"))])
def test_how_long_to_wait_for_the_service_to_be_back(retry: bool | None, seconds: float | None) -> None:
    """As long as it takes, or as the client was told when it began."""
    assert Options(retry=retry).wait_again_seconds == seconds


# --- headers and tracers


@contextlib.contextmanager
def adding(call: Call) -> Iterator[None]:
    """A tracer which adds to the headers."""
    call.headers["added"] = f"{call.method} by {call.peer.pid}"
    yield


def test_a_call_with_nothing_else_is_plain() -> None:
    """So that it takes the short way; a retry changes nothing of what is sent."""
    assert Options().are_plain
    assert Options(retry=True).are_plain
    assert not Options(headers={"a": "b"}).are_plain
    assert not Options(trace=adding).are_plain


def test_headers_go_before_the_arguments() -> None:
    """With the flag that says so; without headers the body stays as it is."""
    options = Options()
    assert options.extend(b"arguments", {}) == (b"arguments", 0)
    body, flags = options.extend(b"arguments", {"a": "b"})
    assert flags == HEADERS_FLAG
    headers, arguments = split_headers(flags, body)
    assert (unpack_headers(headers), arguments) == ({"a": "b"}, b"arguments")


def test_headers_that_are_too_long_are_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidMessage, match=r"^headers of 7000[0-9] bytes; a call carries 65535"):
        Options().extend(b"", {"": "x" * 70_000})


def test_a_tracer_adds_to_the_headers_of_its_call_only() -> None:
    """Those of the options are not touched, so the next call begins with them again."""
    options = Options(headers={"mine": "1"}, trace=adding)
    for name in ("cook", "seats"):
        with options.tracing(SCHEMA.by_name[name], PEER) as headers:
            assert headers == {"mine": "1", "added": f"{name} by 11"}
    assert options.headers == {"mine": "1"}


def test_without_a_tracer_the_headers_are_those_of_the_options() -> None:
    """A new dict for each call."""
    options = Options(headers={"mine": "1"})
    with options.tracing(SCHEMA.by_name["cook"], PEER) as headers:
        assert headers == options.headers
        assert headers is not options.headers


def test_a_tracer_is_left_with_the_calls_error() -> None:
    """As any context manager."""
    told: list[BaseException] = []

    @contextlib.contextmanager
    def telling(call: Call) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            told.append(error)
            raise

    error = KeyError("mine")
    with pytest.raises(KeyError), Options(trace=telling).tracing(SCHEMA.by_name["cook"], PEER):
        raise error
    assert told == [error]


def test_errors_of_arguments_begin_with_the_path() -> None:
    """A TypeError is Python's own, and says what a call of the method would."""
    encode = encode_call(SCHEMA.by_name["cook"], "/run/kitchen")
    assert encode(("soup",), {}) == encode((), {"dish": "soup"})
    with pytest.raises(InvalidMessage, match=r"^/run/kitchen: Kitchen\.cook: "):
        encode((5,), {})
    with pytest.raises(TypeError, match=r"^Kitchen\.cook\(\) missing"):
        encode((), {})


# --- which method was meant


@pytest.mark.parametrize(
    ("verb", "name"),
    [("call", "cook"), ("call", "deliver"), ("call", "note"), ("stream", "progress"), ("call_each", "cook")],
)
def test_methods_are_found(verb: str, name: str) -> None:
    """Each by the verbs that are for it."""
    assert find_method(SCHEMA, getattr(Kitchen, name), verb) is SCHEMA.by_name[name]


def test_methods_are_found_by_their_name() -> None:
    """Those of a base, and those which an implementation has overridden, too."""

    class Chef:
        async def cook(self, dish: str) -> str:
            return dish

    assert find_method(SCHEMA, Base.ping, "call") is SCHEMA.by_name["ping"]
    assert find_method(SCHEMA, Chef.cook, "call") is SCHEMA.by_name["cook"]


@attrs.frozen
class Named:
    """Has a name and cannot be called."""

    __name__ = "cook"


@pytest.mark.parametrize("given", ["cook", None, 5, len, Kitchen, Named()])
def test_what_is_no_method_of_the_interface_is_refused(given: object) -> None:
    """With an example of one that is."""
    for verb in ("call", "stream", "call_each"):
        with pytest.raises(TypeError) as caught:
            find_method(SCHEMA, given, verb)
        assert str(caught.value) == (
            f"{verb}({given!r}): give a method of the interface, for example Kitchen.{SCHEMA.methods[0].name}"
        )


@pytest.mark.parametrize(
    ("verb", "name", "message"),
    [
        ("call", "progress", "it is answered with a stream; write stream(Kitchen.progress, ...)"),
        ("call_each", "progress", "it is answered with a stream; write stream(Kitchen.progress, ...)"),
        ("stream", "cook", "it is answered with one result; write call(Kitchen.cook, ...)"),
        ("stream", "deliver", "it is answered with one result; write call(Kitchen.deliver, ...)"),
        ("call_each", "deliver", "it takes a stream; call it once at a time"),
        ("call_each", "note", "it is one way; call it once at a time"),
        ("call_each", "keep", "it takes open descriptors; call it once at a time"),
    ],
)
def test_a_method_for_another_verb_is_refused(verb: str, name: str, message: str) -> None:
    """With the verb that is for it."""
    with pytest.raises(TypeError) as caught:
        find_method(SCHEMA, getattr(Kitchen, name), verb)
    assert str(caught.value) == f"{verb}(Kitchen.{name}): {message}"
