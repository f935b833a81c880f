"""The report as pictures, in SVG: latency, by size, by clients, throughput.

The law: the only module that needs matplotlib, which is in the extra `bench`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from .figures import Summary
from .report import Report
from .show import name_of
from .works import CONTENDERS, WORKS, Figure, Setting

BARS = {
    "latency": ("call",),
    "throughput": ("batch", "records", "broadcast"),
}
"""Each picture, and the works whose settings are its parts."""
LINES = {"sizes": ("echo", "bytes"), "clients": ("clients", "clients")}
"""Each picture, the work, and what its argument is."""
OURS, THEIRS = "#00796b", "#90a4ae"


def draw(report: Report, directory: Path) -> list[Path]:
    """Draw what the report has figures for."""
    directory.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    mpl.rcParams["svg.hashsalt"] = "namedipc"  # the same figures give the same file
    drawn = []
    for name, works in BARS.items():
        settings = [setting for setting in report.settings() if setting.work in works]
        drawn += [_saved(_bars(report, settings), directory / f"{name}.svg")] if settings else []
    for name, (work, axis) in LINES.items():
        settings = [setting for setting in report.settings() if setting.work == work]
        drawn += [_saved(_lines(report, settings, axis), directory / f"{name}.svg")] if len(settings) > 1 else []
    return drawn


def _bars(report: Report, settings: Sequence[Setting]) -> Picture:
    measured = [
        [(figure, outcome.median) for figure, outcome in report.of(setting).items() if isinstance(outcome, Summary)]
        for setting in settings
    ]
    picture = Picture(figsize=(8, 0.8 * len(settings) + 0.28 * sum(map(len, measured))), layout="constrained")
    for axes, setting, figures in zip(
        picture.subplots(len(settings), squeeze=False)[:, 0], settings, measured, strict=True
    ):
        axes.barh(
            [name_of(figure) for figure, _ in figures],
            [median for _, median in figures],
            color=[OURS if CONTENDERS[figure.contender].is_ours else THEIRS for figure, _ in figures],
        )
        axes.invert_yaxis()
        axes.set_title(f"{setting.title} ({WORKS[setting.work].unit})", fontsize=9)
        axes.tick_params(labelsize=8)
    return picture


def _lines(report: Report, settings: Sequence[Setting], axis: str) -> Picture:
    picture = Picture(figsize=(8, 5), layout="constrained")
    axes = picture.subplots()
    for contender in dict.fromkeys(figure.contender for figure in report.outcomes):
        points = [
            (setting.argument, summary.median)
            for setting in sorted(settings, key=lambda setting: setting.argument)
            if (summary := report.summary(Figure(setting, contender))) is not None
        ]
        if points:
            label = name_of(Figure(settings[0], contender))
            ours = CONTENDERS[contender].is_ours
            axes.plot(*zip(*points, strict=True), marker="o", linewidth=3 if ours else 1, label=label)
    work = WORKS[settings[0].work]
    axes.set(xscale="log", yscale="log", xlabel=axis, ylabel=work.unit, title=work.title)
    axes.legend(fontsize=8)
    return picture


def _saved(picture: Picture, path: Path) -> Path:
    picture.savefig(path, metadata={"Date": None})
    return path
