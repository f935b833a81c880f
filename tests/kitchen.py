"""The interface that the tests of services and clients share, and what implements it."""

from __future__ import annotations

import contextvars
import os
from typing import Protocol

import attrs
import trio

from namedipc import Peer, current_call

secret: contextvars.ContextVar[str] = contextvars.ContextVar("secret", default="none")


@attrs.frozen
class Order:
    """A record."""

    table: int
    dish: str


class Kitchen(Protocol):
    """The interface."""

    async def cook(self, order: Order, *, salt: bool = False) -> str:
        """Answer at once."""
        ...

    async def simmer(self, name: str) -> str:
        """Answer when `release` says so."""
        ...

    async def release(self, name: str) -> int:
        """Let `simmer` calls of that name answer; return how many waited."""
        ...

    async def burn(self, text: str) -> None:
        """Raise ValueError(text)."""
        ...

    async def pid(self) -> int:
        """Return the server's process id."""
        ...

    async def remember(self, value: str) -> str:
        """Set a context variable; return what it was."""
        ...

    async def ask(self) -> tuple[str, int, float]:
        """Return what current_call() says: method, the caller's pid, the deadline."""
        ...

    async def echo(self, data: bytes) -> bytes:
        """Return the data."""
        ...


class Chef:
    """An implementation that never sleeps by time."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[trio.Event]] = {}
        self.cancelled: list[str] = []
        self.arrived = trio.Event()
        self.seen: list[Peer] = []

    async def cook(self, order: Order, *, salt: bool = False) -> str:
        """Answer at once."""
        return f"{order.dish} for {order.table}{' with salt' if salt else ''}"

    async def simmer(self, name: str) -> str:
        """Wait for `release`."""
        event = trio.Event()
        self.waiting.setdefault(name, []).append(event)
        self.arrived.set()
        self.arrived = trio.Event()
        try:
            await event.wait()
        except trio.Cancelled:
            self.cancelled.append(name)
            raise
        finally:
            if event in self.waiting.get(name, []):
                self.waiting[name].remove(event)
        return name

    async def release(self, name: str) -> int:
        """Let them go."""
        events = self.waiting.pop(name, [])
        for event in events:
            event.set()
        return len(events)

    async def burn(self, text: str) -> None:
        """Raise."""
        raise ValueError(text)

    async def pid(self) -> int:
        """Tell."""
        return os.getpid()

    async def remember(self, value: str) -> str:
        """Set and tell."""
        before = secret.get()
        secret.set(value)
        await trio.lowlevel.checkpoint()
        assert secret.get() == value
        return before

    async def ask(self) -> tuple[str, int, float]:
        """Tell."""
        call = current_call()
        self.seen.append(call.peer)
        return call.method, call.peer.pid, call.deadline

    async def echo(self, data: bytes) -> bytes:
        """Tell."""
        return data


class Mill(Protocol):
    """Another interface, whose answers are larger than its calls."""

    async def grind(self, count: int) -> bytes:
        """Return so many bytes."""
        ...

    async def ground(self) -> int:
        """Return how often it has ground."""
        ...


class Miller:
    """Its implementation."""

    def __init__(self) -> None:
        self.times = 0

    async def grind(self, count: int) -> bytes:
        """Return them."""
        self.times += 1
        return bytes(count)

    async def ground(self) -> int:
        """Tell."""
        return self.times


SERVER_SCRIPT = """
    import sys
    from namedipc import Service
    from tests.kitchen import Chef, Kitchen
    Service(sys.argv[1], Kitchen).run(Chef(), ready=lambda server: print("ready", flush=True))
    print("drained", flush=True)
"""
"""A child that serves the kitchen under the path it is given, until it is told to end."""
