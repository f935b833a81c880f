"""Service: what both checkers refuse. Never imported."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from namedipc import BlockingClient, Call, Client, Limits, Service, aclosing, allow, feed, in_thread, one_way, raises

from .names import POST, Clerk, Dance, Desk, Letter, Post


class BadClerk(Clerk):
    """Takes something else than the interface sends."""

    async def weigh(self, letter: str, *, registered: bool = False) -> int:  # type: ignore[override]
        return len(letter)


class OtherStreams(Clerk):
    """Streams of something else."""

    async def track(self, number: int, /) -> AsyncIterator[str]:  # type: ignore[override]
        yield "0.5"

    async def load(self, bags: AsyncIterable[str]) -> int:  # type: ignore[override]
        return 0


class Idle(Post):
    """Inherits from the interface, and forgets every method."""


class Marked:
    """Marks in the wrong place, or of the wrong kind."""

    @one_way  # type: ignore[type-var]
    async def answers(self) -> int:
        return 1

    @one_way  # type: ignore[type-var]
    def streams(self) -> AsyncIterator[int]:
        raise NotImplementedError

    @raises("Overweight")  # type: ignore[arg-type]
    async def text(self) -> None: ...

    @raises(KeyError())  # type: ignore[arg-type]
    async def instance(self) -> None: ...

    @allow("staff")  # type: ignore[arg-type]
    async def group(self) -> None: ...

    @in_thread
    def sort(self, bags: list[bytes]) -> int:
        return len(bags)


async def marked(it: Marked) -> None:
    """What runs in a thread is awaited, and keeps its parameters."""
    await it.sort(["a"])  # type: ignore[list-item]
    await it.sort()  # type: ignore[call-arg]
    it.sort([]) + 1  # type: ignore[operator]


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
    POST.serve(OtherStreams())  # type: ignore[arg-type]
    POST.serve(Clerk(), trace=trace)  # type: ignore[arg-type]


def trace(call: Call) -> None:
    """A tracer returns a context manager."""


async def calling() -> None:
    """A forgotten `async with`, wrong arguments, methods that are not there."""
    client = POST.connect()
    await client.weigh(Letter("ann"))  # type: ignore[attr-defined]
    async with client as post:
        await post.weigh("ann")  # type: ignore[arg-type]
        await post.weigh()  # type: ignore[call-arg]
        await post.waltz()  # type: ignore[attr-defined]
        post.call(Post.weigh)  # type: ignore[attr-defined]
        await client.call_each(Post.weigh, ["ann"])  # type: ignore[arg-type]
        await client.call_each(Post.track, [4])  # type: ignore[arg-type]
        await client.call_each(Dance.waltz, [])  # type: ignore[arg-type]
        await client.with_options(timeout=1).find()  # type: ignore[call-arg]
        client.with_options(headers={"a": 1})  # type: ignore[dict-item]
    with POST.connect() as wrong:
        await wrong.weigh(Letter("ann"))  # type: ignore[attr-defined]


async def streaming(post: Post, client: Client[Post]) -> None:
    """What is no stream, items of another type, and a stream that is awaited."""
    await post.load([b"a"])  # type: ignore[arg-type]
    await post.load(feed(["a"]))  # type: ignore[list-item]
    await post.load(feed(5))  # type: ignore[arg-type]
    await post.track(4)  # type: ignore[misc]
    for _ in post.track(4):  # type: ignore[attr-defined]
        pass
    async with aclosing(post.find()):  # type: ignore[arg-type]
        pass
    with post.book():  # type: ignore[attr-defined]
        pass


def calling_in_blocking_code() -> None:
    """The same in blocking code."""
    with POST.connect(timeout=5) as post:
        post.call(Post.weigh, "ann")  # type: ignore[arg-type]
        post.call(Post.weigh)  # type: ignore[call-arg]
        post.call(Post.weigh, Letter("ann"), register=True)  # type: ignore[call-arg]
        post.call(Post.weigh, Letter("ann"), timeout=1)  # type: ignore[call-arg]
        post.call(Dance.waltz)  # type: ignore[arg-type]
        post.call("weigh", Letter("ann"))  # type: ignore[arg-type]
        post.call(Post.load, [b"a"])  # type: ignore[arg-type]
        post.call_each(Post.weigh, ["ann"])  # type: ignore[arg-type]
        post.with_options(timeout="1")  # type: ignore[arg-type]
    POST.connect().call(Post.ping)  # type: ignore[attr-defined]
    POST.connect(wait_second=1)  # type: ignore[call-arg]


def streaming_in_blocking_code(post: BlockingClient[Post]) -> None:
    """Each verb takes its methods only, and a blocking stream is not asynchronous."""
    post.call(Post.track, 4)  # type: ignore[arg-type]
    post.stream(Post.weigh, Letter("ann"))  # type: ignore[arg-type]
    post.stream(Post.track, "4")  # type: ignore[arg-type]
    post.stream(Post.stamp, feed(["ann"]))  # type: ignore[list-item]
    post.stream(Dance.waltz)  # type: ignore[arg-type]


async def streaming_in_the_wrong_world(post: BlockingClient[Post]) -> None:
    """A blocking stream is a context manager of blocking code."""
    async with post.stream(Post.track, 4):  # type: ignore[attr-defined]
        pass
    async for _ in post.stream(Post.track, 4):  # type: ignore[attr-defined]
        pass
