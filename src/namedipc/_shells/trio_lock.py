"""Holding the lock of a file in shared memory in trio, for as long as an `async with` lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from .._errors import IPCError
from .shared_file import AnyFile
from .shared_lock import FileLock, Held

LOCK_THREADS: Final = 64
"""How many open files of a trio run wait for another process's lock at once; each costs a thread."""

_limiter: Final[trio.lowlevel.RunVar[trio.CapacityLimiter]] = trio.lowlevel.RunVar("namedipc lock threads")


@final
class Line:
    """Where the tasks of one open handle stand in line for the lock: at most one of them waits in a thread."""

    def __init__(self, file: AnyFile) -> None:
        self._file: Final = file
        self._turn: Final = trio.Semaphore(1, max_value=1)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the lock in the body. The only checkpoint, where the lock is free, comes before it is taken.

        Raises:
            Busy: This task holds it already.
            Closed: The file was closed.
        """
        me = trio.lowlevel.current_task()
        await self._refuse_again(me)
        async with self._turn:
            held = await self._take(me, exclusive=True)
            try:
                yield
            finally:
                held.release()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold the lock in the body beside others who share it; otherwise as `alone`."""
        me = trio.lowlevel.current_task()
        await self._refuse_again(me)
        async with self._turn:  # given back at once: the next may share it too
            held = await self._take(me, exclusive=False)
        try:
            yield
        finally:
            held.release()

    async def _refuse_again(self, me: object) -> None:
        try:
            self._file.lock.refuse_again(me)
        except IPCError:
            await trio.lowlevel.checkpoint()
            raise

    async def _take(self, me: object, *, exclusive: bool) -> Held:
        lock = self._file.lock  # asked for again: the file may have been closed meanwhile
        return lock.take_soon(me, exclusive=exclusive) or await _wait(lock, me, exclusive=exclusive)


async def _wait(lock: FileLock, me: object, *, exclusive: bool) -> Held:
    """Wait for a lock which another handle or process holds."""
    wait = lock.wait(me, exclusive=exclusive)
    try:
        held = await trio.to_thread.run_sync(wait.run, abandon_on_cancel=True, limiter=_lock_threads())
    except BaseException:
        wait.abandon()
        raise
    assert held is not None  # only an abandoned wait has none
    return held


def _lock_threads() -> trio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(LOCK_THREADS)
        _limiter.set(limiter)
        return limiter
