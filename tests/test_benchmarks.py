"""The benchmarks run. What they measure is never asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_calls_runs_and_prints_a_ratio_for_each_contender() -> None:
    """A smoke run: every contender that is installed has a line with a time and a ratio; raw sockets have 1.00."""
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "calls.py", "--quick"], capture_output=True, text=True, timeout=50, check=True
    )
    lines = [line.split() for line in run.stdout.splitlines()]
    for contender in ("raw sockets", "trio SocketStream", "namedipc, blocking", "namedipc, trio"):
        rows = [line for line in lines if line[: len(contender.split())] == contender.split()]
        assert rows
        assert all(float(row[-2]) > 0 for row in rows)
        assert all((float(row[-1]) == 1) == (contender == "raw sockets") or float(row[-1]) > 0 for row in rows)


def test_hostile_runs_and_prints_a_row_for_each_offender() -> None:
    """A smoke run with two kinds of offender: each has its latencies alone, beside it and beside the control."""
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "hostile.py", "--only", "flood", "garbage", "--rounds=1", "--calls=20", "--json"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    rows = json.loads(run.stdout)
    assert [row["offender"] for row in rows] == ["flood", "garbage"]
    assert all(row[place]["p99"] >= row[place]["p50"] > 0 for row in rows for place in ("alone", "beside", "control"))
