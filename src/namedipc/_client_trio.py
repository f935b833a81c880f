"""The trio side of a client: opening its link, and the proxy which has the interface's methods."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import trio

from ._codec import naming
from ._errors import InvalidMessage
from ._protocol.calls import ClientSession
from ._schema import Method, Schema
from ._shells.connecting import Plan
from ._shells.trio_client import TrioClientLink
from ._shells.trio_waiting import carry_out

T = TypeVar("T")


async def open_link(
    where: str, plan: Plan, session: ClientSession[trio.lowlevel.Task], *, spin: bool
) -> TrioClientLink:
    """Connect. Cancellation: nothing is left open."""
    connected = await carry_out(plan)
    return TrioClientLink(where, connected.socket, connected.peer, session, spin=spin)


def make_proxy(schema: Schema[T], link: TrioClientLink) -> T:
    """Return an object with the interface's methods, each of which calls the service."""
    members: dict[str, object] = {method.name: staticmethod(_caller(method, link)) for method in schema.methods}
    members["__slots__"] = ()
    members["__repr__"] = lambda _self: f"<{schema.name} at {link.where}>"
    # The type is made from the interface's own methods, which a checker cannot follow.
    return cast("T", type(f"{schema.name}Proxy", (), members)())


def _caller(method: Method, link: TrioClientLink) -> Callable[..., Coroutine[Any, Any, object]]:
    encode = method.arguments.encode
    decode = naming(link.where, method.result.decode)
    call = link.call
    index = method.index
    where = method.where

    async def caller(*args: object, **kwargs: object) -> object:
        try:
            body = encode(args, kwargs)
        except InvalidMessage as error:
            raise InvalidMessage(f"{link.where}: {error}") from error.__cause__
        return decode(await call(index, where, body))

    caller.__name__ = method.name
    caller.__qualname__ = where
    return caller
