from collections.abc import Callable
from typing import Any, TypeAlias

from .._arguments import Arguments
from .._coding import Buffer
from .._methods import Method
from .service_clients import Connection
from .service_loop import ServiceLoop
from .suspended import Handler, Suspended

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
    def serve(self, end: float) -> Suspended | int | None: ...
    def record(self, seconds: float) -> None: ...
    def take(self, connection: Connection) -> Suspended | int | None: ...
