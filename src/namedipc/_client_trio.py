"""The trio side of a client: the proxy which has the interface's methods, its streams, and connecting again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import copy_context
from typing import Any, TypeVar, cast, final

import trio

from ._client_options import Options, bare_coding, decode_result, encode_call, encode_item, named
from ._errors import ConnectionLost, InvalidMessage, IPCError
from ._methods import Method
from ._protocol.calls import ClientSession, NotRun
from ._protocol.series import Series
from ._reach import Connect
from ._schema import Schema
from ._shells import trio_errors
from ._shells.trio_client import TrioCall, TrioClientLink
from ._shells.trio_waiting import carry_out
from ._statistics import ConnectionStatistics
from ._values import Peer

T = TypeVar("T")
R = TypeVar("R")


@final
class TrioLinks:
    """The connection of a client, and the one after it: a service that was restarted is connected to again.

    Args:
        where: How messages call the service: its path.
        connect: Makes a plan for one connection.
        session: Makes the protocol of a new connection.
        spin: Whether to poll for a moment before sleeping.
    """

    link: TrioClientLink

    def __init__(
        self,
        where: str,
        connect: Connect,
        session: Callable[[], ClientSession[trio.lowlevel.Task]],
        *,
        spin: bool,
    ) -> None:
        self.where = where
        self._connect = connect
        self._session = session
        self._spin = spin
        self._leaving: list[TrioClientLink] = []
        self._connecting = trio.Lock()
        self._attempt = trio.CancelScope()
        self._in_vain = 0
        self._last_error: IPCError | None = None
        self._closed = False

    async def open(self, wait_seconds: float | None = None) -> None:
        """Connect. Cancellation: nothing is left open."""
        connected = await carry_out(self._connect(wait_seconds))
        self.link = TrioClientLink(self.where, connected.socket, connected.peer, self._session(), spin=self._spin)

    async def renew(self, left: TrioClientLink, reason: IPCError, options: Options) -> None:
        """Connect again, unless another task has done so since `left` was found to be at its end.

        Raises:
            IPCError: What had ended the connection; its cause is why there is no other.
            Closed: The client has been closed meanwhile.
        """
        in_vain = self._in_vain
        async with self._connecting:
            if self.link is not left:
                return
            self._check_open()
            if self._in_vain > in_vain and not options.retry:
                raise reason from self._last_error  # another task has tried while this one waited for its turn
            for old in [old for old in self._leaving if old.is_idle]:
                old.close()
                self._leaving.remove(old)
            try:
                with trio.CancelScope() as self._attempt:
                    await self.open(options.wait_again_seconds)
            except IPCError as error:
                self._in_vain += 1
                self._last_error = error
                raise reason from error
            self._leaving.append(left)
            self._check_open()
            if left.is_idle:
                left.close()

    def _check_open(self) -> None:
        if self._closed:
            self.close()
            raise trio_errors.Closed(f"{self.where}: this client has been closed")

    @property
    def peer(self) -> Peer:
        """The server."""
        return self.link.peer

    def statistics(self) -> ConnectionStatistics:
        """What has been carried, by the connection there is now."""
        return self.link.statistics()

    def close(self) -> None:
        """Close every connection, and make no other."""
        self._closed = True
        self._attempt.cancel()
        for link in (self.link, *self._leaving):
            link.close()


def make_proxy(schema: Schema[T], links: TrioLinks, options: Options) -> T:
    """Return an object with the interface's methods, each of which calls the service."""
    members: dict[str, object] = {
        method.name: staticmethod(_member(method, links, options)) for method in schema.methods
    }
    members["__slots__"] = ()
    members["__repr__"] = lambda _self: f"<{schema.name} at {links.where}>"
    # The type is made from the interface's own methods, which a checker cannot follow.
    return cast("T", type(f"{schema.name}Proxy", (), members)())


def _member(method: Method, links: TrioLinks, options: Options) -> Callable[..., object]:
    if method.is_stream:
        member: Callable[..., object] = _streamer(method, links, options)
    elif method.requests:
        member = _feeder(method, links, options)
    else:
        member = _caller(method, links, options)
    member.__name__ = method.name
    member.__qualname__ = method.where
    return member


def _caller(method: Method, links: TrioLinks, options: Options) -> Callable[..., Awaitable[object]]:
    decode = decode_result(method, links.where)
    encode = encode_call(method, links.where)
    is_one_way = method.is_one_way

    async def call(link: TrioClientLink, body: bytes, flags: int) -> object:
        if is_one_way:
            await link.call_one_way(method, body, flags)
            return None
        return decode(await link.call(method, body, flags))

    if not options.are_plain:

        async def caller(*args: object, **kwargs: object) -> object:
            body = encode(args, kwargs)
            with options.tracing(method, links.peer) as headers:
                body, flags = options.extend(body, headers)
                return await again(method, links, options, lambda link: call(link, body, flags))

        return caller

    bare_encode, bare_decode, name = bare_coding(method, links.where)

    async def plain_caller(*args: object, **kwargs: object) -> object:
        try:
            body = bare_encode(args, kwargs)
        except InvalidMessage as error:
            raise named(name, error) from error.__cause__
        link = links.link
        try:
            if is_one_way:
                await link.call_one_way(method, body)
                return None
            answer = await link.call(method, body)
        except (NotRun, ConnectionLost) as error:
            return await again(method, links, options, lambda link: call(link, body, 0), (link, error))
        try:
            return bare_decode(answer)
        except InvalidMessage as error:
            raise named(name, error) from error.__cause__

    return plain_caller


async def again(
    method: Method,
    links: TrioLinks,
    options: Options,
    attempt: Callable[[TrioClientLink], Awaitable[R]],
    failed: tuple[TrioClientLink, NotRun | ConnectionLost] | None = None,
) -> R:
    """Attempt a call, and attempt it anew on another connection as far as that is allowed.

    Args:
        method: What is called.
        links: The connections.
        options: Whether it may be repeated.
        attempt: Calls it by one of them.
        failed: An attempt that was made before.
    """
    repeats = options.repeats(method)
    while True:
        if failed is not None:
            link, error = failed
            reason = error.reason if isinstance(error, NotRun) else error
            if not repeats.allow(error, may_move=link.calls_may_move):
                raise reason
            await links.renew(link, reason, options)
        link = links.link
        try:
            return await attempt(link)
        except (NotRun, ConnectionLost) as error:
            failed = link, error


# ---------------------------------------------------------------- streams


def _feeder(method: Method, links: TrioLinks, options: Options) -> Callable[..., Awaitable[object]]:
    decode = decode_result(method, links.where)

    async def caller(*args: object, **kwargs: object) -> object:
        call = _Call(method, links, options, args, kwargs)
        return decode(await call.result())

    return caller


def _streamer(method: Method, links: TrioLinks, options: Options) -> Callable[..., AsyncIterator[object]]:
    def streamer(*args: object, **kwargs: object) -> AsyncIterator[object]:
        return ReplyStream(_Call(method, links, options, args, kwargs))

    return streamer


@final
class _Call:
    """A call with streams: encoded at once, begun when it is first waited for."""

    def __init__(
        self,
        method: Method,
        links: TrioLinks,
        options: Options,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> None:
        (values, named), self._feeds = method.split_streams(args, kwargs)
        self._body = encode_call(method, links.where)(values, named)
        self._method = method
        self._links = links
        self._options = options
        self.decode = decode_result(method, links.where)
        self.opened: TrioCall | None = None
        self._feeding: list[_Feeding] = []

    async def open(self) -> TrioCall:
        if self.opened is None:
            with self._options.tracing(self._method, self._links.peer) as headers:
                body, flags = self._options.extend(self._body, headers)
                self.opened = await again(
                    self._method, self._links, self._options, lambda link: link.open_call(self._method, body, flags)
                )
        return self.opened

    async def result(self) -> bytes:
        """Feed the streams, and wait for the one result; nothing goes on when this returns or raises."""
        opened = await self.open()
        failure: BaseException | None = None
        result = b""
        try:
            async with trio.open_nursery() as nursery:
                for number, source in self._feeds.items():
                    self._feeding.append(_Feeding(self._method, number, source, opened, nursery.cancel_scope))
                    nursery.start_soon(self._feeding[-1].run)
                try:
                    result = await opened.link.result(opened)
                except BaseException as error:  # raised again below, outside of the nursery and its groups
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            opened.link.give_up(opened)
        self._raise_failure()
        if failure is not None:
            raise failure.reason if isinstance(failure, NotRun) else failure
        return result

    async def next_item(self) -> bytes | None:
        opened = await self.open()
        if not self._feeding:
            for number, source in self._feeds.items():
                feeding = _Feeding(self._method, number, source, opened, trio.CancelScope())
                self._feeding.append(feeding)
                trio.lowlevel.spawn_system_task(feeding.run_alone, context=copy_context())
        try:
            item = await opened.link.next_item(opened)
        except trio.Cancelled:
            raise
        except NotRun as error:
            self._raise_failure()
            raise error.reason from None
        except Exception:
            self._raise_failure()
            raise
        if item is None:
            await self.close()
            self._raise_failure()
        return item

    def _raise_failure(self) -> None:
        """What a source of requests has raised is its caller's error, before whatever that has led to."""
        for feeding in self._feeding:
            if feeding.failure is not None:
                raise feeding.failure

    async def close(self) -> None:
        """Cancel the call unless it is over, and wait until its sources are closed."""
        self._leave()
        for feeding in self._feeding:
            await feeding.closed.wait()
        await trio.lowlevel.checkpoint()

    def abandon(self) -> None:
        """`close` for a finalizer, which cannot wait."""
        if self.opened is not None:
            self.opened.link.abandon(self._leave)

    def _leave(self) -> None:
        if self.opened is not None:
            self.opened.link.give_up(self.opened)
        for feeding in self._feeding:
            feeding.scope.cancel()


@final
class _Feeding:
    """Sends what one source of requests delivers."""

    def __init__(self, method: Method, number: int, source: object, call: TrioCall, scope: trio.CancelScope) -> None:
        self._encode = encode_item(method, method.requests[number], call.link.where)
        self._number = number
        self._source = cast("Any", source)  # checked by `split_streams`
        self._call = call
        self.scope = scope
        self.failure: BaseException | None = None
        self.closed = trio.Event()

    async def run(self) -> None:
        try:
            await self._draw()
        except BaseException as error:
            self.failure = trio_errors.without_cancelled(error)  # the caller's own, and raised there
            if self.failure is None:
                raise
            self._call.link.ask_to_cancel(self._call)  # the service's answer to that wakes the caller

    async def run_alone(self) -> None:
        try:
            with self.scope:
                await self.run()
        finally:
            self.closed.set()

    async def _draw(self) -> None:
        link, call = self._call.link, self._call
        iterator = aiter(self._source)
        try:
            async for item in iterator:
                if not await link.feed(call, self._number, self._encode(item)):
                    return
            link.end_feed(call, self._number)
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()


@final
class ReplyStream(AsyncIterator[Any]):
    """A stream of results. Left early (`aclosing`, or dropped): cancelled at the service at once.

    Cancellation: waiting for an item may be cancelled; the stream goes on, and no item is lost.
    """

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._over = False
        self._busy = False

    def __aiter__(self) -> ReplyStream:
        return self

    async def __anext__(self) -> object:
        if self._busy:
            raise trio_errors.Busy("another task waits for the next item of this stream already")
        if self._over:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        self._busy = True
        try:
            item = await self._call.next_item()
            if item is not None:
                return self._call.decode(item)
        except trio.Cancelled:
            raise
        except BaseException:
            self._over = True
            with trio.CancelScope(shield=True):
                await self._call.close()
            raise
        finally:
            self._busy = False
        if self._over:
            raise trio_errors.Closed("this stream has been closed by another task")
        self._over = True
        raise StopAsyncIteration

    async def open(self) -> None:
        """Begin the call now, before its first item is asked for. Cancellation: it has not begun."""
        if not self._over:
            await self._call.open()

    async def aclose(self) -> None:
        """Leave the stream. Safe to call twice."""
        self._over = True
        await self._call.close()

    def __del__(self) -> None:
        if not self._over:
            self._call.abandon()


async def call_each(method: Method, links: TrioLinks, options: Options, arguments: Iterable[object]) -> list[object]:
    """Call a method once an argument, all in flight together."""
    series = Series(method, links.where)
    with options.tracing(method, links.peer) as headers:
        series.before, series.flags = options.extend(b"", headers)
        series.add(arguments)
        await again(method, links, options, lambda link: link.call_each(series))
    return series.results
