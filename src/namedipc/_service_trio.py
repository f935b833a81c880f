"""Serving in trio: as a context, and as a main program."""

from __future__ import annotations

import functools
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar

import trio

from ._call import Trace, traced
from ._schema import Schema
from ._shells.service_loop import ServiceLoop
from ._shells.trio_service import Server, begin_in_context_unprotected, begin_unprotected, serving, unprotected
from ._shells.trio_streams import ServedStreams
from ._shells.unnamed import Ownership
from ._values import Allow, Limits

T = TypeVar("T")


def _call_soon(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> None:
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(function)


@asynccontextmanager
async def serving_claim(
    claim: Ownership,
    schema: Schema[T],
    implementation: T,
    *,
    allow: Allow,
    limits: Limits,
    drain_seconds: float,
    trace: Trace | None,
    spin: bool,
) -> AsyncIterator[Server]:
    """Serve a name that has been claimed, while the body runs; the claim is given up in any case."""
    try:
        loop = ServiceLoop(
            schema,
            implementation,
            claim.listener,
            where=claim.path,
            allow=allow,
            limits=limits,
            spin=spin,
            step=begin_unprotected,
            step_of_run=begin_in_context_unprotected,
            prepare=unprotected,
            open_streams=ServedStreams,
            call_soon=functools.partial(_call_soon, trio.lowlevel.current_trio_token()),
            wrap=None if trace is None else functools.partial(traced, trace),
        )
    except BaseException:
        claim.close()
        raise
    async with serving(claim, loop, drain_seconds) as server:
        yield server


def run_until_signal(
    serve: Callable[[], AbstractAsyncContextManager[Server]], ready: Callable[[Server], object] | None
) -> None:
    """Serve as a main program."""

    async def main() -> None:
        # Before the name can be found: who gets an answer may send the signal at once.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            async with serve() as server:
                if ready is not None:
                    ready(server)
                await server._drain_upon(received)

    trio.run(main)
