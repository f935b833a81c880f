"""The calls of one client: each is resolved exactly once, by its reply, its error, or the loss of the connection."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._batches import join
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
from namedipc._protocol.calls import (
    LARGEST_ID,
    LOST,
    NOT_RUN,
    WAITING,
    CallRun,
    ClientSession,
    Feeding,
    NotRun,
    StreamedCall,
    Waiter,
)
from namedipc._protocol.frames import (
    BIND,
    CALL,
    CALLS,
    CANCEL,
    CREDIT,
    DEADLINE_FLAG,
    END,
    ERROR,
    GOODBYE,
    HEADER,
    HEADERS_FLAG,
    ITEM,
    LONGEST_ERROR_BYTES,
    MESSAGE,
    ONE_WAY_FLAG,
    REPLIES,
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
    session.last_id = LARGEST_ID - 2
    assert [begin(session)[0] for _ in range(4)] == [LARGEST_ID - 1, LARGEST_ID, 1, 2]


def test_ids_in_flight_are_skipped() -> None:
    """A call that has taken four thousand million others to answer keeps its id."""
    session = greeted_session()
    slow = [begin(session) for _ in range(3)]
    assert [id_ for id_, _ in slow] == [1, 2, 3]
    session.last_id = LARGEST_ID - 1
    assert begin(session)[0] == LARGEST_ID
    assert begin(session)[0] == 4
    session.feed(reply(2))
    session.last_id = LARGEST_ID
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


def test_an_answer_that_comes_alone_needs_no_buffer() -> None:
    """It resolves its call, once; the next one is read as ever."""
    session = greeted_session()
    waiters = [begin(session)[1] for _ in range(2)]
    assert session.only_answer(reply(1, b"one")) is waiters[0]
    assert (waiters[0].kind, waiters[0].body) == (REPLY, b"one")
    assert list(session.pending) == [2]
    assert session.only_answer(reply(1, b"again")) is None
    assert session.feed(reply(1, b"again") + reply(2, b"two")) == [waiters[1]]


def test_what_is_no_answer_alone_is_left_as_it_is() -> None:
    """An error, half an answer, two, one behind the beginning of a frame, one with flags, one before the hello."""
    assert new_session().only_answer(reply(1)) is None
    session = greeted_session()
    _, waiter = begin(session)
    flagged = pack_frame(REPLY, b"result", flags=16, id=1)
    for data in (fault(1, Closed("no")), reply(1)[:-1], reply(1) * 2, pack_frame(GOODBYE), flagged, b""):
        assert session.only_answer(data) is None
    session.feed(reply(1)[:3])
    assert session.only_answer(reply(1)) is None
    assert waiter.kind == WAITING
    assert session.feed(reply(1)[3:]) == [waiter]


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


# --- calls that are sent together


def begin_run(session: Session, count: int = 4) -> CallRun[str]:
    """So many calls in flight."""
    run: CallRun[str] = CallRun("Kitchen.cook", count)
    session.begin_run(run, 0, join([b"\x91\x01"] * count), None)
    return run


def replies(first_id: int, *bodies: bytes) -> bytes:
    """Answers that came together."""
    return pack_frame(REPLIES, join(bodies), id=first_id)


def test_calls_that_are_sent_together_are_a_frame() -> None:
    """With consecutive ids; a single one is a call like any other; a deadline is before all else."""
    session = greeted_session()
    begin(session)
    run: CallRun[str] = CallRun("Kitchen.cook", 3)
    assert session.begin_run(run, 7, b"body", None, HEADERS_FLAG) == pack_frame(
        CALLS, b"body", flags=HEADERS_FLAG, method=7, id=2
    )
    assert list(run.ids) == [2, 3, 4]
    assert all(session.pending[id_] is run for id_ in run.ids)
    single: CallRun[str] = CallRun("Kitchen.cook", 1)
    frame = session.begin_run(single, 7, b"body", 1.5)
    assert frame == pack_frame(CALL, struct.pack("<d", 1.5) + b"body", flags=DEADLINE_FLAG, method=7, id=5)
    assert session.begin(Waiter("Kitchen.cook"), 7, b"", None)[0] == 6


def test_ids_of_calls_that_are_sent_together_are_free_and_do_not_begin_again() -> None:
    """Where the largest id, or a call in flight, is in the way they are others."""
    session = greeted_session()
    session.last_id = LARGEST_ID - 4
    assert list(begin_run(session).ids) == [LARGEST_ID - 3, LARGEST_ID - 2, LARGEST_ID - 1, LARGEST_ID]
    begin(session)
    session.last_id = LARGEST_ID - 2
    assert list(begin_run(session).ids) == [2, 3, 4, 5]
    session.last_id = 0
    assert list(begin_run(session).ids) == [6, 7, 8, 9]


def test_calls_that_were_sent_together_are_answered_in_any_way() -> None:
    """Together, in parts and one by one; whoever waits is told once, when all have been."""
    session = greeted_session()
    run = begin_run(session, 6)
    assert session.feed(replies(4, b"\x04", b"\x05")) == []
    assert session.feed(reply(6, b"\x06")) == []
    assert (run.kind, run.unanswered) == (WAITING, 3)
    assert session.feed(reply(2, b"\x02") + reply(1, b"\x01")) == []
    assert session.feed(reply(3, b"\x03")) == [run]
    assert (run.kind, run.unanswered, session.pending) == (REPLY, 0, {})
    assert sorted(run.answers) == [
        (0, 1, REPLY, b"\x01"),
        (1, 1, REPLY, b"\x02"),
        (2, 1, REPLY, b"\x03"),
        (3, 2, REPLIES, join([b"\x04", b"\x05"])),
        (5, 1, REPLY, b"\x06"),
    ]


def test_what_is_behind_a_failure_is_not_waited_for() -> None:
    """Whoever waits is told once all before the first failure, in order, have been answered; the others may come."""
    session = greeted_session()
    run = begin_run(session, 8)
    assert session.feed(fault(7, LimitReached("many"))) == []
    assert session.feed(replies(1, b"\x01", b"\x02")) == []
    assert session.feed(fault(4, LimitReached("many"))) == []
    assert session.feed(reply(3)) == [run]
    assert (run.kind, run.unanswered) == (REPLY, 3)
    assert session.feed(reply(6)) == []
    assert session.cancel_run(run) == pack_frame(CANCEL, id=5) + pack_frame(CANCEL, id=8)
    assert session.cancel_run(run) == b""
    assert session.feed(reply(5) + replies(8, b"\x01", b"\x02")) == []
    assert (session.pending, session.failure) == ({}, None)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (replies(1, *[b"\x01"] * 5), "5 answers came together, to calls from 1 on which were not made so"),
        (replies(3, *[b"\x01"] * 3), "3 answers came together, to calls from 3 on which were not made so"),
        (replies(5, b"\x01", b"\x02"), "2 answers came together, to calls from 5 on which were not made so"),
        (replies(1), "0 answers came together, to calls from 1 on which were not made so"),
        (reply(2) + replies(1, b"\x01", b"\x02"), "2 answers came together, to calls from 1 on which were not made so"),
        (pack_frame(REPLIES, b"\x92\x01\x01", flags=1, id=1), "2 answers came together, to calls from 1 on"),
        (pack_frame(REPLIES, b"\xdd\xff\xff\xff\xff\x01", id=1), "4294967295 answers came together"),
        (pack_frame(REPLIES, b"", id=1), "0 answers came together, to calls from 1 on which were not made so"),
        (pack_frame(REPLIES, b"\x01", id=1), "0 answers came together, to calls from 1 on which were not made so"),
        (pack_frame(REPLIES, b"\x92\x01\x01", flags=16, id=1), "have nothing beside them"),
    ],
    ids=[
        "more",
        "others' too",
        "of a single call",
        "none",
        "twice",
        "flags",
        "a claim",
        "empty",
        "no array",
        "a count",
    ],
)
def test_answers_that_do_not_fit_their_calls_end_the_connection(frame: bytes, message: str) -> None:
    """Everybody learns of it, each once."""
    session = greeted_session()
    run = begin_run(session)
    _, waiter = begin(session)
    resolved = session.feed(frame)
    assert sorted(resolved, key=id) == sorted([run, waiter], key=id)
    assert type(session.failure) is ProtocolError
    assert message in str(session.failure)
    assert run.unanswered == 0


def test_a_loss_is_that_of_each_call_that_was_sent_together() -> None:
    """Those behind the goodbye were not run; the others are named, one by one."""
    session = greeted_session()
    run = begin_run(session)
    assert session.feed(replies(1, b"\x01", b"\x02") + pack_frame(GOODBYE, id=3)) == []
    assert session.end() == [run]
    assert sorted(run.answers)[1:] == [(2, 1, LOST, b""), (3, 1, NOT_RUN, b"")]
    assert isinstance(session.failure, ConnectionLost)
    assert session.failure.calls == ("Kitchen.cook",)


# --- streams


THEIR_LIMITS = Hello(SERVICE, 7000, b"m" * 16, stream_items=2, stream_bytes=100, calls_in_flight=5)


def streaming_session() -> Session:
    """A session with windows on both sides: 4 items of 100 bytes here, 2 of 100 there."""
    mine = Hello(SERVICE, 1000, b"m" * 16, stream_items=4, stream_bytes=100)
    session: Session = ClientSession(PATH, mine, lambda theirs: "they differ")
    session.feed(THEIR_LIMITS.pack())
    session.outgoing.clear()
    return session


def begin_stream(session: Session, *, feeds: int = 0, replies: bool = True) -> tuple[int, StreamedCall[str]]:
    """A call with streams in flight: its id and its waiter."""
    feedings = tuple(Feeding[str]("Kitchen.mix", number) for number in range(feeds))
    call = StreamedCall("Kitchen.mix", feedings, session.new_inflow() if replies else None)
    id_, _ = session.begin(call, 0, b"arguments", None)
    return id_, call


def item(id_: int, body: bytes = b"item") -> bytes:
    """An ITEM frame."""
    return pack_frame(ITEM, body, id=id_)


def credit(id_: int, items: int, size_bytes: int, number: int = 0) -> bytes:
    """A CREDIT frame."""
    return pack_frame(CREDIT, struct.pack("<II", items, size_bytes), method=number, id=id_)


def end(id_: int) -> bytes:
    """An END frame."""
    return pack_frame(END, id=id_)


def test_the_hello_tells_the_limits_of_the_service() -> None:
    """Before it one call and no item may be sent."""
    session = new_session()
    assert (session.their_calls_in_flight, session.their_stream_items, session.their_stream_bytes) == (1, 0, 0)
    session = streaming_session()
    assert (session.their_calls_in_flight, session.their_stream_items, session.their_stream_bytes) == (5, 2, 100)


def test_items_wait_to_be_taken() -> None:
    """The first one decides the call's fate for who sleeps for it; the others only follow it."""
    session = streaming_session()
    id_, call = begin_stream(session)
    assert session.feed(item(id_, b"1")) == [call]
    assert session.feed(item(id_, b"2") + item(id_, b"3")) == []
    assert call.kind == ITEM
    assert session.take_item(id_, call) == (b"1", None)
    assert session.take_item(id_, call) == (b"2", credit(id_, 2, 2))
    assert call.kind == ITEM
    assert session.take_item(id_, call) == (b"3", None)
    assert call.kind == WAITING
    assert session.feed(item(id_, b"4")) == [call]
    assert session.pending == {id_: call}


def test_the_end_of_a_stream_ends_its_call() -> None:
    """Once everything that came before it has been taken; what comes later is ignored."""
    session = streaming_session()
    id_, call = begin_stream(session)
    assert session.feed(item(id_, b"1") + end(id_)) == [call]
    assert call.kind == ITEM
    assert session.pending == {}
    assert session.feed(item(id_) + end(id_) + reply(id_) + fault(id_, NoServer("late"))) == []
    assert session.take_item(id_, call) == (b"1", None)
    assert call.kind == END
    id_, call = begin_stream(session)
    assert session.feed(end(id_)) == [call]
    assert call.kind == END


def test_items_come_before_the_error_that_follows_them() -> None:
    """An error of the handler, and the loss of the connection, are seen behind what was sent before."""
    session = streaming_session()
    (one, first), (two, second) = begin_stream(session), begin_stream(session)
    frame = fault(one, NoServer("no soup"))
    assert session.feed(item(one, b"1") + item(one, b"2") + frame + item(two, b"3")) == [first, second]
    assert session.end() == []
    assert (first.kind, second.kind) == (ITEM, ITEM)
    assert [session.take_item(one, first)[0] for _ in range(2)] == [b"1", b"2"]
    assert (first.kind, first.body) == (ERROR, frame[HEADER.size :])
    assert session.take_item(two, second) == (b"3", None)
    assert second.kind == LOST


def test_no_credit_is_given_for_a_stream_that_is_over() -> None:
    """Nobody is there to take it."""
    session = streaming_session()
    id_, call = begin_stream(session)
    session.feed(b"".join(item(id_) for _ in range(4)) + end(id_))
    assert [session.take_item(id_, call)[1] for _ in range(4)] == [None] * 4


def test_streams_of_requests_wait_for_the_hello() -> None:
    """The window is the service's to tell; then whoever wants to send is woken."""
    session = new_session()
    id_, call = begin_stream(session, feeds=2, replies=False)
    first, second = call.feedings
    before = first.outflow.is_open
    assert session.feed(THEIR_LIMITS.pack()) == [first, second]
    assert (first.kind, second.kind, call.kind) == (REPLY, REPLY, WAITING)
    assert (before, first.outflow.is_open) == (False, True)
    assert session.pending == {id_: call}


def test_items_of_requests_are_frames() -> None:
    """With the number of their stream; each uses up the window of its own stream only."""
    session = streaming_session()
    id_, call = begin_stream(session, feeds=2, replies=False)
    first, second = call.feedings
    assert session.item(id_, first, b"one") == pack_frame(ITEM, b"one", method=0, id=id_)
    assert session.item(id_, second, b"two") == pack_frame(ITEM, b"two", method=1, id=id_)
    session.item(id_, second, b"")
    assert (first.outflow.is_open, second.outflow.is_open) == (True, False)
    assert session.end_stream(id_, second) == pack_frame(END, method=1, id=id_)


def test_credit_wakes_its_stream_only() -> None:
    """Once, if it waits; the call goes on waiting."""
    session = streaming_session()
    id_, call = begin_stream(session, feeds=2, replies=False)
    first, second = call.feedings
    for _ in range(2):
        session.item(id_, second, b"x" * 10)
    assert session.feed(credit(id_, 1, 10, 1) + credit(id_, 1, 10, 1)) == [second]
    assert second.outflow.is_open
    assert (first.kind, second.kind, call.kind) == (WAITING, REPLY, WAITING)


@pytest.mark.parametrize("answer", [reply, lambda id_: fault(id_, NoServer("x"))])
def test_an_answer_ends_the_streams_of_requests(answer: Callable[[int], bytes]) -> None:
    """Whoever feeds the call learns that nobody draws any more."""
    session = streaming_session()
    id_, call = begin_stream(session, feeds=1, replies=False)
    assert session.feed(answer(id_)) == [call, *call.feedings]
    assert call.kind in {REPLY, ERROR}
    assert call.feedings[0].kind == LOST
    assert session.pending == {}


def test_the_end_of_the_replies_ends_the_requests() -> None:
    """A call with streams both ways is over with its replies."""
    session = streaming_session()
    id_, call = begin_stream(session, feeds=1)
    assert session.feed(end(id_)) == [call, *call.feedings]
    assert (call.kind, call.feedings[0].kind) == (END, LOST)


def test_what_arrives_for_streams_that_are_given_up_is_ignored() -> None:
    """Items, ends and credit of a call that was cancelled, of ids that never were, and of the connection itself."""
    session = streaming_session()
    id_, call = begin_stream(session, feeds=1)
    session.cancel(id_)
    for other in (id_, 77, 0):
        assert session.feed(item(other) + end(other) + credit(other, 9, 9, 9)) == []
    assert session.failure is None
    assert call.kind == WAITING


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (item, "Kitchen.mix is answered with one result, and an item of a stream came"),
        (end, "Kitchen.mix is answered with one result, and the end of a stream came"),
        (lambda id_: credit(id_, 0, 0, 1), "CREDIT for stream 1 of Kitchen.mix, which has 1"),
        (lambda id_: credit(id_, 1, 0), "CREDIT for 1 items of 0 bytes, which were not sent"),
        (lambda id_: pack_frame(CREDIT, b"short", id=id_), "CREDIT has 8 bytes, not 5"),
    ],
)
def test_what_does_not_fit_a_call_with_one_result(frame: Callable[[int], bytes], message: str) -> None:
    """It ends the connection, for everybody."""
    session = streaming_session()
    _, bystander = begin(session)
    id_, call = begin_stream(session, feeds=1, replies=False)
    assert session.feed(frame(id_)) == [bystander, call, *call.feedings]
    assert {bystander.kind, call.kind, call.feedings[0].kind} == {LOST}
    assert type(session.failure) is ProtocolError
    assert str(session.failure) == f"{PATH}: {message}"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (reply, "Kitchen.mix is answered with a stream, and one result came"),
        (lambda id_: 5 * item(id_), "an item was sent without credit: the window is 4 items, 100 bytes"),
        (lambda id_: item(id_, bytes(100)) + item(id_), "an item was sent without credit: the window is 4 items, 100"),
        (lambda id_: credit(id_, 0, 0), "CREDIT for stream 0 of Kitchen.mix, which has 0"),
    ],
)
def test_what_does_not_fit_a_stream_of_replies(frames: Callable[[int], bytes], message: str) -> None:
    """Who waits for it learns that the connection is lost, behind what had come; the bystander at once."""
    session = streaming_session()
    _, bystander = begin(session)
    id_, call = begin_stream(session)
    assert set(session.feed(frames(id_))) == {bystander, call}
    assert str(session.failure).startswith(f"{PATH}: {message}")
    while call.kind == ITEM:
        session.take_item(id_, call)
    assert (call.kind, bystander.kind) == (LOST, LOST)
    assert session.pending == {}


@pytest.mark.parametrize("frame", [item, end, lambda id_: credit(id_, 0, 0)])
def test_frames_of_streams_for_a_call_without(frame: Callable[[int], bytes]) -> None:
    """It ends the connection."""
    session = streaming_session()
    id_, waiter = begin(session)
    assert session.feed(frame(id_)) == [waiter]
    assert str(session.failure) == f"{PATH}: Kitchen.cook has no streams, and a frame of one came"
    assert waiter.kind == LOST


@pytest.mark.parametrize("frame", [item(1), end(1), credit(1, 0, 0)])
def test_streams_before_the_hello(frame: bytes) -> None:
    """The first bytes of a service are its hello."""
    session = new_session()
    id_, call = begin_stream(session, feeds=1)
    assert id_ == 1
    assert session.feed(frame + bytes(40)) == [call, *call.feedings]
    assert "does not speak namedipc" in str(session.failure)


def test_everybody_who_may_sleep_is_found() -> None:
    """Calls, the streams which feed them, and greeters: to pass the reading on, or to wake them all."""
    session = new_session()
    greeter: Waiter[str] = Waiter("Kitchen.cook")
    session.greeters.append(greeter)
    _, plain = begin(session)
    _, call = begin_stream(session, feeds=2)
    assert list(session.sleepers()) == [plain, call, *call.feedings, greeter]


def test_a_one_way_call_is_a_frame_and_nothing_is_pending() -> None:
    """Nobody answers it; its flags and its deadline are those of any call."""
    session = new_session()
    assert session.one_way(3, b"arguments", None) == pack_frame(CALL, b"arguments", flags=ONE_WAY_FLAG, method=3)
    frame = session.one_way(3, b"arguments", 2.5, HEADERS_FLAG)
    assert HEADER.unpack_from(frame)[1:] == (CALL, ONE_WAY_FLAG | HEADERS_FLAG | DEADLINE_FLAG, 3, 0)
    assert session.pending == {}
    assert begin(session)[0] == 1


def test_flags_of_a_call() -> None:
    """They go into its header beside that of the deadline."""
    _, frame = new_session().begin(Waiter("Kitchen.cook"), 3, b"", 2.5, HEADERS_FLAG)
    assert HEADER.unpack_from(frame)[2] == HEADERS_FLAG | DEADLINE_FLAG


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
    """Before the hello, with everybody else: whose calls were certainly not run."""
    session = new_session()
    greeter: Waiter[str] = Waiter("Kitchen.cook")
    session.greeters.append(greeter)
    _, waiter = begin(session)
    assert session.end() == [waiter, greeter]
    assert (waiter.kind, greeter.kind) == (NOT_RUN, LOST)
    assert session.calls_may_move
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


def test_calls_behind_the_goodbye_were_not_run() -> None:
    """It names the last one that is run: later ones are certain, earlier ones are lost, and only they are listed."""
    session = greeted_session()
    waiters = [begin(session, name)[1] for name in ("cook", "ping", "seat", "stew")]
    session.feed(pack_frame(GOODBYE, id=2) + reply(1))
    assert session.last_run == 2
    assert session.end() == waiters[1:]
    assert [waiter.kind for waiter in waiters] == [REPLY, LOST, NOT_RUN, NOT_RUN]
    assert isinstance(session.failure, ConnectionLost)
    assert session.failure.calls == ("Kitchen.ping",)


def test_a_service_that_has_run_nothing_says_so() -> None:
    """Its goodbye names 0."""
    session = greeted_session()
    (_, first), (_, second) = begin(session), begin(session)
    session.feed(pack_frame(GOODBYE))
    session.end()
    assert (first.kind, second.kind) == (NOT_RUN, NOT_RUN)
    assert isinstance(session.failure, ConnectionLost)
    assert session.failure.calls == ()


def test_later_is_told_beyond_the_largest_id() -> None:
    """Ids begin again: what was begun after the largest one is later than it."""
    session = greeted_session()
    session.last_id = LARGEST_ID - 2
    waiters = [begin(session)[1] for _ in range(4)]
    assert list(session.pending) == [LARGEST_ID - 1, LARGEST_ID, 1, 2]
    session.feed(pack_frame(GOODBYE, id=LARGEST_ID))
    session.end()
    assert [waiter.kind for waiter in waiters] == [LOST, LOST, NOT_RUN, NOT_RUN]


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(start=st.integers(0, LARGEST_ID), calls=st.integers(1, 9), run=st.integers(0, 9))
def test_what_was_run_is_told_wherever_the_ids_are(start: int, calls: int, run: int) -> None:
    """Exactly the calls behind the last one that was run were not."""
    session = greeted_session()
    session.last_id = start
    waiters = [begin(session)[1] for _ in range(calls)]
    last_run = [start, *session.pending][min(run, calls)]
    session.feed(pack_frame(GOODBYE, id=last_run))
    session.end()
    assert [waiter.kind for waiter in waiters] == [LOST if at < run else NOT_RUN for at in range(calls)]


def test_streamed_calls_behind_the_goodbye_were_not_run() -> None:
    """As any other; what feeds them is told that they are over."""
    session = streaming_session()
    (_, first), (_, second) = begin_stream(session, feeds=1), begin_stream(session, feeds=1)
    session.feed(pack_frame(GOODBYE, id=1))
    assert session.end() == [first, *first.feedings, second, *second.feedings]
    assert (first.kind, second.kind) == (LOST, NOT_RUN)
    assert {first.feedings[0].kind, second.feedings[0].kind} == {LOST}


def test_a_loss_without_a_goodbye_leaves_nothing_certain() -> None:
    """Whatever was begun may have been run."""
    session = greeted_session()
    _, waiter = begin(session)
    session.end()
    assert waiter.kind == LOST
    assert session.last_run is None


def test_not_run_keeps_its_reason() -> None:
    """It is what the caller gets, if nobody sends the call again."""
    reason = ConnectionLost("gone")
    error = NotRun(reason)
    assert (error.reason, str(error)) == (reason, "gone")


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
    assert waiter.kind == (LOST if data.startswith(THEIRS) else NOT_RUN)
    assert not session.calls_may_move
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
