"""`namedipc schema`: what a service can be asked."""

from __future__ import annotations

import click

from namedipc import inspect

from ._asking import asking, errors_in_a_line, show


@click.command()
@asking
def schema(path: str, timeout: float, wait_seconds: float) -> None:
    """Print the JSON Schema of every method of the service at PATH."""
    with errors_in_a_line():
        show(inspect.schema(path, timeout=timeout, wait_seconds=wait_seconds), indent=2)
