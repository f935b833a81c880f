"""A service in a thread of its own, which runs trio there; asked and stopped from ordinary blocking code."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeVar

import trio

from .._errors import Closed, TimedOut
from .trio_service import Server

R = TypeVar("R")


class ServiceThread:
    """Owns the thread. `start` returns once the service can be connected to."""

    server: Server

    def __init__(self, serve: Callable[[], AbstractAsyncContextManager[Server]]) -> None:
        self._serve = serve
        self._pid = os.getpid()
        self._opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="namedipc service", daemon=True)
        self._token: trio.lowlevel.TrioToken
        self._stop: trio.Event

    @property
    def _forked(self) -> bool:
        return self._pid != os.getpid()

    def start(self) -> None:
        """Start the thread; raise what opening the service raises."""
        self._thread.start()
        error = self._opened.get()
        if error is not None:
            self._thread.join()
            raise error

    def ask(self, question: Callable[[], R]) -> R:
        """Run a plain function in the service's thread."""
        if self._forked:
            raise Closed(f"{self.server.path}: the service belongs to process {self._pid}, from which this was forked")
        try:
            return trio.from_thread.run_sync(question, trio_token=self._token)
        except trio.RunFinishedError:
            raise Closed(f"{self.server.path}: the service has ended") from None

    def drain(self, grace_seconds: float | None) -> None:
        """End the service in order."""

        if self._forked:
            return

        async def drain() -> None:
            await self.server.drain(grace_seconds=grace_seconds)

        try:
            trio.from_thread.run(drain, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled):
            self._thread.join()

    def stop(self) -> None:
        """Let the service end, and raise what ended it before, if anything did. In a forked child: nothing."""
        if self._forked:
            return
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def join(self, timeout: float | None) -> None:
        """Wait for the end."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimedOut(f"{self.server.path}: the service goes on after {timeout} seconds")

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # raised in the thread that asked
            self._failure = error
            self._opened.put(error)

    async def _main(self) -> None:
        async with self._serve() as server:
            self.server = server
            self._token = trio.lowlevel.current_trio_token()
            self._stop = trio.Event()
            self._opened.put(None)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_drained, nursery.cancel_scope)
                await self._stop.wait()
                nursery.cancel_scope.cancel()

    async def _until_drained(self, scope: trio.CancelScope) -> None:
        await self.server.wait_closed()
        scope.cancel()
