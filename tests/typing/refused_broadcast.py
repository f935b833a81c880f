"""Broadcast: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc import Broadcast

from .names import GAZETTE, Letter

Broadcast("x", Letter("ann"))  # type: ignore[arg-type]
Broadcast("x")  # type: ignore[call-arg]
GAZETTE.reader(start="now")  # type: ignore[arg-type]
GAZETTE.writer(if_exists="ignore")  # type: ignore[arg-type]


async def in_trio() -> None:
    """A message has its type, and a reader does not send."""
    async with GAZETTE.writer() as writer:
        await writer.send(3)  # type: ignore[arg-type]
    async with GAZETTE.reader() as reader:
        await reader.send(Letter("ann"))  # type: ignore[attr-defined]
    GAZETTE.reader().receive()  # type: ignore[attr-defined]


def in_blocking_code() -> None:
    """The same in blocking code."""
    with GAZETTE.writer() as writer:
        writer.send(3)  # type: ignore[arg-type]
    with GAZETTE.reader() as reader:
        reader.missed = 0  # type: ignore[misc]
