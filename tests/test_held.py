"""The descriptor of an end has one owner at a time: here, on its way, sent, opened, or dropped."""

from __future__ import annotations

import os

import pytest

from namedipc import lowlevel
from namedipc._descriptors import Descriptors
from namedipc._errors import Closed
from namedipc._fd import Fd, adopt
from namedipc._held import Held, HeldOpening

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def held() -> Held:
    """What holds one of two joined sockets; the other is closed."""
    one, other = lowlevel.socket_pair()
    other.close()
    return Held("the end", adopt(one.detach()))


def test_opened(held: Held) -> None:
    """The socket goes to whoever opens it, once, and does not block."""
    with held.take() as socket:
        assert not socket.getblocking()
        for use in (held.take, held.lend, held.check):
            with pytest.raises(Closed, match=r"^the end: this end has been opened before"):
                use()
    assert not held.drop()


def test_on_its_way_and_back(held: Held) -> None:
    """While a message waits with it the end cannot be used; if it does not leave, the end is here as before."""
    descriptors = Descriptors()
    assert descriptors.borrow(held) == 0
    assert descriptors.numbers == [held.number]
    for use in (held.take, held.lend):
        with pytest.raises(Closed, match="is on its way in a message"):
            use()
    assert not held.drop()
    descriptors.close()
    descriptors.close()
    held.take().close()


def test_sent(held: Held) -> None:
    """Its descriptor here is closed; and duplicates beside it, too."""
    descriptors = Descriptors()
    with Fd(0) as fd:
        assert (descriptors.add(fd), descriptors.borrow(held)) == (0, 1)
    descriptors.sent()
    descriptors.close()
    with pytest.raises(Closed, match="has been sent; its receiver opens it"):
        held.take()


def test_dropped(held: Held) -> None:
    """What nobody can open any more is closed, once."""
    assert held.drop()
    assert not held.drop()
    with pytest.raises(Closed, match="has been dropped"):
        held.check()


def test_closed_with_its_message() -> None:
    """Nothing is left to drop where the descriptor has been closed already."""
    fd = Fd(0)
    held = Held("the end", fd)
    fd.close()
    assert not held.drop()


def test_only_kinds_of_ends_receive() -> None:
    """What is made of a descriptor is for the class that an annotation names."""
    with pytest.raises(NotImplementedError):
        HeldOpening.receiver(int, "x")


def test_half_made() -> None:
    """One that was never made has nothing to drop."""
    HeldOpening.__new__(HeldOpening).__del__()
    os.fstat(0)
