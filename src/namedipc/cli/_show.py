"""How the demo is shown: with rich where that is installed and wanted, in plain text otherwise.

The law: both show the same words.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

import click

from .probes import Assessment, Observation

PROPERTIES = ("transparent", "named", "channel-based", "multi-client")
TABLE_TITLE = "What was observed: which mechanism is"
Printed = tuple[str, str]
"""A program and what it printed."""


class Show(Protocol):
    """Where the demo is shown."""

    def one(self, title: str, program: str, printed: str) -> None:
        """Show a program alone."""

    def pair(self, title: str, chapter: Printed, namedipc: Printed) -> None:
        """Show the chapter's program and namedipc's."""

    def table(self, assessments: Sequence[Assessment]) -> None:
        """Show the table, and for each mark what was seen."""


def make_show(*, plain: bool) -> Show:
    """Choose: rich on a terminal, where it is installed and wanted."""
    if plain or not sys.stdout.isatty():
        return PlainShow()
    try:
        from ._rich_show import RichShow
    except ImportError:
        return PlainShow()
    return RichShow()


def observations(assessment: Assessment) -> tuple[Observation, ...]:
    """The row in the order of `PROPERTIES`."""
    return (
        assessment.transparent,
        assessment.named,
        assessment.channel_based,
        assessment.multi_client,
    )


def mark(observation: Observation) -> str:
    """The chapter's ✓ or ✗, or what an output without them has."""
    yes, no = ("✓", "✗") if can_print("✓✗") else ("yes", "no")
    return yes if observation.holds else no


def can_print(text: str) -> bool:
    """Whether the standard output has these characters."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


class PlainShow:
    """One below the other, for files, pipes and narrow terminals."""

    def one(self, title: str, program: str, printed: str) -> None:
        self._heading(title)
        self._program(program, printed)

    def pair(self, title: str, chapter: Printed, namedipc: Printed) -> None:
        self._heading(title)
        self._program(*chapter)
        self._program(*namedipc)

    def table(self, assessments: Sequence[Assessment]) -> None:
        self._heading(TABLE_TITLE)
        click.echo(_row("", PROPERTIES))
        for assessment in assessments:
            click.echo(_row(assessment.mechanism, [mark(seen) for seen in observations(assessment)]))
        for assessment in assessments:
            click.echo(f"\n{assessment.mechanism}:")
            for name, observation in zip(PROPERTIES, observations(assessment), strict=True):
                click.echo(f"  {mark(observation)} {name}: {observation.seen}")

    def _heading(self, title: str) -> None:
        click.echo(f"== {title} ==\n")

    def _program(self, program: str, printed: str) -> None:
        click.echo(f"-- {program}")
        click.echo(printed)


def _row(title: str, cells: Sequence[str]) -> str:
    return f"{title:<16}" + "".join(f"{cell:<15}" for cell in cells).rstrip()
