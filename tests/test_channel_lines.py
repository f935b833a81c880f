"""A Channel of lines: both worlds, and a peer that only knows of a socket.

Real programs at the other end are in `test_interop_shell`.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from namedipc import ChannelEnd, lowlevel
from namedipc._channel import Channel, RawChannel
from namedipc._channel_blocking import BlockingConnection
from namedipc._channel_trio import Connection
from namedipc._errors import (
    Closed,
    ConnectionLost,
    DeclarationError,
    EndOfChannel,
    InvalidMessage,
    IPCError,
    ProtocolError,
    SchemaMismatch,
    TimedOut,
    TooLarge,
    WouldBlock,
    WrongKind,
)
from namedipc._framing import Framing
from namedipc._shells.line_link import LineLink
from namedipc._values import Limits, anyone

from .channel_support import blocking_ends, remove_card, shrink, trio_ends
from .conftest import Children

pytestmark = pytest.mark.usefixtures("no_leaks")


@attrs.frozen
class Order:
    """A message."""

    table: int
    dish: str


@pytest.fixture
def lines(tmp_path: Path) -> Channel[str]:
    """The name of a channel of lines."""
    return Channel(tmp_path / "lines", str, framing="lines")


@contextmanager
def program(
    channel: Channel[str], limits: Limits | None = None
) -> Iterator[tuple[BlockingConnection[str], socket.socket]]:
    """A connection, and the socket of a program that knows nothing of namedipc."""
    with (
        channel.listen(limits=limits or Limits()) as listener,
        socket.socket(socket.AF_UNIX) as other,
    ):
        other.settimeout(20)
        other.connect(os.fspath(channel.path))
        with listener.accept(timeout=20) as connection:
            yield connection, other


def everything(other: socket.socket) -> bytes:
    """What comes until the end."""
    data = b""
    while piece := other.recv(65536):
        data += piece
    return data


# ------------------------------------------------------------ names


def test_names_are_values(tmp_path: Path) -> None:
    """The framing is a part of the name: it is compared, shown, pickled, and moves along."""
    name = Channel(tmp_path / "c", Order, framing="json-lines")
    assert name != Channel(tmp_path / "c", Order)
    assert name != Channel(tmp_path / "c", str, framing="json-lines")
    assert name == Channel(tmp_path / "c", Order, framing="json-lines")
    assert repr(name) == f"Channel({str(tmp_path / 'c')!r}, Order, framing='json-lines')"
    assert pickle.loads(pickle.dumps(name)) == name
    assert name.at("elsewhere") == Channel("elsewhere", Order, framing="json-lines")
    assert repr(Channel("c", str, framing="frames")) == repr(Channel("c", str))


@pytest.mark.parametrize(
    ("framing", "tp", "error", "text"),
    [
        ("frames", str, WrongKind, 'its owner serves a channel with framing="lines" there, not a channel;'),
        ("json-lines", str, WrongKind, 'framing="lines" there, not a channel with framing="json-lines";'),
        ("lines", bytes, SchemaMismatch, "bytes here, str there"),
    ],
)
def test_another_declaration(lines: Channel[str], framing: Framing, tp: type, error: type[IPCError], text: str) -> None:
    """The listener's card says what it serves, before anything is sent."""
    other: Channel[object] = Channel(lines.path, tp, framing=framing)
    with lines.listen() as listener:
        with pytest.raises(error, match=text), other.connect():
            raise AssertionError("it was connected")
        with pytest.raises(WrongKind, match="not a raw channel"), RawChannel(lines.path).connect():
            raise AssertionError("it was connected")
        with pytest.raises(TimedOut):
            listener.accept(timeout=0)


def test_no_takeover_by_another_framing(lines: Channel[str]) -> None:
    """The old owner's connections would not be understood."""
    with lines.listen(), pytest.raises(WrongKind), Channel(lines.path, str).listen(takeover=True):
        raise AssertionError("it was taken over")


def test_frames_without_a_card(lines: Channel[str]) -> None:
    """Another user's name says nothing of itself: both sides see it by the first bytes."""
    frames = Channel(lines.path, str)
    with lines.listen() as listener:
        remove_card(lines.path)
        with frames.connect(allow=anyone) as there, listener.accept(timeout=20) as here:
            with pytest.raises(WrongKind, match="speaks in frames, this side in lines"):
                here.receive(timeout=20)
            with pytest.raises(WrongKind):
                here.send("x")
            assert there.statistics().messages_received == 0
    with frames.listen() as server:
        remove_card(lines.path)
        with lines.connect(allow=anyone) as client, server.accept(timeout=20) as end:
            client.send("a line")
            with pytest.raises(ProtocolError, match="does not speak namedipc"):
                end.receive(timeout=20)
            with pytest.raises(WrongKind):
                client.receive(timeout=20)


# ------------------------------------------------------------ messages


def test_both_ways_in_blocking_code(lines: Channel[str]) -> None:
    """Everything a connection can do."""
    with blocking_ends(lines) as (server, client):
        client.send("one")
        client.send_many(["two\r", "", "caf\u00e9"])
        client.send_many([])
        client.send_nowait("five")
        assert server.receive() == "one"
        assert server.receive_many() == ["two\r", "", "caf\u00e9", "five"]
        with pytest.raises(WouldBlock):
            server.receive_nowait()
        with pytest.raises(TimedOut):
            server.receive(timeout=0.01)
        assert client.statistics().messages_sent == server.statistics().messages_received == 5
        assert (
            client.statistics().bytes_sent == server.statistics().bytes_received == len("one\ntwo\r\n\ncaf__\nfive\n")
        )
        assert client.peer.pid == os.getpid()
        client.send_eof()
        with pytest.raises(Closed):
            client.send("more")
        assert list(server) == []
        server.send("late")
        assert client.receive() == "late"
        assert isinstance(server._link, LineLink)


async def test_both_ways_in_trio(tmp_path: Path) -> None:
    """The same in trio, with messages of any type that JSON can carry."""
    channel = Channel(tmp_path / "c", Order | str, framing="json-lines")
    async with trio_ends(channel) as (server, client):
        await client.send(Order(4, "soup\n"))
        await client.send_many(["two\nlines", Order(7, "cake")])
        assert await server.receive() == Order(4, "soup\n")
        assert await server.receive_many() == ["two\nlines", Order(7, "cake")]
        client.send_nowait("more")
        assert await server.receive() == "more"
        await client.send_eof()
        assert [message async for message in server] == []
        with pytest.raises(trio.EndOfChannel):
            await server.receive()
        await server.send("late")
        assert await client.receive() == "late"


async def test_serving_in_trio(lines: Channel[str]) -> None:
    """A handler's error ends its connection: there is no word for it in lines, so the peer sees the end."""

    async def answer(connection: Connection[str]) -> None:
        async for text in connection:
            if text == "fail":
                raise RuntimeError("as asked")
            await connection.send(text.upper())

    async with lines.listen() as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, answer)
        for _ in range(2):
            async with lines.connect() as connection:
                await connection.send_many(["hello", "fail"])
                assert await connection.receive() == "HELLO"
                with pytest.raises(EndOfChannel):
                    await connection.receive()
        nursery.cancel_scope.cancel()


def test_who_is_turned_away(lines: Channel[str]) -> None:
    """It sees the end, and nothing else."""
    with lines.listen(allow=lambda peer: False) as listener, lines.connect() as connection:
        with pytest.raises(TimedOut):
            listener.accept(timeout=0)
        with pytest.raises(EndOfChannel):
            connection.receive(timeout=20)


def test_no_meeting(lines: Channel[str]) -> None:
    """In lines there is no word by which one knows that the other has taken it."""
    with pytest.raises(DeclarationError, match=r"meet\(\): lines have no word"), lines.meet(wait_seconds=0):
        raise AssertionError("they have met")
    assert not lines.exists()


def test_the_listeners_limit(lines: Channel[str]) -> None:
    """Its card tells of it; what this side takes is another matter."""
    with (
        lines.listen(limits=Limits(message_bytes=10)) as listener,
        lines.connect() as client,
        listener.accept(timeout=20) as server,
    ):
        with pytest.raises(TooLarge, match="a line of 11 bytes; 10 at most"):
            client.send("x" * 11)
        client.send("x" * 10)
        assert server.receive(timeout=20) == "x" * 10
        lowlevel.send_now(server._link.socket, b"x" * 11 + b"\n")
        assert client.receive(timeout=20) == "x" * 11


def test_an_unnamed_pair(lines: Channel[str]) -> None:
    """Two ends speak in lines as well; in a message they cannot travel, as its type says nothing of the framing."""
    one, other = lines.pair()
    with one as here, other as there:
        here.send("hello")
        assert there.receive() == "hello"
    ends = Channel(lines.path, ChannelEnd[str])
    kept = lines.pair()
    with blocking_ends(ends) as (server, client):
        with pytest.raises(InvalidMessage, match=r"expected ChannelEnd\[str\], got ChannelEnd.*"):
            client.send(kept[0])
        sent = Channel("unnamed", str).pair()
        client.send(sent[0])
        with server.receive() as here, sent[1] as there:
            here.send("frames go")
            assert there.receive() == "frames go"
    for end in kept:
        with end:
            pass


def test_what_is_no_line_is_not_sent(lines: Channel[str]) -> None:
    """Nothing of it leaves, nor of those that were to be sent with it."""
    with blocking_ends(lines, Limits(message_bytes=10)) as (server, client):
        with pytest.raises(InvalidMessage, match="holds a newline"):
            server.send_many(["one", "two\nthree"])
        with pytest.raises(TooLarge, match="a line of 11 bytes; 10 at most"):
            server.send_many(["one", "x" * 11])
        server.send("x" * 10)
        assert client.receive() == "x" * 10


# ------------------------------------------------------------ other programs


def test_nothing_but_lines_on_the_wire(lines: Channel[str]) -> None:
    """A program reads what was sent, and the end; nothing is said before or behind."""
    with program(lines) as (connection, other):
        connection.send("hello")
        assert other.recv(100) == b"hello\n"
        connection.close()
        assert everything(other) == b""


def test_a_program_that_half_closes(lines: Channel[str]) -> None:
    """It has said all, and still reads the answer."""
    with program(lines) as (connection, other):
        other.sendall(b"one\ntwo\n")
        other.shutdown(socket.SHUT_WR)
        for text in connection:
            connection.send(text.upper())
        with pytest.raises(EndOfChannel):
            connection.receive()
        connection.close()
        assert everything(other) == b"ONE\nTWO\n"


def test_a_cut_line(lines: Channel[str]) -> None:
    """It is no message, and the end behind it not an orderly one; what was whole comes first."""
    with program(lines) as (connection, other):
        other.sendall(b"whole\ncut")
        other.close()
        assert connection.receive() == "whole"
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="the peer went away in the middle of a line"):
                connection.receive()


def test_a_program_that_leaves_without_reading(lines: Channel[str]) -> None:
    """Then something that was sent is lost: the kernel says so, once what had come is received."""
    with program(lines) as (connection, other):
        connection.send("unread")
        other.sendall(b"bye\n")
        other.close()
        assert connection.receive() == "bye"
        with pytest.raises(ConnectionLost, match="without reading what it was sent"):
            connection.receive()
        with pytest.raises(ConnectionLost):
            connection.send("more")


def test_text_that_is_none(lines: Channel[str]) -> None:
    """Told once; the next line is received, in a batch too."""
    with program(lines) as (connection, other):
        other.sendall(b"\xff\none\n\xff\ntwo\n")
        with pytest.raises(InvalidMessage, match="0xff"):
            connection.receive()
        assert connection.receive_many() == ["one"]
        with pytest.raises(InvalidMessage):
            connection.receive_many()
        assert connection.receive_many() == ["two"]


async def test_a_line_that_is_too_long(lines: Channel[str]) -> None:
    """It ends the connection, be its end there or not; what came before it is received."""
    async with lines.listen(limits=Limits(message_bytes=1000)) as listener:
        for end in (b"\n", b""):
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(os.fspath(lines.path))
                async with await listener.accept() as connection:
                    other.sendall(b"short\n" + b"x" * 1001 + end)
                    assert await connection.receive() == "short"
                    for _ in range(2):
                        with pytest.raises(ProtocolError, match="a line of more than 1000 bytes"):
                            await connection.receive()
                    with pytest.raises(ProtocolError):
                        await connection.send("more")


async def test_cancelling(tmp_path: Path) -> None:
    """At whatever point of a send: the lines that arrive are whole and in order, and the next one is sent."""
    channel = Channel(tmp_path / "c", bytes, framing="lines")
    received: list[int] = []

    async def receive_all(end: Connection[bytes]) -> None:
        async for line in end:
            head, _, text = line.partition(b" ")
            assert text == b"x" * 50_000
            received.append(int(head))

    async with trio_ends(channel) as (server, client):
        shrink(client._link.socket)
        with trio.move_on_after(0.01) as scope:
            await server.receive()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_all, server)
            for number in range(20):
                with trio.move_on_after(0.001 * (number % 3)):
                    await client.send_many([b"%d " % number + b"x" * 50_000] * 3)
            await client.send(b"20 " + b"x" * 50_000)
            await client.aclose()
    assert received == sorted(received)
    assert received[-1] == 20


def test_a_peer_that_is_killed(lines: Channel[str], child: Children) -> None:
    """In the middle of a line it is a lost one; between two the end looks like any other program's."""
    script = """
        import os, socket, sys, time
        other = socket.socket(socket.AF_UNIX)
        other.connect(sys.argv[1])
        other.sendall(sys.argv[2].encode())
        print("sent", flush=True)
        input()
        """
    with lines.listen() as listener:
        for text, error in (("whole\npart", ConnectionLost), ("whole\n", EndOfChannel)):
            peer = child(script, os.fspath(lines.path), text)
            with listener.accept(timeout=20) as connection:
                assert connection.receive(timeout=20) == "whole"
                peer.expect("sent")
                peer.kill()
                with pytest.raises(error):
                    connection.receive(timeout=20)


def test_a_program_that_listens(lines: Channel[str], child: Children) -> None:
    """Whatever stands under the name: a program without a card is simply connected to."""
    server = child(
        """
        import socket, sys
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(sys.argv[1])
            listener.listen()
            print("listening", flush=True)
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as file:
                for line in file:
                    file.write(line.upper())
                    file.flush()
        """,
        os.fspath(lines.path),
    )
    server.expect("listening")
    with lines.connect(wait_seconds=20) as connection:
        connection.send("hello")
        assert connection.receive(timeout=20) == "HELLO"
        connection.send_eof()
        assert list(connection) == []
    assert server.wait() == 0
