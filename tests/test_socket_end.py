"""One end of a connection, as far as it is a socket of this process."""

from __future__ import annotations

import os

import pytest

from namedipc import Closed, Peer, lowlevel
from namedipc._shells.socket_end import SocketEnd

pytestmark = pytest.mark.usefixtures("no_leaks")


def pair() -> tuple[SocketEnd, lowlevel.Socket, list[str]]:
    """An end, the other end's socket, and where it is noted that the first was closed."""
    mine, theirs = lowlevel.socket_pair()
    closed: list[str] = []
    return SocketEnd(mine, Peer(1, 2, 3, ()), "/run/pass", lambda: closed.append("closed")), theirs, closed


def test_closing_is_told_once() -> None:
    """The peer sees the end, whoever counts is told once, and later uses are Closed."""
    end, theirs, closed = pair()
    with theirs:
        end.check_open()
        end.close()
        end.close()
        assert closed == ["closed"]
        assert theirs.recv(1) == b""
        with pytest.raises(Closed, match="/run/pass: this end has been closed"):
            end.check_open()


def test_an_end_that_has_ended_keeps_its_number_until_it_is_closed() -> None:
    """Other threads may be about to wait for the descriptor: it must not be somebody else's by then."""
    end, theirs, closed = pair()
    with theirs:
        number = end.socket.fileno()
        end.end()
        assert (end.socket.fileno(), closed) == (number, [])
        assert theirs.recv(1) == b""
        end.close()
        assert (end.socket.fileno(), closed) == (-1, ["closed"])


def test_a_forked_child_only_lets_go() -> None:
    """In the child it is Closed with a way out, its copy is closed, nothing is told; the parent's goes on."""
    end, theirs, closed = pair()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            end.check_open()
        except Closed as error:
            os.write(write, f"{end.socket.fileno()} {error}".encode())
        end.close()
        os.write(write, str(closed).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as pipe, theirs:
        said = pipe.read()
        assert said.startswith("-1 /run/pass: this connection belongs to process")
        assert said.endswith("connect again in the child[]")
        theirs.send(b"x")
        assert end.socket.recv(1) == b"x"
        end.close()
