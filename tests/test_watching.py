"""Waiting for a change of a file in shared memory: looked for again and again for a moment, then slept for."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import partial
from math import inf
from pathlib import Path
from typing import ClassVar

import pytest

from namedipc import BlockingRegion, Broadcast, Closed, SharedRegion, SharedStruct
from namedipc._shells.bell import Listener
from namedipc._shells.connecting import Pause
from namedipc._shells.shared_file import AnyFile
from namedipc._shells.watching import waiting


class Scale(ctypes.Structure):
    """A layout."""

    _fields_: ClassVar = [("grams", ctypes.c_double)]


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
    assert file.spinner is not None
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
    assert board._file.spinner is not None
    assert board._file.spinner.wins == 0
    assert board._file.spinner.losses < 12
    before = looks
    assert next(plan) == Pause(listener.fileno(), inf)
    assert looks == before + 1
    listener.stop()
    with pytest.raises(Closed, match="this watch was closed"):
        next(plan)


def test_polling_can_be_switched_off(tmp_path: Path) -> None:
    """`spin=False` of each verb: one look, and then the bell is waited for."""
    region, memory, news = (
        SharedRegion(tmp_path / "board", int),
        SharedStruct(tmp_path / "scale", Scale),
        Broadcast(tmp_path / "news", int),
    )
    with (
        region.create(0, spin=False) as made,
        region.open(spin=False) as opened,
        region.view(spin=False) as viewed,
        memory.create(spin=False) as mapped,
        memory.open(spin=False) as mapped_again,
        news.writer(),
        news.reader(spin=False) as reader,
    ):
        files: list[AnyFile] = [made._file, opened._file, viewed._file, mapped._memory.file, mapped_again._memory.file]
        for file in (*files, reader._receiver.file):
            assert file.spinner is None
            listener = file.listen()
            looks = iter([None])
            assert next(waiting(file, listener, partial(next, looks))) == Pause(listener.fileno(), inf)
            listener.close()
        made.write(1)
        assert viewed.wait_newer(1, timeout=10) == 1
