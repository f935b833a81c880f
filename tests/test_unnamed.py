"""A service without a name: who is joined to it, and that nothing is left."""

from __future__ import annotations

import os
import select

import pytest

from namedipc import lowlevel
from namedipc._shells.unnamed import Unnamed, joining
from namedipc._shells.waiting import Clock, carry_out

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_nobody_waits_at_its_listener() -> None:
    """It never becomes readable, nor is it hung up; closing twice is safe."""
    place = Unnamed("local")
    poll = select.poll()
    poll.register(place.listener)
    assert poll.poll(0) == [(place.listener.fileno(), select.POLLOUT)]
    place.close()
    place.close()


def test_joining_gives_one_end_away() -> None:
    """Both are non-blocking, and the kernel vouches for this process."""
    adopted: list[lowlevel.Socket] = []
    connected = carry_out(joining(adopted.append), Clock(None), "nowhere")
    (theirs,) = adopted
    with connected.socket as mine, theirs:
        assert connected.peer.pid == os.getpid()
        assert not mine.getblocking()
        assert not theirs.getblocking()
        mine.send(b"soup")
        assert theirs.recv(9) == b"soup"


def test_a_pair_that_is_not_taken_in_is_closed() -> None:
    """The service may have ended meanwhile."""

    def refuse(_: lowlevel.Socket) -> None:
        raise KeyError("ended")

    with pytest.raises(KeyError, match="ended"):
        carry_out(joining(refuse), Clock(None), "nowhere")
