"""Serving from blocking code: the trio service in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from . import lowlevel
from ._statistics import ServiceStatistics
from ._values import Peer

if TYPE_CHECKING:
    from ._shells.trio_service import Server
    from ._shells.trio_thread import ServiceThread


@final
class BlockingServer:
    """A service that is being served by a thread of its own. Leaving its `with` drains it and removes the name."""

    def __init__(self, thread: ServiceThread) -> None:
        self._thread = thread

    @property
    def path(self) -> Path:
        """The absolute path of the name."""
        return self._thread.server.path

    def peers(self) -> Sequence[Peer]:
        """Return who is connected now."""
        return self._thread.ask(self._thread.server.peers)

    def statistics(self) -> ServiceStatistics:
        """Return what the service has done since it began."""
        return self._thread.ask(self._thread.server.statistics)

    def drain(self, *, grace_seconds: float | None = None) -> None:
        """End the service in order: no new calls, those in flight finish, clients are told.

        Args:
            grace_seconds: For the calls in flight; the `drain_seconds` of `serve` if not given.
        """
        self._thread.drain(grace_seconds)

    def wait_closed(self, *, timeout: float | None = None) -> None:
        """Wait until the service has ended.

        Raises:
            TimedOut: It goes on after `timeout` seconds.
        """
        self._thread.join(timeout)

    def _adopt(self, socket: lowlevel.Socket) -> None:
        self._thread.ask(lambda: self._thread.server._adopt(socket))


@contextmanager
def serving_in_thread(serve: Callable[[], AbstractAsyncContextManager[Server]]) -> Iterator[BlockingServer]:
    """Serve while the body runs. If the body raises, the calls in flight get no grace."""
    from ._shells.trio_thread import ServiceThread

    thread = ServiceThread(serve)
    thread.start()
    try:
        yield BlockingServer(thread)
    except BaseException:
        thread.drain(0)
        raise
    finally:
        thread.stop()
