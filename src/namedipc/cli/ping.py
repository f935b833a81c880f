"""`namedipc ping`: whether a service answers, and how soon."""

from __future__ import annotations

import click

from namedipc import inspect

from ._asking import asking, errors_in_a_line


@click.command()
@asking
def ping(path: str, timeout: float, wait_seconds: float) -> None:
    """Ask the service at PATH for a sign of life, and print how long it took."""
    with errors_in_a_line():
        seconds = inspect.ping(path, timeout=timeout, wait_seconds=wait_seconds)
    click.echo(f"{seconds * 1000:.3f} ms")
