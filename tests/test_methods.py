"""One method: its streams travel as numbers, its description leaves out the usual, and it has a form in JSON."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol, TypeVar

import pytest

from namedipc import Fd
from namedipc._errors import InvalidMessage

from .schema_support import Kitchen, schema_of, stream_method

T = TypeVar("T")


async def stream(*items: T) -> AsyncIterator[T]:
    """Any stream."""
    for item in items:
        yield item


@pytest.mark.parametrize("by_name", [False, True])
def test_streams_travel_as_their_numbers(by_name: bool) -> None:
    """Split off where they are given, and joined again at the other side, whatever way they were given."""
    method = stream_method("mixed")
    xs, zs = stream(1), stream("a")
    args: tuple[object, ...] = (4,) if by_name else (4, xs)
    kwargs: dict[str, object] = {"xs": xs, "zs": zs} if by_name else {"zs": zs}
    rest, streams = method.split_streams(args, kwargs)
    assert streams == {0: xs, 1: zs}
    arrived = method.arguments.decode(method.arguments.encode(*rest))
    assert method.join_streams(*arrived, lambda number: f"stream {number}") == (
        (4, "stream 0"),
        {"zs": "stream 1"},
    )


def test_a_stream_that_is_left_out_is_not_sent() -> None:
    """The default of the implementation applies, as for any other parameter."""
    method = stream_method("later")
    ys = stream(1)
    rest, streams = method.split_streams((), {"ys": ys})
    assert streams == {0: ys}
    arrived = method.arguments.decode(method.arguments.encode(*rest))
    assert method.join_streams(*arrived, lambda number: f"stream {number}") == ((), {"ys": "stream 0"})


def test_the_arguments_of_the_caller_are_left_as_they_are() -> None:
    """Splitting makes new ones."""
    kwargs: dict[str, object] = {"ys": stream(1)}
    before = dict(kwargs)
    stream_method("later").split_streams((), kwargs)
    assert kwargs == before


@pytest.mark.parametrize("given", [[b"crate"], b"crate", None, 0, iter([b"crate"])])
def test_what_is_no_stream_is_told(given: object) -> None:
    """With what makes one of it."""
    with pytest.raises(TypeError) as caught:
        stream_method("deliver").split_streams((given,), {})
    assert str(caught.value) == (
        f"Streams.deliver: parameter 'crates' is a stream, and a {type(given).__name__} is none; write feed(...) "
        "around an iterable"
    )


def test_a_stream_given_twice_or_missing_is_told_as_python_does() -> None:
    """By the encoder of the arguments, as for any other parameter."""
    method = stream_method("deliver")
    rest, streams = method.split_streams((stream(b""),), {"crates": stream(b"")})
    assert len(streams) == 1
    with pytest.raises(TypeError, match="multiple values for argument 'crates'"):
        method.arguments.encode(*rest)
    rest, streams = method.split_streams((), {"weight": 2})
    assert streams == {}
    with pytest.raises(TypeError, match="missing 1 required argument: 'crates'"):
        method.arguments.encode(*rest)


@pytest.mark.parametrize(("args", "kwargs"), [((4, 1), {"zs": 1}), ((4, 0), {"zs": 0}), ((4,), {"xs": -1, "zs": 1})])
def test_another_number_than_the_streams_is_refused(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """A caller cannot make one stream of two parameters, nor name one that is not there."""
    made: list[int] = []
    with pytest.raises(InvalidMessage, match=r"Streams.mixed: parameter '[xz]s': expected the number of its stream, "):
        stream_method("mixed").join_streams(args, kwargs, made.append)


def test_the_usual_is_left_out_of_the_description() -> None:
    """So that an interface without streams has the description, and the fingerprint, that it always had."""
    assert set(stream_method("seats").description) == {"parameters", "result"}
    assert set(stream_method("mixed").description) == {"parameters", "result", "requests", "stream"}
    assert set(stream_method("note").description) == {"parameters", "result", "one_way"}
    assert set(stream_method("cook").description) == {"parameters", "result", "raises"}


def test_a_method_for_a_caller_that_speaks_json() -> None:
    """The same method, made once, with JSON in the place of msgpack."""
    method = schema_of(Kitchen).methods[0]
    in_json = method.in_json
    assert in_json is method.in_json
    assert (in_json.name, in_json.index, in_json.where) == (method.name, method.index, method.where)
    assert in_json.is_json
    assert not method.is_json


def test_what_makes_a_call_more_than_two_bodies() -> None:
    """Streams on either side, and descriptors, be they arguments or the items of a stream."""

    class Files(Protocol):
        async def name(self, number: int) -> str: ...

        async def read(self, file: Fd) -> bytes: ...

        async def read_all(self, files: AsyncIterable[Fd]) -> bytes: ...

        def lines(self) -> AsyncIterator[str]: ...

    methods = schema_of(Files).methods
    assert {method.name for method in methods if method.is_plain} == {"name"}
    assert {method.name for method in methods if method.takes_descriptors} == {"read", "read_all"}
