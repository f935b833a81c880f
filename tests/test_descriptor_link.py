"""Descriptors beside messages: they leave with their message's first byte, and none is left behind however it ends."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import pytest

from namedipc import lowlevel
from namedipc._codec import Codec
from namedipc._descriptors import Descriptors
from namedipc._errors import ConnectionLost, InvalidMessage, LimitReached, ProtocolError, TooLarge
from namedipc._fd import Fd
from namedipc._protocol.attachments import Parcel, pack_parcel
from namedipc._protocol.frames import DESCRIPTORS_FLAG, MESSAGE, MESSAGES, pack_frame
from namedipc._protocol.hello import CHANNEL, Hello
from namedipc._protocol.messages import MessageSession, pack_message
from namedipc._shells.descriptor_link import DescriptorLink
from namedipc._values import Peer

from .channel_support import body_now, run_in_fork, shrink
from .conftest import open_descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")


@attrs.frozen
class Page:
    """A message which may be long, with any number of descriptors."""

    text: bytes
    files: list[Fd]


CODEC = Codec[Page](Page)
EMPTY = CODEC.encode(Page(b"", []))


@contextmanager
def links(*, limit: int = 1 << 20) -> Iterator[tuple[DescriptorLink, DescriptorLink]]:
    """Open two ends with the smallest buffers; the limit is the second's."""
    ends = []
    for sock, bound in zip(lowlevel.socket_pair(), (1 << 20, limit), strict=True):
        sock.setblocking(False)
        hello = Hello(CHANNEL, bound, bytes(16))
        session = MessageSession("/run/name", hello, b"schema", lambda _: None, carries_attachments=True)
        ends.append(DescriptorLink(shrink(sock), Peer(1, 1, 1, ()), session, None))
        ends[-1].write()
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            end.close()


def packed(link: DescriptorLink, *counts: int, size: int = 10) -> bytes:
    """Return messages as frames, each with so many descriptors of a file with its number in it."""
    encode, _ = link.coders(CODEC)
    bodies = []
    for number, count in enumerate(counts):
        memory = lowlevel.create_memfd("page", 1)
        os.pwrite(memory, bytes([number]), 0)
        files = [Fd(memory) for _ in range(count)]
        os.close(memory)
        bodies.append(encode(Page(bytes([number]) * size, files)))
        for fd in files:
            fd.close()
    frames, messages = link.pack_many(bodies)
    assert messages == len(counts)
    return frames


def receive(link: DescriptorLink) -> Page | None:
    """Take the next message, if it is there."""
    body = body_now(link)
    return None if body is None else link.coders(CODEC)[1](body)


def carry(sender: DescriptorLink, receiver: DescriptorLink) -> list[tuple[int, int]]:
    """Let everything through that waits in the sender: which message, and how many descriptors, all of them its own."""
    found = []
    done = False
    while not done:
        done = sender.write()
        while (page := receive(receiver)) is not None:
            assert set(page.text) == {page.text[0]}
            for fd in page.files:
                assert os.pread(fd.fileno(), 1, 0) == page.text[:1]
                assert not os.get_inheritable(fd.fileno())
                fd.close()
            found.append((page.text[0], len(page.files)))
    return found


def test_each_message_has_its_own() -> None:
    """With descriptors and without, short ones and such as take many writes."""
    for size in (10, 90_000):
        with links() as (here, there):
            counts = [0, 1, 3, 0, 0, 253, 2, 0, 1]
            here.enqueue(packed(here, *counts, size=size), len(counts))
            assert carry(here, there) == list(enumerate(counts))
            assert here.statistics().bytes_sent == there.statistics().bytes_received
            there.enqueue(packed(there, 5), 1)
            assert carry(there, here) == [(0, 5)]


def test_they_leave_once() -> None:
    """With the part of a message that has been sent, and not again with the rest; the duplicates are closed by then."""
    with links() as (here, there):
        here.enqueue(packed(here, 2, size=500_000))
        assert not here.write()
        before = open_descriptors()
        assert carry(here, there) == [(0, 2)]
        assert open_descriptors() == before


def test_what_has_not_begun_is_taken_back() -> None:
    """Its descriptors are closed; those of the message which has begun have left."""
    with links() as (here, there):
        here.enqueue(packed(here, 1, size=500_000))
        assert not here.write()
        before = open_descriptors()
        waiting = packed(here, 2, 0, 3)
        here.enqueue(waiting, 3)
        assert not here.write()
        assert here.withdraw(waiting, 3)
        assert open_descriptors() == before
        assert not here.withdraw(packed(here, 0))
        assert carry(here, there) == [(0, 1)]


def test_what_is_never_enqueued_is_dropped() -> None:
    """And dropping what has been enqueued changes nothing."""
    with links() as (here, there):
        here.drop(packed(here, 4))
        sent = packed(here, 2)
        here.enqueue(sent)
        here.drop(sent)
        here.drop(here.session.goodbye())
        assert carry(here, there) == [(0, 2)]


def test_one_of_several_that_cannot_be_sent() -> None:
    """The others' descriptors are closed, too."""
    with links(limit=100) as (here, there):
        assert receive(there) is None
        here.hear_hello()
        encode, _ = here.coders(CODEC)
        with Fd(0) as fd:

            def bodies() -> Iterator[bytes]:
                for text in (b"short", bytes(200)):
                    body = encode(Page(text, [fd]))
                    here.check_sendable(body)
                    yield body

            before = open_descriptors()
            with pytest.raises(TooLarge):
                here.pack_many(bodies())
            assert open_descriptors() == before


def test_a_lost_peer() -> None:
    """What waited for it is closed, with the error and at the end."""
    with links() as (here, there):
        before = open_descriptors()
        here.enqueue(packed(here, 3))
        there.close()
        with pytest.raises(ConnectionLost):
            here.write()
        assert len(open_descriptors()) == len(before) - 1


def test_closing_with_descriptors_on_the_way() -> None:
    """Neither what waits to be sent, nor what came with half a message, nor what nobody received is left."""
    with links() as (here, there):
        here.enqueue(packed(here, 1, 2, size=500_000), 2)
        assert not here.write()
        assert receive(there) is None
        assert not here.write()
        assert receive(there) is None
    with links() as (here, there):
        here.enqueue(packed(here, 3, 3), 2)
        assert here.write()
        assert body_now(there) is not None
        there.read()


@pytest.mark.parametrize(
    ("frames", "count", "why"),
    [
        (pack_message(EMPTY), 1, "descriptors have come which belong to no frame"),
        (pack_frame(MESSAGE, b"\x02" + EMPTY, flags=DESCRIPTORS_FLAG), 1, "it has 2 descriptors; 1 have come"),
        (pack_frame(MESSAGE, b"\x00" + EMPTY, flags=DESCRIPTORS_FLAG), 1, "says that they are 0"),
        (pack_frame(MESSAGE, b"", flags=DESCRIPTORS_FLAG), 0, "says that they are nothing"),
        (pack_frame(MESSAGES, b"\x91" + EMPTY), 0, "no frame of kind 14"),
    ],
)
def test_uninvited_descriptors(frames: bytes, count: int, why: str) -> None:
    """A peer which sends others than it says breaks the protocol, for good; all are closed."""
    with links() as (here, there):
        if count:
            lowlevel.send_descriptors(here.socket, frames, [0] * count)
        else:
            lowlevel.send(here.socket, frames)
        for _ in range(2):
            with pytest.raises(ProtocolError, match=f"^/run/name: .*{why}"):
                while receive(there) is not None:
                    pass


def test_descriptors_before_the_hello() -> None:
    """However slowly it comes, they are not gathered."""
    mine, theirs = lowlevel.socket_pair()
    theirs.setblocking(False)
    session = MessageSession("/run/name", Hello(CHANNEL, 1, bytes(16)), b"", lambda _: None, carries_attachments=True)
    link = DescriptorLink(theirs, Peer(1, 1, 1, ()), session, None)
    for byte in link.session.opening[:3]:
        lowlevel.send_descriptors(mine, bytes([byte]), [0] * 253)
    with mine, pytest.raises(ProtocolError, match="belong to no frame"):
        body_now(link)
    link.close()


def test_descriptors_that_the_message_does_not_speak_of() -> None:
    """The message is invalid; the next one arrives."""
    with links() as (here, there):
        here.enqueue(pack_parcel(MESSAGE, Parcel(CODEC.encode(Page(b"\x00", [])), Descriptors([os.dup(0)]))))
        here.enqueue(packed(here, 1))
        assert here.write()
        with pytest.raises(InvalidMessage, match="1 descriptors have come of which the message does not speak"):
            receive(there)
        assert carry(here, there) == [(0, 1)]


def test_no_descriptor_left_at_the_receiver() -> None:
    """Some were lost, so that the connection is: the reason is said, the peer is told, those that came are closed."""
    with links() as (here, there):
        assert receive(there) is None
        here.enqueue(packed(here, 50))
        assert here.write()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = open_descriptors()
        free = [number for number in range(len(before) + 3) if number not in before]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free[2], hard))
            for _ in range(2):
                with pytest.raises(ConnectionLost, match=r"^/run/name: descriptors of a message were lost: no room"):
                    receive(there)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        here.enqueue(packed(here, 1))
        with pytest.raises(ConnectionLost):
            here.write()


def test_too_many_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's limit for a user: this message is dropped, and the next is whole.

    Only others than root have the limit, so that the kernel's answer is put in its mouth.
    """
    real = lowlevel.send_descriptors

    def refuse(*_: object) -> int:
        raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))

    with links() as (here, there):
        before = open_descriptors()
        monkeypatch.setattr(lowlevel, "send_descriptors", refuse)
        here.enqueue(packed(here, 0, 2), 2)
        with pytest.raises(LimitReached, match="too many descriptors of this user are on their way"):
            here.write()
        assert open_descriptors() == before
        monkeypatch.setattr(lowlevel, "send_descriptors", real)
        here.enqueue(packed(here, 1))
        assert carry(here, there) == [(0, 0), (0, 1)]


def test_a_forked_child() -> None:
    """It holds none of the descriptors that are on their way."""
    with links() as (here, _):
        bare = set(open_descriptors())
        here.enqueue(packed(here, 3))
        waiting = set(open_descriptors()) - bare
        assert len(waiting) == 3

        def child() -> None:
            assert not waiting & set(open_descriptors())

        assert run_in_fork(child) == 0
