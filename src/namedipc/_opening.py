"""What a verb returns: a recipe that nothing has been opened for yet.

The law of this module: `async with` belongs to trio, `with` to ordinary blocking code, and each says so to whoever
mixes them up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Generic, TypeVar

Async_co = TypeVar("Async_co", covariant=True)
Blocking_co = TypeVar("Blocking_co", covariant=True)


class Opening(Generic[Async_co, Blocking_co]):
    """One end, not opened yet: `async with` opens it in trio, `with` in ordinary blocking code.

    A recipe: it may be entered again after it was left, and each entry opens anew. It has no other public method, so
    that a forgotten `with` is a type error at the first use.
    """

    def __init__(
        self,
        what: str,
        open_trio: Callable[[], AbstractAsyncContextManager[Async_co]],
        open_blocking: Callable[[], AbstractContextManager[Blocking_co]],
    ) -> None:
        self._what = what
        self._open_trio = open_trio
        self._open_blocking = open_blocking
        self._entered: object = None

    def __repr__(self) -> str:
        return f"<{self._what}: not opened yet; enter it by 'async with' (trio) or 'with'>"

    async def __aenter__(self) -> Async_co:
        if not in_trio_task():
            raise RuntimeError(
                f"{self._what}: 'async with' needs trio, and no trio task is running here. "
                "In asyncio use the blocking form in a thread: asyncio.to_thread(...) around 'with'."
            )
        self._refuse_second_entry()
        manager = self._open_trio()
        self._entered = manager
        try:
            return await manager.__aenter__()
        except BaseException:
            self._entered = None
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        manager, self._entered = self._entered, None
        assert isinstance(manager, AbstractAsyncContextManager)
        await manager.__aexit__(kind, error, tb)

    def __enter__(self) -> Blocking_co:
        if in_trio_task():
            raise RuntimeError(
                f"{self._what}: 'with' would block every task of trio's loop. Write 'async with' here; "
                "in a worker thread (trio.to_thread.run_sync) 'with' is right."
            )
        self._refuse_second_entry()
        manager = self._open_blocking()
        self._entered = manager
        try:
            return manager.__enter__()
        except BaseException:
            self._entered = None
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        manager, self._entered = self._entered, None
        assert isinstance(manager, AbstractContextManager)
        manager.__exit__(kind, error, tb)

    def _refuse_second_entry(self) -> None:
        if self._entered is not None:
            raise RuntimeError(f"{self._what}: already entered; call the verb once more for a second one")


def in_trio_task() -> bool:
    """Whether the caller runs inside a task of trio. Does not import trio: if nobody has, the answer is no."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())
