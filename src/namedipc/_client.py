"""Client: one connection to a service, in either world; the typed proxy of trio and the caller of blocking code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar, cast, final

import attrs

from ._call import Trace
from ._client_blocking import BlockingClient, BlockingLinks
from ._client_options import Options, find_method
from ._errors import Closed
from ._opening import Opening
from ._protocol.calls import ClientSession, Sleeper
from ._protocol.hello import SERVICE, Hello
from ._reach import Route
from ._schema import Schema
from ._shells.waiting import Clock
from ._statistics import ConnectionStatistics
from ._values import LARGEST_MESSAGE_BYTES, Limits, Peer

if TYPE_CHECKING:
    from ._client_trio import TrioLinks

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")


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
        trace: Trace | None,
        spin: bool,
    ) -> None:
        super().__init__(what, self._trio, self._blocking)
        self._where = where
        self._schema = schema
        self._route = route
        self._timeout = timeout
        self._spin = spin
        self._options = Options(trace=trace)
        self._links: TrioLinks | BlockingLinks | None = None

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

    def with_options(self, *, headers: Mapping[str, str] | None = None, retry: bool | None = None) -> T:
        """Return the proxy with other options; on the same connection.

        Args:
            headers: Sent along with each call, for `current_call().headers` and tracers.
            retry: None: a call that was not run because the service is shutting down, and any call of a method which
                is declared `@idempotent`, is sent again, once, to whoever serves the name by then. True: likewise, as
                often as it takes, waiting for the service as long as the caller's cancel scope lets it. False: never.

        Raises:
            Closed: The client is not open, or open in blocking code: there it has a method of this name itself.
        """
        from ._client_trio import TrioLinks, make_proxy

        links = self._opened()
        if not isinstance(links, TrioLinks):
            raise Closed(f"{self._what}: open in blocking code; use the with_options of what 'with' has given")
        return make_proxy(self._schema, links, attrs.evolve(self._options, headers=headers or {}, retry=retry))

    async def call_each(self, method: Callable[[T, A], Awaitable[R]], arguments: Iterable[A], /) -> list[R]:
        """Call a method once an argument, all in flight together, by few writes.

        Args:
            method: The method as the interface has it: `Kitchen.cook`. It takes one argument, and has no streams.
            arguments: One for each call.

        Returns:
            The results in the order of the arguments.

        Raises:
            Exception: That of the first argument, in their order, whose call failed; those behind it are cancelled.
            Closed: The client is not open in trio.

        Cancellation: every call that has not been answered is cancelled at the server.
        """
        from ._client_trio import TrioLinks, call_each

        links = self._opened()
        if not isinstance(links, TrioLinks):
            raise Closed(f"{self._what}: open in blocking code; use the call_each of what 'with' has given")
        found = find_method(self._schema, method, "call_each")
        # The schema was made from the annotation that R stands for.
        return cast("list[R]", await call_each(found, links, self._options, arguments))

    def _opened(self) -> TrioLinks | BlockingLinks:
        if self._links is None:
            raise Closed(f"{self._what}: not open; enter it by 'async with' or 'with' first")
        return self._links

    def _session(self) -> ClientSession[Sleeper]:
        limits = Limits()
        hello = Hello(
            SERVICE,
            LARGEST_MESSAGE_BYTES,
            self._schema.fingerprint,
            limits.stream_items,
            limits.stream_bytes,
            payload_bytes=limits.payload_bytes if self._schema.carries_payloads else 0,
        )
        return ClientSession(
            self._where, hello, self._schema.bindings, carries_attachments=self._schema.carries_attachments
        )

    @asynccontextmanager
    async def _trio(self) -> AsyncIterator[T]:
        if self._timeout is not None:
            raise ValueError(f"{self._what}: timeout= is for blocking code; in trio write 'with trio.fail_after(...)'")
        from ._client_trio import TrioLinks, make_proxy

        async with self._route() as connect:
            links = TrioLinks(self._where, connect, self._session, spin=self._spin)
            await links.open()
            self._links = links
            try:
                yield make_proxy(self._schema, links, self._options)
            finally:
                self._links = None
                links.close()

    @contextmanager
    def _blocking(self) -> Iterator[BlockingClient[T]]:
        with self._route() as connect:
            links = BlockingLinks(self._where, connect, self._session, spin=self._spin)
            links.open(Clock(self._timeout))
            self._links = links
            try:
                yield BlockingClient(self._schema, links, self._timeout, self._options)
            finally:
                self._links = None
                links.close()
