"""A call whose handler waits: what its task sees of the handler, and how it is cancelled."""

from __future__ import annotations

import types
from collections.abc import Generator
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from namedipc import Peer
from namedipc._shells.suspended import (
    ActiveCall,
    Suspended,
    active_call,
    begin_handler,
    begin_in_context,
    is_coroutine_function,
    twin_of,
)

ACTIVE = ActiveCall("cook", Peer(1, 2, 3, ()), None, {}, "Kitchen")


@types.coroutine
def trap(request: str) -> Generator[str, object, object]:
    """What a wait is made of: a request to the loop, and its answer."""
    return (yield request)


async def handler(name: str, *, times: int = 1) -> list[object]:
    """Ask the loop for something, a few times."""
    return [await trap(f"{name} {number}") for number in range(times)]


def suspended(times: int = 1) -> Suspended:
    """A call which has asked the loop for its first thing."""
    context = copy_context()
    coroutine, first = context.run(begin_handler, handler, ("wait",), {"times": times}, ACTIVE)
    unused: Any = None
    return Suspended(unused, 1, unused, None, context, coroutine, first)


async def finish(call: Suspended) -> object:
    """What a task does with it."""
    return await cast("Any", call)


def test_a_handler_that_never_waits_ends_in_its_first_step() -> None:
    """Its result comes without an exception."""

    async def quick() -> int:
        return 7

    assert copy_context().run(begin_handler, quick, (), {}, ACTIVE) == (None, 7)
    assert copy_context().run(begin_in_context, quick, ()) == (None, 7)


class Cook:
    """Has handlers."""

    @property
    def dish(self) -> str:
        """What there is."""
        return "soup"

    async def cook(self, size: int = 1, *more: int, salt: bool = False) -> object:
        """Tell everything."""
        return self.dish, size, more, salt, super().__repr__() == repr(self)

    async def raises(self) -> None:
        """Raise."""
        raise ValueError("too salty")


async def alone(size: int = 1) -> int:
    """A handler which is no method."""
    return size


def test_a_twin_is_the_same_with_code_of_its_own() -> None:
    """Defaults, names, what it closes over, and what it shows of itself; the first one is left alone."""
    cook = Cook()
    twin: Any = twin_of(cook.cook)
    assert is_coroutine_function(twin)
    assert twin.__self__ is cook
    assert twin.__code__ is not cook.cook.__code__
    assert (twin.__name__, twin.__qualname__) == ("cook", "Cook.cook")
    calls: list[tuple[tuple[int, ...], dict[str, object]]] = [((), {}), ((2, 3), {"salt": True})]
    for args, kwargs in calls:
        ended = [copy_context().run(begin_handler, handler, args, kwargs, None) for handler in (twin, cook.cook)]
        assert ended[0] == ended[1]
        assert ended[0][1] == ("soup", *(args[:1] or (1,)), args[1:], kwargs.get("salt", False), True)
    twin = twin_of(alone)
    assert twin.__code__ is not alone.__code__
    assert begin_in_context(twin, (7,)) == (None, 7)
    twin = twin_of(cook.raises)
    with pytest.raises(ValueError, match="too salty") as raised:
        begin_in_context(twin, ())
    assert raised.traceback[-1].name == "raises"
    assert Path(str(raised.traceback[-1].path)) == Path(__file__)


def test_what_is_no_coroutine_function_has_no_twin() -> None:
    """Whatever else gives something to wait for; a mock, for instance."""
    for handler in (partial(alone, 1), lambda: alone(1), AsyncMock(), trap, Cook):
        wrong: Any = handler
        assert not is_coroutine_function(wrong)
        assert twin_of(wrong) is wrong


def test_a_handler_that_raises_stop_iteration_is_not_taken_for_one_that_ends() -> None:
    """A plain `def` may, which should return an awaitable: that is an error, as any other."""

    def method() -> Any:
        raise StopIteration(7)

    for begin in (partial(begin_handler, method, (), {}, ACTIVE), partial(begin_in_context, method, ())):
        with pytest.raises(StopIteration):
            copy_context().run(begin)


def test_a_handler_may_return_any_awaitable() -> None:
    """An object with `__await__`, such as what a decorator makes."""

    class Later:
        def __await__(self) -> Generator[str, object, object]:
            return (yield "later")

    def method() -> Later:
        return Later()

    coroutine, first = copy_context().run(begin_handler, method, (), {}, ACTIVE)
    assert first == "later"
    coroutine.close()


def test_a_handler_that_is_no_coroutine_is_told_what_to_write() -> None:
    """A plain `def` with a plain result passes where the implementation is not type checked."""

    def plain() -> int:
        return 7

    wrong: Any = plain
    with pytest.raises(TypeError, match=r"plain returned int.*async def"):
        copy_context().run(begin_handler, wrong, (), {}, ACTIVE)


def test_the_loop_sees_what_the_handler_asks_for() -> None:
    """The first request is the one that the first step ended with; answers go to the handler, in order."""
    task = finish(suspended(times=2))
    assert task.send(None) == "wait 0"
    assert task.send("one") == "wait 1"
    with pytest.raises(StopIteration) as ended:
        task.send("two")
    assert ended.value.value == ["one", "two"]


def test_an_error_of_the_loop_is_raised_in_the_handler() -> None:
    """As Cancelled is: also where the first request has not been handed on."""
    task = finish(suspended())
    assert task.send(None) == "wait 0"
    with pytest.raises(KeyError, match="gone"):
        task.throw(KeyError("gone"))


def test_the_handlers_frames_can_be_seen() -> None:
    """`cr_frame` and `cr_await` are the coroutine's; closing it ends it there."""
    call = suspended()
    assert getattr(call.cr_frame, "f_code", None) is handler.__code__
    assert call.cr_await is not None
    call.close()
    assert call.cr_frame is None


def test_a_cancellation_is_remembered_until_there_is_a_scope() -> None:
    """Asked for before the task has one, it is seen by whoever sets it; afterwards it goes there at once."""
    call = suspended()
    call.request_cancel()
    assert call.cancelled
    asked: list[bool] = []
    call.cancel = lambda: asked.append(True)
    call.request_cancel()
    assert asked == [True]
    call.close()


def test_the_call_is_known_in_its_context_only() -> None:
    """`active_call` is set where the handler runs, and nowhere else."""
    call = suspended()
    assert call.context[active_call] is ACTIVE
    assert active_call.get(None) is None
    assert not ACTIVE.inline
    call.close()


def test_a_context_may_know_the_call_before() -> None:
    """Then the handler finds what is there."""
    context = copy_context()
    context.run(active_call.set, ACTIVE)
    coroutine, _ = context.run(begin_handler, handler, ("wait",), {}, None)
    assert context[active_call] is ACTIVE
    coroutine.close()
