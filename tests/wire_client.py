"""A client made of a socket and bytes, for what no proper client does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import trio

from namedipc import Limits, Server, Service, lowlevel
from namedipc._protocol.frames import CALL, ERROR, HEADER, REPLY, Frame, FrameReader, pack_call
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._schema import Schema

from .kitchen import Chef, Kitchen, Mill, Order

SCHEMA: Schema[Kitchen] = Schema(Kitchen, frame_globals=globals(), frame_locals={})
MILL: Schema[Mill] = Schema(Mill, frame_globals=globals(), frame_locals={})
HELLO = Hello(SERVICE, 1 << 20, SCHEMA.fingerprint).pack()


class WireClient:
    """Sends any bytes to a service, and reads frames."""

    def __init__(self, path: Path) -> None:
        self.socket = lowlevel.unix_connect(path)
        self.socket.setblocking(False)
        self._reader = FrameReader(16 << 20)
        self._greeted = False

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        while data:
            try:
                data = data[lowlevel.send(self.socket, data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.socket)

    async def call(self, method: str, id_: int, *args: object, deadline: float | None = None) -> None:
        """Send a call."""
        await self.send(call_frame(method, id_, *args, deadline=deadline))

    async def frame(self) -> Frame | None:
        """Read the next frame; None at the end."""
        with trio.fail_after(10):
            while True:
                if not self._greeted:
                    self._greeted = self._reader.take(HELLO_BYTES) is not None
                if self._greeted and (frame := self._reader.next_frame()) is not None:
                    return frame
                await trio.lowlevel.wait_readable(self.socket)
                try:
                    data = self.socket.recv(65536)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._reader.feed(data)

    async def reply(self, id_: int) -> object:
        """Read the next frame, which is the reply to this call."""
        frame = await self.frame()
        assert frame is not None
        assert (frame[0], frame[3]) == (REPLY, id_)
        return msgspec.msgpack.decode(frame[4])

    async def fault(self, id_: int) -> str:
        """Read the next frame, which is the error of this call (0: of the connection); its code."""
        frame = await self.frame()
        assert frame is not None
        assert (frame[0], frame[3]) == (ERROR, id_)
        return code_of(frame)

    async def end(self) -> None:
        """Nothing more comes."""
        assert await self.frame() is None


@contextmanager
def wire_client(path: Path) -> Iterator[WireClient]:
    """Connect, and close at the end."""
    client = WireClient(path)
    try:
        yield client
    finally:
        client.socket.close()


def call_frame(method: str, id_: int, *args: object, deadline: float | None = None) -> bytes:
    """A call as bytes."""
    found = SCHEMA.by_name[method]
    return pack_call(found.index, id_, found.arguments.encode(args, {}), deadline)


def code_of(frame: Frame) -> str:
    """The code of an ERROR frame."""
    return str(msgspec.msgpack.decode(frame[4])["code"])


def giant_frame() -> bytes:
    """The header of a frame that claims four gigabytes."""
    return HEADER.pack((1 << 32) - 1, CALL, 0, 0, 1)


def told(end: lowlevel.Socket) -> tuple[str, str]:
    """What a client that was turned away has been told, after the hello and before the end: code and message."""
    reader = FrameReader(1 << 20)
    while data := end.recv(65536):
        reader.feed(data)
    assert reader.take(HELLO_BYTES) is not None
    frame = reader.next_frame()
    assert frame is not None
    assert not reader.unfinished
    assert (frame[0], frame[3]) == (ERROR, 0)
    fault = msgspec.msgpack.decode(frame[4])
    return fault["code"], fault["message"]


@asynccontextmanager
async def serving(tmp_path: Path, limits: Limits | None = None) -> AsyncIterator[tuple[Path, Kitchen, Chef, Server]]:
    """A kitchen, and a proper client which is asked at the end whether it has noticed anything."""
    service = Service(tmp_path / "kitchen", Kitchen)
    chef = Chef()
    async with service.serve(chef, limits=limits or Limits()) as server, service.connect() as witness:
        assert await witness.pid() == os.getpid()
        yield server.path, witness, chef, server
        assert await witness.cook(Order(1, "soup")) == "soup for 1"
