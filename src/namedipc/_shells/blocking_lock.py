"""Holding the lock of a file in shared memory in ordinary blocking code, for as long as a `with` lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, get_ident

from .._errors import TimedOut
from .shared_lock import FileLock, Held, LockWait


@contextmanager
def locked(lock: FileLock, timeout: float | None, *, exclusive: bool = True) -> Iterator[None]:
    """Wait for the lock, hold it in the body, and give it back.

    Args:
        lock: Of an open handle.
        timeout: How long to wait, in seconds; None: no limit.
        exclusive: Alone, or beside others who share it.

    Raises:
        TimedOut: Others have held it for that long.
        Busy: This thread holds it already.
    """
    me = get_ident()
    lock.refuse_again(me)
    held = lock.take_soon(me, exclusive=exclusive) or _wait(lock.wait(me, exclusive=exclusive), timeout, lock.where)
    try:
        yield
    finally:
        held.release()


def _wait(wait: LockWait, timeout: float | None, path: str) -> Held:
    try:
        held = wait.run() if timeout is None else _wait_for(wait, timeout)
    except BaseException:
        wait.abandon()
        raise
    if held is None:
        wait.abandon()
        raise TimedOut(f"{path}: others have held the lock for {timeout} s; nothing was written")
    return held


def _wait_for(wait: LockWait, timeout: float) -> Held | None:
    """Wait in another thread: fcntl(2) has no timeout. Given up, the thread ends when the lock is free."""
    if timeout <= 0:
        return None
    outcome: list[Held | BaseException | None] = []
    done = Event()

    def run() -> None:
        try:
            outcome.append(wait.run())
        except BaseException as error:  # to be raised where somebody can see it
            outcome.append(error)
        done.set()

    Thread(target=run, name="namedipc lock", daemon=True).start()
    if not done.wait(timeout):
        return None
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result
