"""A raw connection's descriptor work: bytes as they are, and whose end it is that has come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from namedipc import lowlevel
from namedipc._errors import Closed, ConnectionLost
from namedipc._shells.byte_link import ByteLink, check_max_bytes
from namedipc._values import Peer

from .channel_support import run_in_fork, shrink

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def links() -> Iterator[tuple[ByteLink, ByteLink]]:
    """Open two ends."""
    here, there = (ByteLink(shrink(sock), Peer(1, 1, 1, ()), "/run/name", None) for sock in lowlevel.socket_pair())
    try:
        yield here, there
    finally:
        here.close()
        there.close()


def test_bytes_there_and_back() -> None:
    """What fits goes; 0 and None say that it does not go on now."""
    with links() as (here, there):
        assert there.read(None) is None
        data, received, at = memoryview(bytes(range(256)) * 200), b"", 0
        assert here.write(data[:5]) == 5
        assert (there.read(3), there.read(3), there.read(3)) == (b"\0\1\2", b"\3\4", None)
        while at < len(data):
            sent = here.write(data[at:])
            at += sent
            if not sent:
                received += there.read(None) or b""
        while (piece := there.read(1000)) is not None:
            received += piece
        assert received == data


def test_the_peers_end() -> None:
    """Its last bytes come first; sending to it is a loss."""
    with links() as (here, there):
        assert here.write(memoryview(b"last")) == 4
        here.close()
        assert (there.read(None), there.read(None), there.read(None)) == (b"last", b"", b"")
        with pytest.raises(ConnectionLost, match="/run/name: the peer has gone"):
            there.write(memoryview(b"x"))
        there.half_close()


def test_a_peer_that_did_not_read_everything() -> None:
    """That is a loss for whoever reads on, once."""
    with links() as (here, there):
        assert there.write(memoryview(b"unread")) == 6
        here.close()
        with pytest.raises(ConnectionLost, match="without reading everything"):
            there.read(None)


def test_half_close() -> None:
    """The peer sees the end and still answers; this end sends no more."""
    with links() as (here, there):
        here.half_close()
        here.half_close()
        assert there.read(None) == b""
        assert there.write(memoryview(b"answer")) == 6
        assert here.read(None) == b"answer"
        with pytest.raises(Closed, match=r"send_eof\(\) has been called"):
            here.write(memoryview(b"x"))


def test_closing() -> None:
    """Twice is safe, who asked is told once, and everything after it is Closed."""
    told = []
    one, other = lowlevel.socket_pair()
    link = ByteLink(one, Peer(1, 1, 1, ()), "/run/name", lambda: told.append(True))
    link.close()
    link.close()
    assert told == [True]
    for use in (lambda: link.read(None), lambda: link.write(memoryview(b"")), link.half_close, link.check_sendable):
        with pytest.raises(Closed, match="/run/name: this end has been closed"):
            use()
    other.close()


def test_an_end_made_by_this_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has just looked whether it is open, and then finds the end of its own side, is told so."""
    with links() as (here, _):
        receive_now, send_now = lowlevel.receive_now, lowlevel.send_now

        def receive_late(sock: lowlevel.Socket, max_bytes: int) -> bytes:
            here.end()
            return receive_now(sock, max_bytes)

        monkeypatch.setattr(lowlevel, "receive_now", receive_late)
        with pytest.raises(Closed):
            here.read(None)
    with links() as (here, _):

        def send_late(sock: lowlevel.Socket, data: memoryview) -> int:
            here.end()
            return send_now(sock, data)

        monkeypatch.setattr(lowlevel, "send_now", send_late)
        with pytest.raises(Closed):
            here.write(memoryview(b"x"))


def test_a_forked_child() -> None:
    """It cannot use the connection, and its end leaves the parent's alone."""
    with links() as (here, there):

        def child() -> None:
            for use in (lambda: here.read(None), lambda: here.write(memoryview(b"x")), here.half_close):
                with pytest.raises(Closed, match=f"belongs to process {parent}"):
                    use()
            here.close()
            assert here.socket.fileno() == -1

        parent = os.getpid()
        assert run_in_fork(child) == 0
        assert here.write(memoryview(b"alive")) == 5
        assert there.read(None) == b"alive"


def test_how_much_can_be_asked_for() -> None:
    """At least a byte."""
    check_max_bytes(None)
    check_max_bytes(1)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=rf"receive_some\({wrong}\): must be at least 1"):
            check_max_bytes(wrong)
