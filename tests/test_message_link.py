"""A connection's descriptor work, which never waits: whole frames, in order, and every message before the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from namedipc import lowlevel
from namedipc._batches import join
from namedipc._codec import Codec
from namedipc._errors import Closed, ConnectionLost, EndOfChannel, ProtocolError, RemoteError, TimedOut, TooLarge
from namedipc._protocol.frames import HEADER, MESSAGE, MESSAGES, pack_frame
from namedipc._protocol.hello import CHANNEL, Hello
from namedipc._protocol.messages import MessageSession, pack_message
from namedipc._shells.message_link import MessageLink
from namedipc._shells.patience import Patience
from namedipc._values import Peer

from .channel_support import body_now, fork, run_in_fork, shrink

pytestmark = pytest.mark.usefixtures("no_leaks")

BIG = pack_message(bytes(200_000))


def make_link(sock: lowlevel.Socket, *, limit: int = 1 << 20, uid: int | None = None) -> MessageLink:
    """Return one end, with the smallest buffer."""
    session = MessageSession("/run/name", Hello(CHANNEL, limit, bytes(16)), b"schema", lambda _: None)
    link = MessageLink(shrink(sock), Peer(1, os.geteuid() if uid is None else uid, 0, ()), session, None)
    link.write()
    return link


@contextmanager
def links(*, limit: int = 1 << 20) -> Iterator[tuple[MessageLink, MessageLink]]:
    """Open two ends; the limit is the second's."""
    here, there = lowlevel.socket_pair()
    ends = make_link(here), make_link(there, limit=limit)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()


def carry(sender: MessageLink, receiver: MessageLink) -> list[bytes]:
    """Let everything through that waits in the sender."""
    found: list[bytes] = []
    done = False
    while not done:
        done = sender.write()
        while (body := body_now(receiver)) is not None:
            found.append(body)
    return found


def test_messages_through_a_small_socket() -> None:
    """Each arrives whole, in order, however many writes it takes."""
    with links() as (here, there):
        bodies = [bytes([number]) * 30_000 for number in range(8)]
        here.enqueue(b"".join(map(pack_message, bodies)), len(bodies))
        assert not here.write()
        assert carry(here, there) == bodies
        there.count_received(8)
        sent, received = here.statistics(), there.statistics()
        assert (sent.messages_sent, received.messages_received) == (8, 8)
        assert sent.bytes_sent == received.bytes_received > 8 * 30_000
        assert (sent.messages_received, received.messages_sent) == (0, 0)


def test_the_hello_leaves_by_itself() -> None:
    """Also from a side which only receives; so the other knows its limit."""
    with links(limit=100) as (here, there):
        here.hear_hello()
        assert here.session.their_message_bytes == 100
        here.check_sendable(bytes(100))
        with pytest.raises(TooLarge, match="/run/name: a message of 101 bytes; the other side accepts 100"):
            here.check_sendable(bytes(101))
        assert there.statistics().messages_sent == 0


def test_what_has_not_begun_is_taken_back() -> None:
    """Not a byte of it is sent, and it is not counted."""
    with links() as (here, there):
        here.enqueue(BIG)
        assert not here.write()
        waiting = pack_message(b"waiting")
        here.enqueue(waiting)
        assert here.withdraw(waiting)
        assert carry(here, there) == [bytes(200_000)]
        assert here.statistics().messages_sent == 1


def test_what_has_begun_is_not_taken_back() -> None:
    """It is finished, and the next one is whole."""
    with links() as (here, there):
        here.enqueue(BIG)
        assert not here.write()
        assert not here.withdraw(BIG)
        here.enqueue(pack_message(b"next"))
        assert carry(here, there) == [bytes(200_000), b"next"]


def test_every_message_comes_before_the_end() -> None:
    """A goodbye is the end of the channel."""
    with links() as (here, there):
        here.enqueue(pack_message(b"a") + pack_message(b"b"), 2)
        here.say_goodbye()
        here.say_goodbye()
        assert here.write()
        here.close()
        assert [body_now(there), body_now(there)] == [b"a", b"b"]
        for _ in range(2):
            with pytest.raises(EndOfChannel, match="/run/name"):
                body_now(there)


@pytest.mark.parametrize(("rest", "how"), [(b"", "without a goodbye"), (b"\x05", "in the middle of a message")])
def test_every_message_comes_before_the_loss(rest: bytes, how: str) -> None:
    """Also where this side's own bytes were not read, so that the kernel says `reset`."""
    with links() as (here, there):
        there.enqueue(pack_message(b"never read"))
        assert there.write()
        here.enqueue(pack_message(b"a") + rest)
        assert here.write()
        here.close()
        assert body_now(there) == b"a"
        for _ in range(2):
            with pytest.raises(ConnectionLost, match=how):
                body_now(there)


def test_sending_to_a_lost_peer() -> None:
    """It is told by each send from the first on; what waited is dropped."""
    with links() as (here, there):
        there.close()
        here.enqueue(pack_message(b"x"))
        with pytest.raises(ConnectionLost, match="/run/name: the peer has gone"):
            here.write()
        assert here.write()
        with pytest.raises(ConnectionLost):
            here.check_sendable(b"x")
        here.say_goodbye()
        assert here.write()
        here.half_close()


def test_values_together() -> None:
    """They are encoded by one call, but where each has to be looked at by itself; what cannot be sent is told."""
    codec = Codec[str](str)
    wrong: str = 1  # type: ignore[assignment]  # what a caller without a type checker may do
    with links(limit=100) as (here, there):
        assert here.pack_values(codec, ["a", "b"]) is None  # the limit is not known yet
        here.hear_hello()
        assert here.pack_values(codec, ["a"]) is None
        assert here.pack_values(codec, ["a", wrong]) is None
        assert here.pack_values(codec, ["a", "b"]) == pack_frame(MESSAGES, join([b"\xa1a", b"\xa1b"]))
        frames = here.pack_values(codec, ["a" * 30, "b" * 30, "c" * 30, "d" * 98])
        assert frames is not None
        here.enqueue(frames, 4)
        assert [len(body) for body in carry(here, there)] == [1 + 3 * 31, 100]
        with pytest.raises(TooLarge, match="a message of 101 bytes"):
            here.pack_values(codec, ["a", "b" * 99, "c" * 200])
        here.say_goodbye()
        with pytest.raises(Closed, match="send_eof"):
            here.pack_values(codec, ["a", "b"])


def test_the_session_has_failed() -> None:
    """Then nothing can be sent, either."""
    with links() as (here, there):
        assert body_now(there) is None
        here.enqueue(HEADER.pack(2**31, MESSAGE, 0, 0, 0))
        assert here.write()
        with pytest.raises(ProtocolError):
            body_now(there)
        with pytest.raises(ProtocolError, match="2147483648"):
            there.check_sendable(b"x")


def test_half_close() -> None:
    """This end sends no more, and still receives."""
    with links() as (here, there):
        here.say_goodbye()
        assert here.write()
        here.half_close()
        with pytest.raises(Closed, match=r"send_eof\(\) has been called"):
            here.check_sendable(b"x")
        with pytest.raises(EndOfChannel):
            body_now(there)
        there.enqueue(pack_message(b"answer"))
        assert there.write()
        assert body_now(here) == b"answer"


@pytest.mark.parametrize("same_user", [False, True])
def test_a_handlers_failure_is_told(same_user: bool) -> None:
    """The traceback only to whom could read it anyway; and nothing after it."""
    one, other = lowlevel.socket_pair()
    here = make_link(one, uid=os.geteuid() if same_user else os.geteuid() + 1)
    there = make_link(other)
    here.tell_failure(KeyError("dish"))
    here.tell_failure(KeyError("again"))
    here.say_goodbye()
    assert here.write()
    with pytest.raises(RemoteError, match="/run/name: KeyError: 'dish'") as caught:
        body_now(there)
    assert ("KeyError" in caught.value.traceback_text) == same_user
    here.close()
    here.tell_failure(KeyError("closed"))
    there.close()


def test_closing() -> None:
    """Twice is safe, who asked is told once, and everything after it is Closed."""
    told = []
    one, other = lowlevel.socket_pair()
    session = MessageSession("/run/name", Hello(CHANNEL, 1, bytes(16)), b"", lambda _: None)
    link = MessageLink(one, Peer(1, 1, 1, ()), session, lambda: told.append(True))
    link.enqueue(pack_message(b"x"))
    link.close()
    link.close()
    assert told == [True]
    for use in (link.read, link.take, link.write, link.check_open, lambda: link.check_sendable(b"")):
        with pytest.raises(Closed, match="/run/name: this end has been closed"):
            use()
    link.hear_hello()
    other.close()


def test_ended_by_this_side() -> None:
    """Another thread which is about to wait learns that it was this side, not the peer."""
    with links() as (here, there):
        here.enqueue(pack_message(b"x"))
        here.end()
        here.end()
        for use in (here.read, here.take, here.write):
            with pytest.raises(Closed):
                use()
        with pytest.raises(ConnectionLost):
            body_now(there)


def test_agreement() -> None:
    """What is not there yet, what is, and a peer that has gone before."""
    one, other = lowlevel.socket_pair()
    here = make_link(one)
    with other:
        assert not here.agree()
        other.sendall(here.session.opening[:-1])
        assert not here.agree()
        other.sendall(here.session.opening[-1:])
        assert here.agree()
        assert here.session.agreed
    here.close()
    one, other = lowlevel.socket_pair()
    here = make_link(one)
    other.close()
    with pytest.raises(ConnectionLost, match="/run/name: the peer went away before it had said its hello"):
        here.agree()
    here.close()


@pytest.mark.parametrize("telling", [True, False])
def test_giving_up(*, telling: bool) -> None:
    """Nothing comes or goes any more; the peer is told, unless another thread is in the middle of sending."""
    one, other = lowlevel.socket_pair()
    session = MessageSession("/run/name", Hello(CHANNEL, 100, bytes(16)), b"schema", lambda _: None)
    here, there = MessageLink(one, Peer(1, 1, 1, ()), session, None, Patience(5, 30)), make_link(other)
    here.write()
    assert here.seconds_left() == 5
    assert str(here.give_up(telling=telling)) == "/run/name: the peer was too slow: no whole hello within 5 seconds"
    for use in (here.take, lambda: here.check_sendable(b"")):
        with pytest.raises(ConnectionLost, match="too slow"):
            use()
    with pytest.raises(TimedOut if telling else ConnectionLost, match="too slow" if telling else "without a goodbye"):
        body_now(there)
    for end in (here, there):
        end.close()


def test_a_forked_child() -> None:
    """It cannot use the connection, and neither its close nor its end touches the parent's."""
    with links() as (here, there):

        def child() -> None:
            for use in (here.read, here.take, lambda: here.check_sendable(b"x")):
                with pytest.raises(Closed, match=f"belongs to process {parent}, from which this one was forked"):
                    use()
            here.tell_failure(KeyError())
            here.close()
            assert here.socket.fileno() == -1

        parent = os.getpid()
        assert run_in_fork(child) == 0
        here.enqueue(pack_message(b"alive"))
        assert carry(here, there) == [b"alive"]


def test_a_forked_child_does_not_hide_the_end() -> None:
    """It holds no copy of the socket: when the parent's is gone the peer sees it, though the child lives."""
    with links() as (here, there):
        ready, release = os.pipe(), os.pipe()
        pid = fork()
        if pid == 0:
            os.write(ready[1], b"1")
            os.close(release[1])
            os.read(release[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        os.close(here.socket.detach())  # what a kill does; `close` would shut it down for every process
        with pytest.raises(ConnectionLost):
            body_now(there)
        os.close(release[1])
        os.waitpid(pid, 0)
        for fd in (*ready, release[0]):
            os.close(fd)
