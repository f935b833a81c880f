"""A raw connection in blocking code: bytes both ways, timeouts, and whose end it is that has come."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from namedipc._channel import RawChannel
from namedipc._errors import Closed, ConnectionLost, TimedOut
from namedipc._raw_channel_blocking import BlockingRawConnection

from .channel_support import Background, shrink, wait_until_asleep

pytestmark = pytest.mark.usefixtures("no_leaks")

BIG = bytes(range(256)) * 4000
SHORT_SECONDS = 0.01


@contextmanager
def ends(directory: Path) -> Iterator[tuple[BlockingRawConnection, BlockingRawConnection]]:
    """Open a connection."""
    channel = RawChannel(directory / "channel")
    with channel.listen() as listener, channel.connect() as client, listener.accept(timeout=20) as server:
        yield server, client


def read_all(end: BlockingRawConnection) -> bytes:
    """Read to the end."""
    return b"".join(iter(lambda: end.receive_some(50_000), b""))


def test_bytes_both_ways_at_once(tmp_path: Path) -> None:
    """More than fits, of any buffer; the half-close is seen, and the other direction goes on."""
    with ends(tmp_path) as (server, client):

        def send(end: BlockingRawConnection) -> None:
            for data in (b"", BIG, bytearray(b"more"), memoryview(bytes(80)).cast("Q")):
                end.send_all(data)
            end.send_eof()
            end.send_eof()

        senders = [Background(lambda: send(client)), Background(lambda: send(server))]
        readers = [Background(lambda: read_all(client)), Background(lambda: read_all(server))]
        assert [reader.result() for reader in readers] == [BIG + b"more" + bytes(80)] * 2
        for sender in senders:
            sender.result()
        with pytest.raises(Closed, match="send_eof"):
            client.send_all(b"x")
        assert server.peer.pid == os.getpid()


def test_timeouts(tmp_path: Path) -> None:
    """Nothing that was received is lost by one; of what was sent a part may have left."""
    with ends(tmp_path) as (server, client):
        for timeout in (0, SHORT_SECONDS):
            with pytest.raises(TimedOut, match=f"{tmp_path}/channel: nothing came within {timeout} seconds"):
                client.receive_some(timeout=timeout)
            with pytest.raises(TimedOut, match=f"{tmp_path}/channel: not sent within {timeout} seconds"):
                client.send_all(BIG, timeout=timeout)
        assert BIG.startswith(server.receive_some(100, timeout=0))
        with pytest.raises(ValueError, match=r"receive_some\(0\)"):
            server.receive_some(0)


def test_one_after_the_other(tmp_path: Path) -> None:
    """Who waits for another thread waits no longer than its own timeout."""
    with ends(tmp_path) as (server, client):
        sender, receiver = Background(lambda: client.send_all(BIG)), Background(client.receive_some)
        wait_until_asleep(sender)
        wait_until_asleep(receiver)
        with pytest.raises(TimedOut):
            client.send_all(b"between", timeout=SHORT_SECONDS)
        with pytest.raises(TimedOut):
            client.receive_some(timeout=SHORT_SECONDS)
        got = b""
        while len(got) < len(BIG):
            got += server.receive_some()
        assert got == BIG
        sender.result()
        server.send_all(b"x")
        assert receiver.result() == b"x"


def test_a_peer_that_reads_a_little_now_and_then(tmp_path: Path) -> None:
    """It cannot hold `send_all` beyond its timeout."""
    with ends(tmp_path) as (server, client):
        shrink(client._link.socket)
        enough = threading.Event()

        def sip() -> None:
            while not enough.wait(0.0005):
                server.receive_some(500)

        sipping = Background(sip)
        began = monotonic()
        with pytest.raises(TimedOut):
            client.send_all(bytes(100 << 20), timeout=0.05)
        assert monotonic() - began < 10
        enough.set()
        client.close()
        sipping.result()


def test_a_lost_peer(tmp_path: Path) -> None:
    """Sending to it is a loss; so is reading where it left bytes unread."""
    with ends(tmp_path) as (server, client):
        client.send_all(b"unread")
        server.close()
        with pytest.raises(ConnectionLost):
            client.receive_some()
        with pytest.raises(ConnectionLost):
            client.send_all(b"x")


@pytest.mark.parametrize("use", [BlockingRawConnection.receive_some, lambda end: end.send_all(BIG)])
def test_closing_while_others_wait(tmp_path: Path, use: Callable[[BlockingRawConnection], object]) -> None:
    """They learn that it was this side, and so does whoever comes later."""
    with ends(tmp_path) as (_server, client):

        def expect() -> None:
            with pytest.raises(Closed, match="this end has been closed"):
                use(client)

        waiting = [Background(expect) for _ in range(3)]
        for thread in waiting:
            wait_until_asleep(thread)
        client.close()
        client.close()
        for thread in waiting:
            thread.result()
        expect()
        with pytest.raises(Closed):
            client.send_eof()


def test_a_handler_that_fails(tmp_path: Path) -> None:
    """A byte stream has no words for it: its peer sees the end, and the listener goes on."""
    channel = RawChannel(tmp_path / "channel")

    def handler(end: BlockingRawConnection) -> None:
        if end.receive_some() == b"bad":
            raise KeyError
        end.send_all(b"fine")

    with channel.listen() as listener:
        server = Background(lambda: listener.serve(handler))
        for said, heard in ((b"bad", b""), (b"good", b"fine")):
            with channel.connect() as client:
                client.send_all(said)
                assert client.receive_some(timeout=20) == heard
        listener.close()
        server.result()
