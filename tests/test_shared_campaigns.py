"""Kills at random, and contention, of what lies in shared memory: the short form of campaigns.

The long form is a command (`random_kills.py`, `contention.py`), or these tests with more in the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import contention, random_kills

KILLS = os.environ.get("NAMEDIPC_CAMPAIGN", "25")
SECONDS = os.environ.get("NAMEDIPC_CAMPAIGN", "0.3")
LONGEST_MS = 30_000
"""Far above what is seen, and also when the machine has other things to do."""


def lines_of(module: str, *arguments: str) -> list[list[str]]:
    """Run a campaign to its end; return the words of each line that it printed."""
    command = [sys.executable, "-m", f"tests.{module}", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.timeout(0)  # as long as it is told to take; it ends by itself where somebody waits in vain
@pytest.mark.parametrize("kind", random_kills.KINDS)
def test_kills_at_random_leave_nothing_torn_nobody_asleep_and_the_lock_free(tmp_path: Path, kind: str) -> None:
    """Whole values, none older than the one before, whatever is killed. NAMEDIPC_CAMPAIGN: how many kills."""
    *_, (name, kills, _, worst_ms, _, changes) = lines_of("random_kills", kind, str(tmp_path / kind), KILLS)
    assert (name, kills) == (kind, KILLS)
    assert float(worst_ms) < LONGEST_MS
    assert int(changes) >= int(kills)
    assert os.listdir(tmp_path) == []


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", contention.KINDS)
def test_whoever_wants_it_gets_it_however_many_want_it(tmp_path: Path, kind: str) -> None:
    """Two writers and two readers; three changers and a reader. NAMEDIPC_CAMPAIGN: for how many seconds."""
    lines = lines_of("contention", kind, str(tmp_path / kind), SECONDS)
    assert len(lines) == 4
    for _, count, longest_ms in lines:
        assert int(count) > 0
        assert float(longest_ms) < LONGEST_MS
    assert os.listdir(tmp_path) == []
