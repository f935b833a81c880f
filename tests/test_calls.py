"""The calls of one client: each is resolved exactly once, by its reply, its error, or the loss of the connection."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._errors import (
    Closed,
    ConnectionLost,
    IPCError,
    LimitReached,
    NoServer,
    ProtocolError,
    SchemaMismatch,
    WrongKind,
)
from namedipc._faults import Fault, fault_of, pack_fault
from namedipc._protocol.calls import LARGEST_ID, LOST, WAITING, ClientSession, Waiter
from namedipc._protocol.frames import (
    BIND,
    CALL,
    CANCEL,
    ERROR,
    GOODBYE,
    HEADER,
    LONGEST_ERROR_BYTES,
    MESSAGE,
    REPLY,
    SCHEMA,
    pack_frame,
    split_deadline,
)
from namedipc._protocol.hello import CHANNEL, SERVICE, UNASKED_BYTES, Hello
from namedipc._protocol.session import ServerSession

MINE = Hello(SERVICE, 1000, b"m" * 16)
THEIRS = Hello(SERVICE, 7000, b"m" * 16).pack()
PATH = "/run/kitchen"

Session = ClientSession[str]


def new_session(bindings: list[int] | str = "they differ") -> Session:
    """A session at its beginning; `bindings` is what the comparison of schemas will say."""
    return ClientSession(PATH, MINE, lambda theirs: bindings if theirs == b"{}" else f"not {theirs!r}")


def greeted_session(bindings: list[int] | str = "they differ") -> Session:
    """A session which has heard the service's hello."""
    session = new_session(bindings)
    assert session.feed(THEIRS) == []
    session.outgoing.clear()
    return session


def begin(session: Session, name: str = "cook", method: int = 0) -> tuple[int, Waiter[str]]:
    """A call in flight: its id and its waiter."""
    waiter: Waiter[str] = Waiter(f"Kitchen.{name}")
    id_, _ = session.begin(waiter, method, b"arguments", None)
    return id_, waiter


def reply(id_: int, body: bytes = b"result") -> bytes:
    """A REPLY frame."""
    return pack_frame(REPLY, body, id=id_)


def fault(id_: int, error: IPCError) -> bytes:
    """An ERROR frame."""
    return pack_frame(ERROR, pack_fault(fault_of(error)), id=id_)


# --- beginning


def test_a_session_begins_with_its_hello() -> None:
    """It goes out before, or with, the first call."""
    session = new_session()
    assert session.outgoing == [MINE.pack()]
    assert not session.greeted
    assert session.their_message_bytes == UNASKED_BYTES


def test_what_is_sent_unasked_is_taken_by_every_service() -> None:
    """Also by one with a lower limit, of which the client knows only once it has heard the hello."""
    service = ServerSession(Hello(SERVICE, 10, b"m" * 16), b"", methods=1, held_frames=1, held_bytes=10000)
    session = new_session()
    body = bytes(session.their_message_bytes)
    _, frame = session.begin(Waiter("Kitchen.cook"), 0, body, 2.5)
    service.feed(session.outgoing[0] + frame)
    event = service.next_event()
    assert event is not None
    assert split_deadline(event[1], event[4]) == (2.5, body)
    session.feed(service.outgoing[0])
    assert session.their_message_bytes == 10


def test_a_call_is_a_frame() -> None:
    """Method, id and arguments; a deadline goes before the arguments."""
    session = new_session()
    waiter: Waiter[str] = Waiter("Kitchen.cook")
    id_, frame = session.begin(waiter, 3, b"arguments", None)
    assert id_ == 1
    assert frame == pack_frame(CALL, b"arguments", method=3, id=1)
    assert waiter.kind == WAITING
    assert session.pending == {1: waiter}
    id_, frame = session.begin(Waiter("Kitchen.ping"), 4, b"", 2.5)
    assert frame == pack_frame(CALL, struct.pack("<d", 2.5), flags=1, method=4, id=2)


def test_ids_count_on_and_begin_again() -> None:
    """After the largest comes 1: 0 is the connection itself."""
    session = greeted_session()
    session._last_id = LARGEST_ID - 2
    assert [begin(session)[0] for _ in range(4)] == [LARGEST_ID - 1, LARGEST_ID, 1, 2]


def test_ids_in_flight_are_skipped() -> None:
    """A call that has taken four thousand million others to answer keeps its id."""
    session = greeted_session()
    slow = [begin(session) for _ in range(3)]
    assert [id_ for id_, _ in slow] == [1, 2, 3]
    session._last_id = LARGEST_ID - 1
    assert begin(session)[0] == LARGEST_ID
    assert begin(session)[0] == 4
    session.feed(reply(2))
    session._last_id = LARGEST_ID
    assert begin(session)[0] == 2
    assert slow[0][1].kind == WAITING


# --- answers


def test_replies_resolve_their_calls_in_any_order() -> None:
    """Each answer finds its call by the id; the others wait on."""
    session = greeted_session()
    (one, first), (two, second), (three, third) = (begin(session) for _ in range(3))
    assert session.feed(reply(three, b"3") + reply(one, b"1")) == [third, first]
    assert (third.kind, third.body, first.kind, first.body) == (REPLY, b"3", REPLY, b"1")
    assert second.kind == WAITING
    assert session.feed(reply(two, b"2")) == [second]
    assert session.pending == {}


def test_an_error_resolves_its_call_only() -> None:
    """The body stays as it came; who asked makes an exception of it. The connection goes on."""
    session = greeted_session()
    (one, first), (two, second) = begin(session), begin(session)
    frame = fault(one, LimitReached("too many"))
    assert session.feed(frame + reply(two)) == [first, second]
    assert (first.kind, first.body) == (ERROR, frame[HEADER.size :])
    assert session.failure is None


def test_an_error_may_be_longer_than_the_limit() -> None:
    """A traceback does not end the connection of a client with a small limit."""
    session = greeted_session()
    id_, waiter = begin(session)
    body = bytes(LONGEST_ERROR_BYTES)
    assert session.feed(pack_frame(ERROR, body, id=id_)) == [waiter]
    assert waiter.body == body


def test_unknown_ids_are_ignored() -> None:
    """An answer to a call that was given up, or that never was."""
    session = greeted_session()
    id_, _given_up = begin(session)
    assert session.cancel(id_) == pack_frame(CANCEL, id=id_)
    answers = reply(id_) + fault(id_, NoServer("gone")) + reply(77) + reply(0)
    assert session.feed(answers) == []
    assert session.failure is None


def test_a_call_is_resolved_once() -> None:
    """A second answer to the same call is one to an unknown id."""
    session = greeted_session()
    id_, waiter = begin(session)
    assert session.feed(reply(id_, b"first") + reply(id_, b"second")) == [waiter]
    assert waiter.body == b"first"


def test_cancelling_twice_does_no_harm() -> None:
    """Nor does cancelling what has been answered."""
    session = greeted_session()
    id_, _ = begin(session)
    session.feed(reply(id_))
    assert session.cancel(id_) == session.cancel(id_) == pack_frame(CANCEL, id=id_)


def test_goodbye_is_a_frame() -> None:
    """With nothing in it."""
    assert new_session().goodbye() == pack_frame(GOODBYE)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(places=st.lists(st.integers(0, 400), max_size=8))
def test_any_split_gives_the_same(places: list[int]) -> None:
    """The pieces in which the service's bytes come do not matter."""
    session = new_session([0])
    calls = [begin(session) for _ in range(3)]
    data = b"".join([THEIRS, pack_frame(SCHEMA, b"{}"), reply(2, b"two"), fault(1, NoServer("x")), reply(9), reply(3)])
    data += pack_frame(GOODBYE)
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    resolved: list[Waiter[str]] = []
    for start, end in zip([0, *ends], ends, strict=False):
        resolved += session.feed(data[start:end])
    assert resolved == [calls[1][1], calls[0][1], calls[2][1]]
    assert b"".join(session.outgoing) == MINE.pack() + pack_frame(BIND, b"\0\0")
    assert session.last_run is not None


# --- greeters: who waits for the hello


def test_greeters_wait_for_the_hello() -> None:
    """It tells the limit of the other side; calls in flight wait on."""
    session = new_session()
    greeter: Waiter[str] = Waiter("Kitchen.cook")
    session.greeters.append(greeter)
    _, waiter = begin(session)
    assert session.feed(THEIRS[:-1]) == []
    assert session.feed(THEIRS[-1:]) == [greeter]
    assert greeter.kind == REPLY
    assert session.greeted
    assert session.their_message_bytes == 7000
    assert session.greeters == []
    assert waiter.kind == WAITING


def test_greeters_are_lost_with_the_connection() -> None:
    """Before the hello, with everybody else."""
    session = new_session()
    greeter: Waiter[str] = Waiter("Kitchen.cook")
    session.greeters.append(greeter)
    _, waiter = begin(session)
    assert session.end() == [waiter, greeter]
    assert (waiter.kind, greeter.kind) == (LOST, LOST)
    assert session.greeters == []


def test_greeters_are_resolved_before_what_follows_the_hello() -> None:
    """Once each, also if the connection fails in the same flight."""
    session = new_session()
    greeter: Waiter[str] = Waiter("Kitchen.cook")
    session.greeters.append(greeter)
    id_, waiter = begin(session)
    assert session.feed(THEIRS + reply(id_) + pack_frame(MESSAGE)) == [greeter, waiter]
    assert (greeter.kind, waiter.kind) == (REPLY, REPLY)
    assert isinstance(session.failure, ProtocolError)


# --- schemas


def test_a_schema_that_fits_is_answered_with_bind() -> None:
    """Which of the service's methods each of ours is; calls in flight wait on."""
    session = greeted_session([2, 0, 513])
    _, waiter = begin(session)
    assert session.feed(pack_frame(SCHEMA, b"{}")) == []
    assert session.outgoing == [pack_frame(BIND, b"\2\0\0\0\1\2")]
    assert session.failure is None
    assert waiter.kind == WAITING


def test_a_schema_that_does_not_fit_ends_the_connection() -> None:
    """Every call is lost for the first difference, which names the path."""
    session = greeted_session("Kitchen.cook: no")
    _, waiter = begin(session)
    assert session.feed(pack_frame(SCHEMA, b"{}")) == [waiter]
    assert waiter.kind == LOST
    assert isinstance(session.failure, SchemaMismatch)
    assert str(session.failure) == f"{PATH}: Kitchen.cook: no"
    assert session.outgoing == []


def test_a_schema_comes_once() -> None:
    """A service that sends it again and again would be answered without end."""
    session = greeted_session([0])
    session.feed(2 * pack_frame(SCHEMA, b"{}"))
    assert isinstance(session.failure, ProtocolError)
    assert str(session.failure) == f"{PATH}: the service sent its schema twice"
    assert len(session.outgoing) == 1


# --- the end


def test_an_end_without_a_goodbye_loses_what_is_in_flight() -> None:
    """The error lists the calls whose fate is unknown."""
    session = greeted_session()
    waiters = [begin(session, name)[1] for name in ("cook", "ping", "cook")]
    assert session.end() == waiters
    assert {waiter.kind for waiter in waiters} == {LOST}
    assert isinstance(session.failure, ConnectionLost)
    assert session.failure.calls == ("Kitchen.cook", "Kitchen.ping", "Kitchen.cook")
    assert str(session.failure) == f"{PATH}: the service went away without a goodbye"
    assert session.pending == {}


def test_an_end_without_calls_lists_none() -> None:
    """There is nothing whose fate is unknown."""
    session = greeted_session()
    assert session.end() == []
    assert isinstance(session.failure, ConnectionLost)
    assert session.failure.calls == ()


def test_an_end_after_a_goodbye_says_so() -> None:
    """The service has shut down in order; what it has not answered is lost all the same."""
    session = greeted_session()
    _, waiter = begin(session)
    assert session.feed(pack_frame(GOODBYE, id=1)) == []
    assert session.last_run is not None
    assert session.end() == [waiter]
    assert isinstance(session.failure, ConnectionLost)
    assert str(session.failure) == f"{PATH}: the service has shut down; connect again once it is back"
    assert session.failure.calls == ("Kitchen.cook",)


def test_an_end_in_the_middle_of_a_frame_says_so() -> None:
    """Of a frame, and of the hello."""
    for session, begun in ((greeted_session(), reply(1)[:-1]), (new_session(), THEIRS[:-1])):
        session.feed(begun)
        session.end()
        assert str(session.failure) == f"{PATH}: the connection ended in the middle of a frame"


def test_an_end_before_the_hello() -> None:
    """As any other without a goodbye."""
    session = new_session()
    _, waiter = begin(session)
    assert session.end() == [waiter]
    assert str(session.failure) == f"{PATH}: the service went away without a goodbye"


def test_the_first_reason_stays() -> None:
    """A refusal is not covered up by the end which follows it; and whoever comes late is lost for it too."""
    session = greeted_session()
    _, early = begin(session)
    assert session.feed(fault(0, LimitReached("10 clients already"))) == [early]
    first = session.failure
    assert isinstance(first, LimitReached)
    _, late = begin(session)
    assert session.end() == [late]
    assert session.failure is first
    assert session.fail(Closed("closed")) == []
    assert session.failure is first


def test_closing_it_oneself_is_no_loss() -> None:
    """The error is the one that was given, and keeps no list of calls."""
    session = greeted_session()
    _, waiter = begin(session)
    error = Closed("closed here")
    assert session.fail(error) == [waiter]
    assert session.failure is error
    assert waiter.kind == LOST


# --- what a service may not do


def test_an_error_of_id_0_is_the_connections() -> None:
    """It says why the service turns this client away, and names the path."""
    session = greeted_session()
    _, waiter = begin(session)
    assert session.feed(fault(0, NoServer("shutting down"))) == [waiter]
    assert isinstance(session.failure, NoServer)
    assert str(session.failure) == f"{PATH}: shutting down"
    assert waiter.kind == LOST


@pytest.mark.parametrize("kind", [0, CALL, CANCEL, MESSAGE, BIND, 12, 255])
def test_frames_that_a_service_may_not_send(kind: int) -> None:
    """They end the connection; what was answered before them counts."""
    session = greeted_session()
    (one, first), (_two, second) = begin(session), begin(session)
    assert session.feed(reply(one) + pack_frame(kind, id=5)) == [first, second]
    assert (first.kind, second.kind) == (REPLY, LOST)
    assert isinstance(session.failure, ProtocolError)
    assert str(session.failure) == f"{PATH}: a service may not send a frame of kind {kind}"


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(20), ProtocolError, "the peer does not speak namedipc"),
        (Hello(CHANNEL, 1, b"m" * 16).pack(), WrongKind, "the other side is a channel, this side is a service"),
        (b"NIPC\x07" + THEIRS[5:], ProtocolError, "the peer speaks version 7"),
        (THEIRS + HEADER.pack(1001, REPLY, 0, 0, 1), ProtocolError, "a frame of 1001 bytes was announced"),
        (THEIRS + HEADER.pack(LONGEST_ERROR_BYTES + 1, ERROR, 0, 0, 1), ProtocolError, "was announced"),
        (THEIRS + pack_frame(ERROR, b"\xc1"), ProtocolError, "the peer sent an error which cannot be read"),
    ],
)
def test_a_peer_which_breaks_the_protocol_is_named(data: bytes, error: type[IPCError], message: str) -> None:
    """The error says which path it was, once, and what was wrong."""
    session = new_session()
    _, waiter = begin(session)
    greeter: Waiter[str] = Waiter("Kitchen.cook")
    session.greeters.append(greeter)
    assert set(session.feed(data)) == {waiter, greeter}
    assert waiter.kind == LOST
    assert type(session.failure) is error
    assert str(session.failure).startswith(f"{PATH}: {message}") or message == "was announced"
    assert message in str(session.failure)
    assert str(session.failure).count(PATH) == 1
    assert greeter.kind == (REPLY if data.startswith(THEIRS) else LOST)


def test_a_broken_error_of_a_call_is_the_calls_only() -> None:
    """Whose answer cannot be read learns that; the connection goes on."""
    session = greeted_session()
    id_, waiter = begin(session)
    assert session.feed(pack_frame(ERROR, b"\xc1", id=id_)) == [waiter]
    assert session.failure is None


def test_an_error_keeps_its_notes() -> None:
    """A refusal which carries a traceback is told as a handler's error is."""
    session = greeted_session()
    body = pack_fault(Fault("remote", "no", "ValueError", "Traceback: here"))
    session.feed(pack_frame(ERROR, body))
    assert session.failure is not None
    assert session.failure.__notes__ == ["at the other side:\nTraceback: here"]


def test_waiters_carry_who_sleeps_for_them() -> None:
    """A new one has nobody; the shell sets it."""
    waiter: Waiter[str] = Waiter("Kitchen.cook")
    assert (waiter.where, waiter.body, waiter.sleeper) == ("Kitchen.cook", b"", None)
    waiter.sleeper = "a task"
