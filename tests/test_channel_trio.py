"""The open ends of a channel in trio: whole messages, and what a cancellation leaves behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from namedipc import lowlevel
from namedipc._channel import Channel
from namedipc._channel_trio import FINISH_SECONDS, Connection
from namedipc._errors import (
    Closed,
    ConnectionLost,
    EndOfChannel,
    InvalidMessage,
    ProtocolError,
    RemoteError,
    SchemaMismatch,
    TimedOut,
    TooLarge,
    WouldBlock,
)
from namedipc._protocol.frames import HEADER, MESSAGE, MESSAGES, SCHEMA, pack_frame
from namedipc._protocol.hello import CHANNEL, Hello
from namedipc._protocol.messages import pack_message
from namedipc._shells import patience
from namedipc._values import Limits

from .channel_support import Background, BytePeer, fill, filler, trio_ends

pytestmark = pytest.mark.usefixtures("no_leaks")

BIG = bytes(range(256)) * 2000  # more than a socket takes at once
STEP = 50_000  # less than a full socket holds


@pytest.fixture
def channel(tmp_path: Path) -> Channel[bytes]:
    """A channel of bytes."""
    return Channel(tmp_path / "channel", bytes)


@pytest.fixture
def numbers(tmp_path: Path) -> Channel[int]:
    """A channel of numbers."""
    return Channel(tmp_path / "numbers", int)


# ------------------------------------------------------------ messages


async def test_messages_both_ways(channel: Channel[bytes]) -> None:
    """Whole, in order, of any size, while both send at once; and counted."""
    sizes = [0, 1, 65_536, 300_000, 7]

    async def send(end: Connection[bytes]) -> None:
        for number, size in enumerate(sizes):
            await end.send(bytes([number]) * size)
        await end.send_eof()

    async def receive(end: Connection[bytes]) -> None:
        assert [message async for message in end] == [bytes([number]) * size for number, size in enumerate(sizes)]

    async with trio_ends(channel) as (server, client):
        async with trio.open_nursery() as nursery:
            for end in (server, client):
                nursery.start_soon(send, end)
                nursery.start_soon(receive, end)
        ours, theirs = server.statistics(), client.statistics()
        assert ours.messages_sent == ours.messages_received == 5
        assert ours.bytes_sent == theirs.bytes_received > sum(sizes)


async def test_many_at_one_go(numbers: Channel[int]) -> None:
    """`send_many` and `receive_many` keep the order; the most is kept to."""
    async with trio_ends(numbers) as (server, client):
        await client.send_many(range(5000))
        await client.send_many([])
        assert await server.receive_many(max_messages=3) == [0, 1, 2]
        got: list[int] = []
        while len(got) < 4997:
            got += await server.receive_many()
        assert got == list(range(3, 5000))
        with pytest.raises(ValueError, match="max_messages=0"):
            await server.receive_many(max_messages=0)


async def test_many_in_a_frame(numbers: Channel[int]) -> None:
    """As soon as the peer's limit is known those of one `send_many` travel together, and one alone as ever."""
    async with numbers.listen() as listener:
        with BytePeer(numbers) as peer:
            async with await listener.accept() as end:
                await end.send_many([1, 2])
                assert peer.counts() == [0, 0]
                peer.greet()
                await end.send_many(list(range(600)))
                await end.send_many(tuple(range(257)))
                await end.send_many(iter(range(1026)))
                await end.send_many([1])
                assert peer.counts() == [256, 256, 88, 256, 0, 1024, 2, 0]
                assert end.statistics().messages_sent == 2 + 600 + 257 + 1026 + 1


async def test_one_by_one_of_many(numbers: Channel[int]) -> None:
    """Any number may receive what came together, each message once; without waiting, too. They are counted."""
    received: list[int] = []

    async def receive() -> None:
        async for message in server:
            received.append(message)

    async with trio_ends(numbers) as (server, client):
        await client.send(0)
        await client.send_many(list(range(1, 1000)))
        assert [await server.receive(), server.receive_nowait(), await server.receive()] == [0, 1, 2]
        assert await server.receive_many(max_messages=2) == [3, 4]
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.receive()
        assert server.statistics().messages_received == 5
        await client.send_eof()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(receive)
        assert sorted(received) == list(range(5, 1000))
        assert (client.statistics().messages_sent, server.statistics().messages_received) == (1000, 1000)


async def test_many_tasks(numbers: Channel[int]) -> None:
    """Any number may send and receive: each message is received once."""
    received: list[int] = []

    async def send(number: int) -> None:
        for step in range(50):
            await client.send(100 * number + step)

    async def receive() -> None:
        async for message in server:
            received.append(message)

    async with trio_ends(numbers) as (server, client), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(receive)
        async with trio.open_nursery() as senders:
            for number in range(4):
                senders.start_soon(send, number)
        await client.send_eof()
    assert sorted(received) == sorted(100 * number + step for number in range(4) for step in range(50))


async def test_each_checkpoints(numbers: Channel[int]) -> None:
    """Also where it need not wait; and a cancelled scope keeps a message from leaving."""
    async with trio_ends(numbers) as (server, client):
        with trio.testing.assert_checkpoints():
            await client.send(1)
        with trio.testing.assert_checkpoints():
            await client.send_many([2, 3])
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.send(666)
        for expected in (1, 2):
            with trio.testing.assert_checkpoints():
                assert await server.receive() == expected
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.receive()
        with trio.testing.assert_checkpoints():
            assert await server.receive_many() == [3]
        with trio.testing.assert_checkpoints():
            await client.send_eof()
        with trio.testing.assert_checkpoints():
            await client.aclose()
        with trio.testing.assert_checkpoints():
            await client.aclose()


async def test_without_waiting(channel: Channel[bytes]) -> None:
    """A message that is there is received, one that fits is sent, and otherwise it says so and nothing has happened."""
    async with trio_ends(channel) as (server, client):
        with pytest.raises(trio.WouldBlock) as caught:
            server.receive_nowait()
        assert isinstance(caught.value, WouldBlock)
        count = fill(client)
        with pytest.raises(trio.WouldBlock, match="the peer has to read first"):
            client.send_nowait(b"more")
        assert client.statistics().messages_sent >= count
        for number in range(count):
            assert server.receive_nowait() == filler(number)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(WouldBlock, match="another task is receiving"):
                server.receive_nowait()
            nursery.cancel_scope.cancel()


async def test_a_large_message_that_is_there(channel: Channel[bytes]) -> None:
    """Needs more than one read, and still no waiting."""
    async with trio_ends(channel) as (server, client):
        await client.send(bytes(150_000))
        assert server.receive_nowait() == bytes(150_000)
        await client.send_many([b"a", bytes(150_000), b"b"])
        assert await server.receive_many() == [b"a", bytes(150_000), b"b"]


async def test_what_has_begun_without_waiting(channel: Channel[bytes]) -> None:
    """It is finished by itself, and counts as sent."""
    async with trio_ends(channel) as (server, client):
        client.send_nowait(BIG)
        with pytest.raises(WouldBlock):
            client.send_nowait(b"between")
        assert await server.receive() == BIG
        assert client.statistics().messages_sent == 1


async def test_another_task_is_sending(channel: Channel[bytes]) -> None:
    """`send_nowait` does not come in between."""
    async with trio_ends(channel) as (server, client), trio.open_nursery() as nursery:
        nursery.start_soon(client.send, BIG)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(WouldBlock, match="another task is sending"):
            client.send_nowait(b"between")
        assert await server.receive() == BIG


# ------------------------------------------------------------ what does not fit


async def test_a_value_of_another_type(numbers: Channel[int]) -> None:
    """It is refused before a byte has left; of several not one leaves."""
    async with trio_ends(numbers) as (server, client):
        before = client.statistics().bytes_sent
        wrong: int = "one"  # type: ignore[assignment]  # what a caller without a type checker may do
        with pytest.raises(InvalidMessage):
            await client.send(wrong)
        many: list[int] = [*range(300), wrong]
        for values in (many, tuple(many), iter(many)):
            with pytest.raises(InvalidMessage, match=f"{numbers.path}: expected int, got str"):
                await client.send_many(values)
        with pytest.raises(InvalidMessage):
            client.send_nowait(wrong)
        assert client.statistics().bytes_sent == before
        await client.send(5)
        assert await server.receive() == 5


async def test_a_value_that_is_too_large(channel: Channel[bytes]) -> None:
    """The listener's limit holds for a client which has never received: nothing has left, and the next one is fine."""
    async with trio_ends(channel, Limits(message_bytes=100)) as (server, client):
        before = client.statistics().messages_sent
        with pytest.raises(TooLarge, match=rf"{channel.path}: a message of 1\d\d bytes; the other side accepts 100"):
            await client.send(bytes(100))
        with pytest.raises(TooLarge):
            await client.send_many([b"a", bytes(100)])
        assert client.statistics().messages_sent == before
        await client.send(bytes(90))
        assert await server.receive() == bytes(90)


async def test_a_received_value_of_another_type(numbers: Channel[int]) -> None:
    """Only a peer that does not keep to its own declaration sends one: the next message is fine."""
    async with numbers.listen() as listener:
        with BytePeer(numbers) as peer:
            peer.greet()
            good, bad = peer.pack(7), pack_message(b"\xa3abc")
            async with await listener.accept() as end:
                peer.socket.sendall(bad + good)
                with pytest.raises(InvalidMessage):
                    await end.receive()
                assert await end.receive() == 7
                together = pack_frame(MESSAGES, b"\x94\x07\x07\xa3abc\x07")
                for frames in (good + good + bad + good, together):
                    peer.socket.sendall(frames)
                    assert await end.receive_many() == [7, 7]
                    with pytest.raises(InvalidMessage):
                        await end.receive_many()
                    assert await end.receive_many() == [7]
                assert end.statistics().messages_received == 10


# ------------------------------------------------------------ cancelling


@pytest.mark.parametrize("read", [0, 1, 40, 90, 5_000, 200_000, 400_000, 500_000])
async def test_a_send_that_is_cancelled(channel: Channel[bytes], read: int) -> None:
    """However much of it has left: the next one is whole, and this one is whole or was never sent."""
    async with channel.listen() as listener:
        with BytePeer(channel) as peer:
            peer.greet()
            async with await listener.accept() as end:
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(end.send, BIG)
                        await trio.testing.wait_all_tasks_blocked()
                        for at in range(0, read, STEP):
                            peer.take(min(STEP, read - at))
                            await trio.testing.wait_all_tasks_blocked()
                        scope.cancel()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(end.send_many, [b"next", b"and next"])
                    messages: list[bytes] = []
                    while len(messages) < 3:
                        await trio.testing.wait_all_tasks_blocked()
                        assert peer.drain()
                        messages += peer.messages()
                assert messages == [BIG, b"next", b"and next"]
                assert end.statistics().messages_sent == 3


async def test_a_send_that_had_not_begun(channel: Channel[bytes]) -> None:
    """It is taken back, be it alone, among others, or waiting for its turn."""
    async with trio_ends(channel) as (server, client):
        count = fill(client)
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, filler(666))
                nursery.start_soon(client.send_many, [filler(667), filler(668)])
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert client.statistics().messages_sent == count
        received = [await server.receive() for _ in range(count)]
        await client.send(b"next")
        received.append(await server.receive())
        assert received == [*map(filler, range(count)), b"next"]


async def test_a_cancelled_message_is_finished_by_itself(channel: Channel[bytes]) -> None:
    """The peer has it whole, though nothing more is sent; without waiting nothing comes in between."""
    async with trio_ends(channel) as (server, client):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, BIG)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        with pytest.raises(WouldBlock):
            client.send_nowait(b"between")
        assert await server.receive() == BIG
        await trio.testing.wait_all_tasks_blocked()
        client.send_nowait(b"next")
        assert await server.receive() == b"next"


async def test_closing_behind_a_cancelled_send(channel: Channel[bytes]) -> None:
    """The message that had begun is finished, and then the goodbye."""
    async with trio_ends(channel) as (server, client):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, BIG)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await trio.testing.wait_all_tasks_blocked()  # the rest is being sent by now
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.aclose)
            assert [message async for message in server] == [BIG]


async def test_a_cancelled_message_to_a_peer_that_dies(channel: Channel[bytes]) -> None:
    """What finishes it ends quietly, and the next send tells."""
    async with channel.listen() as listener:
        peer = BytePeer(channel)
        async with await listener.accept() as end:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(end.send, BIG)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            peer.socket.close()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ConnectionLost):
                await end.send(b"x")


async def test_a_receive_that_is_cancelled(channel: Channel[bytes]) -> None:
    """Wherever the stream was cut, nothing is lost."""
    async with channel.listen() as listener:
        with BytePeer(channel) as peer:
            async with await listener.accept() as end:
                stream = peer.session.opening + peer.pack(b"one", b"", b"three")
                received: list[bytes] = []

                async def receive() -> None:
                    received.append(await end.receive())

                for at in range(len(stream)):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(receive)
                        await trio.testing.wait_all_tasks_blocked()
                        nursery.cancel_scope.cancel()
                    peer.socket.sendall(stream[at : at + 1])
                await receive()
                assert received == [b"one", b"", b"three"]


async def test_a_receive_that_is_cancelled_while_another_waits(numbers: Channel[int]) -> None:
    """The other one has the message."""
    received: list[int] = []

    async def receive(scope: trio.CancelScope) -> None:
        with scope:
            received.append(await server.receive())

    async with trio_ends(numbers) as (server, client), trio.open_nursery() as nursery:
        scopes = [trio.CancelScope() for _ in range(3)]
        for scope in scopes:
            nursery.start_soon(receive, scope)
            await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        scopes[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        await client.send(1)
    assert received == [1]


# ------------------------------------------------------------ the end


async def test_an_orderly_end(numbers: Channel[int]) -> None:
    """What was sent is received, then EndOfChannel, which is trio's too; and again."""
    async with trio_ends(numbers) as (server, client):
        await client.send_many([1, 2])
        await client.aclose()
        assert [message async for message in server] == [1, 2]
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel) as caught:
                await server.receive()
            assert isinstance(caught.value, EndOfChannel)
        with pytest.raises(EndOfChannel):
            server.receive_nowait()
        with pytest.raises(trio.BrokenResourceError):
            await server.send(3)


async def test_the_end_behind_messages_taken_together(numbers: Channel[int]) -> None:
    """`receive_many` returns them, and the next call tells."""
    async with trio_ends(numbers) as (server, client):
        await client.send_many([1, 2])
        await client.aclose()
        assert await server.receive_many() == [1, 2]
        with pytest.raises(EndOfChannel):
            await server.receive_many()


async def test_half_close(numbers: Channel[int]) -> None:
    """The peer's receiving ends, it answers, and this end can only receive; twice is safe."""
    async with trio_ends(numbers) as (server, client):
        await client.send(1)
        await client.send_eof()
        await client.send_eof()
        assert [message async for message in server] == [1]
        with pytest.raises(trio.ClosedResourceError, match="send_eof"):
            await client.send(2)
        await server.send(3)
        assert await client.receive() == 3
        await server.aclose()
        with pytest.raises(EndOfChannel):
            await client.receive()


async def test_half_close_with_a_full_socket(channel: Channel[bytes]) -> None:
    """It waits for the peer to read; when it is cancelled the end is said all the same."""
    for cancelled in (False, True):
        async with trio_ends(channel) as (server, client):
            count = fill(client)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send_eof)
                await trio.testing.wait_all_tasks_blocked()
                if cancelled:
                    nursery.cancel_scope.cancel()
                else:
                    assert len([message async for message in server]) == count
            if cancelled:
                with pytest.raises(Closed, match="send_eof"):
                    await client.send(b"x")
                assert len([message async for message in server]) == count


async def test_a_lost_peer(numbers: Channel[int]) -> None:
    """What it had sent comes first; the loss is trio's BrokenResourceError, and the connection's."""
    async with numbers.listen() as listener:
        with BytePeer(numbers) as peer:
            peer.greet()
            peer.socket.sendall(peer.pack(1))
        async with await listener.accept() as end:
            with pytest.raises(ConnectionLost):
                await end.send(1)
            assert await end.receive() == 1
            with pytest.raises(trio.BrokenResourceError, match="without a goodbye") as caught:
                await end.receive()
            assert isinstance(caught.value, ConnectionLost)


Use = Callable[[Connection[bytes]], Awaitable[object]]


@pytest.mark.parametrize(
    "use", [Connection.receive, Connection.receive_many, lambda end: end.send(BIG), lambda end: end.send_many([BIG])]
)
async def test_closing_while_others_wait(channel: Channel[bytes], use: Use) -> None:
    """They learn that it was this side; so does whoever comes later."""

    async def expect() -> None:
        with pytest.raises(trio.ClosedResourceError) as caught:
            await use(client)
        assert isinstance(caught.value, Closed)
        raised.append(caught.value)

    raised: list[BaseException] = []
    async with trio_ends(channel) as (_server, client):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(expect)
            await trio.testing.wait_all_tasks_blocked()
            await client.aclose()
        await expect()
        assert len(raised) == 3


async def test_closing_with_a_full_socket(channel: Channel[bytes], autojump_clock: trio.testing.MockClock) -> None:
    """A peer that does not read holds it up for a second, twice at once for no longer, and a cancellation ends it."""
    for close in ("once", "twice", "cancelled"):
        async with channel.listen() as listener:
            with BytePeer(channel):
                end = await listener.accept()
                fill(end)
                began = trio.current_time()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(end.aclose)
                    if close == "twice":
                        await trio.testing.wait_all_tasks_blocked()
                        nursery.start_soon(end.aclose)
                        await trio.testing.wait_all_tasks_blocked()
                        with pytest.raises(Closed):
                            await end.send(b"x")
                    if close == "cancelled":
                        nursery.cancel_scope.cancel()
                assert trio.current_time() - began == (0.0 if close == "cancelled" else FINISH_SECONDS)
                with pytest.raises(Closed):
                    end.send_nowait(b"x")


async def test_closing_waits_for_a_peer_that_reads(channel: Channel[bytes]) -> None:
    """Then it has everything, and the goodbye."""
    async with trio_ends(channel) as (server, client):
        count = fill(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert len([message async for message in server]) == count


# ------------------------------------------------------------ peers that do not keep to it


@pytest.mark.parametrize(
    ("garbage", "text"),
    [(b"GET / HTTP/1.1\r\n\r\n".ljust(64), "does not speak namedipc"), (b"hello\n", "does not speak namedipc")],
)
async def test_garbage(channel: Channel[bytes], garbage: bytes, text: str) -> None:
    """It is a protocol error with the path; and nothing is sent to it after that."""
    async with channel.listen() as listener:
        with BytePeer(channel) as peer:
            peer.socket.sendall(garbage)
            async with await listener.accept() as end:
                with pytest.raises(ProtocolError, match=f"{channel.path}: .*{text}"):
                    await end.receive()
                with pytest.raises(ProtocolError):
                    await end.send(b"x")


async def test_a_giant_length(channel: Channel[bytes]) -> None:
    """It is refused with its header, behind the messages before it."""
    async with channel.listen() as listener:
        with BytePeer(channel) as peer:
            peer.greet()
            peer.socket.sendall(peer.pack(b"x") + HEADER.pack(2**31, MESSAGE, 0, 0, 0))
            async with await listener.accept() as end:
                assert await end.receive_many() == [b"x"]
                with pytest.raises(ProtocolError, match=r"2147483648 bytes was announced; the limit is 1048576"):
                    await end.receive()


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b'{"type":7}', b"\xff", b"[" * 100_000, b"9" * 5000])
async def test_a_schema_that_cannot_be_read(channel: Channel[bytes], text: bytes) -> None:
    """Whatever it is, it is a mismatch."""
    hello = Hello(CHANNEL, 1 << 20, bytes(16)).pack()
    async with channel.listen() as listener:
        with BytePeer(channel) as peer:
            peer.socket.sendall(hello + pack_frame(SCHEMA, text) + peer.pack(b"x"))
            async with await listener.accept() as end:
                with pytest.raises(SchemaMismatch, match=str(channel.path)):
                    await end.receive()


async def test_a_silent_peer(channel: Channel[bytes]) -> None:
    """It holds up nobody, connected before the others or not, and can still begin to speak."""
    limits = Limits(handshake_seconds=60)
    async with channel.listen(limits=limits) as listener, trio.open_nursery() as nursery:

        async def echo(end: Connection[bytes]) -> None:
            async for message in end:
                await end.send(message)

        nursery.start_soon(listener.serve, echo)
        with BytePeer(channel) as silent:
            for number in range(3):
                async with channel.connect() as client:
                    await client.send(b"%d" % number)
                    assert await client.receive() == b"%d" % number
            silent.greet()
            silent.socket.sendall(silent.pack(b"late"))
            await trio.lowlevel.wait_readable(silent.socket)
            while not (messages := silent.messages()):
                await trio.lowlevel.wait_readable(silent.socket)
                silent.drain()
            assert messages == [b"late"]
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------ peers that are too slow


@pytest.mark.parametrize("drip", [False, True])
async def test_no_whole_hello(channel: Channel[bytes], *, drip: bool) -> None:
    """Whether it says nothing or now and then a byte: its time is up, both are told, and no more can be sent."""
    async with channel.listen(limits=Limits(handshake_seconds=0.05)) as listener, trio.open_nursery() as nursery:
        with BytePeer(channel) as peer:

            async def speak() -> None:
                with suppress(BrokenPipeError):  # it is given up while it speaks
                    for byte in peer.session.opening[:-1]:
                        peer.socket.send(bytes([byte]))
                        await trio.sleep(0.002)

            async with await listener.accept() as end:
                if drip:
                    nursery.start_soon(speak)
                for _ in range(2):
                    with pytest.raises(
                        ConnectionLost, match=f"{channel.path}: the peer was too slow: no whole hello within 0.05 sec"
                    ) as caught:
                        await end.receive()
                    assert isinstance(caught.value, trio.BrokenResourceError)
                nursery.cancel_scope.cancel()
                with pytest.raises(ConnectionLost, match="too slow"):
                    await end.send(b"x")
                peer.drain()
                with pytest.raises(TimedOut, match="too slow: no whole hello"):
                    peer.messages()
                assert lowlevel.receive_now(peer.socket, 1) == b""


async def test_a_frame_that_does_not_end(channel: Channel[bytes]) -> None:
    """What was whole comes first; a task in the middle of a send, to which nothing may be added, learns it as well."""
    async with channel.listen(limits=Limits(midframe_seconds=0.05)) as listener:
        with BytePeer(channel) as peer:
            peer.greet()
            peer.socket.sendall(peer.pack(b"whole", b"cut off")[:-1])
            async with await listener.accept() as end:
                assert await end.receive() == b"whole"

                async def send() -> None:
                    with pytest.raises(ConnectionLost):
                        await end.send(BIG)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    await trio.testing.wait_all_tasks_blocked()
                    with pytest.raises(ConnectionLost, match="a frame that has begun does not end within"):
                        await end.receive()


async def test_an_idle_peer_owes_nothing(channel: Channel[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that has not accepted yet: no clock is looked at, whether a message is there or waited for."""
    monkeypatch.setattr(patience, "monotonic", lambda: pytest.fail("looked at the clock"))
    limits = Limits(handshake_seconds=0.01, midframe_seconds=0.01)
    async with channel.listen(limits=limits) as listener, channel.connect(limits=limits) as client:
        with trio.move_on_after(0.05) as scope:
            await client.receive()
        assert scope.cancelled_caught
        async with await listener.accept() as server, trio.open_nursery() as nursery:
            await client.send(b"there")
            assert await server.receive() == b"there"

            async def receive() -> None:
                assert await server.receive() == b"waited for"

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await client.send(b"waited for")


async def test_another_programs_time_is_the_real_one(
    channel: Channel[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    """A clock that jumps ends no connection to whoever lives by the real one."""
    async with channel.listen(limits=Limits(handshake_seconds=60)) as listener:
        with BytePeer(channel) as peer:

            def speak() -> None:
                while autojump_clock.current_time() < 200:
                    os.sched_yield()
                peer.greet()
                peer.socket.sendall(peer.pack(b"late"))

            other = Background(speak)
            async with await listener.accept() as end:
                assert await end.receive() == b"late"
            other.result()


# ------------------------------------------------------------ the listener


async def test_a_handler_that_fails(channel: Channel[bytes]) -> None:
    """Its peer is told, behind what it had sent; the others and the listener go on."""

    async def handler(end: Connection[bytes]) -> None:
        async for message in end:
            await end.send(message)
            if message == b"bad":
                raise KeyError("no such dish")

    async with channel.listen() as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, handler)
        async with channel.connect() as other, channel.connect() as client:
            await client.send(b"bad")
            assert await client.receive() == b"bad"
            with pytest.raises(RemoteError, match=f"{channel.path}: KeyError: 'no such dish'") as caught:
                await client.receive()
            assert (caught.value.type_name, caught.value.message) == ("KeyError", "'no such dish'")
            assert 'raise KeyError("no such dish")' in caught.value.traceback_text
            with pytest.raises((RemoteError, ConnectionLost)):
                await client.send(b"more")
            await other.send(b"good")
            assert await other.receive() == b"good"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_peer_that_leaves_its_handler(channel: Channel[bytes], lost: bool) -> None:
    """In order or not, that is no error of the handler, and the connection is closed."""
    left: list[str] = []

    async def handler(end: Connection[bytes]) -> None:
        try:
            await end.receive()
        except (EndOfChannel, ConnectionLost) as error:
            left.append(type(error).__name__)
            raise
        finally:
            gone.set()

    gone = trio.Event()
    async with channel.listen() as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, handler)
        with BytePeer(channel) as peer:
            peer.greet()
            if not lost:
                peer.socket.sendall(peer.session.goodbye())
        await gone.wait()
        assert left == ["ConnectionLost" if lost else "EndOfChannel"]
        await listener.aclose()


async def test_cancelling_serve(channel: Channel[bytes]) -> None:
    """The handlers end and their connections are closed with a goodbye; the listener listens on."""
    waiting = trio.Event()

    async def handler(end: Connection[bytes]) -> None:
        waiting.set()
        await end.receive()

    async with channel.listen() as listener:
        async with channel.connect() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.serve, handler)
                await waiting.wait()
                nursery.cancel_scope.cancel()
            with pytest.raises(EndOfChannel):
                await client.receive()
        async with channel.connect(), await listener.accept():
            pass


async def test_closing_the_listener(channel: Channel[bytes]) -> None:
    """Who accepts or serves ends, who was accepted goes on, and the name has gone."""

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError, match=f"{channel.path}: this listener has been closed") as caught:
            await listener.accept()
        assert isinstance(caught.value, Closed)

    async with channel.listen() as listener, channel.connect() as client:
        assert listener.path == channel.path
        async with await listener.accept() as server:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                nursery.start_soon(accept)
                nursery.start_soon(listener.serve, Connection.receive)
                await trio.testing.wait_all_tasks_blocked()
                with trio.testing.assert_checkpoints():
                    await listener.aclose()
                await listener.aclose()
            await accept()
            assert not channel.exists()
            await client.send(b"x")
            assert await server.receive() == b"x"


async def test_a_cancelled_accept(channel: Channel[bytes]) -> None:
    """Whoever connects stays in the backlog."""
    async with channel.listen() as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with channel.connect() as client:
            with trio.CancelScope() as scope:
                scope.cancel()
                await listener.accept()
            await client.send(b"x")
            async with await listener.accept() as server:
                assert await server.receive() == b"x"


async def test_out_of_descriptors(
    channel: Channel[bytes], monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """The listener asks again after a pause, not at once, and then accepts who waited."""
    accept, failures = lowlevel.accept, [1, 2, 3]

    def scarce(listener: lowlevel.Socket) -> lowlevel.Socket:
        if failures:
            failures.pop()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(listener)

    monkeypatch.setattr(lowlevel, "accept", scarce)
    async with channel.listen() as listener, channel.connect():
        began = trio.current_time()
        async with await listener.accept():
            assert trio.current_time() - began > 0.1
