"""A channel's protocol without I/O: two sessions, and whatever else a peer may say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._batches import LONGEST_START_BYTES, array_count, array_start, join
from namedipc._errors import IPCError, LimitReached, ProtocolError, RemoteError, SchemaMismatch, WrongKind
from namedipc._faults import Fault, fault_of, pack_fault
from namedipc._protocol.frames import (
    CALL,
    ERROR,
    HEADER,
    LONGEST_ERROR_BYTES,
    MESSAGE,
    MESSAGES,
    SCHEMA,
    FrameReader,
    pack_frame,
)
from namedipc._protocol.hello import CHANNEL, HELLO_BYTES, SERVICE, Hello
from namedipc._protocol.messages import MOST_TOGETHER, Batch, MessageSession, pack_message, pack_together


def different(theirs: bytes) -> str | None:
    """Compare as the tests need it: only a schema that says so is compatible."""
    return None if theirs == b"compatible" else f"there is {theirs.decode()}"


def session(schema: bytes = b"mine", *, limit: int = 1000, fingerprint: bytes = b"") -> MessageSession:
    """Return one side; its fingerprint is its schema's name."""
    hello = Hello(CHANNEL, limit, (fingerprint or schema)[:16].ljust(16, b"."))
    return MessageSession("/run/name", hello, schema, different)


def drain(end: MessageSession) -> list[bytes]:
    """Take what is whole by now."""
    found = []
    while (body := end.next_message()) is not None:
        found.append(body)
    return found


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=5), st.integers(1, 50))
def test_messages_in_order_and_then_the_end(messages: list[bytes], size: int) -> None:
    """However it is cut, and not one message after the goodbye."""
    sender, receiver = session(), session()
    stream = sender.opening + b"".join(map(pack_message, messages)) + sender.goodbye() + pack_message(b"late")
    received = []
    for at in range(0, len(stream), size):
        receiver.feed(stream[at : at + size])
        received += drain(receiver)
    assert received == messages
    assert receiver.ended
    assert receiver.next_message() is None


def test_a_message_which_has_begun() -> None:
    """An end of the stream there can be told from one between two messages."""
    receiver = session()
    receiver.feed(session().opening)
    assert receiver.next_message() is None
    assert not receiver.unfinished
    receiver.feed(pack_message(b"half")[:-1])
    assert receiver.next_message() is None
    assert receiver.unfinished


def test_the_others_limit_is_known_with_the_hello() -> None:
    """Before it this side's own stands for it; `greet` reads no more than the hello."""
    receiver = session(limit=1000)
    sender = session(limit=77)
    receiver.feed(sender.opening[: HELLO_BYTES - 1])
    receiver.greet()
    assert (receiver.greeted, receiver.their_message_bytes) == (False, 1000)
    receiver.feed(sender.opening[HELLO_BYTES - 1 :] + pack_message(b"m"))
    receiver.greet()
    receiver.greet()
    assert (receiver.greeted, receiver.their_message_bytes) == (True, 77)
    assert receiver.next_message() == b"m"


def test_agreement_takes_no_message() -> None:
    """However the opening is cut it is there with its last byte, and what comes behind it stays."""
    receiver = session()
    opening = session().opening
    for at in range(len(opening)):
        assert not receiver.agree()
        receiver.feed(opening[at : at + 1])
    assert receiver.agree()
    receiver.feed(pack_message(b"m"))
    assert receiver.agree()
    assert receiver.next_message() == b"m"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (session(b"other").opening, SchemaMismatch),
        (session().refusal(pack_fault(fault_of(LimitReached("full")))), LimitReached),
        (Hello(SERVICE, 1, bytes(16)).pack(), WrongKind),
        (b"something else", ProtocolError),
    ],
)
def test_no_agreement(said: bytes, error: type[IPCError]) -> None:
    """It is told with the path, and again whatever is asked then."""
    receiver = session()
    receiver.feed(said)
    for ask in (receiver.agree, receiver.agree, receiver.next_message):
        with pytest.raises(error, match="/run/name: "):
            ask()
    assert not receiver.agreed


@pytest.mark.parametrize("asked_before", [False, True])
def test_another_type(asked_before: bool) -> None:
    """The difference is said, with the path, and again by every later call; no message is delivered."""
    receiver = session()
    receiver.feed(session(b"other").opening + pack_message(b"m"))
    if asked_before:
        receiver.greet()
    for _ in range(2):
        with pytest.raises(SchemaMismatch, match="/run/name: there is other"):
            receiver.next_message()
    with pytest.raises(SchemaMismatch):
        receiver.check()


def test_a_compatible_type() -> None:
    """Other fingerprints, and still every message."""
    receiver = session()
    receiver.feed(session(b"compatible").opening + pack_message(b"m"))
    assert drain(receiver) == [b"m"]


@pytest.mark.parametrize("message", [pack_message(b"xx"), pack_frame(MESSAGES, join([b"x", b"x"]))])
def test_a_message_before_the_schema(message: bytes) -> None:
    """It is refused even with the right fingerprint: only the schema sets the limit."""
    receiver = session(limit=1)
    receiver.feed(session().opening[:HELLO_BYTES] + message)
    with pytest.raises(ProtocolError, match="/run/name: the peer sent a message before its schema"):
        receiver.next_message()


def test_messages_together() -> None:
    """A frame of several is one `Batch`, in its place among others; whether it is whole is not looked at."""
    receiver = session()
    three = join([b"1", b"2", b"3"])
    receiver.feed(session().opening + pack_message(b"m") + pack_frame(MESSAGES, three) + pack_frame(MESSAGES, b"\x91"))
    found = drain(receiver)
    assert found == [b"m", three, b"\x91"]
    assert [type(body) for body in found] == [bytes, Batch, Batch]


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (b"", "none"),
        (array_start(0), "none"),
        (b"\x01", "none"),
        (b"\x82\x01\x01\x02\x02", "none"),
        (b"\xdc", "none"),
        (b"\xdd\xff\xff\xff", "none"),
        (array_start(1025) + bytes(100), "1025"),
        (b"\xdd\xff\xff\xff\xff" + bytes(100), "4294967295"),
    ],
)
def test_a_number_of_messages_that_cannot_be(array: bytes, count: str) -> None:
    """None at all, or more than are ever together, is refused before anything is made of it."""
    receiver = session()
    receiver.feed(session().opening + pack_frame(MESSAGES, array))
    with pytest.raises(ProtocolError, match=f"^/run/name: a frame of several messages says that they are {count}; 1"):
        receiver.next_message()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 30).map(bytes), max_size=50), st.integers(0, 100))
def test_packing_together(bodies: list[bytes], longest: int) -> None:
    """All of them, in order; no frame of several is longer than it may be, and each has as many as it has room for."""
    reader = FrameReader(1000)
    reader.feed(pack_together(bodies, longest))
    packed: list[list[bytes]] = []
    while (frame := reader.next_frame()) is not None:
        kind, _flags, _method, _id, body = frame
        at = sum(map(len, packed))
        together = bodies[at : at + (1 if kind == MESSAGE else array_count(body))]
        assert frame == (kind, 0, 0, 0, together[0] if kind == MESSAGE else join(together))
        assert kind == MESSAGE or (kind == MESSAGES and len(together) > 1 and len(body) <= longest)
        packed.append(together)
    assert [body for together in packed for body in together] == bodies
    for together, following in pairwise(packed):
        assert len(b"".join(together) + following[0]) + LONGEST_START_BYTES > longest


def test_no_more_together_than_that() -> None:
    """However small they are; the last one alone is a message like any other."""
    frames = pack_together([b"x"] * (MOST_TOGETHER + 1), 1 << 20)
    assert frames == pack_frame(MESSAGES, join([b"x"] * MOST_TOGETHER)) + pack_message(b"x")


def test_a_schema_twice() -> None:
    """It would be compared as often as the peer likes."""
    receiver = session()
    receiver.feed(session().opening + pack_frame(SCHEMA, b"mine"))
    with pytest.raises(ProtocolError, match="twice"):
        receiver.next_message()


def test_a_frame_that_is_no_channels() -> None:
    """Its kind is named."""
    receiver = session()
    receiver.feed(session().opening + pack_frame(CALL, b""))
    with pytest.raises(ProtocolError, match=f"no frame of kind {CALL}"):
        receiver.next_message()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", b"hello\n", b"N!", bytes(64)])
def test_a_program_that_speaks_something_else(garbage: bytes) -> None:
    """It is told apart at its first byte that differs, as it may wait for an answer; and by `greet` as well."""
    receiver, greeter = session(), session()
    receiver.feed(garbage)
    with pytest.raises(ProtocolError, match="/run/name: the peer does not speak namedipc"):
        receiver.next_message()
    greeter.feed(garbage)
    greeter.greet()
    with pytest.raises(ProtocolError, match="/run/name: the peer does not speak namedipc"):
        greeter.check()


def test_a_service_at_the_other_side() -> None:
    """The kind is wrong, and the path is said."""
    receiver = session()
    receiver.feed(Hello(SERVICE, 1, bytes(16)).pack())
    with pytest.raises(WrongKind, match="/run/name: the other side is a service"):
        receiver.next_message()


@pytest.mark.parametrize("kind", [MESSAGE, MESSAGES, ERROR])
def test_a_giant_length(kind: int) -> None:
    """The path is said, and the limit; and it is what the schema was allowed no more."""
    receiver = session(limit=10)
    receiver.feed(session().opening + HEADER.pack(LONGEST_ERROR_BYTES + 1, kind, 0, 0, 0))
    with pytest.raises(ProtocolError, match=r"/run/name: .*the limit is 10"):
        receiver.next_message()


def test_a_message_longer_than_the_limit() -> None:
    """The limit of the hello holds from the schema on."""
    receiver = session(limit=10)
    receiver.feed(session().opening + pack_message(bytes(10)) + pack_message(bytes(11)))
    assert receiver.next_message() == bytes(10)
    with pytest.raises(ProtocolError, match="a frame of 11 bytes"):
        receiver.next_message()


def test_why_the_other_side_ends() -> None:
    """Its error comes behind its messages, be this side's limit ever so small."""
    receiver = session(limit=1)
    other = session()
    fault = other.fault(pack_fault(fault_of(LimitReached("full"))))
    receiver.feed(other.opening + pack_message(b"m") + fault)
    assert receiver.next_message() == b"m"
    with pytest.raises(LimitReached, match="/run/name: full"):
        receiver.next_message()


def test_a_handlers_exception() -> None:
    """Its class, its text and its traceback arrive."""
    receiver = session()
    other = session()
    receiver.feed(other.opening + other.fault(pack_fault(Fault("remote", "no such dish", "KeyError", "line 1"))))
    with pytest.raises(RemoteError, match="/run/name: KeyError: no such dish") as caught:
        receiver.next_message()
    assert (caught.value.type_name, caught.value.traceback_text) == ("KeyError", "line 1")


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), st.binary(max_size=20)), max_size=4), st.binary(max_size=20))
def test_whatever_a_peer_says(said: list[tuple[int, bytes]], rest: bytes) -> None:
    """It ends in messages, the end, or an error of the hierarchy, which stays."""
    receiver = session()
    receiver.feed(session().opening + b"".join(pack_frame(kind, body) for kind, body in said) + rest)
    try:
        drain(receiver)
    except (ProtocolError, RemoteError, SchemaMismatch) as error:
        with pytest.raises(type(error)):
            receiver.next_message()
