"""Service: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc import Limits, Service

from .names import POST, Clerk, Dance, Desk, Letter, Post


class BadClerk(Clerk):
    """Takes something else than the interface sends."""

    async def weigh(self, letter: str, *, registered: bool = False) -> int:  # type: ignore[override]
        return len(letter)


class Idle(Post):
    """Inherits from the interface, and forgets every method."""


Service("x")  # type: ignore[call-arg]
Service(Post, "x")  # type: ignore[arg-type]
Service(b"x", Post)  # type: ignore[arg-type]
less: Service[Desk] = POST  # type: ignore[assignment]


async def serving() -> None:
    """An implementation that does not fit, and options that are not there."""
    POST.serve(BadClerk())  # type: ignore[arg-type]
    POST.serve(Idle())  # type: ignore[abstract]
    POST.serve(Clerk)  # type: ignore[arg-type]
    POST.serve(object())  # type: ignore[arg-type]
    POST.serve(Clerk(), client=3)  # type: ignore[call-arg]
    POST.serve(Clerk(), limits=Limits(3))  # type: ignore[call-arg]
    POST.serve(Clerk(), allow="root")  # type: ignore[arg-type]
    POST.serve(Clerk(), takeover="old")  # type: ignore[arg-type]


async def calling() -> None:
    """A forgotten `async with`, wrong arguments, methods that are not there."""
    client = POST.connect()
    await client.weigh(Letter("ann"))  # type: ignore[attr-defined]
    async with client as post:
        await post.weigh("ann")  # type: ignore[arg-type]
        await post.weigh()  # type: ignore[call-arg]
        await post.waltz()  # type: ignore[attr-defined]
        post.call(Post.weigh)  # type: ignore[attr-defined]
    with POST.connect() as wrong:
        await wrong.weigh(Letter("ann"))  # type: ignore[attr-defined]


def calling_in_blocking_code() -> None:
    """The same in blocking code."""
    with POST.connect(timeout=5) as post:
        post.call(Post.weigh, "ann")  # type: ignore[arg-type]
        post.call(Post.weigh)  # type: ignore[call-arg]
        post.call(Post.weigh, Letter("ann"), register=True)  # type: ignore[call-arg]
        post.call(Post.weigh, Letter("ann"), timeout=1)  # type: ignore[call-arg]
        post.call(Dance.waltz)  # type: ignore[arg-type]
        post.call("weigh", Letter("ann"))  # type: ignore[arg-type]
    POST.connect().call(Post.ping)  # type: ignore[attr-defined]
    POST.connect(wait_second=1)  # type: ignore[call-arg]
