"""What has come, as values: in order, each once, and each before the error behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from namedipc import lowlevel
from namedipc._batches import array_start, join
from namedipc._codec import Codec
from namedipc._errors import Closed, EndOfChannel, InvalidMessage, ProtocolError
from namedipc._protocol.frames import MESSAGES, pack_frame
from namedipc._protocol.messages import pack_message
from namedipc._shells.connecting import peer_of
from namedipc._shells.conversation import Conversation
from namedipc._shells.incoming import Incoming
from namedipc._values import Limits

pytestmark = pytest.mark.usefixtures("no_leaks")

WHERE = "/run/name"
BAD = b"\xa3abc"


class Sent:
    """Numbers that come in over a connection, as the test says them."""

    def __init__(self, here: lowlevel.Socket, there: lowlevel.Socket) -> None:
        codec = Codec[int](int).named(WHERE)
        conversation = Conversation(WHERE, codec)
        self.socket = here
        self.link = conversation.connected(there, peer_of(there), Limits())
        self.incoming = Incoming(self.link, codec)
        here.sendall(conversation.session(Limits()).opening)

    def say(self, *frames: bytes) -> None:
        """Send frames."""
        self.socket.sendall(b"".join(frames))

    @property
    def received(self) -> int:
        """How many messages have been counted."""
        return self.link.statistics().messages_received


@pytest.fixture
def sent() -> Iterator[Sent]:
    """A connection."""
    with _sent() as found:
        yield found


@contextmanager
def _sent() -> Iterator[Sent]:
    here, there = lowlevel.socket_pair()
    there.setblocking(False)
    with here:
        found = Sent(here, there)
        yield found
        found.link.close()


def one(number: int) -> bytes:
    """Return a number as it travels alone."""
    return pack_message(bytes([number]))


def together(*bodies: bytes) -> bytes:
    """Return messages as they travel in one frame."""
    return pack_frame(MESSAGES, join(bodies))


def numbers(*values: int) -> bytes:
    """Return numbers as they travel in one frame."""
    return together(*(bytes([value]) for value in values))


def test_together_and_alone(sent: Sent) -> None:
    """A frame is given out as a whole, or as much of it as is wanted; what is given out is counted."""
    sent.say(numbers(1, 2, 3), one(4), numbers(5), numbers(6, 7, 8, 9))
    taken = [sent.incoming.take_now(most) for most in (1, 5, 5, 5, 2)]
    assert taken == [[1], [2, 3], [4], [5], [6, 7]]
    assert sent.received == 7
    assert [sent.incoming.take(1), sent.incoming.take(1), sent.incoming.take(1)] == [[8], [9], []]
    assert sent.received == 9


def test_filling(sent: Sent) -> None:
    """What needs no waiting is added, from several frames, and not one beyond the most."""
    sent.say(numbers(1, 2, 3), one(4), numbers(5, 6, 7))
    messages = sent.incoming.take_now(2)
    sent.incoming.fill(messages, 5)
    assert messages == [1, 2, 3, 4, 5]
    sent.incoming.fill(messages, 100)
    assert messages == [1, 2, 3, 4, 5, 6, 7]
    sent.incoming.fill(messages, 100)
    assert (len(messages), sent.received) == (7, 7)


@pytest.mark.parametrize("bad", [BAD, b"\x92\x02\x03", b"\xc0"])
def test_one_among_others_does_not_fit(sent: Sent, bad: bytes) -> None:
    """Those before it come first, then its error, then those behind it; be it an array of what would have fitted."""
    sent.say(together(b"\x01", b"\x02", bad, b"\x03", bad), one(4))
    assert sent.incoming.take_now(5) == [1]
    assert sent.incoming.take_now(5) == [2]
    with pytest.raises(InvalidMessage, match=f"^{WHERE}: int: what arrived does not fit: Expected `int`"):
        sent.incoming.take(5)
    assert sent.incoming.take_now(5) == [3]
    with pytest.raises(InvalidMessage):
        sent.incoming.take(5)
    assert sent.incoming.take_now(5) == [4]
    assert sent.received == 6


def test_an_error_behind_what_was_filled_in(sent: Sent) -> None:
    """It is put off, and told and counted in its turn."""
    for frames in (together(b"\x01", BAD, b"\x02"), one(1) + pack_message(BAD) + one(2)):
        before = sent.received
        sent.say(frames)
        messages = sent.incoming.take_now(5)
        sent.incoming.fill(messages, 5)
        assert (messages, sent.received - before) == ([1], 1)
        sent.incoming.fill(messages := [0], 1)
        assert messages == [0]
        with pytest.raises(InvalidMessage, match="Expected `int`"):
            sent.incoming.take(1)
        assert sent.incoming.take_now(5) == [2]
        assert sent.received - before == 3


@pytest.mark.parametrize(
    "array",
    [
        array_start(3) + b"\x01\x02",
        array_start(2) + b"\x01\x02\x03",
        array_start(2) + b"\x01\xc1",
        array_start(1024) + bytes(100),
        b"\xdd\x00\x00\x00\x02\x01",
        array_start(2) + b"\x91" * 50_000 + b"\x01\x01",  # deeper than any interpreter goes
    ],
)
def test_a_damaged_array(sent: Sent, array: bytes) -> None:
    """It is one message that does not fit, and the next frame is fine: nobody knows how many it was to be."""
    sent.say(numbers(1), pack_frame(MESSAGES, array), numbers(2, 3))
    assert sent.incoming.take_now(5) == [1]
    with pytest.raises(InvalidMessage, match=f"^{WHERE}: int: what arrived "):
        sent.incoming.take(5)
    assert sent.incoming.take_now(5) == [2, 3]
    assert sent.received == 4


def test_the_end_behind_messages_together(sent: Sent) -> None:
    """They come first, one by one, whatever it is."""
    sent.say(numbers(1, 2), pack_frame(MESSAGES, b""))
    messages = sent.incoming.take_now(1)
    sent.incoming.fill(messages, 5)
    assert messages == [1, 2]
    for _ in range(2):
        with pytest.raises(ProtocolError):
            sent.incoming.take(1)
    with _sent() as other:
        other.say(numbers(1, 2), pack_frame(5))
        assert [other.incoming.take_now(1), other.incoming.take_now(1)] == [[1], [2]]
        with pytest.raises(EndOfChannel):
            other.incoming.take_now(1)


@pytest.mark.parametrize("second", [b"\x02", BAD])
def test_after_closing(sent: Sent, second: bytes) -> None:
    """Nothing is given out any more, not even what had come already."""
    sent.say(together(b"\x01", second))
    assert sent.incoming.take_now(1) == [1]
    sent.link.end()
    with pytest.raises(Closed):
        sent.incoming.take(1)
