"""What calls are answered with, and the books of those which wait: each once, and whatever cannot be sent with why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from namedipc import Limits, Peer, TimedOut, lowlevel, raises
from namedipc._faults import fault_of
from namedipc._protocol.frames import ERROR, REPLY, Frame, FrameReader, pack_call
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._schema import Schema
from namedipc._shells.outcomes import IDLE
from namedipc._shells.service_answers import Answers, trusts
from namedipc._shells.service_clients import Connection
from namedipc._shells.service_loop import ServiceLoop
from namedipc._shells.suspended import Suspended

from .loop_support import pumped_loop
from .wire_client import code_of

pytestmark = pytest.mark.usefixtures("no_leaks")


class Lost(Exception):
    """What is declared."""


class Desk(Protocol):
    """The interface."""

    @raises(Lost)
    async def weigh(self, letter: str) -> int:
        """Wait."""
        ...


class Forever:
    """What nothing here wakes."""

    def __await__(self) -> Iterator[str]:
        yield "waits"


class Clerk:
    """The implementation."""

    async def weigh(self, letter: str) -> int:
        """Wait."""
        await Forever()  # type: ignore[misc]  # an awaitable of the simplest kind
        return len(letter)


SCHEMA: Schema[Desk] = Schema(Desk, frame_globals=globals(), frame_locals={})
WEIGH = SCHEMA.by_name["weigh"]


@contextmanager
def waiting(tmp_path: Path, calls: int = 1) -> Iterator[tuple[ServiceLoop, lowlevel.Socket, list[Suspended]]]:
    """A loop, a client, and its calls, whose handlers wait."""
    with (
        pumped_loop(tmp_path / "desk", SCHEMA, Clerk(), Limits(message_bytes=1000)) as loop,
        lowlevel.unix_connect(tmp_path / "desk") as client,
    ):
        client.sendall(Hello(SERVICE, 100, SCHEMA.fingerprint).pack())
        body = WEIGH.arguments.encode(("abc",), {})
        client.sendall(b"".join(pack_call(WEIGH.index, id_, body, None) for id_ in range(1, calls + 1)))
        found = []
        while (outcome := loop.pump()) != IDLE:
            if isinstance(outcome, Suspended):
                found.append(outcome)
        assert len(client.recv(HELLO_BYTES)) == HELLO_BYTES
        client.setblocking(False)
        yield loop, client, found
        for call in found:
            call.close()


def frames(client: lowlevel.Socket) -> list[Frame]:
    """What has come."""
    reader = FrameReader(1 << 20)
    try:
        reader.feed(client.recv(65536))
    except BlockingIOError:
        return []
    return list(iter(reader.next_frame, None))


def test_a_call_is_in_the_books_until_it_is_settled(tmp_path: Path) -> None:
    """And whoever comes second to settle it does not answer it."""
    with waiting(tmp_path, 2) as (loop, client, (first, second)):
        answers = loop.answers
        assert answers.counts.in_flight == 2
        assert loop.busy
        assert answers.settle(first)
        assert not answers.settle(first)
        assert answers.counts.in_flight == 1
        answers.answer(first, 7)
        assert frames(client) == [(REPLY, 0, 0, 1, b"\x07")]
        assert answers.settle(second)
        answers.answer_fault(second, fault_of(TimedOut("late")))
        ((kind, _, _, id_, _),) = frames(client)
        assert (kind, id_) == (ERROR, 2)
        assert (answers.counts.errors, answers.counts.in_flight) == (1, 0)
        assert loop.statistics().calls == 2
        assert answers.latencies.count == 2
        assert not loop.busy


def test_a_client_that_says_goodbye_is_dropped_with_its_last_answer(tmp_path: Path) -> None:
    """Not with the one before."""
    with waiting(tmp_path, 2) as (loop, client, calls):
        client.shutdown(1)
        while loop.pump() != IDLE:
            pass
        for left, call in zip((1, 0), calls, strict=True):
            assert loop.answers.settle(call)
            loop.answers.answer(call, 1)
            assert len(loop.clients.connections) == left
        assert len(frames(client)) == 2


def connected(loop: ServiceLoop) -> tuple[Answers, Connection]:
    """The answers, and the only client."""
    (connection,) = loop.clients.connections.values()
    return loop.answers, connection


def test_what_is_added_leaves_with_the_next_flush(tmp_path: Path) -> None:
    """What is answered leaves at once, and takes that along."""
    with waiting(tmp_path) as (loop, client, _):
        answers, connection = connected(loop)
        answers.add_result(connection, 5, WEIGH, 1)
        answers.add_body(connection, 6, WEIGH, b"\x02")
        assert frames(client) == []
        answers.answer_encoded(connection, 7, WEIGH, b"\x03")
        answers.answer_value(connection, 8, WEIGH, 4)
        assert [(frame[3], frame[4]) for frame in frames(client)] == [(id_, bytes([id_ - 4])) for id_ in range(5, 9)]
        assert answers.counts.errors == 0


def test_what_cannot_be_sent_is_answered_with_why(tmp_path: Path) -> None:
    """A result of another type, and one that is longer than the client takes, be it encoded or not."""
    with waiting(tmp_path) as (loop, client, _):
        answers, connection = connected(loop)
        answers.answer_value(connection, 5, WEIGH, "seven")
        answers.answer_encoded(connection, 6, WEIGH, bytes(101))
        misfit, too_large = frames(client)
        assert b"the result of Desk.weigh: expected int" in misfit[4]
        assert b"the result of Desk.weigh is 101 bytes long; the caller accepts 100" in too_large[4]
        assert [code_of(frame) for frame in (misfit, too_large)] == ["invalid", "too-large"]
        assert answers.counts.errors == 2


@pytest.mark.parametrize("trusted", [True, False])
def test_what_a_handler_raises_is_its_caller_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool) -> None:
    """With a traceback for who could read it anyway; nobody is told of what a one-way call has raised."""
    monkeypatch.setattr("namedipc._shells.service_answers.trusts", lambda _: trusted)
    with waiting(tmp_path) as (loop, client, _):
        answers, connection = connected(loop)
        try:
            raise Lost("in the post")
        except Lost as error:
            answers.answer_raised(connection, 5, WEIGH, error)
            answers.answer_raised(connection, -1, WEIGH, error)
        ((kind, _, _, id_, body),) = frames(client)
        assert (kind, id_) == (ERROR, 5)
        assert b"in the post" in body
        assert (b"Traceback" in body) is trusted
        assert answers.counts.errors == 2


def test_a_traceback_is_for_the_same_user_and_for_root() -> None:
    """Who could read the source anyway."""
    for uid, trusted in ((os.geteuid(), True), (0, True), (os.geteuid() + 1, False)):
        assert trusts(Peer(pid=1, uid=uid, gid=1, groups=())) is trusted
