"""Files, and files mapped as shared memory: one for the request and one for the response, found by path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from namedipc import lowlevel

from ._sides import MESSAGE_BYTES, Mechanism, ServerSide, Side

REQUEST, RESPONSE = "request", "response"


class _FoundByPath(ServerSide):
    """Knows the directory of both files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def handle(self) -> str:
        return str(self._directory)

    @property
    def names(self) -> tuple[str, str]:
        return (str(self._directory / RESPONSE), str(self._directory / REQUEST))


class _FileSide(_FoundByPath):
    """Writes one file from its start, reads another from its start, as the chapter's `string_data`."""

    def __init__(self, directory: Path, *, written: str, read: str) -> None:
        super().__init__(directory)
        self._written = os.open(directory / written, os.O_WRONLY)
        self._read = os.open(directory / read, os.O_RDONLY)

    def put(self, message: bytes) -> None:
        os.pwrite(self._written, message.ljust(MESSAGE_BYTES, b"\0"), 0)

    def take(self) -> bytes:
        return os.pread(self._read, MESSAGE_BYTES, 0).rstrip(b"\0")

    def close(self) -> None:
        os.close(self._written)
        os.close(self._read)


class _MappedSide(_FoundByPath):
    """The same by stores and loads, with MAP_SHARED."""

    def __init__(self, directory: Path, *, written: str, read: str) -> None:
        super().__init__(directory)
        self._written = _map(directory / written)
        self._read = _map(directory / read)

    def put(self, message: bytes) -> None:
        self._written[:] = message.ljust(MESSAGE_BYTES, b"\0")

    def take(self) -> bytes:
        return self._read[:].rstrip(b"\0")

    def close(self) -> None:
        self._written.close()
        self._read.close()


def _map(path: Path) -> lowlevel.Mapping:
    file = os.open(path, os.O_RDWR)
    try:
        return lowlevel.map_shared(file, MESSAGE_BYTES, writable=True)
    finally:
        os.close(file)


@contextmanager
def _serve_file(directory: Path) -> Iterator[ServerSide]:
    for name in (REQUEST, RESPONSE):
        (directory / name).touch()
    with closing(_FileSide(directory, written=RESPONSE, read=REQUEST)) as side:
        yield side


@contextmanager
def _join_file(handle: str) -> Iterator[Side]:
    with closing(_FileSide(Path(handle), written=REQUEST, read=RESPONSE)) as side:
        yield side


@contextmanager
def _serve_mapped(directory: Path) -> Iterator[ServerSide]:
    for name in (REQUEST, RESPONSE):
        (directory / name).write_bytes(bytes(MESSAGE_BYTES))
    with closing(_MappedSide(directory, written=RESPONSE, read=REQUEST)) as side:
        yield side


@contextmanager
def _join_mapped(handle: str) -> Iterator[Side]:
    with closing(_MappedSide(Path(handle), written=REQUEST, read=RESPONSE)) as side:
        yield side


FILES = Mechanism("files", _serve_file, _join_file)
SHARED_MEMORY = Mechanism("shared memory", _serve_mapped, _join_mapped)
