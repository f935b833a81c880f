"""Channels whose messages carry descriptors, in both worlds: open files arrive open, and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from namedipc import lowlevel
from namedipc._channel import Channel
from namedipc._errors import (
    ConnectionLost,
    InvalidMessage,
    ProtocolError,
    SchemaMismatch,
    TimedOut,
    TooLarge,
    WouldBlock,
)
from namedipc._fd import Fd
from namedipc._values import Limits

from .channel_support import BytePeer, blocking_ends, trio_ends
from .conftest import Children, open_descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")


@attrs.frozen
class Loan:
    """A message with an open file."""

    name: str
    file: Fd | None = None
    content: bytes = b""


@pytest.fixture
def desk(tmp_path: Path) -> Channel[Loan]:
    """Where files are lent."""
    return Channel(tmp_path / "desk", Loan)


def memory(text: bytes) -> Fd:
    """Return an open file with a text in it."""
    number = lowlevel.create_memfd("loan", len(text))
    os.pwrite(number, text, 0)
    fd = Fd(number)
    os.close(number)
    return fd


def content(loan: Loan) -> bytes:
    """Read a file that was lent, and give it back."""
    assert loan.file is not None
    with loan.file.open() as file:
        return file.read()


async def test_in_trio(desk: Channel[Loan]) -> None:
    """One, several at one go with some that carry none, and the way back; the sender's is still its own."""
    async with trio_ends(desk) as (server, client):
        with memory(b"word") as file:
            await client.send(Loan("a", file))
            assert content(await server.receive()) == b"word"
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            await client.send_many([Loan("a"), Loan("b", file), Loan("c")])
            first, second, third = [await server.receive() for _ in range(3)]
            assert (first, third) == (Loan("a"), Loan("c"))
            assert content(second) == b"word"
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            server.send_nowait(Loan("back", file))
        assert content(client.receive_nowait()) == b"word"


def test_in_blocking_code(desk: Channel[Loan]) -> None:
    """The same."""
    with blocking_ends(desk) as (server, client):
        with memory(b"word") as file:
            client.send(Loan("a", file), timeout=20)
            assert content(server.receive(timeout=20)) == b"word"
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            client.send_many([Loan("a"), Loan("b", file), Loan("c")])
            first, second, third = (server.receive(timeout=20) for _ in range(3))
            assert (first, third) == (Loan("a"), Loan("c"))
            assert content(second) == b"word"
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            server.send_nowait(Loan("back", file))
        assert content(client.receive_nowait()) == b"word"


def test_another_process(desk: Channel[Loan], child: Children, tmp_path: Path) -> None:
    """It opens what this one may not need to be able to; and what it had open is closed when both are done."""
    (tmp_path / "diary").write_text("dear diary")
    with desk.listen() as listener:
        other = child(
            """
            import sys, attrs
            from namedipc import Channel, Fd

            @attrs.frozen
            class Loan:
                name: str
                file: Fd | None = None
                content: bytes = b""

            with Channel(sys.argv[1], Loan).connect() as desk:
                name = desk.receive(timeout=20).name
                with open(name, "rb") as file, Fd(file) as fd:
                    desk.send(Loan(name, fd))
                print("sent", flush=True)
                input()
            """,
            str(desk.path),
        )
        with listener.accept(timeout=20) as connection:
            connection.send(Loan(str(tmp_path / "diary")))
            loan = connection.receive(timeout=20)
            other.expect("sent")
            assert str(tmp_path / "diary") not in lowlevel.descriptors(other.pid).values()
            other.kill()
            assert content(loan) == b"dear diary"


async def test_a_long_message(desk: Channel[Loan]) -> None:
    """Its descriptors come with its first byte, and it is whole."""
    async with trio_ends(desk) as (server, client), trio.open_nursery() as nursery:
        with memory(b"word") as file:
            nursery.start_soon(client.send_many, [Loan("long", file, bytes(900_000))] * 2)
            for _ in range(2):
                loan = await server.receive()
                assert len(loan.content) == 900_000
                assert content(loan) == b"word"
                os.lseek(file.fileno(), 0, os.SEEK_SET)


async def test_a_send_that_is_cancelled(desk: Channel[Loan]) -> None:
    """What has begun is finished with its descriptors, what has not is taken back. No duplicate is left either way."""
    async with trio_ends(desk) as (server, client):
        with memory(b"word") as file:
            before = open_descriptors()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.send, Loan("long", file, bytes(900_000)))
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(client.send, Loan("second", file))
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            assert open_descriptors() == before
            loan = await server.receive()
            assert loan.name == "long"
            assert content(loan) == b"word"
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            await client.send(Loan("third", file))
        assert (loan := await server.receive()).name == "third"
        assert content(loan) == b"word"


def test_a_send_that_times_out(desk: Channel[Loan]) -> None:
    """What has not begun is taken back with its descriptors, by `send` and by `send_nowait`."""
    with blocking_ends(desk) as (server, client), memory(b"word") as file:
        with pytest.raises(TimedOut):
            client.send(Loan("long", None, bytes(900_000)), timeout=0)
        before = open_descriptors()
        with pytest.raises(TimedOut):
            client.send(Loan("second", file), timeout=0)
        with pytest.raises(WouldBlock):
            client.send_nowait(Loan("third", file))
        assert open_descriptors() == before
        server.close()
        with pytest.raises(ConnectionLost):
            client.send(Loan("fourth", file), timeout=20)
        assert len(open_descriptors()) == len(before) - 1


def test_what_cannot_be_sent(desk: Channel[Loan]) -> None:
    """Too long, of another type, or behind one which is: no duplicate is left, and nothing has been sent."""
    with blocking_ends(desk, Limits(message_bytes=1000)) as (server, client):
        with memory(b"word") as file, Fd(file) as closed:
            closed.close()
            server.send(Loan("hello"))
            assert client.receive(timeout=20) == Loan("hello")
            before = open_descriptors()
            long = Loan("long", file, bytes(2000))
            attempts: list[tuple[type[Exception], Callable[[], object]]] = [
                (TooLarge, lambda: client.send(long)),
                (TooLarge, lambda: client.send_many([Loan("short", file), long])),
                (TooLarge, lambda: client.send_nowait(long)),
                (InvalidMessage, lambda: client.send(Loan("closed", closed))),
            ]
            for error, attempt in attempts:
                with pytest.raises(error, match=f"^{desk.path}: "):
                    attempt()
            assert open_descriptors() == before
            client.send(Loan("last"))
        assert server.receive(timeout=20) == Loan("last")


def test_what_is_never_received(desk: Channel[Loan]) -> None:
    """It is closed with the connection, as far as it had been read."""
    with blocking_ends(desk) as (server, client), memory(b"word") as file:
        client.send_many([Loan("a"), Loan("b", file), Loan("c", file)])
        assert server.receive(timeout=20) == Loan("a")


@pytest.mark.parametrize("count", [1, 253])
def test_uninvited_ones(desk: Channel[Loan], count: int) -> None:
    """Whoever sends descriptors without a word breaks the protocol; they are closed."""
    with desk.listen() as listener, BytePeer(desk) as peer, listener.accept(timeout=20) as server:
        peer.greet()
        lowlevel.send_descriptors(peer.socket, peer.pack(Loan("a")), [0] * count)
        assert server.receive(timeout=20) == Loan("a")
        before = open_descriptors()
        with pytest.raises(ProtocolError, match=f"^{desk.path}: descriptors have come which belong to no frame"):
            server.receive(timeout=20)
        assert len(open_descriptors()) == len(before) - count


def test_a_channel_of_other_messages(tmp_path: Path) -> None:
    """The kernel refuses descriptors there, and tells the sender; an older one drops them."""
    numbers = Channel(tmp_path / "numbers", int)
    with numbers.listen() as listener, BytePeer(numbers) as peer, listener.accept(timeout=20) as server:
        peer.greet()
        try:
            lowlevel.send_descriptors(peer.socket, peer.pack(3), [0])
        except PermissionError:
            peer.socket.sendall(peer.pack(3))
        assert server.receive(timeout=20) == 3


def test_no_number(tmp_path: Path) -> None:
    """A side that takes the descriptor for a number does not connect."""
    with Channel(tmp_path / "x", Fd).listen(), pytest.raises(SchemaMismatch, match="int here, Fd there"):
        Channel(tmp_path / "x", int).connect().__enter__()
