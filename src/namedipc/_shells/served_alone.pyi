from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeAlias

from .._arguments import Arguments
from .._coding import Buffer
from .._methods import Method
from .._protocol.session import ServerSession
from .calls_together import Begun
from .service_clients import Connection
from .service_loop import ServiceLoop
from .service_runs import Run
from .suspended import ActiveCall, Handler, Suspended

ShortWay: TypeAlias = tuple[
    Method,
    Handler,
    bool,
    Callable[[Buffer], Arguments],
    list[Callable[[Buffer], Any] | None],
    Callable[[Any], bytes],
    frozenset[type],
    Callable[[Any], bytes],
]

class ServedAlone:
    calls: int
    bytes_received: int
    bytes_sent: int
    quick_seconds: float
    held_seconds: float
    def __init__(
        self,
        loop: ServiceLoop,
        ways: list[ShortWay | None],
        step: Callable[..., tuple[Any, object]],
    ) -> None: ...
    def rest(self, connection: Connection) -> None: ...
    def rouse(self, connection: Connection) -> None: ...
    def serve(self, end: float) -> Suspended | int | None: ...
    def begin_some(
        self,
        session: ServerSession,
        run: Run,
        handler: Handler,
        context: Context,
        active: ActiveCall,
        values: list[object],
        most: int,
        end: float,
    ) -> Begun | Exception | None: ...
    def record(self, seconds: float) -> None: ...
    def take_calls(self, connection: Connection, most: int, end: float) -> tuple[int, Suspended | int | None]: ...
    def take(self, connection: Connection) -> Suspended | int | None: ...
