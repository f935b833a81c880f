"""A raw connection in trio: what trio's own tests ask of a stream, and whom it tells of what."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import lowlevel
from namedipc._channel import RawChannel
from namedipc._errors import Busy, Closed, ConnectionLost
from namedipc._raw_channel_trio import RawConnection

pytestmark = pytest.mark.usefixtures("no_leaks")


class Maker:
    """Makes connected ends, and keeps what they were opened with until the test is over."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.count = 0

    async def ends(self) -> tuple[RawConnection, RawConnection]:
        """Open a connection."""
        self.count += 1
        channel = RawChannel(self.directory / f"channel{self.count}")
        listener = await self.stack.enter_async_context(channel.listen())
        client = await self.stack.enter_async_context(channel.connect())
        server = await self.stack.enter_async_context(await listener.accept())
        return client, server

    async def clogged(self) -> tuple[RawConnection, RawConnection]:
        """Open a connection and send until nothing fits any more, both ways."""
        ends = await self.ends()
        for end in ends:
            clog(end)
        return ends


def clog(end: RawConnection) -> None:
    """Send until nothing fits."""
    zeros = memoryview(bytes(1 << 16))
    while end._link.write(zeros):
        pass
    while end._link.write(zeros[:1]):
        pass


async def test_trios_contract(tmp_path: Path) -> None:
    """A half-closeable stream, as trio itself tests its own."""
    async with AsyncExitStack() as stack:
        maker = Maker(tmp_path, stack)
        await trio.testing.check_two_way_stream(maker.ends, maker.clogged)
        await trio.testing.check_half_closeable_stream(maker.ends, maker.clogged)


async def test_any_buffer_of_any_length(tmp_path: Path) -> None:
    """Bytes, a bytearray, a memoryview of numbers; more than fits at once, and nothing."""
    async with AsyncExitStack() as stack:
        client, server = await Maker(tmp_path, stack).ends()
        numbers = memoryview(bytes(8 * 100_000)).cast("Q")

        async def send() -> None:
            for data in (b"", b"one", bytearray(b"two"), numbers):
                await client.send_all(data)
            await client.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            received = b""
            while data := await server.receive_some():
                received += data
        assert received == b"onetwo" + bytes(numbers)
        assert server.peer.pid == client.peer.pid


async def test_a_lost_peer(tmp_path: Path) -> None:
    """Sending to it is ConnectionLost, which is trio's; so is reading where it left bytes unread."""
    async with AsyncExitStack() as stack:
        client, server = await Maker(tmp_path, stack).ends()
        await client.send_all(b"unread")
        await server.aclose()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.receive_some()
        assert isinstance(caught.value, ConnectionLost)
        with pytest.raises(ConnectionLost):
            await client.send_all(b"x")


async def test_cancelled_receiving_loses_nothing(tmp_path: Path) -> None:
    """The bytes are there for the next one."""
    async with AsyncExitStack() as stack:
        client, server = await Maker(tmp_path, stack).ends()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Busy, match="another task is receiving"):
                await server.receive_some()
            await client.send_all(b"x")
            nursery.cancel_scope.cancel()
        assert await server.receive_some() == b"x"


async def test_closing_while_others_wait(tmp_path: Path) -> None:
    """They learn that it was this side."""

    async def expect(afn: object, *args: object) -> None:
        assert callable(afn)
        with pytest.raises(trio.ClosedResourceError) as caught:
            await afn(*args)
        assert isinstance(caught.value, Closed)

    async with AsyncExitStack() as stack:
        client, _server = await Maker(tmp_path, stack).ends()
        clog(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, client.send_all, b"x")
            nursery.start_soon(expect, client.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            await client.aclose()
        await expect(client.send_eof)
        await expect(client.wait_send_all_might_not_block)


async def test_a_program_without_the_library(tmp_path: Path) -> None:
    """It connects, writes, half-closes and reads, and sees nothing but the bytes."""
    channel = RawChannel(tmp_path / "channel")

    def program() -> bytes:
        with lowlevel.unix_connect(channel.path) as sock:
            sock.sendall(b"question")
            lowlevel.shutdown_write(sock)
            return b"".join(iter(lambda: sock.recv(100), b""))

    async def answer(end: RawConnection) -> None:
        question = b""
        while data := await end.receive_some(3):
            question += data
        await end.send_all(question.upper())

    async with channel.listen() as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, answer)
        assert await trio.to_thread.run_sync(program) == b"QUESTION"
        await listener.aclose()


async def test_a_handler_that_fails(tmp_path: Path) -> None:
    """A byte stream has no words for it: its peer sees the end, and the listener goes on."""
    channel = RawChannel(tmp_path / "channel")

    async def handler(end: RawConnection) -> None:
        if await end.receive_some() == b"bad":
            raise KeyError
        await end.send_all(b"fine")

    async with channel.listen() as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, handler)
        for said, heard in ((b"bad", b""), (b"good", b"fine")):
            async with channel.connect() as client:
                await client.send_all(said)
                assert await client.receive_some() == heard
        nursery.cancel_scope.cancel()
