"""The blocking side of a client: the caller which is typed by the interface, its streams, and connecting again."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Concatenate, Generic, ParamSpec, Self, TypeVar, cast, final

import attrs

from ._client_options import Options, bare_coding, decode_result, encode_call, encode_item, find_method, named
from ._errors import Busy, Closed, ConnectionLost, InvalidMessage, IPCError, TimedOut
from ._methods import Method
from ._protocol.calls import WAITING, ClientSession, NotRun
from ._protocol.series import Series
from ._reach import Connect
from ._schema import Schema
from ._shells.blocking_client import BlockingCall, BlockingClientLink
from ._shells.waiting import FOREVER, Clock, carry_out
from ._statistics import ConnectionStatistics
from ._streams import Feed
from ._values import Peer

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


@final
class BlockingLinks:
    """The connection of a client, and the one after it: a service that was restarted is connected to again.

    Args:
        where: How messages call the service: its path.
        connect: Makes a plan for one connection.
        session: Makes the protocol of a new connection.
        spin: Whether to poll for a moment before sleeping.
    """

    link: BlockingClientLink

    def __init__(
        self,
        where: str,
        connect: Connect,
        session: Callable[[], ClientSession[threading.Lock]],
        *,
        spin: bool,
    ) -> None:
        self.where = where
        self._connect = connect
        self._session = session
        self._spin = spin
        self._leaving: list[BlockingClientLink] = []
        self._connecting = threading.Lock()
        self._in_vain = 0
        self._last_error: IPCError | None = None
        self._closed = False

    def open(self, clock: Clock, wait_seconds: float | None = None) -> None:
        """Connect."""
        connected = carry_out(self._connect(wait_seconds), clock, f"{self.where}: not connected")
        session = self._session()
        # Descriptors are received without waiting; otherwise the leader sleeps in recv: one system call.
        connected.socket.setblocking(session.arrivals is None)
        self.link = BlockingClientLink(self.where, connected.socket, connected.peer, session, spin=self._spin)

    def renew(self, left: BlockingClientLink, reason: IPCError, options: Options, clock: Clock) -> None:
        """Connect again, unless another thread has done so since `left` was found to be at its end.

        Raises:
            IPCError: What had ended the connection; its cause is why there is no other.
            Closed: The client has been closed meanwhile.
        """
        in_vain = self._in_vain
        seconds = clock.left()
        if not self._connecting.acquire(timeout=-1 if seconds is None else seconds):
            raise TimedOut(f"{self.where}: not connected again within {clock.timeout} seconds")
        try:
            if self.link is not left:
                return
            self._check_open()
            if self._in_vain > in_vain and not options.retry:
                raise reason from self._last_error  # another thread has tried while this one waited for its turn
            for old in [old for old in self._leaving if old.is_idle]:
                old.close()
                self._leaving.remove(old)
            try:
                self.open(clock, options.wait_again_seconds)
            except IPCError as error:
                self._in_vain += 1
                self._last_error = error
                raise reason from error
            self._leaving.append(left)
            self._check_open()
            if left.is_idle:
                left.close()
        finally:
            self._connecting.release()

    def _check_open(self) -> None:
        if self._closed:
            self.close()
            raise Closed(f"{self.where}: this client has been closed")

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
        for link in (self.link, *self._leaving):
            link.close()


@final
class BlockingClient(Generic[T]):
    """Calls a service from ordinary blocking code: `client.call(Interface.method, ...)`, typed by the interface.

    May be shared by any number of threads. After a fork it belongs to the parent: the child gets `Closed` and
    connects again.
    """

    def __init__(self, schema: Schema[T], links: BlockingLinks, timeout: float | None, options: Options) -> None:
        self._schema = schema
        self._links = links
        self._timeout = timeout
        self._options = options
        self._callers: dict[object, Callable[[tuple[object, ...], dict[str, object]], object]] = {}

    def call(self, method: Callable[Concatenate[T, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a method of the service and return its result.

        Args:
            method: The method as the interface has it: `Kitchen.cook`.
            args: Its arguments; what is left out has the implementation's default. For a stream of requests give
                `feed(iterable)`: it is drawn in this thread.
            kwargs: Its arguments by name.

        Raises:
            Exception: What the handler raised and the interface declares by `@raises`.
            RemoteError: The handler raised anything else.
            InvalidMessage: An argument, or the result, does not fit its type.
            TooLarge: The arguments are longer than the service accepts.
            NotAllowed: The method is not for this process.
            ConnectionLost: The service went away; whether the call was run is unknown.
            TimedOut: The client's `timeout` has passed. The call is cancelled at the server.
        """
        caller = self._callers.get(method)
        if caller is None:
            caller = self._callers[method] = self._caller(find_method(self._schema, method, "call"))
        return caller(args, kwargs)  # type: ignore[return-value]  # the schema was made from what R stands for

    def _caller(self, method: Method) -> Callable[[tuple[object, ...], dict[str, object]], object]:
        """What calls a method: made once for each, so that a call is short."""
        links, timeout = self._links, self._timeout
        encode = encode_call(method, links.where)
        decode = decode_result(method, links.where)
        bare_encode, bare_decode, name = bare_coding(method, links.where)

        def plain(args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            try:
                body = bare_encode(args, kwargs)
            except InvalidMessage as error:
                raise named(name, error) from error.__cause__
            clock = FOREVER if timeout is None else Clock(timeout)
            link = links.link
            try:
                answer = link.call(method, body, clock)
            except (NotRun, ConnectionLost) as error:
                answer = self._again(method, clock, lambda link: link.call(method, body, clock), (link, error))
            try:
                return bare_decode(answer)
            except InvalidMessage as error:
                raise named(name, error) from error.__cause__

        def with_options(args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            body = encode(args, kwargs)
            clock = Clock(timeout)
            with self._options.tracing(method, links.peer) as headers:
                body, flags = self._options.extend(body, headers)
                if method.is_one_way:
                    self._again(method, clock, lambda link: link.call_one_way(method, body, clock, flags))
                    return None
                return decode(self._again(method, clock, lambda link: link.call(method, body, clock, flags)))

        def fed(args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            call = self._fed_call(method, args, kwargs)
            try:
                return decode(call.result(Clock(timeout)))
            finally:
                call.close()

        if method.requests:
            return fed
        return plain if self._options.are_plain and not method.is_one_way else with_options

    def stream(
        self, method: Callable[Concatenate[T, P], AsyncIterable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> BlockingStream[R]:
        """Call a method which is answered with a stream, and return that.

        The call is sent when the stream is entered by `with`, or else when its first item is asked for. The client's
        `timeout` is that of each item.

        Args:
            method: The method as the interface has it: `Kitchen.progress`.
            args: Its arguments. What `feed(iterable)` gives is drawn in the thread that takes the items.
            kwargs: Its arguments by name.
        """
        found = find_method(self._schema, method, "stream")
        decode = decode_result(found, self._links.where)
        return BlockingStream(self._fed_call(found, args, kwargs), decode, self._timeout)

    def _fed_call(self, method: Method, args: tuple[object, ...], kwargs: dict[str, object]) -> FedCall:
        """A call with streams; its arguments are encoded at once."""
        where = self._links.where
        (values, named), streams = method.split_streams(args, kwargs)
        sources = {}
        for number, stream in streams.items():
            request = method.requests[number]
            sources[number] = source(method.where, request.name, stream, encode_item(method, request, where))
        arguments = encode_call(method, where)(values, named)

        def begin(clock: Clock) -> BlockingCall:
            with self._options.tracing(method, self.peer) as headers:
                body, flags = self._options.extend(arguments, headers)
                return self._again(method, clock, lambda link: link.open_call(method, body, clock, flags))

        return FedCall(begin, sources)

    def call_each(self, method: Callable[[T, A], Awaitable[R]], arguments: Iterable[A], /) -> list[R]:
        """Call a method once an argument, all in flight together, by few writes.

        Args:
            method: The method as the interface has it: `Kitchen.cook`. It takes one argument, and has no streams.
            arguments: One for each call.

        Returns:
            The results in the order of the arguments.

        Raises:
            Exception: That of the first argument, in their order, whose call failed; those behind it are cancelled.
            TimedOut: The client's `timeout` has passed; it is one for all of them.
        """
        found = find_method(self._schema, method, "call_each")
        clock = Clock(self._timeout)
        series = Series(found, self._links.where)
        with self._options.tracing(found, self._links.peer) as headers:
            series.before, series.flags = self._options.extend(b"", headers)
            series.add(arguments)
            self._again(found, clock, lambda link: link.call_each(series, clock))
        return cast("list[R]", series.results)

    def _again(
        self,
        method: Method,
        clock: Clock,
        attempt: Callable[[BlockingClientLink], R],
        failed: tuple[BlockingClientLink, NotRun | ConnectionLost] | None = None,
    ) -> R:
        """Attempt a call, and attempt it anew on another connection as far as that is allowed.

        Args:
            method: What is called.
            clock: How long all this may take.
            attempt: Calls it by a connection.
            failed: An attempt that was made before.
        """
        repeats = self._options.repeats(method)
        while True:
            if failed is not None:
                link, error = failed
                reason = error.reason if isinstance(error, NotRun) else error
                if not repeats.allow(error, may_move=link.calls_may_move):
                    raise reason
                self._links.renew(link, reason, self._options, clock)
            link = self._links.link
            try:
                return attempt(link)
            except (NotRun, ConnectionLost) as error:
                failed = link, error

    def with_options(
        self,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool | None = None,
    ) -> BlockingClient[T]:
        """Return a client on the same connection with other options.

        Args:
            timeout: Seconds for each call, and each item of a stream; None is for ever.
            headers: Sent along with each call, for `current_call().headers` and tracers.
            retry: None: a call that was not run because the service is shutting down, and any call of a method which
                is declared `@idempotent`, is sent again, once, to whoever serves the name by then. True: likewise, as
                often as it takes, waiting for the service within the timeout. False: never.
        """
        options = attrs.evolve(self._options, headers=headers or {}, retry=retry)
        return BlockingClient(self._schema, self._links, timeout, options)

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for as the server."""
        return self._links.peer

    def statistics(self) -> ConnectionStatistics:
        """Return what the connection has carried."""
        return self._links.statistics()

    def close(self) -> None:
        """Say goodbye and close. Calls in flight in other threads end with `Closed`. Safe to call twice."""
        self._links.close()


@final
class FedCall:
    """A call with streams: begun by `begin`, or when it is first waited for; its sources are drawn meanwhile.

    Args:
        begin: Begins the call.
        sources: By the number of a stream of requests, what its items are drawn from, encoded.
    """

    def __init__(self, begin: Callable[[Clock], BlockingCall], sources: dict[int, Iterator[bytes]]) -> None:
        self._begin = begin
        self._sources = sources
        self._opened: BlockingCall | None = None

    def result(self, clock: Clock) -> bytes:
        """Send what the sources deliver, and wait for the one result."""
        call = self._open(clock)
        self._run(call, clock)
        try:
            return call.link.result(call)
        except NotRun as error:
            raise error.reason from None

    def next_item(self, clock: Clock) -> bytes | None:
        """Return the next item of the stream of results; None at its end."""
        call = self._open(clock)
        self._run(call, clock)
        call.link.write_out(call, clock)
        try:
            return call.link.take_item(call)
        except NotRun as error:
            raise error.reason from None

    def begin(self, clock: Clock) -> None:
        """Send the call now, before anything is waited for."""
        self._open(clock)

    def close(self) -> None:
        """Cancel the call unless it is over."""
        if self._opened is not None:
            self._opened.link.give_up(self._opened)

    def abandon(self) -> None:
        """`close` for a finalizer."""
        if self._opened is not None:
            self._opened.link.abandon(self._opened)

    def _open(self, clock: Clock) -> BlockingCall:
        if self._opened is None:
            self._opened = self._begin(clock)
        return self._opened

    def _run(self, call: BlockingCall, clock: Clock) -> None:
        """Until there is something to be taken: draw from each source that may be sent, or wait."""
        link, waiter = call.link, call.waiter
        link.check_process()

        def is_ready() -> bool:
            return waiter.kind != WAITING or any(link.may_feed(call, number) for number in self._sources)

        while waiter.kind == WAITING:
            fed = [number for number in self._sources if link.may_feed(call, number)]
            for number in fed:
                self._feed(call, number, clock)
            if fed:
                link.look(call)
            else:
                link.wait(call, is_ready, clock)

    def _feed(self, call: BlockingCall, number: int, clock: Clock) -> None:
        try:
            item = next(self._sources[number])
        except StopIteration:
            del self._sources[number]
            call.link.end_feed(call, number)
            return
        except BaseException:
            self.close()  # also of a TimedOut, which is the source's own: the stream does not go on
            raise
        call.link.feed(call, number, item, clock)


def source(where: str, parameter: str, stream: object, encode: Callable[[object], bytes]) -> Iterator[bytes]:
    """Return what delivers the encoded items of a stream of requests, which must be a `feed(...)`."""
    if not isinstance(stream, Feed):
        raise TypeError(
            f"{where}: parameter '{parameter}': blocking code cannot draw from a {type(stream).__name__}; give "
            "feed(...) of an ordinary iterable"
        )
    return map(encode, iter(stream.items))


@final
class BlockingStream(Iterator[T_co]):
    """A stream of replies. Left early (`with`, `close`, or dropped): cancelled at the server at once.

    `with` sends the call when it is entered; otherwise the first item that is asked for does.
    """

    def __init__(self, call: FedCall, decode: Callable[[bytes], object], timeout: float | None) -> None:
        self._call = call
        self._decode = decode
        self._timeout = timeout
        self._over = False
        self._turn = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        """Wait for the next item.

        Raises:
            TimedOut: The client's timeout has passed. The stream goes on, and no item is lost.
            ConnectionLost: The service went away; and what else a call raises. The stream is at its end.
            Busy: Another thread waits for the next item.
        """
        if not self._turn.acquire(blocking=False):
            raise Busy("another thread waits for the next item of this stream already")
        try:
            return self._next()
        finally:
            self._turn.release()

    def _next(self) -> T_co:
        if self._over:
            raise StopIteration
        try:
            item = self._call.next_item(Clock(self._timeout))
            if item is not None:
                return cast("T_co", self._decode(item))
        except TimedOut:
            raise
        except BaseException:
            self.close()
            raise
        if self._over:
            raise Closed("this stream has been closed by another thread")
        self._over = True
        raise StopIteration

    def close(self) -> None:
        """Leave the stream. Safe to call twice."""
        self._over = True
        self._call.close()

    def __enter__(self) -> Self:
        if not self._over:
            self._call.begin(Clock(self._timeout))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            self._call.abandon()
