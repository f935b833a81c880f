"""Receiving without an exception where nothing is there, and after a moment of polling."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from namedipc._shells.polling import DOZE_SECONDS, LONGEST_SECONDS, Dozer, Spinner

from .compiled_support import find_compiled

receive_now = find_compiled("stream_poll", "receive_now")
receive_soon = find_compiled("stream_poll", "receive_soon")
pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a stream."""
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_it_sleeps_as_long_as_in_python() -> None:
    """What is compiled cannot read the constant."""
    assert DOZE_SECONDS == 0.001


def test_what_is_there_is_returned_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    """None where nothing is, also of a socket that blocks; 64 KiB at most; nothing at the end."""
    here, there = ends
    assert receive_now(here.fileno()) is None
    there.sendall(b"soup")
    assert receive_now(here.fileno()) == b"soup"
    there.sendall(b"x" * 70_000)
    assert receive_now(here.fileno()) + receive_now(here.fileno()) == b"x" * 70_000
    there.close()
    assert receive_now(here.fileno()) == b""


def test_an_error_is_left_to_the_socket(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nothing is returned, as at the end; who asks the socket then is told."""
    here, there = ends
    here.sendall(b"never read")
    there.close()
    assert receive_now(here.fileno()) == b""
    assert receive_now(-1) == b""
    assert receive_soon(-1, Spinner()) == b""


def test_what_comes_soon_is_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    """Wins and losses are the spinner's; it sits out as it would else."""
    here, there = ends
    spinner = Spinner()
    there.sendall(b"soup")
    assert receive_soon(here.fileno(), spinner) == b"soup"
    assert spinner.wins + spinner.losses == 1  # a loss where the core was taken away just then
    spinner = Spinner()
    assert receive_soon(here.fileno(), spinner) is None
    assert receive_soon(here.fileno(), spinner) is None
    assert spinner.losses == 2
    there.sendall(b"stew")
    assert receive_soon(here.fileno(), spinner) is None  # it sits out
    assert receive_soon(here.fileno(), spinner) == b"stew"
    there.close()
    assert receive_soon(here.fileno(), Spinner()) == b""


def test_where_polling_does_not_pay_it_sleeps_for_a_moment(ends: tuple[socket.socket, socket.socket]) -> None:
    """As the dozer decides, which counts; what comes meanwhile is returned, and what is late is None."""
    here, there = ends
    spinner, dozer = Spinner(), Dozer()
    while not spinner.sits_out:
        spinner.lost()
    assert receive_soon(here.fileno(), spinner, dozer) is None
    assert (dozer.wins, dozer.losses) == (0, 1)
    spinner.lost()
    assert receive_soon(here.fileno(), spinner, dozer) is None  # it sits out, too
    assert (dozer.wins, dozer.losses) == (0, 1)
    there.sendall(b"soup")
    assert receive_soon(here.fileno(), spinner, dozer) == b"soup"
    assert dozer.wins + dozer.losses == 2
    there.close()
    spinner.lost()
    dozer = Dozer()
    assert receive_soon(here.fileno(), spinner, dozer) == b""


def test_other_threads_run_meanwhile(ends: tuple[socket.socket, socket.socket]) -> None:
    """The one that will answer is a thread of this process: polling does not keep it from that."""
    here, there = ends

    def answer() -> None:
        while len(data := there.recv(4)) == 4:
            there.sendall(struct.pack("<i", struct.unpack("<i", data)[0] + 1))

    thread = threading.Thread(target=answer)
    thread.start()
    spinner = Spinner()
    for number in range(200):
        here.sendall(struct.pack("<i", number))
        while (found := receive_soon(here.fileno(), spinner)) is None:
            pass
        assert struct.unpack("<i", found) == (number + 1,)
    assert spinner.begin() <= LONGEST_SECONDS
    here.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()
