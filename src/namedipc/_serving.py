"""Serving a name, whichever world asks for it.

The law: nothing is claimed until it is known in which world; then the claim, and whoever gives it up, is that world's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar, final

from . import _names
from ._card import make_card
from ._shells.connecting import Pause
from ._shells.handover import claiming

if TYPE_CHECKING:
    from ._call import Trace
    from ._service import Service
    from ._service_blocking import BlockingServer
    from ._shells.trio_service import Server
    from ._values import Allow, Limits

T = TypeVar("T")


@final
class Recipe(Generic[T]):
    """How to serve, until it is known in which world."""

    def __init__(
        self,
        service: Service[T],
        implementation: T,
        allow: Allow,
        limits: Limits,
        mode: int,
        drain_seconds: float,
        *,
        takeover: bool,
        trace: Trace | None,
        spin: bool,
    ) -> None:
        self._service = service
        self._implementation = implementation
        self._allow = allow
        self._limits = limits
        self._mode = mode
        self._drain_seconds = drain_seconds
        self._takeover = takeover
        self._trace = trace
        self._spin = spin

    def _claiming(self) -> Generator[Pause, None, _names.Claim]:
        schema = self._service._schema
        card = make_card("service", schema.fingerprint, schema.text)
        return claiming(self._service.path, kind="service", card=card, mode=self._mode, takeover=self._takeover)

    @asynccontextmanager
    async def trio(self) -> AsyncIterator[Server]:
        from ._service_trio import serving_claim
        from ._shells.trio_waiting import carry_out

        async with serving_claim(
            await carry_out(self._claiming()),
            self._service._schema,
            self._implementation,
            allow=self._allow,
            limits=self._limits,
            drain_seconds=self._drain_seconds,
            trace=self._trace,
            spin=self._spin,
        ) as server:
            yield server

    @contextmanager
    def blocking(self) -> Iterator[BlockingServer]:
        from ._service_blocking import serving_in_thread

        with serving_in_thread(self.trio) as server:
            yield server

    def run(self, ready: Callable[[Server], object] | None) -> None:
        from ._service_trio import run_until_signal

        run_until_signal(self.trio, ready)
