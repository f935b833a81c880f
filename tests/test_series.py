"""Many calls of one method at their caller: encoded together, cut where they must be, their results taken in order."""

from __future__ import annotations

from typing import Protocol

import pytest

from namedipc import InvalidMessage
from namedipc._batches import join
from namedipc._protocol.calls import LOST, CallRun
from namedipc._protocol.frames import ERROR, REPLIES, REPLY
from namedipc._protocol.series import LONGEST_BYTES, MOST_TOGETHER, Piece, Series, cut, singles
from namedipc._schema import Schema


class Press(Protocol):
    """What is called."""

    async def double(self, number: int) -> int:
        """Small arguments, small results."""
        ...

    async def echo(self, data: bytes) -> bytes:
        """Larger ones."""
        ...

    async def show(self, data: memoryview) -> int:
        """An argument that may travel beside the call."""
        ...

    async def look(self, number: int) -> memoryview:
        """A result that may."""
        ...


SCHEMA: Schema[Press] = Schema(Press, frame_globals=globals(), frame_locals={})


def series(name: str, *arguments: object) -> Series:
    """The calls with these arguments."""
    calls = Series(SCHEMA.by_name[name], "/run/press")
    calls.add(arguments)
    return calls


def left(calls: Series, longest_bytes: int = 1 << 20) -> list[Piece]:
    """What is to be sent."""
    return list(calls.left(longest_bytes))


def run(*answers: tuple[int, int, int, bytes], count: int = 4) -> CallRun[str]:
    """Calls of which this has become."""
    calls: CallRun[str] = CallRun("Press.double", count)
    for answer in answers:
        calls.answered(*answer)
    return calls


def numbers(*values: int) -> bytes:
    """Results that came together."""
    return join([bytes([value]) for value in values])


# --- what is sent


def test_small_calls_are_encoded_together() -> None:
    """So many a frame, and the rest; a single one as what it is; none at all."""
    arguments = [b"\x91" + bytes([number]) for number in range(70)]
    assert left(series("double", *range(70))) == [
        (MOST_TOGETHER, join(arguments[:MOST_TOGETHER])),
        (6, join(arguments[MOST_TOGETHER:])),
    ]
    assert left(series("double", 1)) == [(1, b"\x91\x01")]
    assert left(series("double")) == []


def test_large_calls_are_sent_one_by_one() -> None:
    """Also those which the service would not take together."""
    large = bytes(LONGEST_BYTES // 4)
    calls = left(series("echo", *[large] * 5))
    assert [count for count, _ in calls] == [1] * 5
    assert all(len(body) == len(large) + 4 for _, body in calls)
    assert left(series("echo", b"1", b"2")) == [(2, b"\x92\x91\xc4\x011\x91\xc4\x012")]
    assert left(series("echo", b"1", b"2"), longest_bytes=8) == [(1, b"\x91\xc4\x011"), (1, b"\x91\xc4\x012")]


@pytest.mark.parametrize(("name", "argument"), [("show", memoryview(b"x")), ("look", 1)])
def test_what_may_travel_beside_a_frame_is_sent_one_by_one(name: str, argument: object) -> None:
    """Be it the argument or the result."""
    assert [count for count, _ in left(series(name, argument, argument))] == [1, 1]


def test_an_argument_that_does_not_fit_is_named() -> None:
    """With the path, whichever it is."""
    with pytest.raises(InvalidMessage, match=r"^/run/press: Press\.double: parameter 'number': expected int, got str"):
        series("double", 1, 2, "3")


def test_what_has_a_result_is_not_sent_again() -> None:
    """A new connection gets the rest, even from the middle of what had been sent together."""
    calls = series("double", *range(MOST_TOGETHER + 2))
    calls.results += range(MOST_TOGETHER - 1)
    assert left(calls) == [(1, b"\x91\x3f"), (2, join([b"\x91\x40", b"\x91\x41"]))]
    calls.results.append(126)
    assert left(calls) == [(2, join([b"\x91\x40", b"\x91\x41"]))]
    calls.results += [128, 130]
    assert left(calls) == []


def test_calls_are_cut() -> None:
    """A single one is what it is; nothing is lost."""
    (piece,) = left(series("double", 1, 2, 3, 4))
    assert cut(piece, 1) == ((1, b"\x91\x01"), (3, join([b"\x91\x02", b"\x91\x03", b"\x91\x04"])))
    assert cut(piece, 3) == ((3, join([b"\x91\x01", b"\x91\x02", b"\x91\x03"])), (1, b"\x91\x04"))
    assert singles(piece) == [b"\x91\x01", b"\x91\x02", b"\x91\x03", b"\x91\x04"]
    assert singles((1, b"\x91\x01")) == [b"\x91\x01"]


# --- what comes back


def test_results_are_taken_in_the_order_of_the_calls() -> None:
    """However they came."""
    calls = series("double", 1, 2, 3, 4)
    answers = [(3, 1, REPLY, b"\x08"), (1, 2, REPLIES, numbers(4, 6)), (0, 1, REPLY, b"\x02")]
    assert calls.take(run(*answers)) is None
    assert calls.results == [2, 4, 6, 8]


def test_the_first_call_without_a_result_ends_it() -> None:
    """What is before it counts; what is behind it does not."""
    calls = series("double", 1, 2, 3, 4)
    answers = [(3, 1, REPLY, b"\x08"), (2, 1, LOST, b""), (1, 1, ERROR, b"fault"), (0, 1, REPLY, b"\x02")]
    failed = calls.take(run(*answers))
    assert failed is not None
    assert (failed.kind, failed.body, failed.where) == (ERROR, b"fault", "Press.double")
    assert calls.results == [2]


@pytest.mark.parametrize(
    ("answer", "message", "before"),
    [
        ((0, 4, REPLIES, b"\x94\x02\x04\xa1x\x08"), r"what arrived does not fit: Expected `int`, got `str`", [2, 4]),
        ((0, 4, REPLIES, b"\x94\x02\x04\x06"), "several messages: what arrived does not fit", []),
        ((0, 4, REPLIES, b"\x94\x02\x04\x06\x08\x08"), "several messages: what arrived does not fit", []),
        ((0, 1, REPLY, b"\xa1x"), "what arrived does not fit", []),
    ],
    ids=["one", "too short", "too long", "alone"],
)
def test_a_result_that_does_not_fit_is_named(
    answer: tuple[int, int, int, bytes], message: str, before: list[int]
) -> None:
    """With the path; those before it are there."""
    calls = series("double", 1, 2, 3, 4)
    with pytest.raises(InvalidMessage, match=rf"^/run/press: .*{message}"):
        calls.take(run(answer))
    assert calls.results == before
