"""Service: what both checkers accept, with the exact type."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import assert_type

from namedipc import (
    BlockingClient,
    BlockingServer,
    Client,
    ConnectionStatistics,
    Limits,
    Opening,
    Peer,
    Server,
    Service,
    ServiceStatistics,
    anyone,
    groups,
    same_user,
    users,
)

from .names import POST, Clerk, Desk, Letter, Post

assert_type(POST, Service[Post])
assert_type(POST.at("elsewhere"), Service[Post])
assert_type(POST.path, Path)
assert_type(POST.exists(), bool)


async def serving() -> None:
    """The implementation is checked against the interface without inheriting from it."""
    assert_type(POST.serve(Clerk()), Opening[Server, BlockingServer])
    async with POST.serve(Clerk(), limits=Limits(clients=3), allow=users("root", 1000), mode=0o660) as server:
        assert_type(server, Server)
        assert_type(server.peers()[0], Peer)
        assert_type(server.statistics(), ServiceStatistics)
        await server.run_until_signal()
    assert_type(POST.serve(Clerk(), takeover=True), Opening[Server, BlockingServer])
    for rule in (same_user, anyone, groups("staff", 4)):
        POST.serve(Clerk(), allow=rule)


async def calling() -> None:
    """In trio the client is the interface itself."""
    client = POST.connect(wait_seconds=1)
    assert_type(client, Client[Post])
    async with client as post:
        assert_type(post, Post)
        assert_type(client.peer, Peer)
        assert_type(client.statistics(), ConnectionStatistics)
        assert_type(await post.ping(), int)
        assert_type(await post.weigh(Letter("ann"), registered=True), int)
        assert_type(await post.find(), Letter | None)
        await post.note("hello")
    async with AsyncExitStack() as stack:
        assert_type(await stack.enter_async_context(POST.connect()), Post)


def serving_in_a_thread() -> None:
    """Blocking code serves too."""
    with POST.serve(Clerk()) as server:
        assert_type(server, BlockingServer)
        server.wait_closed(timeout=1)
    POST.run(Clerk(), takeover=True, ready=lambda server: server.path)


def calling_in_blocking_code() -> None:
    """A blocking call has the types of the interface's method."""
    with POST.connect(timeout=5) as post:
        assert_type(post, BlockingClient[Post])
        assert_type(post.call(Post.weigh, Letter("ann"), registered=True), int)
        assert_type(post.call(Post.ping), int)
        assert_type(post.call(Desk.ping), int)
        assert_type(post.call(Post.find), Letter | None)
        assert_type(post.with_options(timeout=1).call(Post.find, "ann"), Letter | None)
        post.call(Post.note, "hello")
        assert_type(post.peer, Peer)
    with ExitStack() as stack:
        assert_type(stack.enter_context(POST.connect()), BlockingClient[Post])


async def calling_from_asyncio(post: BlockingClient[Post]) -> None:
    """A blocking client keeps its types through a thread."""
    assert_type(await asyncio.to_thread(post.call, Post.weigh, Letter("ann")), int)
