"""The demo on a terminal, with rich: the chapter's program on the left, namedipc's on the right.

The only module that needs the extra `cli`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._show import PROPERTIES, TABLE_TITLE, Printed, mark, observations
from .probes import Assessment, Observation


class RichShow:
    """Side by side, in colours."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()

    def one(self, title: str, program: str, printed: str) -> None:
        """Show a program alone."""
        self._programs(title, [(program, printed)])

    def pair(self, title: str, chapter: Printed, namedipc: Printed) -> None:
        """Show the chapter's program and namedipc's."""
        self._programs(title, [chapter, namedipc])

    def table(self, assessments: Sequence[Assessment]) -> None:
        """Show the table, and for each mark what was seen."""
        table = Table("", *PROPERTIES, title=TABLE_TITLE)
        for assessment in assessments:
            table.add_row(assessment.mechanism, *map(_coloured_mark, observations(assessment)))
        self._console.print(table)
        for assessment in assessments:
            self._console.print(Text(f"\n{assessment.mechanism}:", style="bold"))
            for name, observation in zip(PROPERTIES, observations(assessment), strict=True):
                self._console.print(_coloured_mark(observation), Text(f"{name}: {observation.seen}"))

    def _programs(self, title: str, programs: Sequence[Printed]) -> None:
        # Text, not str: what a program prints in brackets is no markup.
        table = Table(title=title, expand=True)
        for program, _ in programs:
            table.add_column(program, ratio=1, overflow="fold")
        table.add_row(*(Text(printed.rstrip("\n")) for _, printed in programs))
        self._console.print(table)


def _coloured_mark(observation: Observation) -> Text:
    return Text(mark(observation), style="green" if observation.holds else "red")
