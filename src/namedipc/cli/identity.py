"""`namedipc identity`: what a service says of itself."""

from __future__ import annotations

import attrs
import click

from namedipc import inspect

from ._asking import asking, errors_in_a_line, show


@click.command()
@asking
def identity(path: str, timeout: float, wait_seconds: float) -> None:
    """Print who serves PATH, as JSON: its process, user, program, interface, and when it began."""
    with errors_in_a_line():
        show(attrs.asdict(inspect.identity(path, timeout=timeout, wait_seconds=wait_seconds)), indent=2)
