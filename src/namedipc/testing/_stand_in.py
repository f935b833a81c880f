"""An implementation in this process, reached as a service is: by a client of its own, or in the place of a name.

The law: a trio client has the implementation served by its own trio program, a blocking client by a thread, so that
each world finds its implementation where its own code runs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar, final

from typing_extensions import TypeForm

from .. import lowlevel
from .._client import Client
from .._opening import Opening
from .._reach import Connect, Route, standing_in
from .._schema import Schema
from .._service import Service
from .._service_blocking import serving_in_thread
from .._shells.connecting import Plan
from .._shells.unnamed import Unnamed, joining
from .._values import Limits, same_user

if TYPE_CHECKING:
    from .._shells.trio_service import Server

T = TypeVar("T")


def local(interface: TypeForm[T], implementation: T, /) -> Client[T]:
    """Return a client that is joined to an implementation in this process, through the real protocol, without a name.

    `async with` serves it in this trio program, `with` in a thread of its own. Arguments and results are checked and
    copied, errors arrive as `RemoteError`, deadlines and cancellation reach the handler, as they do between processes;
    `current_call().peer` is this process. Leaving it closes both sides.

    Args:
        interface: As for `Service`.
        implementation: An object with the interface's methods.

    Raises:
        DeclarationError: The interface cannot be called from afar, or the implementation lacks a method.
    """
    frame = sys._getframe(1)  # the declaring frame: its names are looked up in annotations
    schema: Schema[T] = Schema(interface, frame_globals=frame.f_globals, frame_locals=frame.f_locals)
    schema.check_implementation(implementation)
    host = _Host(f"local {schema.name}", schema, implementation, drain_seconds=5.0)
    return Client(f"local({schema.name}, ...)", host.where, schema, host.route, timeout=None, trace=None, spin=False)


def substitute(service: Service[T], implementation: T, /) -> AbstractContextManager[None]:
    """Inside: `service.connect()` of this process reaches `implementation`.

    In every task and thread, through whichever equal `Service` object; at other paths, and in other processes, nothing
    changes. The path is never touched: whoever serves it is not asked, and nothing has to stand there. Clients of trio
    have the implementation served by their own trio program; all blocking clients by one thread. Of nested ones the
    inner one counts.

    Leaving it ends the calls of blocking clients that are still open with `ConnectionLost`.

    Args:
        service: The name.
        implementation: An object with the interface's methods.

    Raises:
        DeclarationError: The implementation lacks a method, or one takes other arguments.
    """
    service._schema.check_implementation(implementation)
    host = _Host(str(service.path), service._schema, implementation, drain_seconds=0.0)
    return _substituting(service, _Shared(host))


@contextmanager
def _substituting(service: Service[T], shared: _Shared[T]) -> Iterator[None]:
    try:
        with standing_in(service, shared.route):
            yield
    finally:
        shared.close()


@final
class _Host(Generic[T]):
    """How an implementation is served to clients that are joined to it."""

    def __init__(self, where: str, schema: Schema[T], implementation: T, *, drain_seconds: float) -> None:
        self.where = where
        self._schema = schema
        self._implementation = implementation
        self._drain_seconds = drain_seconds

    def route(self) -> Route:
        """Serve for as long as the route is open."""
        return Opening(self.where, self.trio, self.blocking)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[Server]:
        from .._service_trio import serving_claim

        async with serving_claim(
            Unnamed(self.where),
            self._schema,
            self._implementation,
            allow=same_user,
            limits=Limits(),
            drain_seconds=self._drain_seconds,
            trace=None,
            spin=False,  # the other side cannot answer while this one polls
        ) as server:
            yield server

    @asynccontextmanager
    async def trio(self) -> AsyncIterator[Connect]:
        """Serve in this trio program."""
        async with self._serving() as server:
            yield _connect(server._adopt)

    @contextmanager
    def blocking(self) -> Iterator[Connect]:
        """Serve in a thread."""
        with serving_in_thread(self._serving) as server:
            yield _connect(server._adopt)


def _connect(adopt: Callable[[lowlevel.Socket], None]) -> Connect:
    def connect(_wait_seconds: float | None = None, /) -> Plan:
        return joining(adopt)

    return connect


@final
class _Shared(Generic[T]):
    """A host whose blocking clients share one thread, which begins with the first of them."""

    def __init__(self, host: _Host[T]) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._thread = ExitStack()
        self._connect: Connect | None = None

    def route(self) -> Route:
        """Serve for as long as the route is open, or for longer."""
        return Opening(self._host.where, self._host.trio, self._blocking)

    @contextmanager
    def _blocking(self) -> Iterator[Connect]:
        with self._lock:
            if self._connect is None:
                self._connect = self._thread.enter_context(self._host.blocking())
        yield self._connect

    def close(self) -> None:
        """End the thread, if there is one."""
        if self._connect is None:
            return
        # From a thread that is in no trio task: out of one no other trio program may be asked to end.
        with ThreadPoolExecutor(1) as outside:
            outside.submit(self._thread.close).result()
