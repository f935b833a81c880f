"""The short way of a blocking client's calls: whatever comes, all is as the long way has it, to the byte."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import attrs
import pytest

from namedipc import Closed, IPCError, TimedOut
from namedipc._faults import fault_of, pack_fault
from namedipc._protocol.calls import LARGEST_ID, ClientSession, NotRun
from namedipc._protocol.frames import (
    CALL,
    CANCEL,
    DEADLINE_FLAG,
    ERROR,
    GOODBYE,
    REPLY,
    Frame,
    FrameReader,
    pack_frame,
)
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._shells import blocking_client
from namedipc._shells.blocking_client import BlockingClientLink
from namedipc._shells.connecting import peer_of
from namedipc._shells.waiting import FOREVER, Clock

from .channel_support import wait_until_asleep
from .compiled_support import find_compiled
from .wire_client import SCHEMA

CalledAlone = find_compiled("called_alone", "CalledAlone")
pytestmark = pytest.mark.usefixtures("no_leaks")

FINGERPRINT = b"f" * 16
HELLO = Hello(SERVICE, 1 << 20, FINGERPRINT, 0, 0, 64).pack()
BODY = b"\x91\xa4soup"
METHOD = SCHEMA.by_name["echo"]


class Server:
    """The other end: bytes, and frames of what has come."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.reader = FrameReader(1 << 20)
        self.hello: bytes | None = None

    def frame(self) -> Frame | None:
        """The next frame that the client has sent; None at the end."""
        while True:
            if self.hello is None:
                self.hello = self.reader.take(HELLO_BYTES)
            if self.hello is not None and (frame := self.reader.next_frame()) is not None:
                return frame
            try:
                data = self.end.recv(65536)
            except ConnectionResetError:  # it has closed without having read all
                return None
            if not data:
                return None
            self.reader.feed(data)


@contextmanager
def connection(*, short: bool, spin: bool = True, limit: int = 1 << 20) -> Iterator[tuple[BlockingClientLink, Server]]:
    """A client's connection that goes the short way, or does not, to a server made of bytes, which has said hello."""
    here, there = socket.socketpair()
    for end in (here, there):
        end.settimeout(None)
    with there, pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocking_client, "_short_way", CalledAlone if short else None)
        session: ClientSession[threading.Lock] = ClientSession(
            "kitchen", Hello(SERVICE, limit, FINGERPRINT), lambda _: "none"
        )
        link = BlockingClientLink("kitchen", here, peer_of(here), session, spin=spin)
        there.sendall(HELLO)
        try:
            link._until_greeted("", FOREVER)
            yield link, Server(there)
        finally:
            link.close()


def answering(server: Server, answers: list[Callable[[int], list[bytes]]]) -> threading.Thread:
    """A thread which answers each call, by its id, with some pieces; each is sent once the one before was taken."""

    def work() -> None:
        for answer in answers:
            frame = server.frame()
            if frame is None or frame[0] != CALL:
                return  # the connection has ended with the call before
            for piece in answer(frame[3]):
                wait_until_taken(server.end)
                if piece == b"<the end>":
                    server.end.shutdown(socket.SHUT_WR)
                elif piece == b"<gone>":
                    server.end.close()
                    return
                else:
                    with suppress(BrokenPipeError):
                        server.end.sendall(piece)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until_taken(end: socket.socket) -> None:
    """Until the other end has received all that was sent. Source: unix(7), SIOCOUTQ."""
    import fcntl
    import termios

    while int.from_bytes(fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)), "little"):
        pass


def outcome(call: Callable[[], bytes]) -> tuple[str, object]:
    """What has become of a call."""
    try:
        return "answer", call()
    except NotRun as error:
        return "not run", str(error)
    except IPCError as error:
        return type(error).__name__, str(error)


def reply(id_: int, body: bytes = BODY, **fields: int) -> bytes:
    """An answer."""
    return pack_frame(REPLY, body, id=id_, **fields)


FAULT = pack_fault(fault_of(IPCError("burnt")))
BYE = pack_frame(GOODBYE, id=1)
ANSWERS: dict[str, Callable[[int], list[bytes]]] = {
    "at once": lambda id_: [reply(id_)],
    "in pieces": lambda id_: [reply(id_)[:5], reply(id_)[5:12], reply(id_)[12:]],
    "byte by byte": lambda id_: [bytes([byte]) for byte in reply(id_)],
    "after that of another": lambda id_: [reply(77), reply(id_)],
    "with that of another before": lambda id_: [reply(77) + reply(id_)],
    "with a goodbye behind": lambda id_: [reply(id_) + BYE],
    "with a goodbye before": lambda id_: [BYE + reply(id_)],
    "with a half goodbye behind": lambda id_: [reply(id_) + BYE[:7], BYE[7:]],
    "with a deadline's flag": lambda id_: [reply(id_, flags=1)],
    "an error": lambda id_: [pack_frame(ERROR, FAULT, id=id_)],
    "an error of the connection": lambda id_: [pack_frame(ERROR, FAULT, id=0), b"<the end>"],
    "as long as may be": lambda id_: [reply(id_, b"x" * 4000)],
    "longer than that": lambda id_: [reply(id_, b"x" * 4001)],
    "longer than a read": lambda id_: [reply(id_, b"x" * 70_000)],
    "empty": lambda id_: [reply(id_, b"")],
    "with a method's number": lambda id_: [reply(id_, method=9)],
    "the end": lambda _: [b"<the end>"],
    "the end in the middle": lambda id_: [reply(id_)[:9], b"<the end>"],
    "gone": lambda _: [b"<gone>"],
    "an unknown kind": lambda id_: [pack_frame(200, id=id_)],
    "a call": lambda id_: [pack_frame(CALL, id=id_)],
}


@pytest.mark.parametrize("spin", [True, False])
@pytest.mark.parametrize("timeout", [None, 20.0])
@pytest.mark.parametrize("answer", ANSWERS)
def test_any_answer_is_the_same_both_ways(answer: str, timeout: float | None, spin: bool) -> None:
    """What the call returns or raises, the one behind it, and what the server is told meanwhile."""
    found = []
    for short in (False, True):
        limit = 1 << 20 if answer == "longer than a read" else 4000
        with connection(short=short, spin=spin, limit=limit) as (link, server):
            thread = answering(server, [ANSWERS[answer], lambda id_: [reply(id_, b"\xc0")]])
            outcomes = [outcome(lambda link=link: link.call(METHOD, BODY, Clock(timeout))) for _ in range(2)]  # type: ignore[misc]
            statistics = attrs.asdict(link.statistics())
            link.close()
            thread.join(10)
            assert not thread.is_alive()
            left = []
            if answer != "gone":
                server.end.settimeout(10)
                while (frame := server.frame()) is not None:
                    left.append(frame)
            found.append((outcomes, statistics, left))
    assert found[1] == found[0]


def test_a_lone_call_goes_the_short_way_and_others_do_not() -> None:
    """One with flags, or of a large body is as it was; so is the one whose id begins anew."""
    with connection(short=True) as (link, server):
        assert link._alone is not None
        thread = answering(server, [lambda id_: [reply(id_)]] * 6)
        assert link.call(METHOD, BODY, FOREVER) == BODY
        assert link._alone.calls == 1
        assert link.call(METHOD, BODY, Clock(20)) == BODY
        assert link._alone.calls == 2
        assert link.call(METHOD, b"\x00\x00" + BODY, FOREVER, 2) == BODY
        assert link.call(METHOD, b"x" * 4097, FOREVER) == BODY
        assert link._alone.calls == 2
        assert link.call(METHOD, b"x" * 4096, FOREVER) == BODY
        assert link._alone.calls == 3
        link._session.last_id = LARGEST_ID
        assert link.call(METHOD, BODY, FOREVER) == BODY
        assert link._session.last_id == 1
        assert link._alone.calls == 3
        thread.join(10)
        assert link.statistics().messages_sent == 6


def test_a_request_that_finds_no_room_is_written_on() -> None:
    """Whole, once the server reads: by the long way, which waits for the socket to be writable, too."""
    size = 1000

    def fitting() -> int:
        """How many calls the kernel takes."""
        with connection(short=False) as (link, _):
            link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            count = 0
            while not link._outbound:
                link._write(link._session.one_way(3, b"x" * size, None))
                count += 1
            return count - 1

    count = fitting()
    with connection(short=True) as (link, server):
        link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        for _ in range(count):
            link._write(link._session.one_way(3, b"x" * size, None))
        assert not link._outbound
        answers: list[bytes] = []
        caller = threading.Thread(target=lambda: answers.append(link.call(METHOD, b"y" * 4000, FOREVER)))
        caller.start()
        while not link._outbound:
            pass
        for _ in range(count):
            frame = server.frame()
            assert frame is not None
            assert frame[4] == b"x" * size
        answering(server, [lambda id_: [reply(id_)]]).join(10)
        caller.join(10)
        assert answers == [BODY]


@pytest.mark.parametrize("spin", [True, False])
def test_an_interrupted_call_is_cancelled_and_the_next_is_as_usual(spin: bool) -> None:
    """Ctrl-C while the client waits: the server is told, and a late answer is nobody's."""

    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    main = threading.main_thread()
    with connection(short=True, spin=spin) as (link, server):
        before = signal.signal(signal.SIGUSR1, interrupt)
        try:
            frames: list[Frame | None] = []

            def work() -> None:
                frames.append(server.frame())
                wait_until_asleep(main)  # a signal just before that is the same as one that has not come yet
                assert main.ident is not None
                signal.pthread_kill(main.ident, signal.SIGUSR1)
                frames.append(server.frame())

            thread = threading.Thread(target=work)
            thread.start()
            with pytest.raises(Interrupted):
                link.call(METHOD, BODY, FOREVER)
            thread.join(10)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert [frame and (frame[0], frame[3]) for frame in frames] == [(CALL, 1), (CANCEL, 1)]
        assert link.is_idle
        thread = answering(server, [lambda id_: [reply(1, b"late") + reply(id_)]])
        assert link.call(METHOD, BODY, FOREVER) == BODY
        thread.join(10)


@pytest.mark.parametrize("spin", [True, False])
def test_a_call_whose_time_is_up_is_cancelled_and_the_next_is_as_usual(spin: bool) -> None:
    """The server is told of the deadline, and then that nobody waits; a late answer is nobody's."""
    with connection(short=True, spin=spin) as (link, server):
        clock = Clock(0.05)
        with pytest.raises(TimedOut, match=r"0\.05 seconds"):
            link.call(METHOD, BODY, clock)
        assert time.monotonic() >= (clock.end or 0)
        frame = server.frame()
        assert frame == (CALL, DEADLINE_FLAG, METHOD.index, 1, struct.pack("<d", clock.end) + BODY)
        frame = server.frame()
        assert frame is not None
        assert (frame[0], frame[3]) == (CANCEL, 1)
        thread = answering(server, [lambda id_: [reply(1, b"late"), reply(id_)]])
        assert link.call(METHOD, BODY, Clock(20)) == BODY
        thread.join(10)
        with pytest.raises(TimedOut):
            link.call(METHOD, BODY, Clock(0))
        assert link.is_idle


def test_who_closes_the_client_ends_a_call_of_another_thread() -> None:
    """It sleeps in the kernel, by the short way; it is woken, and is told why."""
    with connection(short=True, spin=False) as (link, server):
        errors: list[tuple[str, object]] = []
        thread = threading.Thread(target=lambda: errors.append(outcome(lambda: link.call(METHOD, BODY, FOREVER))))
        thread.start()
        assert server.frame() is not None
        link.close()
        thread.join(10)
        assert errors == [("Closed", "kitchen: this client has been closed")]
        with pytest.raises(Closed):
            link.call(METHOD, BODY, FOREVER)


def test_a_child_does_not_wait_for_a_lock_of_its_parent() -> None:
    """Another thread had it at the fork, and is not there to let go of it."""
    with connection(short=True) as (link, _):
        with link._lock:
            pid = os.fork()
            if not pid:
                signal.alarm(10)
                with suppress(BaseException):
                    link.call(METHOD, BODY, FOREVER)
                    os._exit(1)
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0


def test_calls_of_other_threads_join_one_that_is_on_its_way() -> None:
    """The one that reads takes their answers, too, whatever comes first."""
    with connection(short=True, spin=False) as (link, server):
        answers: dict[int, bytes] = {}

        def call(number: int) -> None:
            answers[number] = link.call(METHOD, bytes([number]), FOREVER)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
        frames = []
        for thread in threads:
            thread.start()
            frame = server.frame()
            assert frame is not None
            frames.append(frame)
        for frame in reversed(frames):
            server.end.sendall(reply(frame[3], frame[4] * 2))
        for thread in threads:
            thread.join(10)
        assert answers == {number: bytes([number]) * 2 for number in range(3)}
        assert link.is_idle
