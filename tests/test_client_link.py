"""What both clients of a service have in common: how the calls of a batch begin, and what became of a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest

from namedipc import lowlevel
from namedipc._errors import ConnectionLost, IPCError, NoServer, TimedOut, TooLarge
from namedipc._faults import fault_of, pack_fault
from namedipc._protocol.calls import LOST, NOT_RUN, ClientSession, NotRun, Waiter
from namedipc._protocol.frames import CALL, ERROR, GOODBYE, REPLY, FrameReader, pack_frame
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._shells.client_link import LARGEST_BATCH, READ_BYTES, Batch, ClientLink
from namedipc._shells.connecting import peer_of

from .wire_client import SCHEMA

METHOD = SCHEMA.by_name["pid"]


@pytest.fixture
def link() -> Iterator[ClientLink[str]]:
    """A connection to a service which runs 100 calls at once, and has said so."""
    here, there = lowlevel.socket_pair()
    session: ClientSession[str] = ClientSession("/run/kitchen", Hello(SERVICE, 1000, bytes(16)), lambda _: "")
    with here, there:
        session.feed(Hello(SERVICE, 100_000, bytes(16), calls_in_flight=100).pack())
        yield ClientLink("/run/kitchen", here, peer_of(here), session, spin=False)


def begun(link: ClientLink[str], bodies: Iterator[bytes], batch: Batch[str]) -> int:
    """Begin some calls of a batch; how many frames there are."""
    reader = FrameReader(1 << 20)
    reader.feed(link._begin_some(METHOD, bodies, batch, None, 0))
    count = 0
    while (frame := reader.next_frame()) is not None:
        assert frame[0] == CALL
        count += 1
    assert not reader.unfinished
    return count


def answer(link: ClientLink[str], *ids: int) -> None:
    """The service answers these."""
    link._session.feed(b"".join(pack_frame(REPLY, b"\xc0", id=id_) for id_ in ids))


def test_a_batch_begins_with_its_share_and_goes_on_by_halves(link: ClientLink[str]) -> None:
    """Three quarters of what the service runs at once; further ones once half of them have been looked at."""
    bodies = iter([b"\x90"] * 200)
    batch: Batch[str] = deque()
    assert begun(link, bodies, batch) == len(batch) == 75
    assert begun(link, bodies, batch) == 0
    answer(link, *range(1, 39))
    assert begun(link, bodies, batch) == 0
    for _ in range(38):
        batch.popleft()
    assert begun(link, bodies, batch) == 38
    assert link.statistics().messages_sent == 113


def test_a_batch_leaves_room_for_others(link: ClientLink[str]) -> None:
    """It counts what is in flight beside it, and begins one at least."""
    for _ in range(90):
        link._session.begin(Waiter("Kitchen.pid"), METHOD.index, b"\x90", None)
    batch: Batch[str] = deque()
    assert begun(link, iter([b"\x90"] * 10), batch) == 1


def test_a_flight_ends_with_what_one_read_takes(link: ClientLink[str]) -> None:
    """Large bodies: as many as are more than that."""
    batch: Batch[str] = deque()
    assert begun(link, iter([bytes(READ_BYTES // 4)] * 20), batch) == 5
    assert LARGEST_BATCH >= 5


def test_a_body_that_is_too_long_begins_nothing_of_its_flight(link: ClientLink[str]) -> None:
    """Its error says what is accepted."""
    batch: Batch[str] = deque()
    with pytest.raises(TooLarge, match="the service accepts 100000"):
        begun(link, iter([b"\x90", bytes(100_001)]), batch)
    assert not batch
    assert not link._session.pending


@pytest.mark.parametrize("is_lost", [False, True], ids=["goodbye", "lost"])
def test_a_batch_in_flight_is_seen_to_its_end_first(link: ClientLink[str], is_lost: bool) -> None:
    """Once the service leaves nothing more begins; that is an error only when the rest is due."""
    bodies = iter([b"\x90"] * 80)
    batch: Batch[str] = deque()
    begun(link, bodies, batch)
    link._session.feed(pack_frame(GOODBYE, id=75))
    answer(link, *range(1, 76))
    if is_lost:
        link._session.end()
    while batch:
        assert begun(link, bodies, batch) == 0
        batch.popleft()
    with pytest.raises(NotRun):
        begun(link, bodies, batch)
    assert begun(link, iter([]), batch) == 0


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
