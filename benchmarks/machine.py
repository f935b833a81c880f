"""The machine, in the words that a table of figures has to name."""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

import attrs

from .works import COMPILED


@attrs.frozen
class Machine:
    """Where figures were taken."""

    cpu: str
    cores: int
    kernel: str
    python: str
    is_compiled: bool = False
    has_isal: bool = False

    def in_words(self) -> str:
        """In a line."""
        compiled = "" if self.is_compiled else "not "
        checksums = ", checksums by isal" if self.has_isal else ""
        return (
            f"{self.cpu}, {self.cores} cores, Linux {self.kernel}, Python {self.python}, "
            f"namedipc's short ways {compiled}compiled{checksums}"
        )


def this_machine() -> Machine:
    """The one this runs on, with the cores it may use."""
    return Machine(
        cpu_model(),
        len(os.sched_getaffinity(0)),
        platform.release(),
        platform.python_version(),
        # Looked for as its processes find it.
        os.environ.get("NAMEDIPC_COMPILED") != "0" and importlib.util.find_spec(COMPILED) is not None,
        importlib.util.find_spec("isal") is not None,
    )


def cpu_model() -> str:
    """The processor's name. Source: proc(5) "cpuinfo"; some architectures have none there."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
