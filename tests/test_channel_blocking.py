"""The open ends of a channel in blocking code: whole messages, and what a timeout leaves behind."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from namedipc import _channel_blocking as module
from namedipc import lowlevel
from namedipc._channel import Channel
from namedipc._channel_blocking import BlockingConnection, settle
from namedipc._errors import (
    Closed,
    ConnectionLost,
    EndOfChannel,
    InvalidMessage,
    ProtocolError,
    RemoteError,
    TimedOut,
    TooLarge,
    WouldBlock,
)
from namedipc._protocol.frames import HEADER, MESSAGE
from namedipc._protocol.messages import pack_message
from namedipc._values import Limits

from .channel_support import Background, BytePeer, blocking_ends, fill, filler, wait_until_asleep

pytestmark = pytest.mark.usefixtures("no_leaks")

BIG = bytes(range(256)) * 2000  # more than a socket takes at once
STEP = 50_000  # less than a full socket holds
SHORT_SECONDS = 0.01


@pytest.fixture
def channel(tmp_path: Path) -> Channel[bytes]:
    """A channel of bytes."""
    return Channel(tmp_path / "channel", bytes)


@pytest.fixture
def numbers(tmp_path: Path) -> Channel[int]:
    """A channel of numbers."""
    return Channel(tmp_path / "numbers", int)


@contextmanager
def serving(channel: Channel[bytes], handler: Callable[[BlockingConnection[bytes]], object]) -> Iterator[None]:
    """Serve in a thread."""
    with channel.listen() as listener:
        server = Background(lambda: listener.serve(handler))
        yield
        listener.close()
        server.result()


def echo(end: BlockingConnection[bytes]) -> None:
    """A handler."""
    for message in end:
        end.send(message)


# ------------------------------------------------------------ messages


def test_messages_both_ways(channel: Channel[bytes]) -> None:
    """Whole, in order, of any size, while both send at once; and counted."""
    sizes = [0, 1, 65_536, 300_000, 7]
    expected = [bytes([number]) * size for number, size in enumerate(sizes)]

    def send(end: BlockingConnection[bytes]) -> None:
        for message in expected:
            end.send(message)
        end.send_eof()

    with blocking_ends(channel) as (server, client):
        senders = [Background(lambda: send(server)), Background(lambda: send(client))]
        receivers = [Background(lambda: list(server)), Background(lambda: list(client))]
        assert [receiver.result() for receiver in receivers] == [expected, expected]
        for sender in senders:
            sender.result()
        ours, theirs = server.statistics(), client.statistics()
        assert ours.messages_sent == ours.messages_received == 5
        assert ours.bytes_sent == theirs.bytes_received > sum(sizes)
        assert server.peer.pid == client.peer.pid == os.getpid()


def test_many_at_one_go(numbers: Channel[int]) -> None:
    """`send_many` and `receive_many` keep the order; the most is kept to."""
    with blocking_ends(numbers) as (server, client):
        client.send_many(range(5000))
        client.send_many([])
        assert server.receive_many(max_messages=3) == [0, 1, 2]
        got: list[int] = []
        while len(got) < 4997:
            got += server.receive_many()
        assert got == list(range(3, 5000))
        with pytest.raises(ValueError, match="max_messages=0"):
            server.receive_many(max_messages=0)
        with pytest.raises(TimedOut):
            server.receive_many(timeout=0)


def test_many_in_a_frame(numbers: Channel[int]) -> None:
    """As soon as the peer's limit is known those of one `send_many` travel together, and one alone as ever."""
    with numbers.listen() as listener, BytePeer(numbers) as peer, listener.accept() as end:
        end.send_many([1, 2])
        end.send_many(iter([1, 2]))
        assert peer.counts() == [0] * 4
        peer.greet()
        end.send_many(list(range(600)))
        end.send_many(tuple(range(257)))
        end.send_many(iter(range(1026)))
        end.send_many([1])
        end.send_many([])
        assert peer.counts() == [256, 256, 88, 256, 0, 1024, 2, 0]
        assert end.statistics().messages_sent == 4 + 600 + 257 + 1026 + 1


@pytest.mark.parametrize("kind", [list, iter])
def test_as_much_in_a_frame_as_the_peer_takes(
    channel: Channel[bytes], kind: Callable[[list[bytes]], Iterable[bytes]]
) -> None:
    """One is never longer than its limit, nor so long that what is in it has to wait; and all arrives, in order."""
    said = [bytes([size]) * size for size in (30, 30, 30, 98, 46, 46, 46, 47, 98, 98, 1)]
    with blocking_ends(channel, Limits(message_bytes=100)) as (server, client):
        client.send_many(kind(said))
        assert server.receive_many() == said
    said = [bytes([size]) * 1000 * size for size in (1, 60, 4, 70, 1, 1)]
    with channel.listen() as listener, BytePeer(channel) as peer, listener.accept() as end:
        peer.greet()
        end.send_many(kind(said))
        assert peer.counts() == [3, 0, 2]


def test_an_iterator_that_gives_out_one_object_again(tmp_path: Path) -> None:
    """Each message is what it was when it was drawn."""

    def rows() -> Iterator[list[int]]:
        row = [0, 0]
        for number in range(5):
            row[0] = number
            yield row

    with blocking_ends(Channel(tmp_path / "rows", list[int])) as (server, client):
        client.send([])
        client.send_many(rows())
        assert server.receive_many() == [[], *([number, 0] for number in range(5))]


def test_an_iterator_that_fails(numbers: Channel[int]) -> None:
    """Nothing of what it has given out is sent."""
    with blocking_ends(numbers) as (server, client):
        with pytest.raises(ZeroDivisionError):
            client.send_many(1 // (2 - number) for number in range(3))
        client.send_many([7])
        assert server.receive_many() == [7]


def test_one_by_one_of_many(numbers: Channel[int]) -> None:
    """Any number may receive what came together, each message once; without waiting, too. They are counted."""
    with blocking_ends(numbers) as (server, client):
        client.send(0)
        client.send_many(list(range(1, 1000)))
        assert [server.receive(), server.receive_nowait(), server.receive()] == [0, 1, 2]
        assert server.receive_many(max_messages=2) == [3, 4]
        assert server.statistics().messages_received == 5
        client.send_eof()
        receivers = [Background(lambda: list(server)) for _ in range(3)]
        received: list[int] = []
        for receiver in receivers:
            found = receiver.result()
            assert isinstance(found, list)
            received += found
        assert sorted(received) == list(range(5, 1000))
        assert (client.statistics().messages_sent, server.statistics().messages_received) == (1000, 1000)


def test_many_threads(numbers: Channel[int]) -> None:
    """Any number take turns: each message is received once."""
    with blocking_ends(numbers) as (server, client):

        def send(start: int) -> None:
            for step in range(50):
                client.send(start + step)

        senders = [Background(partial(send, start)) for start in (0, 100, 200, 300)]
        receivers = [Background(lambda: list(server)) for _ in range(3)]
        for sender in senders:
            sender.result()
        client.send_eof()
        received: list[int] = []
        for receiver in receivers:
            found = receiver.result()
            assert isinstance(found, list)
            received += found
    assert sorted(received) == sorted(start + step for start in (0, 100, 200, 300) for step in range(50))


def test_without_waiting(channel: Channel[bytes]) -> None:
    """A message that is there is received, one that fits is sent, and otherwise it says so and nothing has happened."""
    with blocking_ends(channel) as (server, client):
        with pytest.raises(WouldBlock, match="no message is there"):
            server.receive_nowait()
        count = fill(client)
        with pytest.raises(WouldBlock, match="the peer has to read first"):
            client.send_nowait(b"more")
        assert client.statistics().messages_sent == count
        assert [server.receive_nowait() for _ in range(count)] == [filler(number) for number in range(count)]
        client.send(bytes(150_000))
        assert server.receive_nowait() == bytes(150_000)


def test_another_thread_is_in_the_middle(channel: Channel[bytes]) -> None:
    """What does not wait does not wait for it either; with a timeout one waits that long for one's turn."""
    with blocking_ends(channel) as (server, client):
        sender, receiver = Background(lambda: client.send(BIG)), Background(client.receive)
        wait_until_asleep(sender)
        wait_until_asleep(receiver)
        with pytest.raises(WouldBlock, match="another thread is sending"):
            client.send_nowait(b"between")
        with pytest.raises(WouldBlock, match="another thread is receiving"):
            client.receive_nowait()
        with pytest.raises(TimedOut, match=r"not sent within 0.01 seconds"):
            client.send(b"between", timeout=SHORT_SECONDS)
        with pytest.raises(TimedOut, match=r"no message within 0.01 seconds"):
            client.receive(timeout=SHORT_SECONDS)
        assert server.receive() == BIG
        sender.result()
        server.send(b"x")
        assert receiver.result() == b"x"


def test_what_has_begun_without_waiting_goes_on(channel: Channel[bytes]) -> None:
    """The message counts as sent; its rest goes before the next one, or with the goodbye."""
    with blocking_ends(channel) as (server, client):
        client.send_nowait(BIG)
        with pytest.raises(WouldBlock):
            client.send_nowait(b"between")
        sender = Background(lambda: client.send(b"next"))
        assert [server.receive(), server.receive()] == [BIG, b"next"]
        sender.result()
        client.send_nowait(BIG)
        closer = Background(client.close)
        assert list(server) == [BIG]
        closer.result()


# ------------------------------------------------------------ what does not fit


def test_a_value_of_another_type(numbers: Channel[int]) -> None:
    """It is refused before a byte has left; of several not one leaves."""
    with blocking_ends(numbers) as (server, client):
        before = client.statistics().bytes_sent
        wrong: int = "one"  # type: ignore[assignment]  # what a caller without a type checker may do
        many: list[int] = [*range(300), wrong]
        with pytest.raises(InvalidMessage) as alone:
            client.send(wrong)
        for send in (client.send_nowait, lambda _: client.send_many(many), lambda _: client.send_many(iter(many))):
            with pytest.raises(InvalidMessage) as caught:
                send(wrong)
            assert str(caught.value) == str(alone.value)
        assert client.statistics().bytes_sent == before
        client.send(5)
        assert server.receive() == 5


def test_a_value_that_is_too_large(channel: Channel[bytes]) -> None:
    """The listener's limit holds for a client which has never received: nothing has left, and the next one is fine."""
    with blocking_ends(channel, Limits(message_bytes=100)) as (server, client):
        with pytest.raises(TooLarge, match=rf"{channel.path}: a message of 1\d\d bytes; the other side accepts 100"):
            client.send(bytes(100))
        wrong: bytes = 1  # type: ignore[assignment]  # what a caller without a type checker may do
        for many in ([b"a", bytes(100), b"b"], [b"a", bytes(100), wrong]):
            for values in (many, iter(many)):
                with pytest.raises(TooLarge, match="a message of 102 bytes"):
                    client.send_many(values)
        with pytest.raises(InvalidMessage):
            client.send_many([wrong, bytes(100)])
        assert client.statistics().messages_sent == 0
        client.send(bytes(90))
        assert server.receive() == bytes(90)


def test_a_received_value_of_another_type(numbers: Channel[int]) -> None:
    """Only a peer that does not keep to its own declaration sends one: the next message is fine."""
    with numbers.listen() as listener, BytePeer(numbers) as peer, listener.accept() as end:
        peer.greet()
        good, bad = peer.pack(7), pack_message(b"\xa3abc")
        peer.socket.sendall(bad + good + good + bad + good)
        with pytest.raises(InvalidMessage):
            end.receive()
        assert end.receive_many() == [7, 7]
        with pytest.raises(InvalidMessage):
            end.receive_many()
        assert end.receive_many() == [7]


# ------------------------------------------------------------ timeouts


@pytest.mark.parametrize("read", [0, 40, 90, 5_000, 200_000])
def test_a_send_that_timed_out(channel: Channel[bytes], read: int) -> None:
    """However much of it has left: its rest goes before the next one, and both are whole."""
    with channel.listen() as listener, BytePeer(channel) as peer, listener.accept() as end:
        peer.greet()
        began = threading.Event()

        def send() -> None:
            began.set()
            with pytest.raises(TimedOut, match=f"{channel.path}: the peer does not read within"):
                end.send(BIG, timeout=0.1)

        sender = Background(send)
        began.wait(20)
        for at in range(0, read, STEP):
            step = min(STEP, read - at)
            if not lowlevel.wait_ready(peer.socket.fileno(), timeout_seconds=0 if at else 20):
                break  # it was slow, and has timed out already: cut earlier, which is as good
            peer.take(min(step, lowlevel.unread_bytes(peer.socket.fileno())))
        sender.result()
        following = Background(lambda: end.send_many([b"next", b"and next"]))
        messages: list[bytes] = []
        while len(messages) < 3:
            assert lowlevel.wait_ready(peer.socket.fileno(), timeout_seconds=20)
            assert peer.drain()
            messages += peer.messages()
        following.result()
        assert messages == [BIG, b"next", b"and next"]


def test_a_send_that_had_not_begun(channel: Channel[bytes]) -> None:
    """It is taken back."""
    with blocking_ends(channel) as (server, client):
        count = fill(client)
        with pytest.raises(TimedOut):
            client.send(filler(666), timeout=SHORT_SECONDS)
        with pytest.raises(TimedOut):
            client.send_many([filler(667)], timeout=0)
        assert client.statistics().messages_sent == count
        received = [server.receive() for _ in range(count)]
        client.send(b"next", timeout=0)
        received.append(server.receive())
        assert received == [*map(filler, range(count)), b"next"]


def test_a_receive_that_timed_out(channel: Channel[bytes]) -> None:
    """Wherever the stream was cut, nothing is lost."""
    with channel.listen() as listener, BytePeer(channel) as peer, listener.accept() as end:
        stream = peer.session.opening + peer.pack(b"one", b"", b"three")
        received: list[bytes] = []
        for at in range(len(stream)):
            try:
                received.append(end.receive(timeout=0))
            except TimedOut as error:
                assert "no message within 0 seconds" in str(error)  # noqa: PT017  # it may as well not be raised
            peer.socket.sendall(stream[at : at + 1])
        received.append(end.receive(timeout=20))
        assert received == [b"one", b"", b"three"]


def test_a_peer_that_trickles(channel: Channel[bytes]) -> None:
    """It cannot hold `receive` beyond its timeout by sending a byte now and then."""
    with channel.listen() as listener, BytePeer(channel) as peer, listener.accept() as end:
        peer.greet()
        peer.socket.sendall(HEADER.pack(1 << 20, MESSAGE, 0, 0, 0))
        enough = threading.Event()

        def trickle() -> None:
            while not enough.wait(0.0005):
                peer.socket.sendall(b"x")

        trickling = Background(trickle)
        began = monotonic()
        with pytest.raises(TimedOut):
            end.receive(timeout=0.05)
        assert monotonic() - began < 10
        enough.set()
        trickling.result()


# ------------------------------------------------------------ the end


def test_an_orderly_end(numbers: Channel[int]) -> None:
    """What was sent is received, then EndOfChannel, and again; sending is a loss."""
    with blocking_ends(numbers) as (server, client):
        client.send_many([1, 2])
        client.close()
        assert server.receive_many() == [1, 2]
        for receive in (server.receive, server.receive_many, server.receive_nowait):
            with pytest.raises(EndOfChannel, match=str(numbers.path)):
                receive()
        assert list(server) == []
        with pytest.raises(ConnectionLost):
            server.send(3)


def test_half_close(numbers: Channel[int]) -> None:
    """The peer's receiving ends, it answers, and this end can only receive; twice is safe."""
    with blocking_ends(numbers) as (server, client):
        client.send(1)
        client.send_eof()
        client.send_eof()
        assert list(server) == [1]
        with pytest.raises(Closed, match="send_eof"):
            client.send(2)
        server.send(3)
        assert client.receive() == 3


def test_a_lost_peer(numbers: Channel[int]) -> None:
    """What it had sent comes first."""
    with numbers.listen() as listener:
        with BytePeer(numbers) as peer:
            peer.greet()
            peer.socket.sendall(peer.pack(1))
        with listener.accept() as end:
            assert end.receive() == 1
            with pytest.raises(ConnectionLost, match="without a goodbye"):
                end.receive()


Use = Callable[[BlockingConnection[bytes]], object]


@pytest.mark.parametrize(
    "use", [BlockingConnection.receive, BlockingConnection.receive_many, lambda end: end.send(BIG)]
)
def test_closing_while_others_wait(channel: Channel[bytes], use: Use) -> None:
    """They learn that it was this side, also who waited for its turn; and so does whoever comes later."""
    with blocking_ends(channel) as (_server, client):

        def expect() -> None:
            with pytest.raises(Closed, match="this end has been closed"):
                use(client)

        waiting = [Background(expect) for _ in range(3)]
        for thread in waiting:
            wait_until_asleep(thread)
        client.close()
        for thread in waiting:
            thread.result()
        expect()
        with pytest.raises(Closed):
            client.send_eof()


def test_closing_while_another_thread_says_goodbye(channel: Channel[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not cut off."""
    with blocking_ends(channel) as (server, client):
        say, begun, go_on = client._link.say_goodbye, threading.Event(), threading.Event()

        def slowly() -> None:
            begun.set()
            assert go_on.wait(20)
            say()

        monkeypatch.setattr(client._link, "say_goodbye", slowly)
        first = Background(client.close)
        assert begun.wait(20)
        second = Background(client.close)
        wait_until_asleep(second)
        go_on.set()
        first.result()
        second.result()
        assert list(server) == []


def test_closing_from_many_threads(channel: Channel[bytes]) -> None:
    """Once is enough for all, and the peer sees an orderly end."""
    with blocking_ends(channel) as (server, client):
        client.send(b"x")
        for closer in [Background(client.close) for _ in range(4)]:
            closer.result()
        assert list(server) == [b"x"]


def test_closing_with_a_full_socket(channel: Channel[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that does not read holds it up for a moment only, and sees what fitted."""
    monkeypatch.setattr(module, "FINISH_SECONDS", SHORT_SECONDS)
    with blocking_ends(channel) as (server, client):
        count = fill(client)
        client.close()
        for _ in range(count):
            server.receive()
        with pytest.raises(ConnectionLost):
            server.receive()


def test_the_woken_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until they have let go of the lock; but not for ever, as for a signal handler above the code that holds it."""
    free, held = threading.Lock(), threading.Lock()
    settle(free)
    assert not free.locked()
    held.acquire()
    waiting = Background(lambda: settle(held, free))
    wait_until_asleep(waiting)
    held.release()
    waiting.result()
    assert not held.locked()
    monkeypatch.setattr(module, "FINISH_SECONDS", SHORT_SECONDS)
    with held:
        settle(held)
        assert held.locked()


# ------------------------------------------------------------ peers that do not keep to it


def test_garbage(channel: Channel[bytes]) -> None:
    """It is a protocol error with the path."""
    with channel.listen() as listener, BytePeer(channel) as peer, listener.accept() as end:
        peer.socket.sendall(b"hello\n")
        with pytest.raises(ProtocolError, match=f"{channel.path}: the peer does not speak namedipc"):
            end.receive()


def test_a_giant_length(channel: Channel[bytes]) -> None:
    """It is refused with its header, behind the messages before it."""
    with channel.listen() as listener, BytePeer(channel) as peer, listener.accept() as end:
        peer.greet()
        peer.socket.sendall(peer.pack(b"x") + HEADER.pack(2**31, MESSAGE, 0, 0, 0))
        assert end.receive_many() == [b"x"]
        with pytest.raises(ProtocolError, match="2147483648 bytes was announced"):
            end.receive()


# ------------------------------------------------------------ peers that are too slow


def test_no_whole_hello(channel: Channel[bytes]) -> None:
    """Its time is up, both are told, and no more can be sent."""
    limits = Limits(handshake_seconds=0.05)
    with channel.listen(limits=limits) as listener, BytePeer(channel) as peer, listener.accept() as end:
        peer.socket.sendall(peer.session.opening[:-1])
        for _ in range(2):
            with pytest.raises(
                ConnectionLost, match=f"{channel.path}: the peer was too slow: no whole hello within 0.05 seconds"
            ):
                end.receive()
        with pytest.raises(ConnectionLost, match="too slow"):
            end.send(b"x")
        peer.drain()
        with pytest.raises(TimedOut, match="too slow: no whole hello"):
            peer.messages()
        assert lowlevel.receive_now(peer.socket, 1) == b""


def test_a_frame_that_does_not_end(channel: Channel[bytes]) -> None:
    """The waits add up that a caller's own time had ended; a thread in the middle of a send learns it as well."""
    limits = Limits(midframe_seconds=0.05)
    with channel.listen(limits=limits) as listener, BytePeer(channel) as peer, listener.accept() as end:
        peer.greet()
        peer.socket.sendall(peer.pack(b"whole", b"cut off")[:-1])
        assert end.receive() == b"whole"
        sending = Background(lambda: end.send(BIG))
        wait_until_asleep(sending)
        with pytest.raises(ConnectionLost, match="a frame that has begun does not end within"):
            while True:
                with suppress(TimedOut):
                    end.receive(timeout=SHORT_SECONDS)
        with pytest.raises(ConnectionLost):
            sending.result()


def test_who_has_not_accepted_yet_owes_nothing(channel: Channel[bytes]) -> None:
    """It may be slow; so may be who opens the other of two joined ends."""
    limits = Limits(handshake_seconds=SHORT_SECONDS)
    with channel.listen(limits=limits), channel.connect(limits=limits) as client, pytest.raises(TimedOut):
        client.receive(timeout=5 * SHORT_SECONDS)
    mine, theirs = channel.pair()
    with mine as here:
        assert here._link.seconds_left() is None
        with theirs as there:
            there.send(b"at last")
            assert here.receive() == b"at last"


# ------------------------------------------------------------ the listener


def test_many_clients_and_a_silent_one(channel: Channel[bytes]) -> None:
    """Each has its own thread, and who says nothing holds up nobody."""
    with serving(channel, echo), BytePeer(channel) as silent:

        def talk(number: int) -> None:
            with channel.connect() as client:
                for step in range(20):
                    client.send(b"%d %d" % (number, step))
                    assert client.receive(timeout=20) == b"%d %d" % (number, step)

        for talking in [Background(partial(talk, number)) for number in range(8)]:
            talking.result()
        silent.greet()
        silent.socket.sendall(silent.session.goodbye())


def test_no_more_threads_than_asked_for(channel: Channel[bytes]) -> None:
    """Further peers wait until one has gone."""
    at_once: list[int] = []
    inside: set[object] = set()

    def handler(end: BlockingConnection[bytes]) -> None:
        inside.add(end)
        at_once.append(len(inside))
        echo(end)
        inside.remove(end)

    def talk() -> None:
        with channel.connect() as client:
            client.send(b"x")
            assert client.receive(timeout=20) == b"x"

    with channel.listen() as listener:
        with pytest.raises(ValueError, match="threads=0: must be at least 1"):
            listener.serve(handler, threads=0)
        server = Background(lambda: listener.serve(handler, threads=2))
        for talking in [Background(talk) for _ in range(6)]:
            talking.result()
        listener.close()
        server.result()
    assert len(at_once) == 6
    assert max(at_once) <= 2


def test_a_handler_that_fails(channel: Channel[bytes]) -> None:
    """Its peer is told, behind what it had sent; the others and the listener go on."""

    def handler(end: BlockingConnection[bytes]) -> None:
        for message in end:
            end.send(message)
            if message == b"bad":
                raise KeyError("no such dish")

    with serving(channel, handler), channel.connect() as other, channel.connect() as client:
        client.send(b"bad")
        assert client.receive() == b"bad"
        with pytest.raises(RemoteError, match=f"{channel.path}: KeyError: 'no such dish'") as caught:
            client.receive()
        assert 'raise KeyError("no such dish")' in caught.value.traceback_text
        other.send(b"good")
        assert other.receive() == b"good"


@pytest.mark.parametrize("lost", [False, True])
def test_a_peer_that_leaves_its_handler(channel: Channel[bytes], lost: bool) -> None:
    """In order or not, that is no error of the handler, and the connection is closed."""
    left: list[str] = []
    gone = threading.Event()

    def handler(end: BlockingConnection[bytes]) -> None:
        try:
            end.receive()
        except (EndOfChannel, ConnectionLost) as error:
            left.append(type(error).__name__)
            raise
        finally:
            gone.set()

    with serving(channel, handler):
        with BytePeer(channel) as peer:
            peer.greet()
            if not lost:
                peer.socket.sendall(peer.session.goodbye())
        assert gone.wait(20)
    assert left == ["ConnectionLost" if lost else "EndOfChannel"]


def test_closed_by_another_thread(channel: Channel[bytes]) -> None:
    """Who accepts or serves ends, who was accepted goes on, and the name has gone."""
    with channel.listen() as listener, channel.connect() as client, listener.accept() as server:
        assert listener.path == channel.path
        accepting = [Background(listener.accept) for _ in range(2)]
        serving = [Background(lambda: listener.serve(echo)), Background(lambda: list(listener))]
        for thread in (*accepting, *serving):
            wait_until_asleep(thread)
        listener.close()
        listener.close()
        for thread in accepting:
            with pytest.raises(Closed, match=f"{channel.path}: this listener has been closed"):
                thread.result()
        assert [thread.result() for thread in serving] == [None, []]
        with pytest.raises(Closed):
            listener.accept(timeout=0)
        assert not channel.exists()
        client.send(b"x")
        assert server.receive() == b"x"


def test_closed_by_a_handler(channel: Channel[bytes]) -> None:
    """`serve` ends when the last handler has."""
    with channel.listen() as listener, channel.connect() as client:

        def handler(end: BlockingConnection[bytes]) -> None:
            listener.close()
            end.send(end.receive())

        server = Background(lambda: listener.serve(handler))
        client.send(b"last")
        assert client.receive() == b"last"
        server.result()


def test_nobody_connects(channel: Channel[bytes]) -> None:
    """`accept` waits as long as it was told, also while another thread is accepting."""
    with channel.listen() as listener:
        for timeout in (0, SHORT_SECONDS):
            with pytest.raises(TimedOut, match=f"{channel.path}: nobody has connected within {timeout} seconds"):
                listener.accept(timeout=timeout)
        other = Background(listener.accept)
        wait_until_asleep(other)
        with pytest.raises(TimedOut):
            listener.accept(timeout=SHORT_SECONDS)
        with channel.connect():
            accepted = other.result()
            assert isinstance(accepted, BlockingConnection)
            accepted.close()


def test_out_of_descriptors(channel: Channel[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener asks again after a pause, keeps to its timeout, and then accepts who waited."""
    accept, failures = lowlevel.accept, [1] * 1000

    def scarce(listener: lowlevel.Socket) -> lowlevel.Socket:
        if failures:
            failures.pop()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(listener)

    monkeypatch.setattr(lowlevel, "accept", scarce)
    with channel.listen() as listener, channel.connect():
        with pytest.raises(TimedOut):
            listener.accept(timeout=0.12)
        assert 1 <= 1000 - len(failures) <= 5
        failures[:] = [1]
        listener.accept(timeout=20).close()
        failures[:] = [1] * 1000
        accepting = Background(listener.accept)
        wait_until_asleep(accepting)
        listener.close()
        with pytest.raises(Closed):
            accepting.result()


def test_serving_is_interrupted(channel: Channel[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C: the connections are closed, so that the handlers end and it need not wait for their peers."""
    ended: list[str] = []
    began = threading.Event()

    def handler(end: BlockingConnection[bytes]) -> None:
        began.set()
        try:
            end.receive()
        except Closed:
            ended.append("Closed")
            raise

    with channel.listen() as listener, channel.connect() as client:
        accept = listener.accept

        def interrupted() -> BlockingConnection[bytes]:
            if began.is_set():
                raise KeyboardInterrupt
            end = accept()
            monkeypatch.setattr(listener, "accept", lambda: began.wait(20) and interrupted())
            return end

        monkeypatch.setattr(listener, "accept", interrupted)
        with pytest.raises(KeyboardInterrupt):
            listener.serve(handler)
        assert ended == ["Closed"]
        with pytest.raises(EndOfChannel):
            client.receive()


def test_no_thread_is_left(channel: Channel[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` says so, and leaves nothing open."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with channel.listen() as listener, channel.connect() as client:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                listener.serve(echo)
        with pytest.raises(EndOfChannel):
            client.receive(timeout=20)


def test_the_bell_outlives_the_thread_that_waits_for_successors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late it gets its time: closing waits for it, and it never uses a descriptor that is another's by now."""
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.0)
    for _ in range(20):
        listener = Channel(tmp_path / "late", int).listen()
        with listener as listening:
            pass
        assert not listening._successors.is_alive()
    assert failed == []
