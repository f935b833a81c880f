"""What a run has found: the machine, every figure or why there is none; written as JSON and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import attrs

from .figures import Summary
from .goals import ROWS, Row, verdict
from .machine import Machine
from .works import Figure, Placement, Setting

Outcome = Summary | str
"""A figure, or why there is none."""


@attrs.frozen
class Report:
    """One run."""

    machine: Machine
    rows: tuple[str, ...]
    outcomes: Mapping[Figure, Outcome]
    smoke: bool = False

    def summary(self, figure: Figure) -> Summary | None:
        """What was measured, if it was."""
        outcome = self.outcomes.get(figure)
        return outcome if isinstance(outcome, Summary) else None

    def shown_rows(self) -> list[Row]:
        """The rows that were asked for."""
        return [ROWS[name] for name in self.rows]

    def settings(self) -> list[Setting]:
        """What was measured, in its order."""
        return list(dict.fromkeys(figure.setting for figure in self.outcomes))

    def of(self, setting: Setting) -> dict[Figure, Outcome]:
        """One setting's figures."""
        return {figure: outcome for figure, outcome in self.outcomes.items() if figure.setting == setting}


def write_json(report: Report, path: Path) -> None:
    """Write all of it, and the verdicts."""
    document = {
        "machine": attrs.asdict(report.machine),
        "smoke": report.smoke,
        "rows": list(report.rows),
        "figures": [_figure(figure, outcome) for figure, outcome in report.outcomes.items()],
        "goals": _goals(report),
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def read_json(path: Path) -> Report:
    """Read what `write_json` has written; the verdicts are found anew."""
    document = json.loads(path.read_text())
    outcomes: dict[Figure, Outcome] = {}
    for entry in document["figures"]:
        setting = Setting(entry["work"], Placement[entry["placement"]], entry["argument"])
        reason = entry["absent"]
        outcomes[Figure(setting, entry["contender"])] = reason or Summary(
            entry["median"], entry["p99"], entry["rounds"]
        )
    return Report(Machine(**document["machine"]), tuple(document["rows"]), outcomes, document["smoke"])


def _figure(figure: Figure, outcome: Outcome) -> dict[str, object]:
    absent = outcome if isinstance(outcome, str) else None
    summary = attrs.asdict(outcome) if isinstance(outcome, Summary) else dict.fromkeys(("median", "p99", "rounds"))
    return {
        "work": figure.setting.work,
        "placement": figure.setting.placement.name,
        "argument": figure.setting.argument,
        "contender": figure.contender,
        "label": figure.label,
        "unit": figure.unit,
        **summary,
        "absent": absent,
    }


def _goals(report: Report) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for row in report.shown_rows():
        for goal in row.goals:
            value = goal.value(report.summary)
            found.append(
                {
                    "row": row.name,
                    "of": goal.of and goal.of.label,
                    "value": value,
                    "better": goal.better.value,
                    "must": goal.must,
                    "must_met": verdict(value, goal.must, goal.better).value,
                    "aim": goal.aim,
                    "aim_met": verdict(value, goal.aim, goal.better).value,
                }
            )
    return found
