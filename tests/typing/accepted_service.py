"""Service: what both checkers accept, with the exact type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import assert_type

from namedipc import (
    Allow,
    BlockingClient,
    BlockingConnection,
    BlockingServer,
    BlockingStream,
    Call,
    Client,
    Connection,
    ConnectionStatistics,
    Fd,
    Limits,
    Opening,
    Peer,
    Server,
    Service,
    ServiceStatistics,
    Trace,
    aclosing,
    allow,
    anyone,
    current_call,
    feed,
    groups,
    idempotent,
    in_thread,
    one_way,
    raises,
    same_user,
    users,
)

from .names import POST, Clerk, Desk, Letter, Overweight, Post

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
    POST.serve(Clerk(), trace=tracing)


@contextmanager
def tracing(call: Call) -> Iterator[None]:
    """A tracer, at either side."""
    assert_type(call.method, str)
    assert_type(call.peer, Peer)
    assert_type(call.deadline, float)
    assert_type(call.headers, dict[str, str])
    yield


tracer: Trace = tracing


class Marked:
    """A mark changes no type, but that a method in a thread is awaited."""

    @raises(Overweight, KeyError)
    @idempotent
    @allow(lambda peer: peer.uid == 0)
    async def find(self, to: str, *, loud: bool = False) -> int:
        assert_type(current_call(), Call)
        return len(to)

    @one_way
    async def note(self, text: str) -> None: ...

    @allow(same_user)
    @in_thread
    def sort(self, bags: list[bytes], *, twice: bool = False) -> int:
        return len(bags)

    @raises()
    def track(self) -> AsyncIterator[int]:
        raise NotImplementedError


async def marked(it: Marked, rule: Allow) -> None:
    """They are called as if there were no marks."""
    assert_type(await it.find("ann", loud=True), int)
    assert_type(await it.note("hello"), None)
    assert_type(await it.sort([b"a"], twice=True), int)
    waiting: Awaitable[int] = it.sort([])
    assert_type(await waiting, int)
    assert_type(it.track(), AsyncIterator[int])
    allow(rule)


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
        assert_type(await client.with_options(retry=True, headers={"a": "b"}).find(), Letter | None)
        assert_type(await client.call_each(Post.weigh, [Letter("ann")]), list[int])
        assert_type(await client.call_each(Post.find, iter(["ann", "bob"])), list[Letter | None])
        assert_type(await post.book(), Fd)
    POST.connect(trace=tracing)
    async with AsyncExitStack() as stack:
        assert_type(await stack.enter_async_context(POST.connect()), Post)


async def streaming(post: Post) -> None:
    """Streams of results, of requests, and both; `feed` makes one of an iterable, `aclosing` leaves one."""
    async with aclosing(post.track(4)) as shares:
        assert_type(shares, AsyncIterator[float])
        assert_type(await anext(shares), float)
    async for share in post.track(4):
        assert_type(share, float)
    assert_type(await post.load(feed([b"a"])), int)
    async for stamped in post.stamp(feed(Letter(name) for name in ("ann", "bob"))):
        assert_type(stamped, str)

    async def bags() -> AsyncIterator[bytes]:
        yield b"a"

    assert_type(await post.load(bags()), int)


async def taking_a_channel(post: Post) -> None:
    """An end of a channel as a result."""
    async with await post.counter("ann") as counter:
        assert_type(counter, Connection[Letter])


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
        assert_type(post.with_options(retry=False, headers={"a": "b"}), BlockingClient[Post])
        assert_type(post.call(Post.load, feed([b"a"])), int)
        assert_type(post.call(Post.load, bags=feed([b"a"])), int)
        assert_type(post.call_each(Post.weigh, [Letter("ann"), Letter("bob")]), list[int])
        assert_type(post.call(Post.book), Fd)
        post.call(Post.note, "hello")
        assert_type(post.peer, Peer)
        with post.call(Post.counter, "ann") as counter:
            assert_type(counter, BlockingConnection[Letter])
    with POST.connect(trace=tracing), ExitStack() as stack:
        assert_type(stack.enter_context(POST.connect()), BlockingClient[Post])


def streaming_in_blocking_code(post: BlockingClient[Post]) -> None:
    """A stream is a context manager and an iterator."""
    with post.stream(Post.track, 4) as shares:
        assert_type(shares, BlockingStream[float])
        assert_type(next(shares), float)
        for share in shares:
            assert_type(share, float)
    assert_type(post.stream(Post.stamp, feed([Letter("ann")])), BlockingStream[str])
    closing: AbstractContextManager[Iterator[str]] = post.stream(Post.stamp, letters=feed([Letter("ann")]))
    with closing as stamped:
        assert_type(list(stamped), list[str])


async def calling_from_asyncio(post: BlockingClient[Post]) -> None:
    """A blocking client keeps its types through a thread."""
    assert_type(await asyncio.to_thread(post.call, Post.weigh, Letter("ann")), int)
