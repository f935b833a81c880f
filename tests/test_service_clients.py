"""The clients of a service, without a loop around them: each turn is the test's, and the time is its own."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from namedipc import Allow, Limits, Peer, anyone, lowlevel
from namedipc._errors import NoServer
from namedipc._faults import fault_of
from namedipc._protocol.frames import GOODBYE, REPLY, Frame, FrameReader, pack_call, pack_frame
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._protocol.session import ServerSession
from namedipc._shells import service_clients
from namedipc._shells.service_clients import ACCEPTS_A_ROUND, Clients, Connection

from .wire_client import told

pytestmark = pytest.mark.usefixtures("no_leaks")

MINE = Hello(SERVICE, 1 << 20, b"m" * 16)
HELLO = MINE.pack()
CALL = pack_call(0, 1, b"\x90", None)


class Rig:
    """Clients, what a loop does for them, and the other ends."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.stack = stack
        self.listener = stack.enter_context(lowlevel.unix_listen(path))
        self.listener.setblocking(False)
        self.now = 1000.0
        self.taken: list[Frame] = []

    def clients(self, limits: Limits | None = None, allow: Allow = anyone) -> Clients:
        """Clients of a service with one method."""

        def session() -> ServerSession:
            return ServerSession(MINE, b"{}", methods=1, held_frames=4, held_bytes=1000)

        made = Clients(self.listener, session, where="kitchen", allow=allow, limits=limits or Limits())
        self.stack.callback(made.close)
        return made

    def connect(self) -> lowlevel.Socket:
        """The other end of a connection; it has not been accepted yet."""
        return self.stack.enter_context(lowlevel.unix_connect(self.path))

    def turn(self, clients: Clients) -> None:
        """What the loop does in a turn, with every call taken and none answered."""
        for fd, mask in clients.epoll.poll(0):
            clients.happened(fd, mask)
        if clients.accept_due:
            clients.accept()
        clients.ready.extend(clients.more)
        clients.more.clear()
        while clients.ready:
            connection = clients.ready.popleft()
            connection.queued = False
            if connection.closed or connection.congested:
                continue
            while (frame := connection.session.next_event()) is not None:
                connection.progress()
                self.taken.append(frame)
            clients.flush(connection)
            clients.watch(connection)

    def join(self, clients: Clients) -> tuple[lowlevel.Socket, Connection]:
        """A client that has said its hello, both ends of it."""
        before = set(clients.connections)
        end = self.connect()
        end.sendall(HELLO)
        self.turn(clients)
        (fd,) = set(clients.connections) - before
        assert end.recv(HELLO_BYTES) == HELLO
        return end, clients.connections[fd]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A rig whose clients take their time from it."""
    with ExitStack() as stack:
        made = Rig(tmp_path / "kitchen", stack)
        monkeypatch.setattr(service_clients, "monotonic", lambda: made.now)
        yield made


def replied(clients: Clients, connection: Connection, *sizes: int) -> None:
    """Answer so many calls with bodies of these sizes."""
    for size in sizes:
        connection.session.reply(1, bytes(size))
    clients.flush(connection)


# --- they come


def test_a_client_is_accepted_and_greeted(rig: Rig) -> None:
    """Whom the kernel vouches for is known, and the hello that was there already is answered in the same turn."""
    clients = rig.clients()
    _, connection = rig.join(clients)
    assert connection.peer.pid == os.getpid()
    assert connection.peer.uid == os.geteuid()
    assert not clients.watched


def test_a_flood_is_let_in_bit_by_bit(rig: Rig) -> None:
    """A turn takes in a few, so that those who are there are not held up; the others are there the next time."""
    clients = rig.clients()
    for _ in range(ACCEPTS_A_ROUND + 1):
        rig.connect()
    rig.turn(clients)
    assert len(clients.connections) == ACCEPTS_A_ROUND
    rig.turn(clients)
    assert len(clients.connections) == ACCEPTS_A_ROUND + 1


def test_who_has_gone_before_it_was_accepted(rig: Rig) -> None:
    """It comes and goes in a turn, and leaves nothing behind."""
    clients = rig.clients()
    rig.connect().close()
    rig.turn(clients)
    rig.turn(clients)
    assert not clients.connections
    assert not clients.watched


@pytest.mark.parametrize(
    ("limits", "code", "message"),
    [
        (Limits(clients=2), "limit", "the service has 2 clients already"),
        (Limits(clients_per_uid=2), "limit", f"user {os.geteuid()} has 2 connections already"),
    ],
    ids=["clients", "clients of a user"],
)
def test_who_is_one_too_many_is_told_and_another_takes_a_place(
    rig: Rig, limits: Limits, code: str, message: str
) -> None:
    """Those in their places stay; a place that becomes free is given to the next one."""
    clients = rig.clients(limits)
    first, _ = rig.join(clients)
    rig.join(clients)
    late = rig.connect()
    rig.turn(clients)
    assert told(late) == (code, message)
    assert len(clients.connections) == 2
    first.close()
    rig.turn(clients)
    rig.join(clients)
    assert len(clients.connections) == 2


def test_who_is_not_allowed_is_told(rig: Rig) -> None:
    """The rule is asked about the peer of the kernel, and the refused one never becomes a client."""
    asked: list[Peer] = []

    def nobody(peer: Peer, /) -> bool:
        asked.append(peer)
        return False

    clients = rig.clients(allow=nobody)
    end = rig.connect()
    end.sendall(HELLO + CALL)
    rig.turn(clients)
    code, message = told_and_reset(end)
    assert code == "not-allowed"
    assert str(os.geteuid()) in message
    assert [peer.pid for peer in asked] == [os.getpid()]
    assert not clients.connections
    assert rig.taken == []


def told_and_reset(end: lowlevel.Socket) -> tuple[str, str]:
    """As `told`, where the service has closed with something unread: the kernel says so once all has been read."""
    data = end.recv(65536)
    with pytest.raises(ConnectionResetError):
        end.recv(1)
    mine, theirs = lowlevel.socket_pair()
    with mine, theirs:
        theirs.sendall(data)
        theirs.close()
        return told(mine)


def test_who_comes_while_the_service_ends(rig: Rig) -> None:
    """Who is there, or has connected, gets a GOODBYE with its last call that was run; nobody else is let in."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    end.sendall(CALL)
    rig.turn(clients)
    waiting = rig.connect()
    clients.stop_accepting()
    clients.stop_accepting()
    assert end.recv(65536) == pack_frame(GOODBYE, id=1)
    assert waiting.recv(65536) == HELLO + pack_frame(GOODBYE, id=0)
    late = rig.connect()
    rig.turn(clients)
    assert len(clients.connections) == 2
    clients.accept()  # one that had been seen before
    assert told(late) == ("draining", "the service is shutting down")
    assert connection in clients.connections.values()


# --- answers


def test_answers_leave_together_and_at_once(rig: Rig) -> None:
    """One piece on the wire, nothing kept, and the epoll is not asked to tell of room."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    replied(clients, connection, 1, 2)
    assert not connection.outbound
    assert connection.interest == lowlevel.EPOLLIN | lowlevel.EPOLLRDHUP
    assert end.recv(65536) == pack_frame(REPLY, bytes(1), id=1) + pack_frame(REPLY, bytes(2), id=1)
    assert clients.bytes_sent == HELLO_BYTES + 27


def test_what_a_full_socket_does_not_take_follows_in_order(rig: Rig) -> None:
    """The rest of one answer, then later ones; read slowly, they arrive whole, and no more room is asked for."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    replied(clients, connection, 500_000)
    replied(clients, connection, 3, 5)
    expected = b"".join(pack_frame(REPLY, bytes(size), id=1) for size in (500_000, 3, 5))
    assert connection.interest & lowlevel.EPOLLOUT
    received = b""
    while len(received) < len(expected):
        received += end.recv(65536)
        rig.turn(clients)
    assert received == expected
    assert connection.interest == lowlevel.EPOLLIN | lowlevel.EPOLLRDHUP


def test_an_answer_behind_many_is_not_dearer_than_one_behind_none(rig: Rig) -> None:
    """Ten thousand small answers behind megabytes: they are one piece, which grows, and not ten thousand."""
    clients = rig.clients()
    _, connection = rig.join(clients)
    replied(clients, connection, 5 << 20)
    for _ in range(10_000):
        replied(clients, connection, 50)
    assert len(connection.outbound) > (4 << 20) + 10_000 * 62
    assert [len(piece) == 10_000 * 62 for piece in connection.outbound.first()] == [False, True]


def test_an_answer_to_who_has_gone_is_not_kept(rig: Rig) -> None:
    """What it had sent is still taken, and then it is dropped; what is answered later goes nowhere."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    end.sendall(CALL)
    end.close()
    replied(clients, connection, 10)
    assert not connection.outbound
    rig.turn(clients)
    rig.turn(clients)
    assert len(rig.taken) == 1
    assert connection.closed
    replied(clients, connection, 10)
    assert not connection.outbound
    assert not clients.connections


# --- a client that does not read


CONGESTING = Limits(outbound_bytes=1_000_000)


def test_a_congested_client_is_not_read_until_it_has_read(rig: Rig) -> None:
    """Above the limit it is not read, nor is taken what it had sent; both go on once it has read on."""
    clients = rig.clients(CONGESTING)
    end, connection = rig.join(clients)
    states = []
    for _ in range(2):
        replied(clients, connection, 1_000_000)
        states.append(connection.congested)
    assert states == [False, True]  # of the first the socket has taken some
    end.sendall(CALL)
    rig.turn(clients)
    assert rig.taken == []
    read_until(rig, clients, end, lambda: not connection.congested)
    rig.turn(clients)
    assert len(rig.taken) == 1


def test_what_was_read_before_the_congestion_waits(rig: Rig) -> None:
    """Calls that are here already are taken when the client has read on, without another byte of it."""
    clients = rig.clients(CONGESTING)
    end, connection = rig.join(clients)
    end.sendall(CALL)
    for fd, mask in clients.epoll.poll(0):
        clients.happened(fd, mask)
    replied(clients, connection, 1_000_000, 1_000_000)
    rig.turn(clients)
    assert rig.taken == []
    read_until(rig, clients, end, lambda: not connection.congested)
    assert len(rig.taken) == 1


def read_until(rig: Rig, clients: Clients, end: lowlevel.Socket, done: Callable[[], bool]) -> None:
    """Read as the client, turn by turn."""
    while not done():
        assert end.recv(65536)
        rig.turn(clients)


def test_who_waits_for_a_congested_client_is_called_once(rig: Rig) -> None:
    """When half of the limit is left, not before; and never again."""
    clients = rig.clients(CONGESTING)
    end, connection = rig.join(clients)
    replied(clients, connection, 2_000_000)
    left: list[int] = []
    connection.when_drained.append(lambda: left.append(len(connection.outbound)))
    read_until(rig, clients, end, lambda: not connection.congested)
    assert left == []
    read_until(rig, clients, end, lambda: not connection.outbound)
    assert len(left) == 1
    assert 0 < left[0] <= 500_000
    assert connection.when_drained == []


def test_who_waits_for_a_congested_client_hears_of_its_end(rig: Rig) -> None:
    """A dropped client will not read on: its streams must learn it, and what had waited for it is given back."""
    clients = rig.clients(CONGESTING)
    _, connection = rig.join(clients)
    replied(clients, connection, 2_000_000)
    closed: list[bool] = []
    connection.when_drained.append(lambda: closed.append(connection.closed))
    clients.drop(connection)
    clients.drop(connection)
    assert closed == [True]
    assert not connection.outbound


# --- they go


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["one that is read", "a congested one"])
def test_a_client_that_vanishes_with_answers_unread_is_dropped(rig: Rig, size: int) -> None:
    """The kernel resets the connection; after two turns nothing of it is left."""
    clients = rig.clients(CONGESTING)
    end, connection = rig.join(clients)
    replied(clients, connection, size)
    end.close()
    rig.turn(clients)
    rig.turn(clients)
    assert connection.closed
    assert not clients.connections
    assert not clients.watched


def test_a_half_closed_client_that_waits_for_nothing_goes(rig: Rig) -> None:
    """There is no more to come, either way."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    lowlevel.shutdown_write(end)
    rig.turn(clients)
    assert connection.closed
    assert end.recv(1) == b""


def test_a_half_closed_client_gets_what_waits_for_it_and_then_goes(rig: Rig) -> None:
    """It waits for the end, so it must come once the last answer has been read; and no turn spins meanwhile."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    replied(clients, connection, 500_000)
    lowlevel.shutdown_write(end)
    rig.turn(clients)
    assert not connection.closed
    assert clients.epoll.poll(0) == []
    received = 0
    while data := end.recv(65536):
        received += len(data)
        rig.turn(clients)
    assert received == 500_012
    assert not clients.connections


def test_a_goodbye_ends_the_connection_once_it_is_answered(rig: Rig) -> None:
    """As a half-close does, but that the socket is open."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    replied(clients, connection, 500_000)
    end.sendall(pack_frame(GOODBYE))
    rig.turn(clients)
    received = 0
    while data := end.recv(65536):
        received += len(data)
        rig.turn(clients)
    assert received == 500_012
    assert connection.closed


def test_a_refused_client_is_told_behind_its_answers(rig: Rig) -> None:
    """What was answered before arrives first, as far as the socket takes it."""
    clients = rig.clients()
    end, connection = rig.join(clients)
    connection.session.reply(1, b"\xc0")
    clients.refuse(connection, fault_of(NoServer("enough")))
    reader = FrameReader(1000)
    while data := end.recv(65536):
        reader.feed(data)
    assert reader.next_frame() == (REPLY, 0, 0, 1, b"\xc0")
    frame = reader.next_frame()
    assert frame is not None
    assert msgspec.msgpack.decode(frame[4])["message"] == "enough"
    assert not clients.connections


def test_closing_twice_and_forgetting(rig: Rig) -> None:
    """Every client sees the end; a forked child lets go of its copies without unregistering the parent's."""
    clients = rig.clients()
    end, _ = rig.join(clients)
    clients.close()
    clients.close()
    assert end.recv(1) == b""
    others = rig.clients()
    _, connection = rig.join(others)
    others.forget()
    assert connection.closed
    assert not others.connections


# --- time


def test_a_hello_has_a_time_that_no_byte_renews(rig: Rig) -> None:
    """Byte by byte it is as late as without one; the next look is when it is due."""
    clients = rig.clients(Limits(handshake_seconds=5))
    assert clients.expire() is None
    end = rig.connect()
    rig.turn(clients)
    for at in range(4):
        assert clients.expire() == 5 - at
        end.send(HELLO[at : at + 1])
        rig.turn(clients)
        rig.now += 1
    rig.now += 1
    assert clients.expire() is None
    assert told(end) == ("deadline", "too slow: no whole hello")
    assert not clients.watched


def test_a_frame_has_a_time_that_only_its_end_ends(rig: Rig) -> None:
    """A byte now and then is not enough, nor is reading answers meanwhile; each further frame has a time of its own."""
    clients = rig.clients(Limits(midframe_seconds=5))
    end, connection = rig.join(clients)
    end.sendall(CALL + CALL[:3])
    rig.turn(clients)
    rig.now += 4
    end.sendall(CALL[3:] + CALL[:3])
    rig.turn(clients)
    assert len(rig.taken) == 2
    assert clients.expire() == 5
    for at in range(3, 7):
        rig.now += 1
        end.sendall(CALL[at : at + 1])
        replied(clients, connection, 1)
        rig.turn(clients)
    assert clients.expire() == 1
    rig.now += 1
    assert clients.expire() is None
    assert connection.closed


def test_a_congested_client_has_a_time_that_reading_renews(rig: Rig) -> None:
    """As long as it reads on it may be slow; it goes when it has not for the whole time."""
    clients = rig.clients(Limits(outbound_bytes=1_000_000, stalled_seconds=5))
    end, connection = rig.join(clients)
    replied(clients, connection, 3_000_000)
    for _ in range(3):
        rig.now += 4
        sent = clients.bytes_sent
        while clients.bytes_sent == sent:
            assert end.recv(65536)
            rig.turn(clients)
        assert clients.expire() == 5
    rig.now += 5
    assert clients.expire() is None
    assert connection.closed


# --- descriptors run out


def test_out_of_descriptors_one_is_told_and_the_others_wait(rig: Rig) -> None:
    """The spare descriptor is for telling one; then nothing is accepted, and no turn spins, until the pause is over."""
    clients = rig.clients()
    _, connection = rig.join(clients)
    first, second, third = rig.connect(), rig.connect(), rig.connect()
    with no_descriptor_left():
        rig.turn(clients)
        assert told(first) == ("limit", "the service has no descriptor left")
        assert clients.epoll.poll(0) == []
        assert clients.expire() == pytest.approx(service_clients.ACCEPT_PAUSE_SECONDS)
        rig.now += 1
        assert clients.expire() is None
        rig.turn(clients)
        assert told(second) == ("limit", "the service has no descriptor left")
        replied(clients, connection, 1)
        assert connection.session.outgoing == []
    rig.now += 1
    clients.expire()
    third.sendall(HELLO)
    rig.turn(clients)
    assert third.recv(HELLO_BYTES) == HELLO


def test_out_of_descriptors_while_the_service_ends(rig: Rig) -> None:
    """There is nothing to accept again then; who was seen before is told."""
    clients = rig.clients()
    clients.stop_accepting()
    late = rig.connect()
    with no_descriptor_left():
        clients.accept()
    assert told(late) == ("limit", "the service has no descriptor left")
    assert clients.expire() is None


def test_a_spare_descriptor_that_was_lost_is_found_again(rig: Rig) -> None:
    """Where another thread was quicker than the service there is none for a while, and connections wait."""
    clients = rig.clients()
    first, second = rig.connect(), rig.connect()
    assert clients._spare is not None
    os.close(clients._spare)
    clients._spare = None
    with no_descriptor_left():
        rig.turn(clients)
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1)
    for end in (first, second):
        end.setblocking(True)
        end.sendall(HELLO)
    rig.now += 1
    clients.expire()
    rig.turn(clients)
    assert [end.recv(HELLO_BYTES) for end in (first, second)] == [HELLO, HELLO]
    assert clients._spare is not None


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Inside, this process can open nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (100 + max(map(int, os.listdir("/proc/self/fd"))), before[1]))
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for filler in fillers:
            os.close(filler)
