"""Calls of a run, and what they have returned: which is next, and what is gathered and sent together."""

from __future__ import annotations

from struct import pack

import pytest

from namedipc._arguments import ArgumentsCodec, Parameter
from namedipc._batches import join
from namedipc._codec import Codec
from namedipc._errors import ProtocolError
from namedipc._protocol.calls import LARGEST_ID
from namedipc._protocol.frames import CALL, CALLS, DEADLINE_FLAG, REPLIES, REPLY, Frame, FrameReader
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._protocol.series import LONGEST_BYTES
from namedipc._protocol.session import ServerSession
from namedipc._shells.service_runs import MOST_GATHERED, Results, Run


def gathered(tp: object, values: list[object], longest: int = 1 << 20) -> tuple[list[int], list[Frame], list[int]]:
    """Results of calls from 1 on: how many were gathered with each at most, what was sent, and what was left alone."""
    session = ServerSession(Hello(SERVICE, longest, bytes(16)), b"", methods=1, held_frames=1, held_bytes=1)
    left: list[int] = []
    results = Results(session, Codec(tp), lambda **answer: left.append(answer["id"]))
    most = []
    for id_, value in enumerate(values, 1):
        results.values.append(value)
        most.append(results.most)
        if len(results.values) >= results.most:
            results.encode(id_)
    results.send(len(values))
    results.send(len(values))
    reader = FrameReader(1 << 20)
    reader.feed(b"".join(session.outgoing))
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    return most, frames, left


def test_what_cannot_change_is_encoded_some_at_a_time() -> None:
    """Once one was small; what could change is not, and both are sent alike."""
    most, frames, left = gathered(int, list(range(20)))
    assert most == [1] + [MOST_GATHERED] * 19
    assert frames == [(REPLIES, 0, 0, 1, join([bytes([number]) for number in range(20)]))]
    most, frames, left = gathered(list[int], [[number] for number in range(20)])
    assert most == [1] * 20
    assert frames == [(REPLIES, 0, 0, 1, join([b"\x91" + bytes([number]) for number in range(20)]))]
    assert left == []


def test_large_results_are_not_gathered() -> None:
    """Nor are those behind them, until one is small again; and a frame is no longer than it should be."""
    large = bytes(LONGEST_BYTES)
    most, frames, left = gathered(bytes, [b"a", b"b", large, large, *[b"c"] * 20])
    assert left == [2, 3, 4, *range(5, 10)]  # they had been gathered
    assert most[8:11] == [MOST_GATHERED, 1, MOST_GATHERED]
    assert [(frame[0], frame[3]) for frame in frames] == [(REPLY, 1), (REPLIES, 10)]
    _, frames, left = gathered(bytes, [large] * 3)
    assert [(frame[0], frame[3]) for frame in frames] == [(REPLY, 1), (REPLY, 2), (REPLY, 3)]
    assert left == []


def test_results_that_cannot_be_sent_are_left_to_whoever_says_so() -> None:
    """Each of those which it was gathered with is answered by itself; so is one that is too long."""
    _, frames, left = gathered(int, [0, 1, 2, "3", 4])
    assert left == [2, 3, 4, 5]
    assert frames == [(REPLY, 0, 0, 1, b"\0")]
    _, frames, left = gathered(bytes, [bytes(100)], longest=100)
    assert (frames, left) == ([], [1])


# --- what no client may say


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ((CALLS, 0, 0, 1, b""), "^0 calls came together; there may be 1 to 8$"),
        ((CALLS, 0, 0, 1, b"\xc0"), "^0 calls came together"),
        ((CALLS, 0, 0, 1, b"\x80"), "^0 calls came together"),
        ((CALLS, 0, 0, 1, b"\x90"), "^0 calls came together"),
        ((CALLS, 0, 0, 1, b"\xdc\x00"), "^0 calls came together"),
        ((CALLS, 0, 0, 1, b"\x99" + b"\x90" * 9), "^9 calls came together; there may be 1 to 8$"),
        ((CALLS, 0, 0, 1, b"\xdd\xff\xff\xff\xff\x90"), "^4294967295 calls came together"),
        ((CALLS, 0, 0, 0, b"\x91\x90"), "^1 calls came together, and the id of the first is 0$"),
        (
            (CALLS, 0, 0, LARGEST_ID, b"\x92\x90\x90"),
            f"^2 calls came together, and the id of the first is {LARGEST_ID}",
        ),
    ],
)
def test_what_is_no_run_is_refused(frame: Frame, message: str) -> None:
    """Before anything is made of it."""
    with pytest.raises(ProtocolError, match=message):
        Run(frame, frame[4], None, {}, most=8)


def test_a_run_knows_which_call_is_next() -> None:
    """Each as a frame of its own, with what the flags say; the last id may be the largest there is."""
    body = pack("<d", 1.5) + b"\x92\x91\x01\x91\x02"
    run = Run((CALLS, DEADLINE_FLAG, 3, LARGEST_ID - 1, body), body[8:], 1.5, {}, most=8)
    run.decode(ArgumentsCodec("Desk.wait", [Parameter(name="number", type=int)]))
    assert run.rows == [(1,), (2,)]
    assert not run.is_over
    assert run.next_frame() == (CALL, DEADLINE_FLAG, 3, LARGEST_ID - 1, body[:8] + b"\x91\x01")
    assert run.next_frame() == (CALL, DEADLINE_FLAG, 3, LARGEST_ID, body[:8] + b"\x91\x02")
    assert run.is_over
