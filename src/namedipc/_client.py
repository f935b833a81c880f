"""Client: one connection to a service, in either world; the typed proxy of trio and the caller of blocking code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, TypeVar, cast, final

from ._errors import Closed, InvalidMessage
from ._opening import Opening
from ._protocol.calls import ClientSession, Sleeper
from ._protocol.hello import SERVICE, Hello
from ._reach import Route
from ._schema import Method, Schema
from ._shells.blocking_client import BlockingClientLink
from ._shells.waiting import Clock, carry_out
from ._values import LARGEST_MESSAGE_BYTES, ConnectionStatistics, Peer

if TYPE_CHECKING:
    import threading

    from ._shells.trio_client import TrioClientLink

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


@final
class Client(Opening[T, "BlockingClient[T]"]):
    """One connection to a service. `async with` gives the typed proxy, `with` the blocking caller.

    The proxy may be shared by any number of tasks, the blocking caller by any number of threads. Leaving the `with`
    says goodbye; calls still in flight end with `Closed`.
    """

    def __init__(
        self,
        what: str,
        where: str,
        schema: Schema[T],
        route: Callable[[], Route],
        *,
        timeout: float | None,
        spin: bool,
    ) -> None:
        super().__init__(what, self._trio, self._blocking)
        self._where = where
        self._schema = schema
        self._route = route
        self._timeout = timeout
        self._spin = spin
        self._link: TrioClientLink | BlockingClientLink | None = None

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for as the server, as of the moment it began to listen.

        Raises:
            Closed: The client is not open.
        """
        return self._opened().peer

    def statistics(self) -> ConnectionStatistics:
        """Return what the connection has carried.

        Raises:
            Closed: The client is not open.
        """
        return self._opened().statistics()

    def _opened(self) -> TrioClientLink | BlockingClientLink:
        if self._link is None:
            raise Closed(f"{self._what}: not open; enter it by 'async with' or 'with' first")
        return self._link

    def _session(self) -> ClientSession[Sleeper]:
        hello = Hello(SERVICE, LARGEST_MESSAGE_BYTES, self._schema.fingerprint)
        return ClientSession(self._where, hello, self._schema.bindings)

    @asynccontextmanager
    async def _trio(self) -> AsyncIterator[T]:
        if self._timeout is not None:
            raise ValueError(f"{self._what}: timeout= is for blocking code; in trio write 'with trio.fail_after(...)'")
        from ._client_trio import make_proxy, open_link

        async with self._route() as connect:
            link = await open_link(self._where, connect(), self._session(), spin=self._spin)
            self._link = link
            try:
                yield make_proxy(self._schema, link)
            finally:
                self._link = None
                link.close()

    @contextmanager
    def _blocking(self) -> Iterator[BlockingClient[T]]:
        with self._route() as connect:
            connected = carry_out(connect(), Clock(self._timeout), f"{self._where}: not connected")
            connected.socket.setblocking(True)
            session: ClientSession[threading.Lock] = self._session()
            link = BlockingClientLink(self._where, connected.socket, connected.peer, session, spin=self._spin)
            self._link = link
            try:
                yield BlockingClient(self._schema, link, self._timeout)
            finally:
                self._link = None
                link.close()


@final
class BlockingClient(Generic[T]):
    """Calls a service from ordinary blocking code: `client.call(Interface.method, ...)`, typed by the interface.

    May be shared by any number of threads. After a fork it belongs to the parent: the child gets `Closed` and
    connects again.
    """

    def __init__(self, schema: Schema[T], link: BlockingClientLink, timeout: float | None) -> None:
        self._schema = schema
        self._link = link
        self._timeout = timeout

    def call(self, method: Callable[Concatenate[T, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a method of the service and return its result.

        Args:
            method: The method as the interface has it: `Kitchen.cook`.
            args: Its arguments; what is left out has the implementation's default.
            kwargs: Its arguments by name.

        Raises:
            InvalidMessage: An argument, or the result, does not fit its type.
            TooLarge: The arguments are longer than the service accepts.
            RemoteError: The handler raised.
            ConnectionLost: The service went away; whether the call was run is unknown.
            TimedOut: The client's `timeout` has passed. The call is cancelled at the server.
        """
        found = self._find(method)
        body = self._named(found.arguments.encode, args, kwargs)
        answer = self._link.call(found.index, found.where, body, self._timeout)
        # The schema was made from the annotation that R stands for.
        return cast("R", self._named(found.result.decode, answer))

    def _named(self, function: Callable[..., A], *values: object) -> A:
        try:
            return function(*values)
        except InvalidMessage as error:
            raise InvalidMessage(f"{self._link.where}: {error}") from error.__cause__

    def with_options(self, *, timeout: float | None = None) -> BlockingClient[T]:
        """Return a client on the same connection with other options.

        Args:
            timeout: Seconds for each call; None is for ever.
        """
        return BlockingClient(self._schema, self._link, timeout)

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for as the server."""
        return self._link.peer

    def statistics(self) -> ConnectionStatistics:
        """Return what the connection has carried."""
        return self._link.statistics()

    def close(self) -> None:
        """Say goodbye and close. Calls in flight in other threads end with `Closed`. Safe to call twice."""
        self._link.close()

    def _find(self, method: object) -> Method:
        name = getattr(method, "__name__", None)
        found = self._schema.by_name.get(name) if isinstance(name, str) else None
        # By name: a method of a base class, or one that an implementation overrides, is the interface's all the same.
        if found is None or not callable(method):
            raise TypeError(
                f"call({method!r}): give a method of the interface, for example "
                f"{self._schema.name}.{next(iter(self._schema.by_name))}"
            )
        return found
