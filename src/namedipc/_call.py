"""One call, as the handler which answers it and a tracer see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TypeAlias, final

from ._shells.suspended import ActiveCall, active_call
from ._values import Peer


@final
class Call:
    """One call: `current_call()` gives it to the handler, and a tracer gets it at either side."""

    __slots__ = ("_active",)

    def __init__(self, active: ActiveCall) -> None:
        self._active = active

    def __repr__(self) -> str:
        return f"<Call of {self.method} with process {self.peer.pid} of user {self.peer.uid}>"

    @property
    def interface(self) -> str:
        """The name of the interface."""
        return self._active.interface

    @property
    def method(self) -> str:
        """The name of the method."""
        return self._active.method

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for at the other end: the caller; for a tracer of the client, the service."""
        return self._active.peer

    @property
    def deadline(self) -> float:
        """When the caller gives up, in seconds of CLOCK_MONOTONIC (`time.monotonic`); infinity for never."""
        return float("inf") if self._active.deadline is None else self._active.deadline

    @property
    def headers(self) -> dict[str, str]:
        """What the caller has sent along. A tracer of the client may add to it before the call is sent."""
        return self._active.headers


Trace: TypeAlias = Callable[[Call], AbstractContextManager[object]]
"""A hook: called with each call; the context it returns is around the call, or its handler."""


def current_call() -> Call:
    """Return the call that is being handled here.

    Raises:
        RuntimeError: No handler is running here.
    """
    active = active_call.get(None)
    if active is None:
        raise RuntimeError("current_call(): no call is being handled here; use it inside a method of an implementation")
    return Call(active.own())


def traced(trace: Trace, handler: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    """Return a handler which runs inside of what `trace` returns for its call."""

    async def run(*args: object, **kwargs: object) -> object:
        with trace(current_call()):
            return await handler(*args, **kwargs)

    return run
