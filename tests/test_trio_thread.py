"""A service in a thread of its own: asked, drained, joined, and what ends it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from namedipc import Closed, ConnectionLost, NameTaken, Service, TimedOut

from .kitchen import Chef, Kitchen

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_waiting_for_the_end_can_time_out(tmp_path: Path) -> None:
    """TimedOut while it goes on; nothing has changed."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with service.serve(Chef()) as server, service.connect() as kitchen:
        with pytest.raises(TimedOut, match=r"goes on after 0\.01 seconds"):
            server.wait_closed(timeout=0.01)
        assert kitchen.call(Kitchen.pid) == os.getpid()


def test_after_the_end_there_is_nobody_to_ask(tmp_path: Path) -> None:
    """Draining twice is fine; statistics are Closed."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with service.serve(Chef()) as server:
        server.drain()
        server.drain(grace_seconds=1)
        server.wait_closed()
        with pytest.raises(Closed, match="has ended"):
            server.statistics()
        with pytest.raises(Closed, match="has ended"):
            server.peers()
    with pytest.raises(Closed, match="has ended"):
        server.statistics()
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_taken_is_said_where_the_with_stands(tmp_path: Path) -> None:
    """What opening raises in the thread is raised here, and the thread is gone."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with service.serve(Chef()):
        before = threading.active_count()
        with pytest.raises(NameTaken), service.serve(Chef()):
            pass
        assert threading.active_count() == before


def test_what_ends_the_service_is_raised_at_the_end_of_the_with(tmp_path: Path) -> None:
    """An interrupt in a handler ends the thread's loop: its client sees it go, and the `with` raises it."""

    class Interrupted(Chef):
        async def pid(self) -> int:
            raise KeyboardInterrupt("in the kitchen")

    service = Service(tmp_path / "kitchen", Kitchen)
    with (
        pytest.raises(KeyboardInterrupt, match="in the kitchen"),
        service.serve(Interrupted()),
        service.connect() as kitchen,
        pytest.raises(ConnectionLost),
    ):
        kitchen.call(Kitchen.pid)
    assert os.listdir(tmp_path) == []
