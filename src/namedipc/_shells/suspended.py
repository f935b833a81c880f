"""A call whose handler waits: the rest of its coroutine, and what the handler can ask about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context, ContextVar
from inspect import CO_COROUTINE
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import attrs

from .._arguments import Arguments
from .._errors import IPCError
from .._methods import Method
from .._protocol.frames import ONE_WAY_FLAG
from .._values import Peer

if TYPE_CHECKING:
    from .service_clients import Connection

Handler: TypeAlias = Callable[..., Awaitable[object]]


@attrs.define(eq=False)
class ActiveCall:
    """What a handler can ask about the call it answers.

    Attributes:
        method: Its name in the interface.
        peer: Who called.
        deadline: In seconds of CLOCK_MONOTONIC; None for a call without one.
        headers: What its caller has sent along.
        interface: The name of the interface.
        inline: Whether the handler has not waited yet, so that no cancel scope knows the deadline.
        is_shared: Whether this stands for any call of the method, by this peer, which has neither deadline nor headers.
    """

    method: str
    peer: Peer
    deadline: float | None
    headers: dict[str, str]
    interface: str
    inline: bool = True
    is_shared: bool = False

    def own(self) -> ActiveCall:
        """Return what stands for one call only, in whose context this is called."""
        if not self.is_shared:
            return self
        own = ActiveCall(self.method, self.peer, None, {}, self.interface)
        active_call.set(own)
        return own


active_call: Final[ContextVar[ActiveCall]] = ContextVar("namedipc.active_call")

_HANDED_ON: Final = object()


class ItemRefused(Exception):
    """An item that the handler has yielded cannot be sent; `reason` says why. It is raised where it was yielded to."""

    def __init__(self, reason: IPCError) -> None:
        super().__init__(str(reason))
        self.reason: IPCError = reason


class CallStreams(Protocol):
    """The streams of a call, as the loop sees them: what arrives for them, and what they have to send."""

    def arguments(self, body: bytes) -> Arguments:
        """Decode the arguments of the call, with what its handler draws from in the place of streams of requests."""
        ...

    def around(self, handler: Handler) -> Handler:
        """Return what answers the call: a handler that yields is driven."""
        ...

    def arrived(self, number: int, body: bytes) -> None:
        """An item of a stream of requests has come."""

    def ended(self, number: int) -> None:
        """A stream of requests has ended."""

    def credited(self, body: bytes) -> None:
        """The client has taken items of the stream of results."""

    def flush(self) -> None:
        """Send what the handler has made since it ran last."""


class Suspended:
    """A call whose handler waits for something: the rest of its coroutine, its context, and how to stop it.

    Awaiting it goes on where `pump` left the handler. It forwards what a coroutine has, so that a debugger and
    trio's own introspection see the handler's frames.
    """

    __slots__ = (
        "_coroutine",
        "_first",
        "began",
        "cancel",
        "cancelled",
        "connection",
        "context",
        "deadline",
        "id",
        "is_one_way",
        "method",
        "streams",
    )

    def __init__(
        self,
        connection: Connection,
        id: int,  # noqa: A002
        method: Method,
        deadline: float | None,
        context: Context,
        coroutine: Generator[object, object, object],
        first: object,
        *,
        flags: int = 0,
        streams: CallStreams | None = None,
    ) -> None:
        self.connection: Connection = connection
        self.id: int = id
        self.method: Method = method
        self.deadline: float | None = deadline
        self.context: Context = context
        self._coroutine = coroutine
        self._first: object = first
        self.began: float = 0.0  # set by whoever has read it
        self.is_one_way: bool = bool(flags & ONE_WAY_FLAG)
        self.streams: CallStreams | None = streams
        self.cancelled: bool = False
        self.cancel: Callable[[], object] | None = None

    def request_cancel(self) -> None:
        """Cancel the handler now, or as soon as its task has a scope for it."""
        self.cancelled = True
        if self.cancel is not None:
            self.cancel()

    def __await__(self) -> Generator[object, object, object]:
        return cast("Generator[object, object, object]", self)

    def __iter__(self) -> Suspended:
        return self

    def __next__(self) -> object:
        return self.send(None)

    def send(self, value: object) -> object:
        """Hand on what the handler had asked for before, then whatever it asks for."""
        first, self._first = self._first, _HANDED_ON
        if first is not _HANDED_ON:
            return first
        try:
            return self._coroutine.send(value)
        finally:
            # It may hold what the handler is woken with, an exception, whose traceback has this frame: the handler's
            # arguments would then wait for the garbage collector.
            del value
            if self.streams is not None:
                self.streams.flush()

    def throw(self, *error: Any) -> object:
        """Raise inside the handler."""
        self._first = _HANDED_ON
        try:
            return self._coroutine.throw(*error)
        finally:
            del error  # as above
            if self.streams is not None:
                self.streams.flush()

    def close(self) -> None:
        """End the handler where it stands."""
        self._coroutine.close()

    @property
    def cr_frame(self) -> object:
        """The handler's frame."""
        return getattr(self._coroutine, "cr_frame", None)

    @property
    def cr_await(self) -> object:
        """What the handler waits for."""
        return getattr(self._coroutine, "cr_await", None)


def begin_handler(
    handler: Handler, args: tuple[object, ...], kwargs: dict[str, object], call: ActiveCall | None
) -> tuple[Any, object]:
    """Run a handler until it first waits.

    Args:
        handler: The handler.
        args: What it gets.
        kwargs: And by name.
        call: Which call it answers; None where the context knows.

    Returns:
        The rest of its coroutine, and what it waits for; or None, and its result if it never waits.
    """
    if call is not None:
        active_call.set(call)
    try:
        awaitable = handler(*args, **kwargs)
        coroutine: Any = awaitable if hasattr(awaitable, "send") else _iterate(handler, awaitable)
        try:
            return coroutine, coroutine.send(None)
        except StopIteration as done:
            return None, done.value
    finally:
        if call is not None:
            call.inline = False


def begin_in_context(handler: Handler, args: tuple[object, ...]) -> tuple[Any, object]:
    """`begin_handler` where `active_call` is set already, and all arguments are given by position."""
    awaitable = handler(*args)
    coroutine: Any = awaitable if hasattr(awaitable, "send") else _iterate(handler, awaitable)
    try:
        return coroutine, coroutine.send(None)
    except StopIteration as done:
        return None, done.value


def is_coroutine_function(handler: Handler) -> bool:
    """Whether what answers a call is an `async def`, or a method that is one: calling it gives a coroutine."""
    function = getattr(handler, "__func__", handler)
    return type(function) is FunctionType and bool(function.__code__.co_flags & CO_COROUTINE)


def twin_of(handler: Handler) -> Handler:
    """Return an `async def` once more, with code of its own, so that what is noted of that is true of it only.

    It does what the first one does, and shows itself in the same way, in tracebacks and to debuggers. What is no
    `async def`, nor a method, is returned as it is.
    """
    if not is_coroutine_function(handler):
        return handler
    of: Any = getattr(handler, "__func__", handler)
    twin = FunctionType(of.__code__.replace(), of.__globals__, of.__name__, of.__defaults__, of.__closure__)
    twin.__kwdefaults__ = of.__kwdefaults__
    twin.__qualname__ = of.__qualname__
    return twin if of is handler else MethodType(twin, cast("MethodType", handler).__self__)


def _iterate(handler: Handler, awaitable: Awaitable[object]) -> object:
    if not hasattr(awaitable, "__await__"):
        name = getattr(handler, "__qualname__", repr(handler))
        raise TypeError(f"{name} returned {type(awaitable).__name__}, which cannot be awaited; write 'async def'")
    return awaitable.__await__()
