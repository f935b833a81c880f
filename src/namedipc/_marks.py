"""Marks: what an interface or an implementation says of a method beside its types. They change no type.

The law: a mark is an attribute of the function; it is read where the interface is declared, or the implementation is
checked, and costs a call nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final, ParamSpec, TypeVar

from ._errors import DeclarationError
from ._values import Allow

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])
OneWay = TypeVar("OneWay", bound=Callable[..., Coroutine[Any, Any, None]])

_RAISES: Final = "__namedipc_raises__"
_IDEMPOTENT: Final = "__namedipc_idempotent__"
_ONE_WAY: Final = "__namedipc_one_way__"
_ALLOW: Final = "__namedipc_allow__"


def raises(*errors: type[Exception]) -> Callable[[F], F]:
    """Declare which exceptions of a method reach the caller as what they are, with their fields.

    Any other exception of the handler arrives as `RemoteError`.

    Args:
        errors: Exception classes: attrs classes, whose fields travel (64 KiB at most); or classes without an
            `__init__` of their own, whose text does.

    Raises:
        DeclarationError: Not an exception class. What its fields are is checked with the interface.
    """
    for error in errors:
        given: object = error
        if not (isinstance(given, type) and issubclass(given, Exception)):
            raise DeclarationError(f"@raises({error!r}): give classes of exceptions")

    def mark(method: F, /) -> F:
        setattr(method, _RAISES, (*errors, *declared_errors(method)))
        return method

    return mark


def idempotent(method: F, /) -> F:
    """Declare that a method may be run twice: a client whose connection was lost connects again and repeats it."""
    setattr(method, _IDEMPOTENT, True)
    return method


def one_way(method: OneWay, /) -> OneWay:
    """Declare that a method is not answered: the caller goes on as soon as the call has been handed to the kernel.

    Whether it was run, and what it raised, the caller never learns. It must return None.
    """
    setattr(method, _ONE_WAY, True)
    return method


def allow(rule: Allow, /) -> Callable[[F], F]:
    """Restrict one method of an implementation to callers whom this rule lets through.

    Others get `NotAllowed`, and the method does not run. Several of these marks must all agree. What the whole service
    refuses, by `serve(allow=...)`, never comes so far.

    Args:
        rule: Such as `groups("cooks")`, `users(1000)`, or a function of a `Peer`.
    """

    def mark(method: F, /) -> F:
        setattr(method, _ALLOW, (rule, *rules_of(method)))
        return method

    return mark


def in_thread(method: Callable[P, R], /) -> Callable[P, CoroutineType[Any, Any, R]]:
    """Make an ordinary blocking method a handler: it runs in a worker thread of trio.

    `current_call()` works there. At most as many run at once as trio's default limiter has tokens; others wait.

    Cancellation: a thread cannot be stopped. The call ends once the method has returned; its result is dropped.
    """

    @functools.wraps(method)
    async def in_worker(*args: P.args, **kwargs: P.kwargs) -> R:
        import trio

        return await trio.to_thread.run_sync(functools.partial(method, *args, **kwargs))

    return in_worker  # type: ignore[return-value]  # an async def returns just that: a CoroutineType


# ---------------------------------------------------------------- reading


def declared_errors(method: object) -> tuple[type[Exception], ...]:
    """Return what `@raises` says of a method."""
    found: tuple[type[Exception], ...] = getattr(method, _RAISES, ())
    return found


def is_idempotent(method: object) -> bool:
    """Return whether `@idempotent` marks a method."""
    return bool(getattr(method, _IDEMPOTENT, False))


def is_one_way(method: object) -> bool:
    """Return whether `@one_way` marks a method."""
    return bool(getattr(method, _ONE_WAY, False))


def rules_of(method: object) -> tuple[Allow, ...]:
    """Return the rules which `@allow` gives a method."""
    found: tuple[Allow, ...] = getattr(method, _ALLOW, ())
    return found
