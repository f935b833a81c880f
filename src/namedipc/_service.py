"""Service: a name whose owner answers calls. Any number of clients, each answered on its own connection.

The law: importing this loads what a name is; all the rest comes with the first declaration (`_declared`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, final

from . import _names
from ._name import Name
from ._opening import Opening, in_trio_task
from ._values import Allow, Limits, StrPath, same_user

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from ._call import Trace
    from ._declared import Client, Route, Schema
    from ._service_blocking import BlockingServer
    from ._shells.trio_service import Server

T = TypeVar("T")


@final
class Service(Name, Generic[T]):
    """A path and an interface: what a service and its clients share. Holds no descriptor; import it anywhere.

    Args:
        path: Where the service is found.
        interface: A class, best a `typing.Protocol`, whose `async def` methods are the calls.

    Raises:
        DeclarationError: The path cannot be a name, or the interface cannot be called from afar; the message names the
            method and the parameter, and what to write instead.
    """

    __slots__ = ("_schema",)
    _kind: ClassVar[_names.Kind] = "socket"
    _schema: Schema[T]

    def __init__(self, path: StrPath, interface: TypeForm[T]) -> None:
        from ._declared import Schema

        super().__init__(path)
        frame = sys._getframe(1)  # the declaring frame: its names are looked up in annotations
        schema: Schema[T] = Schema(interface, frame_globals=frame.f_globals, frame_locals=frame.f_locals)
        object.__setattr__(self, "_schema", schema)

    def _arguments(self) -> tuple[object, ...]:
        return (self._schema.interface,)

    def serve(
        self,
        implementation: T,
        /,
        *,
        allow: Allow = same_user,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        mode: int = 0o600,
        drain_seconds: float = 5.0,
        takeover: bool = False,
        trace: Trace | None = None,
        spin: bool = True,
    ) -> Opening[Server, BlockingServer]:
        """Own the name and answer calls while the `with` lasts.

        `async with` serves in this trio program; `with` in a thread of its own. Leaving it drains: no new calls, those
        in flight finish within `drain_seconds`, and the name is removed. If the body raises there is no grace.

        Args:
            implementation: An object with the interface's methods. Each call runs in a context of its own.
            allow: Who may connect; processes of the same user, and root's, if not given.
            limits: The bounds of clients, calls and messages.
            mode: The permissions of the socket.
            drain_seconds: The grace for calls in flight at the end.
            takeover: Take the name over from its owner, if it has a living one. That ends as if it were drained, and
                no connection is refused meanwhile.
            trace: Called with each call; the context it returns is around the handler.
            spin: Whether to wait for a moment before trio is asked to, as far as that has been paying: to poll, for
                0.2 ms at most, or to sleep, for 1 ms, in which other tasks wait as well.

        Raises:
            NameTaken: The name has a living owner; with `takeover`, one that another process takes it over from.
            TimedOut: With `takeover`: the owner does not answer. It stays the owner.
            WrongKind: Something that is no socket stands there; with `takeover`, the owner serves no service.
            NameNotFound: The directory is missing.
            NotAllowed: The directory cannot be written to.
            DeclarationError: The implementation lacks a method, or one takes other arguments.
        """
        from ._declared import Recipe

        self._schema.check_implementation(implementation)
        recipe = Recipe(
            self, implementation, allow, limits, mode, drain_seconds, takeover=takeover, trace=trace, spin=spin
        )
        return Opening(f"{self!r}.serve(...)", recipe.trio, recipe.blocking)

    def run(
        self,
        implementation: T,
        /,
        *,
        allow: Allow = same_user,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        mode: int = 0o600,
        drain_seconds: float = 5.0,
        takeover: bool = False,
        trace: Trace | None = None,
        spin: bool = True,
        ready: Callable[[Server], object] | None = None,
    ) -> None:
        """Serve as a main program: until SIGTERM or SIGINT, then drain, remove the name, and return.

        Also returns, and leaves the name as it is, once another process has taken it over.

        Args:
            implementation: See `serve`, as for the others.
            allow: Who may connect.
            limits: The bounds.
            mode: The permissions of the socket.
            drain_seconds: The grace for calls in flight; a second signal cuts it short.
            takeover: Take the name over from its owner, if it has a living one.
            trace: Called with each call.
            spin: Whether to poll for a moment before sleeping.
            ready: Called once the name can be connected to.

        Raises:
            RuntimeError: Called inside of a trio task, or outside of the main thread.
            NameTaken: And what else `serve` raises.
        """
        from ._declared import Recipe

        self._schema.check_implementation(implementation)
        if in_trio_task():
            raise RuntimeError(
                f"{self!r}.run(...) is a program's main and starts trio itself; inside of trio write 'async with "
                "service.serve(...) as server: await server.run_until_signal()'"
            )
        recipe = Recipe(
            self, implementation, allow, limits, mode, drain_seconds, takeover=takeover, trace=trace, spin=spin
        )
        recipe.run(ready)

    def connect(
        self,
        *,
        wait_seconds: float = 0.0,
        timeout: float | None = None,
        allow: Allow = same_user,
        trace: Trace | None = None,
        spin: bool = True,
    ) -> Client[T]:
        """Connect to the service.

        The first call flies with the hello, so a service of another interface shows at the first call.

        Args:
            wait_seconds: How long to wait for a name that is not there, or that nobody serves yet.
            timeout: For blocking code: seconds for connecting, and for each call. In trio use its cancel scopes.
            allow: Who may be the server; the same user, and root, if not given.
            trace: Called with each call; the context it returns is around it, and may add to its headers.
            spin: Whether to wait for a moment before trio is asked to, as far as that has been paying: to poll, for
                0.2 ms at most, or to sleep, for 1 ms, in which other tasks wait as well.

        Raises:
            NameNotFound: Nothing stands under the name.
            NoServer: Nobody serves it.
            WrongKind: Something else stands there.
            NotAllowed: Its permissions, or `allow`, refuse it.
        """
        from ._declared import Client, by_name, stand_in_for

        def route() -> Route:
            return stand_in_for(self) or by_name(self._path, self._schema, wait_seconds=wait_seconds, allow=allow)

        what = f"Service({str(self._path)!r}, {self._schema.name}).connect()"
        return Client(what, str(self._path), self._schema, route, timeout=timeout, trace=trace, spin=spin)
