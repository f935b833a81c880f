"""Waiting for a change of a file in shared memory: looked for again and again for a moment, then slept for."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from namedipc import BlockingRegion, Closed, SharedRegion
from namedipc._shells.bell import Listener
from namedipc._shells.connecting import Pause
from namedipc._shells.watching import waiting

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def board(tmp_path: Path) -> Iterator[BlockingRegion[int]]:
    """A region."""
    with SharedRegion(tmp_path / "board", int).create(0) as region:
        yield region


@pytest.fixture
def listener(board: BlockingRegion[int]) -> Iterator[Listener]:
    """A watch of it."""
    listener = board._file.listen()
    yield listener
    listener.close()


def test_what_comes_soon_is_seen_without_sleeping(board: BlockingRegion[int], listener: Listener) -> None:
    """The plan asks for no pause; a win of polling."""
    file = board._file
    looks = iter([None, None, None, "new"])
    with pytest.raises(StopIteration) as end:
        next(waiting(file, listener, lambda: next(looks)))
    assert end.value.value == "new"
    assert (file.spinner.wins, file.spinner.losses) == (1, 0)


def test_where_nothing_comes_it_sleeps_and_soon_looks_but_once(board: BlockingRegion[int], listener: Listener) -> None:
    """Until the bell rings; polling that does not pay ends by itself. Counted."""
    looks = 0

    def look() -> str | None:
        nonlocal looks
        looks += 1
        return None

    plan = waiting(board._file, listener, look)
    for _ in range(200):
        assert next(plan) == Pause(listener.fileno(), inf)
    assert board._file.spinner.wins == 0
    assert board._file.spinner.losses < 12
    before = looks
    assert next(plan) == Pause(listener.fileno(), inf)
    assert looks == before + 1
    listener.stop()
    with pytest.raises(Closed, match="this watch was closed"):
        next(plan)
