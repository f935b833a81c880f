"""What both clients of a service have in common: how the calls of a batch begin, and what became of a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest

from namedipc import lowlevel
from namedipc._batches import array_count
from namedipc._errors import ConnectionLost, IPCError, NoServer, TimedOut, TooLarge
from namedipc._faults import fault_of, pack_fault
from namedipc._protocol.calls import LOST, NOT_RUN, ClientSession, NotRun, Waiter
from namedipc._protocol.frames import CALL, CALLS, ERROR, GOODBYE, HEADERS_FLAG, REPLY, FrameReader, pack_frame
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._protocol.series import Piece, Series
from namedipc._shells.client_link import LARGEST_BATCH, ClientLink, Flight
from namedipc._shells.connecting import peer_of
from namedipc._shells.large_frames import READ_BYTES

from .wire_client import SCHEMA

METHOD = SCHEMA.by_name["echo"]


@pytest.fixture
def link() -> Iterator[ClientLink[str]]:
    """A connection to a service which runs 100 calls at once, and has said so."""
    here, there = lowlevel.socket_pair()
    session: ClientSession[str] = ClientSession("/run/kitchen", Hello(SERVICE, 1000, bytes(16)), lambda _: "")
    with here, there:
        session.feed(Hello(SERVICE, 100_000, bytes(16), calls_in_flight=100).pack())
        yield ClientLink("/run/kitchen", here, peer_of(here), session, spin=False)


def series(*arguments: bytes) -> Series:
    """Calls with these arguments."""
    calls = Series(METHOD, "/run/kitchen")
    calls.add(arguments)
    return calls


def begun(link: ClientLink[str], calls: Series, left: deque[Piece], flight: Flight[str]) -> list[int]:
    """Begin some calls of a series; how many each frame has."""
    reader = FrameReader(1 << 20)
    reader.feed(link._begin_some(calls, left, flight, None))
    counts = []
    while (frame := reader.next_frame()) is not None:
        counts.append(1 if frame[0] == CALL else array_count(frame[4]))
        assert frame[0] == (CALL if counts[-1] == 1 else CALLS)
    assert not reader.unfinished
    assert counts == [run.count for run in list(flight)[len(flight) - len(counts) :]]
    return counts


def answer(link: ClientLink[str], *ids: int) -> None:
    """The service answers these."""
    link._session.feed(b"".join(pack_frame(REPLY, b"\xc4\x00", id=id_) for id_ in ids))


def test_a_batch_begins_with_its_share_and_goes_on_by_halves(link: ClientLink[str]) -> None:
    """Three quarters of what the service runs at once; further ones once half of them have been looked at."""
    calls = series(*[b"a"] * 200)
    left, flight = link._left(calls), Flight[str]()
    assert begun(link, calls, left, flight) == [37, 27, 11]
    assert begun(link, calls, left, flight) == []
    answer(link, *range(1, 65))
    assert begun(link, calls, left, flight) == []
    flight.popleft()
    assert begun(link, calls, left, flight) == []
    flight.popleft()
    assert begun(link, calls, left, flight) == [37, 16, 11]
    assert sum(count for count, _ in left) == 61
    assert link.statistics().messages_sent == 139


def test_a_batch_leaves_room_for_others(link: ClientLink[str]) -> None:
    """It counts what is in flight beside it, and begins one at least."""
    for _ in range(90):
        link._session.begin(Waiter("Kitchen.echo"), METHOD.index, b"\x90", None)
    calls = series(*[b"a"] * 10)
    assert begun(link, calls, link._left(calls), Flight[str]()) == [1]


def test_a_flight_ends_with_what_one_read_takes(link: ClientLink[str]) -> None:
    """Large bodies: as many as are more than that."""
    calls = series(*[bytes(READ_BYTES // 4)] * 20)
    assert begun(link, calls, link._left(calls), Flight[str]()) == [1] * 4
    assert LARGEST_BATCH >= 5


def test_headers_are_said_once_for_all_calls_of_a_frame(link: ClientLink[str]) -> None:
    """Before their arguments."""
    calls = series(b"a", b"b")
    calls.before, calls.flags = b"headers", HEADERS_FLAG
    frame = link._begin_some(calls, link._left(calls), Flight[str](), None)
    body = b"headers\x92\x91\xc4\x01a\x91\xc4\x01b"
    assert frame == pack_frame(CALLS, body, flags=HEADERS_FLAG, method=METHOD.index, id=1)


def test_a_body_that_is_too_long_begins_nothing(link: ClientLink[str]) -> None:
    """Its error says what is accepted; headers count, and what would be too long together is not sent so."""
    calls = series(b"a", bytes(99_990))
    with pytest.raises(TooLarge, match="are 99996 bytes long; the service accepts 99995"):
        link._session.their_message_bytes = 99_995
        link._left(calls)
    link._session.their_message_bytes = 99_996
    assert [count for count, _ in link._left(calls)] == [1, 1]
    calls.before = b"a"
    with pytest.raises(TooLarge, match="are 99997 bytes long; the service accepts 99996"):
        link._left(calls)
    link._session.their_message_bytes = 9
    calls = series(b"a", b"b")
    assert [count for count, _ in link._left(calls)] == [2]
    calls.before = b"a"
    assert [count for count, _ in link._left(calls)] == [1, 1]
    assert not link._session.pending


@pytest.mark.parametrize("is_lost", [False, True], ids=["goodbye", "lost"])
def test_a_batch_in_flight_is_seen_to_its_end_first(link: ClientLink[str], is_lost: bool) -> None:
    """Once the service leaves nothing more begins; that is an error only when the rest is due."""
    calls = series(*[b"a"] * 80)
    left, flight = link._left(calls), Flight[str]()
    begun(link, calls, left, flight)
    link._session.feed(pack_frame(GOODBYE, id=75))
    answer(link, *range(1, 76))
    if is_lost:
        link._session.end()
    while flight:
        assert begun(link, calls, left, flight) == []
        flight.popleft()
    with pytest.raises(NotRun):
        begun(link, calls, left, flight)
    assert begun(link, calls, deque(), flight) == []


@pytest.mark.parametrize(
    ("kind", "error", "expected"),
    [
        (ERROR, TimedOut("late"), TimedOut),
        (ERROR, NoServer("not run"), NotRun),
        (NOT_RUN, None, NotRun),
        (LOST, None, ConnectionLost),
    ],
)
def test_what_became_of_a_call(
    link: ClientLink[str], kind: int, error: IPCError | None, expected: type[Exception]
) -> None:
    """Its own error, the connection's, or that it was not run; a new object each time."""
    link._session.fail(ConnectionLost("gone"))
    waiter: Waiter[str] = Waiter("Kitchen.pid")
    waiter.kind = kind
    waiter.body = pack_fault(fault_of(error)) if error is not None else b""
    first, second = link._error_of(waiter, METHOD), link._error_of(waiter, METHOD)
    assert type(first) is type(second) is expected
    assert first is not second
