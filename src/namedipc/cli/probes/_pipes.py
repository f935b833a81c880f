"""Pipes, which are inherited, and FIFOs, which are found by path: one for requests and one for responses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from namedipc import lowlevel

from ._sides import MESSAGE_BYTES, Mechanism, ServerSide, Side

REQUESTS, RESPONSES = "requests", "responses"


class _PipeSide(Side):
    """Writes to one pipe and reads from another."""

    def __init__(self, *, written: int, read: int) -> None:
        self._written = written
        self._read = read
        lowlevel.set_blocking(read, False)

    def put(self, message: bytes) -> None:
        lowlevel.write_pipe(self._written, message)

    def take(self) -> bytes:
        with suppress(BlockingIOError):
            return os.read(self._read, MESSAGE_BYTES)
        return b""


class _PipeServer(_PipeSide, ServerSide):
    def __init__(self, *, written: int, read: int, inherited: tuple[int, int]) -> None:
        super().__init__(written=written, read=read)
        self._inherited = inherited

    @property
    def handle(self) -> str:
        return ",".join(map(str, self._inherited))

    @property
    def inherited(self) -> tuple[int, int]:
        return self._inherited


@contextmanager
def _serve_pipes(_directory: Path) -> Iterator[ServerSide]:
    heard, requests = lowlevel.pipe()
    responses, said = lowlevel.pipe()
    try:
        yield _PipeServer(written=said, read=heard, inherited=(requests, responses))
    finally:
        for end in (heard, requests, responses, said):
            os.close(end)


@contextmanager
def _join_pipes(handle: str) -> Iterator[Side]:
    requests, responses = map(int, handle.split(","))
    yield _PipeSide(written=requests, read=responses)


class _FifoServer(ServerSide):
    """Opens the responses when it first has one: only then is there somebody to read them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._requests = lowlevel.open_fifo_for_reading(directory / REQUESTS)
        self._responses: int | None = None

    @property
    def handle(self) -> str:
        return str(self._directory)

    @property
    def names(self) -> tuple[str, str]:
        return (str(self._directory / RESPONSES), str(self._directory / REQUESTS))

    def put(self, message: bytes) -> None:
        if self._responses is None:
            self._responses = lowlevel.open_fifo_for_writing(self._directory / RESPONSES)
        lowlevel.write_pipe(self._responses, message)

    def take(self) -> bytes:
        with suppress(BlockingIOError):
            return os.read(self._requests, MESSAGE_BYTES)
        return b""

    def close(self) -> None:
        os.close(self._requests)
        if self._responses is not None:
            os.close(self._responses)


@contextmanager
def _serve_fifos(directory: Path) -> Iterator[ServerSide]:
    for name in (REQUESTS, RESPONSES):
        lowlevel.make_fifo(directory / name)
    with closing(_FifoServer(directory)) as server:
        yield server


@contextmanager
def _join_fifos(handle: str) -> Iterator[Side]:
    directory = Path(handle)
    with ExitStack() as stack:
        requests = lowlevel.open_fifo_for_writing(directory / REQUESTS)
        stack.callback(os.close, requests)
        responses = lowlevel.open_fifo_for_reading(directory / RESPONSES)
        stack.callback(os.close, responses)
        yield _PipeSide(written=requests, read=responses)


PIPES = Mechanism("pipes", _serve_pipes, _join_pipes)
FIFOS = Mechanism("FIFOs", _serve_fifos, _join_fifos)
