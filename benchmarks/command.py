"""`namedipc bench`: measure, and show what was found.

The law: options and files only; what they mean is said by the modules below.
"""

from __future__ import annotations

from pathlib import Path

import click

from .goals import ROWS
from .machine import this_machine
from .progress import bar
from .report import Report, read_json, write_json
from .runner import Effort, groups_of, measure
from .show import as_markdown, as_text
from .works import CONTENDERS, UNCOMPILED, Contender

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
STEPS_BESIDES_ROUNDS = 3


@click.command()
@click.option("--compare", is_flag=True, help="Beside every peer that is installed, and C.")
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(CONTENDERS)), help="Beside this peer only.")
@click.option("--row", "rows", multiple=True, type=click.Choice(list(ROWS)), help="This row only.")
@click.option("--rounds", type=click.IntRange(min=1), default=Effort().rounds, show_default=True)
@click.option("--smoke", is_flag=True, help="Only try everything once, with small numbers.")
@click.option("--read", "read", type=click.Path(path_type=Path, exists=True), help="Measure nothing: show this JSON.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all figures to this file.")
@click.option("--svg", "svg_directory", type=click.Path(path_type=Path), help="Draw into this directory (matplotlib).")
@click.option("--markdown", is_flag=True, help="Show it in Markdown.")
@click.option("--page", type=click.Path(path_type=Path, exists=True), help="Put the Markdown between a page's marks.")
def bench(
    *,
    compare: bool,
    peers: tuple[str, ...],
    rows: tuple[str, ...],
    rounds: int,
    smoke: bool,
    read: Path | None,
    json_path: Path | None,
    svg_directory: Path | None,
    markdown: bool,
    page: Path | None,
) -> None:
    """Measure namedipc, alone or beside its peers, as ratios of one run.

    Alone it takes less than a minute, beside all peers some ten. Figures of a machine that has something else to do
    mean nothing; ratios of one run mean most.
    """
    if read is not None:
        report = read_json(read)
    else:
        report = run(rows, contenders_of(peers, compare=compare), Effort(1 if smoke else rounds, smoke=smoke), compare)
    click.echo(as_markdown(report) if markdown else as_text(report))
    if json_path is not None:
        write_json(report, json_path)
    if svg_directory is not None:
        draw(report, svg_directory)
    if page is not None:
        page.write_text(with_figures(page.read_text(), as_markdown(report)))


def contenders_of(peers: tuple[str, ...], *, compare: bool) -> list[str]:
    """Who takes part: ours always, but that what goes without the compiled parts does only where there are any."""

    def takes_part(contender: Contender) -> bool:
        if contender.name == UNCOMPILED:
            return not contender.missing()
        return contender.is_ours or (contender.name in peers if peers else compare)

    return [contender.name for contender in CONTENDERS.values() if takes_part(contender)]


def run(names: tuple[str, ...], contenders: list[str], effort: Effort, compare: bool) -> Report:
    """Measure the rows of these names; without names all that have goals, and in a comparison the others too."""
    rows = [row for name, row in ROWS.items() if (name in names if names else row.goals or compare)]
    groups = groups_of(rows, contenders)
    with bar(sum(map(len, groups)) * (effort.rounds + STEPS_BESIDES_ROUNDS)) as progress:
        outcomes = measure(groups, effort, progress)
    return Report(this_machine(), tuple(row.name for row in rows), outcomes, effort.smoke)


def draw(report: Report, directory: Path) -> None:
    """Draw the pictures, where matplotlib is installed."""
    try:
        from . import plots
    except ImportError as error:
        raise click.ClickException(f"{error}; install the extra: pip install 'namedipc[bench]'") from error
    for path in plots.draw(report, directory):
        click.echo(path)


def with_figures(page: str, figures: str) -> str:
    """Replace what is between a page's marks."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise click.ClickException(f"the page has not both marks: {BEGIN} and {END}")
    return f"{head}{begin}\n\n{figures}\n\n{end}{tail}"
