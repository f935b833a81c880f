"""`namedipc statistics`: what a service has done."""

from __future__ import annotations

import attrs
import click

from namedipc import inspect

from ._asking import asking, errors_in_a_line, show


@click.command()
@asking
def statistics(path: str, timeout: float, wait_seconds: float) -> None:
    """Print what the service at PATH has done since it began, as JSON."""
    with errors_in_a_line():
        show(attrs.asdict(inspect.statistics(path, timeout=timeout, wait_seconds=wait_seconds)), indent=2)
