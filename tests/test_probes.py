"""The probes tell a mechanism that has a property from one that lacks it; that they are right of real ones, the demo's.

Here are the answers which no mechanism of the chapter gives, and what happens if a participant fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from namedipc.cli.probes import MECHANISMS, Mechanism, ServerSide
from namedipc.cli.probes._conversation import Failed, Participant
from namedipc.cli.probes.channel_based import is_channel_based
from namedipc.cli.probes.multi_client import is_multi_client
from namedipc.cli.probes.named import is_named
from namedipc.cli.probes.transparent import is_transparent

FILES: Mechanism = next(mechanism for mechanism in MECHANISMS if mechanism.title == "files")


class Scripted:
    """A client which reads what the test has written down."""

    def __init__(self, reads: Iterable[str]) -> None:
        self._reads = list(reads)
        self.sent: list[str] = []

    def put(self, message: str) -> None:
        self.sent.append(message)

    def take(self) -> str:
        return self._reads.pop(0)


class Deaf(ServerSide):
    """A server at a real place to which nothing gets through."""

    def __init__(self, server: ServerSide) -> None:
        self._server = server

    @property
    def handle(self) -> str:
        return self._server.handle

    @property
    def names(self) -> tuple[str, str]:
        return self._server.names

    def put(self, message: bytes) -> None:
        self._server.put(message)

    def take(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("first", "second", "holds", "seen"),
    [
        (("soup", ""), ("", ""), True, "it was seen once"),
        (("", ""), ("", "soup"), True, "it was seen once"),
        (("soup", "soup"), ("", ""), False, "it was seen twice"),
        (("soup", "soup"), ("soup", ""), False, "it was seen 3 times"),
        (("", ""), ("", ""), False, "it was seen 0 times"),
        (("soup", "penny"), ("", ""), False, "it was seen once"),
    ],
)
def test_channel_based_is_once_and_nothing_else(
    first: tuple[str, str], second: tuple[str, str], holds: bool, seen: str, tmp_path: Path
) -> None:
    """A message that is seen never, more than once, or beside something else, is in no channel."""
    with FILES.serve(tmp_path) as server:
        observation = is_channel_based(server, [Scripted(first), Scripted(second)])
    assert observation.holds is holds
    assert observation.seen.endswith(seen)


@pytest.mark.parametrize(
    ("ann", "bob", "holds"),
    [("ann", "bob", True), ("bob", "ann", False), ("annbob", "", False), ("ann", "", False)],
)
def test_multi_client_is_each_its_own_answer(ann: str, bob: str, holds: bool, tmp_path: Path) -> None:
    """Crossed, merged and missing answers are not one's own; and both asked before anybody was answered."""
    clients = [Scripted([ann]), Scripted([bob])]
    with FILES.serve(tmp_path) as server:
        observation = is_multi_client(server, clients)
    assert [client.sent for client in clients] == [["ann"], ["bob"]]
    assert observation.holds is holds
    assert f"ann got {ann or 'nothing'} and bob got {bob or 'nothing'}" in observation.seen


def test_named_only_if_the_message_arrives(tmp_path: Path) -> None:
    """That a stranger can open the name is not enough."""
    with FILES.serve(tmp_path) as server:
        observation = is_named(FILES, Deaf(server))
    assert not observation.holds
    assert observation.seen.endswith("; '' arrived")


def test_not_transparent_if_nothing_comes_back(tmp_path: Path) -> None:
    """`cat` has run, but the server has heard nothing."""
    with FILES.serve(tmp_path) as server:
        observation = is_transparent(Deaf(server), tmp_path)
    assert not observation.holds
    assert observation.seen == "`cat` cannot take part: b'' came back"


def test_a_participant_says_why_it_failed(tmp_path: Path) -> None:
    """What it was told is not there."""
    with FILES.serve(tmp_path) as server:
        for name in os.listdir(tmp_path):
            (tmp_path / name).unlink()
        with Participant(FILES, server, inherits=True) as participant:
            with pytest.raises(Failed, match="No such file or directory"):
                participant.wait_ready()
            with pytest.raises(Failed, match="has ended"):
                participant.wait_ready()
