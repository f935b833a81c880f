"""How a report is shown: text for a terminal, Markdown for the documentation, both with the same figures.

The law: what is shown is in the report; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .figures import Better, Summary
from .goals import Goal, Verdict, verdict
from .report import Report
from .works import CONTENDERS, WORKS, C, Figure, Setting

HEAD: Final = ("Row", "namedipc", "compared with", "", "ratio", "must", "", "aim", "")
SMOKE: Final = "A smoke run, with small numbers: its figures mean nothing."
Cells = Sequence[str]


def number(value: float) -> str:
    """With three digits that mean something, and thousands apart."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def with_unit(value: float, unit: str) -> str:
    """A figure, of which many a second are told in thousands."""
    if unit.endswith("/s") and value >= 10_000:
        return f"{number(value / 1000)} k {unit}"
    return f"{number(value)} {unit}"


def bound(value: float | None, better: Better) -> str:
    """What is demanded."""
    return "" if value is None else f"{'<=' if better is Better.LOWER else '>='} {number(value)}"


# ------------------------------------------------------------ the table of goals


def goal_cells(report: Report) -> Iterator[Cells]:
    """A line for each demand."""
    for row in report.shown_rows():
        for place, goal in enumerate(row.goals):
            yield _goal_cells(report, row.title if place == 0 else "", goal)


def _goal_cells(report: Report, title: str, goal: Goal) -> Cells:
    value = goal.value(report.summary)
    return (
        title,
        shown(report, goal.ours),
        compared_with(goal),
        shown(report, goal.of) if goal.of else "",
        number(value) if value is not None and goal.of else "",
        bound(goal.must, goal.better),
        "" if goal.must is None else verdict(value, goal.must, goal.better).value,
        bound(goal.aim, goal.better),
        "" if goal.aim is None else verdict(value, goal.aim, goal.better).value,
    )


def compared_with(goal: Goal) -> str:
    """Whom, and at what where that is something else."""
    if goal.of is None:
        return "itself"
    return goal.of.label if goal.of.setting == goal.ours.setting else f"{goal.of.label}, {goal.of.setting.amount}"


def tally(report: Report) -> str:
    """How many demands are met, of those for which there are figures."""
    goals = [goal for row in report.shown_rows() for goal in row.goals]
    parts = []
    for words, bounds in (("musts", [goal.must for goal in goals]), ("aims", [goal.aim for goal in goals])):
        verdicts = [
            verdict(goal.value(report.summary), bound, goal.better) for goal, bound in zip(goals, bounds, strict=True)
        ]
        decided = len(verdicts) - verdicts.count(Verdict.OPEN)
        parts.append(f"{verdicts.count(Verdict.MET)} of {decided} {words} met")
    return ", ".join(parts)


def shown(report: Report, figure: Figure) -> str:
    """A figure, or that there is none."""
    outcome = report.outcomes.get(figure)
    if outcome is None:
        return "not compared"
    return with_unit(outcome.median, figure.unit) if isinstance(outcome, Summary) else "not available"


# ------------------------------------------------------------ what each setting has


def setting_cells(report: Report, setting: Setting) -> Iterator[Cells]:
    """A line for each contender: the median, the 99th percentile, and the ratio to C."""
    base = report.summary(Figure(setting, C))
    for figure, outcome in report.of(setting).items():
        if isinstance(outcome, Summary):
            yield (
                name_of(figure),
                with_unit(outcome.median, figure.unit),
                "" if outcome.p99 is None else f"{number(outcome.p99)} {p99_unit(figure)}",
                "" if base is None else number(outcome.median / base.median),
            )


def name_of(figure: Figure) -> str:
    """A contender, of which ours are to be seen as such."""
    return f"namedipc, {figure.label}" if CONTENDERS[figure.contender].is_ours else figure.label


def p99_unit(figure: Figure) -> str:
    """Of single operations, also where the figure is how many a second."""
    return "us" if figure.unit.endswith("/s") else figure.unit


def left_out(report: Report) -> list[str]:
    """Who takes no part, and why; once, where it is the same everywhere."""
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for figure, outcome in report.outcomes.items():
        if isinstance(outcome, str):
            reasons.setdefault((name_of(figure), outcome), {})[WORKS[figure.setting.work].title] = None
    return [f"{who} ({'; '.join(titles)}): {reason}" for (who, reason), titles in reasons.items()]


SETTING_HEAD: Final = ("", "median", "p99", "of C")


def as_text(report: Report) -> str:
    """For a terminal."""
    parts = [report.machine.in_words(), *([SMOKE] if report.smoke else [])]
    if goals := list(goal_cells(report)):
        parts += [_columns([HEAD, *goals]), tally(report)]
    for setting in report.settings():
        if cells := list(setting_cells(report, setting)):
            parts.append(f"{setting.title}\n{_columns([SETTING_HEAD, *cells])}")
    if reasons := left_out(report):
        parts.append("\n".join(["Left out:", *(f"  {reason}" for reason in reasons)]))
    return "\n\n".join(parts)


def as_markdown(report: Report) -> str:
    """For a page."""
    parts = [f"Taken on: {report.machine.in_words()}.", *([SMOKE] if report.smoke else [])]
    if goals := list(goal_cells(report)):
        parts += [_pipes([HEAD, *goals]), f"{tally(report)}."]
    for setting in report.settings():
        if cells := list(setting_cells(report, setting)):
            parts.append(f"**{setting.title}**\n\n{_pipes([SETTING_HEAD, *cells])}")
    if reasons := left_out(report):
        parts.append("\n".join(["Left out:\n", *(f"- {reason}" for reason in reasons)]))
    return "\n\n".join(parts)


def _columns(lines: Sequence[Cells]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _pipes(lines: Sequence[Cells]) -> str:
    head, *rest = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
