"""Marks: what they leave on a function, that they change nothing else, and what they refuse."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest
import trio

from namedipc import Peer, allow, anyone, idempotent, in_thread, one_way, raises, same_user, users
from namedipc._errors import DeclarationError
from namedipc._marks import declared_errors, is_idempotent, is_one_way, rules_of

F = TypeVar("F", bound=Callable[..., object])


class Sold(Exception):
    """A declared exception."""


async def cook(self: object, dish: str) -> str:
    """Cook."""
    return dish


async def note(self: object, text: str) -> None:
    """Note."""


def fresh() -> Callable[[object, str], object]:
    """A method without a mark."""

    async def method(self: object, dish: str) -> str:
        return dish

    return method


def test_no_mark_is_none_of_them() -> None:
    """What was never marked says so; so does what is no function."""
    for method in (cook, len, None, 3):
        assert (declared_errors(method), is_idempotent(method), is_one_way(method), rules_of(method)) == (
            (),
            False,
            False,
            (),
        )


def test_a_mark_returns_the_function_itself() -> None:
    """Neither its type nor its signature changes, and one mark leaves the others alone."""
    method = fresh()
    assert idempotent(method) is raises(Sold)(method) is allow(anyone)(method) is method
    assert is_idempotent(method)
    assert declared_errors(method) == (Sold,)
    assert rules_of(method) == (anyone,)
    assert not is_one_way(method)
    assert one_way(note) is note
    assert is_one_way(note)


def test_several_exceptions_add_up() -> None:
    """In one mark or in several: the upper one comes first."""
    method = raises(KeyError)(raises(Sold, ValueError)(fresh()))
    assert declared_errors(method) == (KeyError, Sold, ValueError)
    assert declared_errors(raises()(fresh())) == ()


@pytest.mark.parametrize("wrong", [5, "Sold", Sold(), int, KeyboardInterrupt, BaseException, (Sold,)])
def test_only_classes_of_exceptions_can_be_raised(wrong: object) -> None:
    """An instance, a BaseException that ends programs, or anything else is refused with what it is."""
    with pytest.raises(DeclarationError) as caught:
        raises(Sold, wrong)  # type: ignore[arg-type]  # the mistake that is refused
    assert str(caught.value) == f"@raises({wrong!r}): give classes of exceptions"


def test_rules_add_up() -> None:
    """All of them count; they are there at a bound method, too."""
    rule = users(1)

    class Chef:
        @allow(same_user)
        @allow(rule)
        async def cook(self) -> None: ...

    assert rules_of(Chef().cook) == rules_of(Chef.cook) == (same_user, rule)


def test_a_function_of_a_peer_is_a_rule() -> None:
    """Any callable will do."""

    def even(peer: Peer, /) -> bool:
        return peer.pid % 2 == 0

    assert rules_of(allow(even)(fresh())) == (even,)


def test_marks_go_through_in_thread() -> None:
    """Above it or below it."""

    class Chef:
        @allow(anyone)
        @in_thread
        def above(self) -> None: ...

        @in_thread
        @allow(anyone)
        def below(self) -> None: ...

    assert rules_of(Chef().above) == rules_of(Chef().below) == (anyone,)


async def test_in_thread_runs_elsewhere() -> None:
    """With its arguments, its result, its exception; it is awaited, and keeps its name and its docstring."""

    class Chef:
        @in_thread
        def cook(self, dish: str, *, salt: bool = False) -> tuple[str, bool, int]:
            """Cook."""
            if not dish:
                raise Sold("nothing")
            return dish, salt, threading.get_ident()

    chef = Chef()
    assert inspect.iscoroutinefunction(Chef.cook)
    assert (Chef.cook.__name__, Chef.cook.__doc__) == ("cook", "Cook.")
    assert list(inspect.signature(chef.cook).parameters) == ["dish", "salt"]
    dish, salt, thread = await chef.cook("soup", salt=True)
    assert (dish, salt) == ("soup", True)
    assert thread != threading.get_ident()
    with pytest.raises(Sold, match="nothing"):
        await chef.cook("")


async def test_a_cancelled_thread_is_waited_for() -> None:
    """It cannot be stopped: its call ends once it has returned, and its result is dropped."""
    entered, leave = threading.Event(), threading.Event()

    @in_thread
    def wait() -> int:
        entered.set()
        assert leave.wait(20)
        return 1

    ended = []

    async def call() -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await wait()
        ended.append(scope.cancelled_caught)

    scopes: list[trio.CancelScope] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        assert await trio.to_thread.run_sync(entered.wait, 20)
        scopes[0].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not ended
        leave.set()
    assert len(ended) == 1
