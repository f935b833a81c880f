"""What the ends of a channel agree on, as text and as links."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from namedipc import lowlevel
from namedipc._codec import Codec
from namedipc._errors import NotAllowed
from namedipc._fd import Fd
from namedipc._framing import Framing, declared_in
from namedipc._shells.connecting import peer_of
from namedipc._shells.conversation import Conversation
from namedipc._shells.descriptor_link import DescriptorLink
from namedipc._shells.line_link import LineLink
from namedipc._shells.message_link import MessageLink
from namedipc._values import Limits

from .channel_support import body_now

pytestmark = pytest.mark.usefixtures("no_leaks")


def conversation(tp: object) -> Conversation[Any]:
    """Return one of messages of a type."""
    return Conversation("/run/name", Codec[Any](tp))


def test_the_difference_of_two() -> None:
    """None with itself; else the first one, whichever side has it."""
    numbers = conversation(int)
    assert json.loads(numbers.schema)["type"] == {"type": "int"}
    assert numbers.difference(numbers.schema) is None
    assert numbers.difference(conversation(str).schema) == "int here, str there"


@pytest.mark.parametrize("text", [b"", b"\xff", b"[" * 100_000, b"[]", b"{}", b'{"type": 3, "records": {}}'])
def test_a_text_that_cannot_be_read(text: bytes) -> None:
    """It is a difference, too."""
    assert "cannot be read" in str(conversation(int).difference(text))


@pytest.mark.parametrize(("tp", "kind"), [(int, MessageLink), (Fd | None, DescriptorLink)])
def test_links(tp: object, kind: type[MessageLink]) -> None:
    """Only messages which may hold descriptors need the link that carries them."""
    one, other = lowlevel.socket_pair()
    one.setblocking(False)
    closed: list[bool] = []
    link = conversation(tp).accepted(one, peer_of(one), Limits(message_bytes=77), lambda: closed.append(True))
    assert type(link) is kind
    assert link.where == "/run/name"
    assert other.recv(1 << 16) == link.session.opening
    assert (link.session.arrivals is None) == (kind is MessageLink)
    link.close()
    other.close()
    assert closed == [True]


def test_what_is_known_of_the_other_side() -> None:
    """Its limit, where the card says it; and who has connected does not hurry whoever accepts."""
    one, other = lowlevel.socket_pair()
    one.setblocking(False)
    link = conversation(int).connected(one, peer_of(one), Limits(message_bytes=77), message_bytes=5)
    assert link.session.their_message_bytes == 5
    assert link.seconds_left() is None
    assert other.recv(1 << 16) == link.session.opening
    link.close()
    other.close()


def test_turning_a_peer_away() -> None:
    """It hears the hello and why; no schema, which would look like agreement."""
    one, other = lowlevel.socket_pair()
    numbers = conversation(int)
    with one, other:
        numbers.refuse(one, NotAllowed("not you"))
        session = numbers.session(Limits())
        session.feed(other.recv(1 << 16))
        with pytest.raises(NotAllowed, match="/run/name: not you"):
            session.agree()
        assert session.greeted
        assert not session.agreed


@pytest.mark.parametrize(("framing", "blank"), [("lines", b""), ("json-lines", None)])
def test_links_of_lines(framing: Framing, blank: bytes | None) -> None:
    """They begin without a word; what a blank line is depends on what lines are."""
    one, other = lowlevel.socket_pair()
    one.setblocking(False)
    codec: Codec[str]
    _, codec = declared_in(framing, "Channel('x')", "/run/name", str, sys._getframe())
    link = Conversation("/run/name", codec, framing).connected(one, peer_of(one), Limits(message_bytes=77))
    assert type(link) is LineLink
    assert link.agree()
    assert link.session.opening == b""
    assert link.session.their_message_bytes == 77
    assert link.pack(b"one") == b"one\n"
    assert link.pack_many([b"one", b"", b"three"]) == (b"one\n\nthree\n", 3)
    assert link.pack_many([]) == (b"", 0)
    assert link.pack_values(codec, ["one", "two"]) is None
    other.sendall(b"\n")
    assert body_now(link) == blank
    link.close()
    other.close()
