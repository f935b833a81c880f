"""A channel's lines without I/O: cut anywhere, ended anywhere, and whatever else a program may write."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._errors import ConnectionLost, ProtocolError, TooLarge, WrongKind
from namedipc._protocol.hello import CHANNEL, Hello
from namedipc._protocol.lines import LineSession


def session(*, limit: int = 100, skips_blank: bool = False) -> LineSession:
    """Return one side."""
    return LineSession("/run/name", limit, skips_blank=skips_blank)


def drain(end: LineSession) -> list[bytes]:
    """Take what is whole by now."""
    found = []
    while (line := end.next_message()) is not None:
        found.append(line)
    return found


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=5), st.integers(1, 50))
def test_lines_in_order_and_then_the_end(lines: list[bytes], size: int) -> None:
    """However the stream is cut."""
    receiver = session()
    stream = b"".join(line + b"\n" for line in lines)
    received = []
    for at in range(0, len(stream), size):
        receiver.feed(stream[at : at + size])
        received += drain(receiver)
    assert received == lines
    assert not receiver.ended
    receiver.feed_end()
    assert receiver.next_message() is None
    assert receiver.ended


def test_a_cut_line_is_no_message() -> None:
    """Nor is the end behind it an orderly one."""
    receiver = session()
    receiver.feed(b"whole\npart")
    receiver.feed_end()
    assert drain(receiver) == [b"whole"]
    assert not receiver.ended
    assert receiver.loss() == "in the middle of a line"


def test_an_end_by_a_reset() -> None:
    """The kernel tells of it where the peer has left without reading everything."""
    receiver = session()
    receiver.feed(b"whole\n")
    assert drain(receiver) == [b"whole"]
    assert receiver.loss() == "without reading what it was sent"


def test_blank_lines() -> None:
    """Messages of lines, nothing between those of JSON; also at the end."""
    text = b"\n \n1\n\r\n\t2\r\n \t"
    for skips_blank, lines in ((False, [b"", b" ", b"1", b"\r", b"\t2\r"]), (True, [b"1", b"\t2\r"])):
        receiver = session(skips_blank=skips_blank)
        receiver.feed(text)
        receiver.feed_end()
        assert drain(receiver) == lines
        assert receiver.ended is skips_blank


@pytest.mark.parametrize("skips_blank", [False, True])
def test_the_longest_line(skips_blank: bool) -> None:
    """The limit itself passes, be its newline there or not; one byte more is the end, once what was before is told."""
    receiver = session(limit=4, skips_blank=skips_blank)
    receiver.feed(b"1234")
    assert drain(receiver) == []
    receiver.feed(b"\n12345\n6\n")
    assert receiver.next_message() == b"1234"
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"^/run/name: the peer sent a line of more than 4 bytes$"):
            receiver.next_message()


@pytest.mark.parametrize(("skips_blank", "endless"), [(False, b"x"), (True, b"x"), (True, b" "), (True, b"\n")])
def test_a_line_without_end(skips_blank: bool, endless: bytes) -> None:
    """It is not waited for: neither memory nor time is the peer's to take."""
    receiver = session(limit=1000, skips_blank=skips_blank)
    with pytest.raises(ProtocolError, match="more than 1000 bytes"):
        for _ in range(11):
            receiver.feed(endless * 100)
            receiver.next_message()


def test_blank_lines_between_messages_never_add_up() -> None:
    """A peer may write as many as it likes, as long as it also says something."""
    receiver = session(limit=10, skips_blank=True)
    for _ in range(10):
        receiver.feed(b"\n" * 9 + b"1\n")
        assert drain(receiver) == [b"1"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_peer_that_speaks_in_frames(size: int) -> None:
    """Its hello is no line, however it comes."""
    receiver = session()
    hello = Hello(CHANNEL, 1000, bytes(16)).pack()
    with pytest.raises(WrongKind, match=r"^/run/name: the other side speaks in frames, this side in lines$"):
        for at in range(0, len(hello), size):
            receiver.feed(hello[at : at + size])
            receiver.next_message()


def test_text_that_begins_like_a_hello() -> None:
    """Text is not taken for it."""
    receiver = session()
    receiver.feed(b"NIPC 1 is the name of it\n")
    assert receiver.next_message() == b"NIPC 1 is the name of it"


def test_nothing_but_lines_is_sent() -> None:
    """Neither before the first message nor behind the last."""
    sender = session(limit=7)
    assert sender.opening == sender.goodbye() == sender.fault(b"why") == sender.refusal(b"why") == b""
    assert sender.greeted
    assert sender.agree()
    sender.greet()
    assert sender.their_message_bytes == 7
    assert isinstance(sender.too_large(8), TooLarge)
    assert str(sender.too_large(8)).startswith("/run/name: a line of 8 bytes; 7 at most")


def test_a_failure_stays() -> None:
    """Whatever it was."""
    receiver = session()
    receiver.feed(b"a line\n")
    receiver.fail(ConnectionLost("gone"))
    with pytest.raises(ConnectionLost, match="gone"):
        receiver.next_message()
    with pytest.raises(ConnectionLost, match="gone"):
        receiver.check()
