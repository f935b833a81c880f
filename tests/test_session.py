"""One client's session at the server: bytes in, calls out, whatever the pieces in which they come."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._errors import IPCError, LimitReached, ProtocolError, WrongKind
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
    KNOWN_FLAGS,
    LONG_BYTES,
    MESSAGE,
    MESSAGES,
    ONE_WAY_FLAG,
    REPLIES,
    REPLY,
    SCHEMA,
    Frame,
    FrameReader,
    pack_call,
    pack_frame,
)
from namedipc._protocol.hello import CHANNEL, HELLO_BYTES, SERVICE, UNASKED_BYTES, Hello
from namedipc._protocol.session import GOING_ON, ServerSession, State

MINE = Hello(SERVICE, 5000, b"m" * 16)
SAME = Hello(SERVICE, 500, b"m" * 16).pack()
OTHER = Hello(SERVICE, 500, b"o" * 16).pack()
TEXT = b'{"schema": 1}'


def new_session(*, methods: int = 3, held_frames: int = 4) -> ServerSession:
    """A session at its beginning."""
    return ServerSession(MINE, TEXT, methods=methods, held_frames=held_frames, held_bytes=1000)


def session_after(*pieces: bytes, methods: int = 3, held_frames: int = 4) -> tuple[ServerSession, list[Frame]]:
    """A session that has taken these pieces, and every event of it."""
    session = new_session(methods=methods, held_frames=held_frames)
    events: list[Frame] = []
    for piece in pieces:
        session.feed(piece)
        while (event := session.next_event()) is not None:
            events.append(event)
    return session, events


def bind(*indexes: int) -> bytes:
    """A BIND frame."""
    return pack_frame(BIND, struct.pack(f"<{len(indexes)}H", *indexes))


def sent_by(session: ServerSession) -> list[Frame]:
    """The frames which a session has sent after its hello."""
    reader = FrameReader(1 << 20)
    reader.feed(b"".join(session.outgoing))
    assert reader.take(HELLO_BYTES) == MINE.pack()
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    assert not reader.unfinished
    return frames


# --- the usual way


def test_the_first_call_may_fly_with_the_hello() -> None:
    """Equal fingerprints: the hello is answered, and the calls of the same flight are there."""
    session, events = session_after(SAME + pack_call(2, 1, b"one", None) + pack_call(0, 2, b"two", None))
    assert events == [(CALL, 0, 2, 1, b"one"), (CALL, 0, 0, 2, b"two")]
    assert session.state is State.OPEN
    assert session.outgoing == [MINE.pack()]
    assert session.their_message_bytes == 500
    assert session.last_id == 2


def test_before_the_hello_this_sides_limit_stands_for_theirs() -> None:
    """Nothing is known yet, and the client owes its hello."""
    session = new_session()
    assert session.their_message_bytes == 5000
    assert session.unfinished
    assert session.next_event() is None
    session.feed(SAME[:-1])
    assert session.next_event() is None
    assert session.state is State.HELLO
    assert session.outgoing == []
    session.feed(SAME[-1:])
    assert session.next_event() is None
    assert not session.unfinished


def test_the_windows_of_the_other_side_come_with_its_hello() -> None:
    """Before it there are none; so they are where schemas differ."""
    assert (new_session().their_stream_items, new_session().their_stream_bytes) == (0, 0)
    for print_ in (b"m", b"o"):
        session, _ = session_after(Hello(SERVICE, 500, print_ * 16, stream_items=3, stream_bytes=70_000).pack())
        assert (session.their_stream_items, session.their_stream_bytes) == (3, 70_000)


def test_a_frame_that_has_begun_is_unfinished() -> None:
    """From its first byte to its last."""
    session, _ = session_after(SAME)
    frame = pack_call(1, 7, b"body", None)
    for byte in frame[:-1]:
        session.feed(bytes([byte]))
        assert session.next_event() is None
        assert session.unfinished
    session.feed(frame[-1:])
    assert session.next_event() == (CALL, 0, 1, 7, b"body")
    assert not session.unfinished


def test_a_deadline_stays_in_the_body() -> None:
    """The flags and the body go on as they came; who runs the call reads the deadline."""
    _, events = session_after(SAME + pack_call(1, 7, b"body", 1.5))
    assert events == [(CALL, 1, 1, 7, struct.pack("<d", 1.5) + b"body")]


def test_a_call_that_comes_alone_needs_no_buffer() -> None:
    """It is what `next_event` would make of it, and is not left for that."""
    session, _ = session_after(SAME)
    assert session.only_call(pack_call(2, 7, b"body", None)) == (CALL, 0, 2, 7, b"body")
    assert session.last_id == 7
    assert session.only_call(pack_call(1, 8, b"", 1.5)) == (CALL, 1, 1, 8, struct.pack("<d", 1.5))
    assert session.next_event() is None
    assert not session.unfinished


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pack_call(2, 7, b"body", None)[:-1],
        pack_call(2, 7, b"body", None) * 2,
        pack_call(3, 7, b"body", None),
        pack_call(0xFFFF, 7, b"", None),
        pack_call(2, 0, b"body", None, ONE_WAY_FLAG),
        pack_call(2, 7, b"body", None, 128),
        pack_frame(CANCEL, id=7),
        pack_frame(GOODBYE),
        pack_call(2, 7, bytes(5001), None),
    ],
    ids=["nothing", "half", "two", "unknown", "reserved", "one way", "flags", "cancel", "goodbye", "long"],
)
def test_what_is_no_call_alone_is_left_as_it_is(data: bytes) -> None:
    """Nothing is done with it: it goes the usual way."""
    session, _ = session_after(SAME)
    assert session.only_call(data) is None
    assert session.last_id == 0
    assert not session.unfinished


def test_a_call_alone_is_none_while_anything_is_to_be_looked_at_before() -> None:
    """Before the hello, behind the beginning of a frame, with other schemas, after a goodbye."""
    call = pack_call(2, 7, b"body", None)
    assert new_session().only_call(call) is None
    for before in (SAME + call[:5], OTHER + bind(0, 1, 2), SAME + pack_frame(GOODBYE)):
        session, _ = session_after(before)
        assert session.only_call(call) is None


def test_cancel_is_an_event() -> None:
    """Also for a call that nobody knows: it may have been answered meanwhile."""
    _, events = session_after(SAME + pack_frame(CANCEL, id=9))
    assert events == [(CANCEL, 0, 0, 9, b"")]


def test_what_belongs_to_a_call_is_an_event() -> None:
    """Items, ends and credit go on as they came, for ids that nobody knows as well: their call may be over."""
    _, events = session_after(
        SAME + pack_frame(ITEM, b"item", method=3, id=9) + pack_frame(END, id=9) + pack_frame(CREDIT, b"8 bytes.", id=8)
    )
    assert events == [(ITEM, 0, 3, 9, b"item"), (END, 0, 0, 9, b""), (CREDIT, 0, 0, 8, b"8 bytes.")]


def test_a_one_way_call_has_no_id() -> None:
    """Whatever id it carries: nobody answers it, and the goodbye does not speak of it."""
    session, events = session_after(SAME + pack_call(1, 7, b"", None) + pack_call(2, 8, b"x", 1.5, ONE_WAY_FLAG))
    assert events[1] == (CALL, ONE_WAY_FLAG | 1, 2, 0, struct.pack("<d", 1.5) + b"x")
    assert session.last_id == 7


def test_all_known_flags_go_on() -> None:
    """Who runs the call reads them."""
    _, events = session_after(SAME + pack_call(1, 7, b"", None, KNOWN_FLAGS & ~ONE_WAY_FLAG))
    assert events == [(CALL, KNOWN_FLAGS & ~ONE_WAY_FLAG, 1, 7, b"")]


def test_calls_that_come_together_go_on_as_they_came() -> None:
    """With this side's method; the first of them counts for the goodbye, and whoever runs the others says so."""
    flags = DEADLINE_FLAG | HEADERS_FLAG
    session, events = session_after(OTHER + pack_frame(CALLS, b"x", method=0, id=7, flags=flags) + bind(2))
    assert events == [(CALLS, flags, 2, 7, b"x")]
    assert session.last_id == 7


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pack_frame(CALLS, b"\x90", flags=4, id=1), "calls that come together, with flags that are not for them: 0x4"),
        (pack_frame(CALLS, b"\x90", flags=8, id=1), "calls that come together, with flags that are not for them: 0x8"),
        (pack_frame(CALLS, b"\x90", flags=64, id=1), "calls that come together, with flags that are not for them"),
        (pack_frame(CALLS, b"\x01\x90", flags=16, id=1), "calls that come together, and their answers, have nothing"),
        (pack_frame(CALLS, b"\x01\x90", flags=32, id=1), "calls that come together, and their answers, have nothing"),
        (pack_frame(CALLS, b"\x90", method=3, id=1), "call of method 3; there are 3"),
        (pack_frame(CALLS, b"\x90", method=0xFFFF, id=1), "calls of the reserved interface come one by one"),
    ],
    ids=["JSON", "ONE_WAY", "unknown", "DESCRIPTORS", "PAYLOAD", "no method", "reserved"],
)
def test_calls_that_may_not_come_together(frame: bytes, message: str) -> None:
    """With anything beside them, or of no method of the interface."""
    with pytest.raises(ProtocolError, match=f"^{message}"):
        session_after(SAME + frame)


def test_results_are_sent_together() -> None:
    """A single one as the reply it is."""
    session, _ = session_after(SAME)
    session.replies(8, 2, b"\x01\x02")
    session.replies(9, 1, b"\x03")
    assert sent_by(session) == [(REPLIES, 0, 0, 7, b"\x92\x01\x02"), (REPLY, 0, 0, 9, b"\x03")]


def test_what_was_begun_goes_on_before_anything_else() -> None:
    """Nothing more is taken before, nor is a call that comes alone."""
    session, _ = session_after(SAME)
    session.go_on()
    assert session.only_call(pack_call(1, 7, b"", None)) is None
    session.feed(pack_call(1, 7, b"", None))
    assert session.next_event() == (GOING_ON, 0, 0, 0, b"")
    assert session.next_event() == (CALL, 0, 1, 7, b"")
    assert session.only_call(pack_call(1, 8, b"", None)) == (CALL, 0, 1, 8, b"")


@pytest.mark.parametrize("flag", [64, 128])
def test_unknown_flags_of_a_call_are_refused(flag: int) -> None:
    """What they would ask for cannot be left out silently."""
    with pytest.raises(ProtocolError, match=rf"^a call with unknown flags: {flag | 1:#x}$"):
        session_after(SAME + pack_call(0, 1, b"", 1.0, flag))


def test_goodbye_is_remembered() -> None:
    """It is no event, and what has come before it is still answered."""
    session, events = session_after(SAME + pack_call(1, 1, b"", None) + pack_frame(GOODBYE))
    assert len(events) == 1
    assert session.said_goodbye


def test_answers_are_frames() -> None:
    """Results, errors, what belongs to streams, and the goodbye which names the last call that is run."""
    session, _ = session_after(SAME + pack_call(0, 8, b"", None))
    session.reply(8, b"result")
    session.fail(9, b"fault")
    session.item(8, b"item")
    session.end(8)
    session.credit(8, 2, b"credit")
    session.goodbye()
    assert sent_by(session) == [
        (REPLY, 0, 0, 8, b"result"),
        (ERROR, 0, 0, 9, b"fault"),
        (ITEM, 0, 0, 8, b"item"),
        (END, 0, 0, 8, b""),
        (CREDIT, 0, 2, 8, b"credit"),
        (GOODBYE, 0, 0, 8, b""),
    ]


def test_a_long_answer_is_not_copied_behind_its_header() -> None:
    """It leaves as two pieces, and is the same frame."""
    for size in (LONG_BYTES - 1, LONG_BYTES):
        session, _ = session_after(SAME + pack_call(0, 8, b"", None))
        body = bytes(size)
        session.reply(8, body)
        assert (session.outgoing[-1] is body) is (size == LONG_BYTES)
        assert sent_by(session) == [(REPLY, 0, 0, 8, body)]


def test_ids_are_kept_whole() -> None:
    """The largest id goes through, and is the last one."""
    largest = (1 << 32) - 1
    session, events = session_after(SAME + pack_call(0, largest, b"", None))
    assert events[0][3] == largest
    assert session.last_id == largest
    session.goodbye()
    assert sent_by(session)[-1][3] == largest


def test_a_call_that_is_held_is_not_the_last_one_that_was_run() -> None:
    """The goodbye speaks of what has been handed out."""
    session, events = session_after(OTHER + pack_call(0, 8, b"", None))
    assert events == []
    session.goodbye()
    assert sent_by(session)[-1] == (GOODBYE, 0, 0, 0, b"")


# --- the end before the beginning


def test_a_refusal_before_the_hello_begins_with_this_sides_hello() -> None:
    """The client reads a hello first, whatever comes after it."""
    session = new_session()
    session.fail(0, b"fault")
    assert sent_by(session) == [(ERROR, 0, 0, 0, b"fault")]


def test_a_goodbye_before_the_hello_begins_with_this_sides_hello() -> None:
    """A client whose hello is still on its way learns that none of its calls was run; this side's comes only once."""
    session = new_session()
    session.goodbye()
    assert sent_by(session) == [(GOODBYE, 0, 0, 0, b"")]
    session.outgoing.clear()
    session.feed(SAME)
    assert session.next_event() is None
    assert session.outgoing == []


# --- what may not be


@pytest.mark.parametrize(
    ("hello", "error", "message"),
    [
        (b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n", ProtocolError, "does not speak namedipc"),
        (pack_call(0, 1, bytes(100), None), ProtocolError, "does not speak namedipc"),
        (b"NIPC\x02" + SAME[5:], ProtocolError, "version 2 of the protocol, this side version 1"),
        (Hello(CHANNEL, 500, b"m" * 16).pack(), WrongKind, "the other side is a channel, this side is a service"),
        (Hello(9, 500, b"m" * 16).pack(), WrongKind, "an unknown kind of name"),
    ],
)
def test_a_bad_hello_is_refused(hello: bytes, error: type[IPCError], message: str) -> None:
    """Other programs, other versions, other kinds; a refusal still begins with this side's hello."""
    session = new_session()
    session.feed(hello)
    with pytest.raises(error, match=message):
        session.next_event()
    assert session.state is State.HELLO
    session.fail(0, b"fault")
    assert sent_by(session) == [(ERROR, 0, 0, 0, b"fault")]


@pytest.mark.parametrize("kind", [0, REPLY, ERROR, MESSAGE, MESSAGES, SCHEMA, 12, 255])
@pytest.mark.parametrize("hello", [SAME, OTHER])
def test_frames_that_a_client_may_not_send(kind: int, hello: bytes) -> None:
    """Before and after the schemas were compared."""
    with pytest.raises(ProtocolError, match=f"a client may not send a frame of kind {kind}"):
        session_after(hello + pack_frame(kind))


def test_bind_is_said_once_and_only_if_asked_for() -> None:
    """With equal fingerprints there is nothing to bind; later it would change what calls mean."""
    for begin in (SAME, OTHER + bind(0, 1)):
        with pytest.raises(ProtocolError, match=f"a client may not send a frame of kind {BIND}"):
            session_after(begin + bind(0, 1))


def test_a_method_that_is_not_there() -> None:
    """With equal fingerprints the interface's methods count, otherwise those that BIND has named."""
    with pytest.raises(ProtocolError, match="call of method 3; there are 3"):
        session_after(SAME + pack_call(3, 1, b"", None))
    with pytest.raises(ProtocolError, match="call of method 1, of which BIND did not speak"):
        session_after(OTHER + bind(2) + pack_call(1, 1, b"", None))


def test_an_announcement_above_the_limit() -> None:
    """It is refused at the header, before and after the hello's end, and while calls are held."""
    for begin in (SAME, OTHER):
        with pytest.raises(ProtocolError, match="a frame of 5001 bytes was announced; the limit is 5000"):
            session_after(begin, HEADER.pack(5001, CALL, 0, 0, 1))
    _, events = session_after(SAME + pack_call(0, 1, bytes(5000), None))
    assert len(events[0][4]) == 5000


def test_a_deadline_does_not_count() -> None:
    """The limit is one of the arguments, so that a call fits or not whatever its caller's patience."""
    _, events = session_after(SAME + pack_call(0, 1, bytes(5000), 1.5))
    assert len(events[0][4]) == 5008
    for frame in (HEADER.pack(5009, CALL, 1, 0, 1), HEADER.pack(5008, CANCEL, 1, 0, 1)):
        with pytest.raises(ProtocolError, match="was announced"):
            session_after(SAME + frame)


def test_a_low_limit_allows_what_is_sent_unasked() -> None:
    """A client cannot know a limit before the hello: what it may send without asking is taken."""
    session = ServerSession(Hello(SERVICE, 10, b"m" * 16), TEXT, methods=1, held_frames=1, held_bytes=1000)
    session.feed(SAME + pack_call(0, 1, bytes(UNASKED_BYTES), None) + pack_call(0, 1, bytes(UNASKED_BYTES + 1), None))
    assert session.next_event() == (CALL, 0, 0, 1, bytes(UNASKED_BYTES))
    with pytest.raises(ProtocolError, match="a frame of 4097 bytes was announced; the limit is 4096"):
        session.next_event()


# --- another fingerprint


def test_other_fingerprints_get_the_schema_and_are_held() -> None:
    """Calls wait, in order, until BIND says which methods they mean; the limit of the other side is known."""
    session, events = session_after(OTHER + pack_call(0, 1, b"one", None) + pack_frame(CANCEL, id=1))
    assert events == []
    assert session.state is State.HELD
    assert session.their_message_bytes == 500
    assert sent_by(session) == [(SCHEMA, 0, 0, 0, TEXT)]
    session.feed(pack_call(1, 2, b"two", None) + bind(2, 0) + pack_call(1, 3, b"three", None))
    assert [session.next_event() for _ in range(5)] == [
        (CALL, 0, 2, 1, b"one"),
        (CANCEL, 0, 0, 1, b""),
        (CALL, 0, 0, 2, b"two"),
        (CALL, 0, 0, 3, b"three"),
        None,
    ]
    assert session.state.value == State.OPEN.value
    assert session.last_id == 3


def test_bind_may_name_a_method_twice_and_none() -> None:
    """Two of the client's methods may be one of the service's; a client may have none at all."""
    _, events = session_after(OTHER + bind(1, 1) + pack_call(0, 1, b"", None) + pack_call(1, 2, b"", None))
    assert [event[2] for event in events] == [1, 1]
    session, events = session_after(OTHER + bind())
    assert (session.state, events) == (State.OPEN, [])


def test_a_bind_of_odd_length() -> None:
    """It is no list of 16-bit numbers."""
    with pytest.raises(ProtocolError, match="its length is odd"):
        session_after(OTHER + pack_frame(BIND, b"\0\0\0"))


def test_a_bind_out_of_range() -> None:
    """It may name only what the schema has."""
    with pytest.raises(ProtocolError, match="BIND names a method that is not there; there are 3"):
        session_after(OTHER + bind(0, 3))


def test_a_refused_bind_opens_nothing() -> None:
    """The session stays held, and what was held is never handed out."""
    session = new_session()
    session.feed(OTHER + pack_call(0, 1, b"", None) + bind(7))
    with pytest.raises(ProtocolError):
        session.next_event()
    assert session.state is State.HELD
    assert session.next_event() is None


def test_no_more_than_the_limit_is_held() -> None:
    """Calls and their cancellations count alike; the limit itself is allowed."""
    calls = b"".join(pack_call(0, id_, b"", None) for id_ in range(1, 5))
    session, events = session_after(OTHER + calls, held_frames=4)
    assert (session.state, events) == (State.HELD, [])
    for one_more in (pack_call(0, 5, b"", None), pack_frame(CANCEL, id=1)):
        with pytest.raises(LimitReached, match="more than 4 frames, or 1000 bytes, before the schemas were compared"):
            session_after(OTHER + calls + one_more, held_frames=4)
    _, events = session_after(OTHER + calls + bind(0) + calls, held_frames=4)
    assert len(events) == 8


@pytest.mark.parametrize("kind", [CALL, CANCEL, ITEM, END, CREDIT])
def test_no_more_than_so_many_bytes_are_held(kind: int) -> None:
    """Whatever they belong to: 1000 are, and not one more, be it one frame or several."""
    within = pack_frame(kind, bytes(600), id=1) + pack_frame(kind, bytes(400), id=1)
    session, events = session_after(OTHER + within)
    assert (session.state, events) == (State.HELD, [])
    for one_more in (within + pack_frame(kind, b"x", id=1), pack_frame(kind, bytes(1001), id=1)):
        with pytest.raises(LimitReached, match="more than 4 frames, or 1000 bytes, before the schemas were compared"):
            session_after(OTHER + one_more)


def test_streams_are_held_with_their_calls() -> None:
    """In the order in which they came, and with their numbers as they are: only methods are bound."""
    of_a_call = (
        pack_frame(ITEM, b"item", method=1, id=1)
        + pack_frame(END, method=1, id=1)
        + pack_frame(CREDIT, b"credit", method=2, id=1)
    )
    _, events = session_after(OTHER + pack_call(0, 1, b"one", None) + of_a_call + bind(2), held_frames=4)
    assert events == [
        (CALL, 0, 2, 1, b"one"),
        (ITEM, 0, 1, 1, b"item"),
        (END, 0, 1, 1, b""),
        (CREDIT, 0, 2, 1, b"credit"),
    ]


def test_what_is_held_is_checked_once_it_is_bound() -> None:
    """Methods and flags of a held call count as those of any other."""
    for call in (pack_call(1, 1, b"", None), pack_call(0, 1, b"", None, 64)):
        session, events = session_after(OTHER + call)
        assert events == []
        session.feed(bind(2))
        with pytest.raises(ProtocolError, match=r"call of method 1, of which|unknown flags: 0x40"):
            session.next_event()


def test_a_goodbye_while_held() -> None:
    """The client does not want to go on: the schemas did not fit."""
    session, events = session_after(OTHER + pack_call(0, 1, b"", None) + pack_frame(GOODBYE))
    assert events == []
    assert session.said_goodbye
    assert session.state is State.HELD


# --- the pieces in which bytes come do not matter

Outcome = tuple[list[Frame], str, bytes, bool, State]


def outcome(pieces: list[bytes]) -> Outcome:
    """Everything a session makes of these pieces."""
    session = new_session()
    events: list[Frame] = []
    error = ""
    try:
        for piece in pieces:
            session.feed(piece)
            while (event := session.next_event()) is not None:
                events.append(event)
    except IPCError as refused:
        error = f"{type(refused).__name__}: {refused}".partition(": its first bytes")[0]
    return events, error, b"".join(session.outgoing), session.said_goodbye, session.state


frames = st.one_of(
    st.builds(pack_call, st.integers(0, 3), st.integers(0, 9), st.binary(max_size=40), st.none() | st.just(2.5)),
    st.builds(lambda id_: pack_frame(CANCEL, id=id_), st.integers(0, 9)),
    st.builds(
        lambda kind, body: pack_frame(kind, body, id=1), st.sampled_from([ITEM, END, CREDIT]), st.binary(max_size=9)
    ),
    st.builds(lambda indexes: bind(*indexes), st.lists(st.integers(0, 2), min_size=2, max_size=3)),
    st.just(pack_frame(GOODBYE)),
    st.builds(pack_frame, st.integers(0, 255), st.binary(max_size=5)),
    st.just(HEADER.pack(5001, CALL, 0, 0, 1)),
)
conversations = st.builds(
    lambda hello, rest: hello + b"".join(rest),
    st.sampled_from([SAME, OTHER, SAME[:20], b"x" * HELLO_BYTES]),
    st.lists(frames, max_size=8),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The pieces of the data, cut at these places."""
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=conversations, places=st.lists(st.integers(0, 1000), max_size=10))
def test_any_split_gives_the_same(data: bytes, places: list[int]) -> None:
    """Events, refusal, what is sent, goodbye and state are those of the whole, however it is cut."""
    whole = outcome([data])
    assert outcome(cut(data, places)) == whole
    assert outcome([data[i : i + 1] for i in range(len(data))]) == whole


def test_the_conversations_reach_every_state() -> None:
    """What hypothesis is to find is there at all: one conversation a kind of end."""
    one_call = pack_call(0, 1, b"x", None)
    ends: list[tuple[bytes, Callable[[Outcome], bool]]] = [
        (SAME + one_call, lambda o: len(o[0]) == 1),
        (OTHER + one_call, lambda o: o[4] is State.HELD),
        (OTHER + one_call + bind(1), lambda o: o[0][0][2] == 1),
        (SAME[:20], lambda o: o[4] is State.HELLO),
        (b"x" * HELLO_BYTES, lambda o: o[1].startswith("ProtocolError")),
    ]
    for data, holds in ends:
        assert holds(outcome([data]))
