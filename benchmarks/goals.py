"""What is demanded: each row with what it must be and what it aims at, as a ratio of one figure to another.

The law: this is the table of the project's goals, as data; whoever measures does not know what is hoped for.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs

from .figures import Better, Summary, is_met
from .works import ARRAYS, IN_TRIO, OURS, TASKS, VIEWS, WORKS, C, Figure, Placement, Setting

Figures = Callable[[Figure], "Summary | None"]
"""Where measured figures are found; None for what was not measured."""


@attrs.frozen
class Goal:
    """One demand: our figure, as it is or as a ratio of another, against what it must be and what it aims at."""

    ours: Figure
    of: Figure | None = None
    must: float | None = None
    aim: float | None = None

    @property
    def better(self) -> Better:
        """Which way it should go: as the work's figures do, a ratio as its numerator."""
        return WORKS[self.ours.setting.work].better

    def value(self, figures: Figures) -> float | None:
        """The figure or the ratio; None if something for it was not measured."""
        ours = figures(self.ours)
        if ours is None:
            return None
        if self.of is None:
            return ours.median
        other = figures(self.of)
        return None if other is None else ours.median / other.median


class Verdict(Enum):
    """What became of a bound."""

    MET = "met"
    NOT_MET = "not met"
    OPEN = "-"


def verdict(value: float | None, bound: float | None, better: Better) -> Verdict:
    """Compare, where there is something to be compared."""
    if value is None or bound is None:
        return Verdict.OPEN
    return Verdict.MET if is_met(value, bound, better) else Verdict.NOT_MET


@attrs.frozen
class Row:
    """A row of the table. Without goals it is there to be looked at."""

    name: str
    title: str
    goals: tuple[Goal, ...] = ()
    shown: tuple[Setting, ...] = ()

    def settings(self) -> tuple[Setting, ...]:
        """All that has to be measured for it."""
        figures = [figure for goal in self.goals for figure in (goal.ours, goal.of) if figure is not None]
        return tuple(dict.fromkeys([*(figure.setting for figure in figures), *self.shown]))


Bound = tuple[str | Figure | None, float | None, float | None]
"""Whose figure of the same setting, or which figure, or None for our own as it is; what must be, and the aim."""


def _row(name: str, title: str, setting: Setting, contender: str, *bounds: Bound) -> Row:
    """A row of one figure of ours."""
    goals = [
        Goal(Figure(setting, contender), Figure(setting, whose) if isinstance(whose, str) else whose, must, aim)
        for whose, must, aim in bounds
    ]
    return Row(name, title, tuple(goals))


MIB: Final = 1 << 20
SPLIT_CALL: Final = Setting("call", Placement.SPLIT)
SAME_CALL: Final = Setting("call", Placement.SAME)
BATCH: Final = Setting("batch")
ARRAY: Final = 100_000_000
SIZES: Final = (64, 1 << 10, 1 << 14, 1 << 16, 1 << 18, MIB, 4 * MIB)
CLIENTS: Final = (1, 64, 256, 1000)


def _clients(count: int) -> Setting:
    return Setting("clients", argument=count)


ROWS: Final = {
    row.name: row
    for row in (
        _row(
            "call",
            "typed call, blocking client, a core each",
            SPLIT_CALL,
            OURS,
            ("pyzmq", 0.2, 0.15),
            ("raw", 0.45, 0.3),
            (C, None, 1 / 3),
        ),
        _row(
            "call-one-core",
            "typed call, blocking client, one shared core",
            SAME_CALL,
            OURS,
            ("pyzmq", 1.0, 0.6),
            ("raw", None, 1.8),
        ),
        _row("trio-call", "typed call, trio client, a core each", SPLIT_CALL, IN_TRIO, ("trio", 0.25, 0.2)),
        _row("trio-call-one-core", "typed call, trio client, one core", SAME_CALL, IN_TRIO, ("trio", 0.65, 0.4)),
        _row(
            "batch",
            "64 typed calls in flight on one connection, as a batch",
            BATCH,
            OURS,
            ("pyzmq", 2.3, 4.0),
            (C, None, 0.4),
        ),
        _row(
            "tasks",
            "64 trio tasks calling on one connection",
            BATCH,
            TASKS,
            ("pyzmq", 1.0, 2.0),
        ),
        _row("clients", "256 clients, small typed calls", _clients(256), OURS, ("pyzmq", 1.7, 3.0), (C, None, 0.5)),
        _row(
            "clients-1000",
            "1 000 clients, of the rate of 64",
            _clients(1000),
            OURS,
            (Figure(_clients(64), OURS), 0.9, None),
        ),
        _row("memory", "memory a connected client, KiB", Setting("memory", argument=1000), OURS, (None, 8.0, None)),
        _row(
            "records",
            "typed records one way in batches, Channel",
            Setting("records"),
            OURS,
            ("pyzmq", 1.5, 2.5),
        ),
        _row(
            "broadcast",
            "Broadcast, one writer, 8 readers, 64-byte records",
            Setting("broadcast"),
            OURS,
            ("pyzmq", 3.0, 10.0),
        ),
        _row(
            "mebibyte",
            "1 MiB there and back by Service",
            Setting("echo", argument=MIB),
            VIEWS,
            (C, 1.0, 1 / 3),
        ),
        _row("array", "100 MB numpy array as a message", Setting("array", argument=ARRAY), ARRAYS, (C, 1.3, 1.05)),
        _row(
            "in-place",
            "100 MB numpy array in place in a region, ms",
            Setting("in-place", argument=ARRAY),
            ARRAYS,
            (None, 1.0, 0.3),
        ),
        _row("wake", "SharedRegion write to wake-up in another process", Setting("wake"), OURS, (C, 1.3, 0.2)),
        _row("idle", "idle server with 1 000 clients, ticks", Setting("idle", argument=1000), OURS, (None, 0.0, None)),
        _row("import", "importing namedipc in a blocking program", Setting("import"), OURS, ("libraries", 1.5, None)),
        _row("help", "`namedipc --help`, ms", Setting("help"), OURS, (None, 150.0, None)),
        Row("sizes", "bytes there and back, by size", shown=tuple(Setting("echo", argument=size) for size in SIZES)),
        Row("sweep", "calls a second, by number of clients", shown=tuple(map(_clients, CLIENTS))),
    )
}
"""By name, in the order of the table; the last ones have no goals."""
