"""The run: who is compared is started together, and measured in rounds, one after the other in each.

So a machine which changes its mind changes it for all. A contender which is not installed, cannot start, fails or
hangs is left out with the reason, and the others go on.

The law: between two rounds of a contender each of the others has one; nobody else works while one is measured.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs

from .figures import Sample, count_for, summary_of
from .goals import Row
from .processes import Absent, Side, python_side
from .report import Outcome
from .works import CONTENDERS, WORKS, Figure, Placement, Setting, able

START_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 60.0
BASELINE: Final = Path(__file__).with_name("baseline.c")


@attrs.frozen
class Effort:
    """How long to measure.

    Attributes:
        rounds: Of each contender.
        round_seconds: How long a round should be.
        smoke: Only try everything, with small numbers; the figures mean nothing.
    """

    rounds: int = 7
    round_seconds: float = 0.15
    smoke: bool = False


SMOKE_COUNT: Final = 1
GROWTH: Final = 8
"""How many times more operations are tried next; a few tell little of many."""
Progress = Callable[[str], None]
"""Told of each step."""


# ------------------------------------------------------------ who with whom


def groups_of(rows: Iterable[Row], contenders: Iterable[str]) -> list[list[Figure]]:
    """What is measured together: a setting's contenders, and the settings of which a goal compares figures."""
    rows, contenders = list(rows), list(contenders)
    groups: list[set[Setting]] = []
    for row in rows:
        related = [{figure.setting for figure in (goal.ours, goal.of) if figure} for goal in row.goals]
        for settings in [*related, *({setting} for setting in row.shown)]:
            apart = [group for group in groups if not group & settings]
            groups = [*apart, settings.union(*(group for group in groups if group & settings))]
    order = list(dict.fromkeys(setting for row in rows for setting in row.settings()))
    groups.sort(key=lambda group: min(map(order.index, group)))
    return [
        [
            Figure(setting, able_one.name)
            for setting in sorted(group, key=order.index)
            for able_one in able(setting.work, contenders)
        ]
        for group in groups
    ]


def placed(placement: Placement) -> tuple[int, int]:
    """The cores of the client and of the server."""
    cores = sorted(os.sched_getaffinity(0))
    if placement is Placement.SAME:
        return cores[0], cores[0]
    if len(cores) < 2:
        raise Absent("there is one core only")
    return cores[0], cores[-1]


# ------------------------------------------------------------ the program in C


def compiled(directory: Path) -> Path:
    """The baseline."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Absent("no C compiler: neither $CC nor cc, gcc or clang")
    program = directory / "baseline"
    command = [*shlex.split(compiler), "-O2", "-o", str(program), str(BASELINE)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise Absent(f"no C compiler: {compiler}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise Absent(f"{BASELINE.name} does not compile: {error.stderr.strip().splitlines()[-1]}") from error
    return program


@attrs.define
class Baseline:
    """Compiled when it is first needed, once a run; or why it is not there."""

    directory: Path
    _found: Path | Absent | None = None

    def program(self) -> Path:
        """Where it is."""
        if self._found is None:
            try:
                self._found = compiled(self.directory)
            except Absent as reason:
                self._found = reason
        if isinstance(self._found, Absent):
            raise self._found
        return self._found


# ------------------------------------------------------------ one contender


class Entrant:
    """One contender in one setting: its server, its client, and its samples."""

    def __init__(self, figure: Figure, effort: Effort, directory: Path, baseline: Baseline) -> None:
        self.figure = figure
        self._effort = effort
        self._directory = directory
        self._baseline = baseline
        self._work = WORKS[figure.setting.work]
        self._contender = CONTENDERS[figure.contender]
        self._sides: list[Side] = []
        self._count = 1
        self._samples: list[Sample] = []

    def start_server(self) -> None:
        """Start it, if there is one, without waiting for it."""
        if missing := self._contender.missing():
            raise Absent(f"not installed: {', '.join(missing)}")
        placed(self.figure.setting.placement)
        self._directory.mkdir()
        if self._work.name == "clients":
            (self._directory / "baseline").symlink_to(self._baseline.program())
        if self._work.name not in self._contender.alone:
            self._start("server")

    def start_client(self) -> None:
        """Wait for the server, and start the client, without waiting for it."""
        for side in self._sides:
            side.wait_ready(START_SECONDS)
        self._start("client")

    def warm(self) -> None:
        """Wait for the client, and find out how often it does its work in a round."""
        client = self._sides[-1]
        client.wait_ready(START_SECONDS)
        if self._work.once is not None:
            self._count = 1 if self._effort.smoke else self._work.once
            return
        if self._effort.smoke:
            self._count = SMOKE_COUNT
            return
        wanted = self._effort.round_seconds
        self._ask()  # whatever has to be done once is done
        # The better of two: what came between once must not make every round a short one.
        while (took := min(self._ask().seconds for _ in range(2))) < wanted / 2:
            self._count = min(GROWTH * self._count, count_for(wanted, count=self._count, took=took))
        self._count = count_for(wanted, count=self._count, took=took)

    def round(self, number: int) -> None:
        """Measure once."""
        if self._work.once is None or number == 0:
            self._samples.append(self._ask())

    def outcome(self) -> Outcome:
        """What its rounds come to."""
        return summary_of(self._samples)

    def close(self) -> None:
        """End both sides."""
        while self._sides:
            self._sides.pop().close()

    def _ask(self) -> Sample:
        return self._sides[-1].ask(self._count, ANSWER_SECONDS)

    def _start(self, role: str) -> None:
        mine, other = placed(self.figure.setting.placement)
        if role == "server":
            mine, other = other, mine
        argument = self.figure.setting.argument
        if self._effort.smoke and argument:
            argument = self._work.smoke_argument
        words = [self._work.name, role, str(self._directory), str(argument), str(other)]
        module = self._contender.module
        command = python_side(module, *words) if module else [str(self._baseline.program()), *words]
        log = self._directory / f"{role}.log"
        self._sides.append(Side(command, core=mine, log=log, is_server=role == "server"))


# ------------------------------------------------------------ all of them


def measure(groups: Sequence[Sequence[Figure]], effort: Effort, progress: Progress) -> dict[Figure, Outcome]:
    """Measure group by group."""
    outcomes: dict[Figure, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        baseline = Baseline(Path(directory))
        for number, group in enumerate(groups):
            outcomes |= _measure_together(group, effort, Path(directory) / str(number), baseline, progress)
    return outcomes


def _measure_together(
    group: Sequence[Figure], effort: Effort, directory: Path, baseline: Baseline, progress: Progress
) -> dict[Figure, Outcome]:
    outcomes: dict[Figure, Outcome] = {}
    directory.mkdir()
    with ExitStack() as stack:
        entrants = [Entrant(figure, effort, directory / str(number), baseline) for number, figure in enumerate(group)]
        for entrant in entrants:
            stack.callback(entrant.close)

        def each(step: Callable[[Entrant], None]) -> None:
            """One step of everybody who is still there."""
            for entrant in [entrant for entrant in entrants if entrant.figure not in outcomes]:
                progress(f"{entrant.figure.setting.title}: {entrant.figure.label}")
                try:
                    step(entrant)
                except Absent as reason:
                    outcomes[entrant.figure] = str(reason)
                    entrant.close()

        each(Entrant.start_server)
        each(Entrant.start_client)
        each(Entrant.warm)
        for number in range(effort.rounds):
            each(lambda entrant, number=number: entrant.round(number))  # type: ignore[misc]  # bound at once
    for entrant in entrants:
        outcomes.setdefault(entrant.figure, "")  # keeps the order of the table
        outcomes[entrant.figure] = outcomes[entrant.figure] or entrant.outcome()
    return {figure: outcomes[figure] for figure in group}
