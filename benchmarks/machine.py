"""The machine, in the words that a table of figures has to name."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import attrs


@attrs.frozen
class Machine:
    """Where figures were taken."""

    cpu: str
    cores: int
    kernel: str
    python: str

    def in_words(self) -> str:
        """In a line."""
        return f"{self.cpu}, {self.cores} cores, Linux {self.kernel}, Python {self.python}"


def this_machine() -> Machine:
    """The one this runs on, with the cores it may use."""
    return Machine(cpu_model(), len(os.sched_getaffinity(0)), platform.release(), platform.python_version())


def cpu_model() -> str:
    """The processor's name. Source: proc(5) "cpuinfo"; some architectures have none there."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
