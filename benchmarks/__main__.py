"""`python -m benchmarks` is `namedipc bench`."""

from __future__ import annotations

from .command import bench

bench(prog_name="python -m benchmarks")
