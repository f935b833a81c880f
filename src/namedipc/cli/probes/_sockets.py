"""Domain sockets, and namedipc's Channel: found by path, an end of its own for each client at the server."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import namedipc
from namedipc import lowlevel

from ._sides import MESSAGE_BYTES, Mechanism, ServerSide, Side

NAME = "channel"


class _Listening(ServerSide):
    """A server which tells its clients apart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clients: list[Side] = []

    @property
    def handle(self) -> str:
        return str(self._path)

    @abstractmethod
    def accept(self) -> Side | None:
        """Accept a client that has connected; None where there is none."""

    def clients(self) -> list[Side]:
        """Everybody who has connected, in order."""
        while client := self.accept():
            self._clients.append(client)
        return self._clients

    def put(self, message: bytes) -> None:
        if not self.clients():
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self._clients[-1].put(message)

    def take(self) -> bytes:
        return next(filter(None, (client.take() for client in self.clients())), b"")

    def answer_all(self) -> None:
        for client in self.clients():
            if request := client.take():
                client.put(request)


class _SocketSide(Side):
    def __init__(self, sock: lowlevel.Socket) -> None:
        self._sock = sock
        sock.setblocking(False)

    def put(self, message: bytes) -> None:
        lowlevel.send(self._sock, message)

    def take(self) -> bytes:
        with suppress(BlockingIOError):
            return self._sock.recv(MESSAGE_BYTES)
        return b""

    def close(self) -> None:
        self._sock.close()


class _SocketServer(_Listening):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._listener = lowlevel.unix_listen(path)
        self._listener.setblocking(False)
        self._sides: list[_SocketSide] = []

    def accept(self) -> Side | None:
        try:
            side = _SocketSide(lowlevel.accept(self._listener))
        except BlockingIOError:
            return None
        self._sides.append(side)
        return side

    def close(self) -> None:
        for side in self._sides:
            side.close()
        self._listener.close()


@contextmanager
def _serve_socket(directory: Path) -> Iterator[ServerSide]:
    with closing(_SocketServer(directory / NAME)) as server:
        yield server


@contextmanager
def _join_socket(handle: str) -> Iterator[Side]:
    with closing(_SocketSide(lowlevel.unix_connect(handle))) as side:
        yield side


class _ChannelSide(Side):
    def __init__(self, connection: namedipc.BlockingConnection[bytes]) -> None:
        self._connection = connection

    def put(self, message: bytes) -> None:
        self._connection.send(message)

    def take(self) -> bytes:
        with suppress(namedipc.WouldBlock, namedipc.EndOfChannel):
            return self._connection.receive_nowait()
        return b""

    def close(self) -> None:
        self._connection.close()


class _ChannelServer(_Listening):
    def __init__(self, path: Path, listener: namedipc.BlockingListener[namedipc.BlockingConnection[bytes]]) -> None:
        super().__init__(path)
        self._listener = listener
        self._sides: list[_ChannelSide] = []

    def accept(self) -> Side | None:
        try:
            side = _ChannelSide(self._listener.accept(timeout=0))
        except namedipc.TimedOut:
            return None
        self._sides.append(side)
        return side

    def close(self) -> None:
        for side in self._sides:
            side.close()


@contextmanager
def _serve_channel(directory: Path) -> Iterator[ServerSide]:
    path = directory / NAME
    with (
        namedipc.Channel(path, bytes).listen() as listener,
        closing(_ChannelServer(path, listener)) as server,
    ):
        yield server


@contextmanager
def _join_channel(handle: str) -> Iterator[Side]:
    with namedipc.Channel(handle, bytes).connect() as connection:
        yield _ChannelSide(connection)


SOCKETS = Mechanism("domain sockets", _serve_socket, _join_socket)
NAMEDIPC = Mechanism("namedipc", _serve_channel, _join_channel)
