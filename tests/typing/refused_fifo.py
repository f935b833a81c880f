"""Fifo and RawFifo: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc import Fifo, FifoWriter

from .names import SLOT, TUBE, Letter

Fifo("x", Letter("ann"))  # type: ignore[arg-type]
Fifo("x")  # type: ignore[call-arg]
Fifo(Letter, "x")  # type: ignore[arg-type]
Fifo("x", str, framing="line")  # type: ignore[arg-type]
Fifo("x", str, "lines")  # type: ignore[call-arg]


async def in_trio() -> None:
    """A writer does not read, a reader does not write, and a message has its type."""
    async with SLOT.writer() as writer, SLOT.reader() as reader:
        await writer.send("x")  # type: ignore[arg-type]
        await writer.receive()  # type: ignore[attr-defined]
        await reader.send(Letter("ann"))  # type: ignore[attr-defined]
        wider: FifoWriter[Letter | str] = writer  # type: ignore[assignment]
        await wider.aclose()
    await SLOT.writer().send(Letter("ann"))  # type: ignore[attr-defined]
    SLOT.reader(capacity_bytes=1)  # type: ignore[call-arg]


def in_blocking_code() -> None:
    """The same in blocking code."""
    with SLOT.writer() as writer:
        writer.send("x")  # type: ignore[arg-type]
    with TUBE.writer() as raw:
        raw.send_all("text")  # type: ignore[arg-type]
