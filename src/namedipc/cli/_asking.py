"""What the commands which ask a service have in common: their options, their output, and errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click

from namedipc import IPCError

F = TypeVar("F", bound=Callable[..., object])


def asking(command: F) -> F:
    """Give a command the path of a service, and how long it may take."""
    decorators = (
        click.argument("path"),
        click.option("--timeout", type=float, default=5.0, show_default=True, metavar="SECONDS", help="For an answer."),
        click.option(
            "--wait", "wait_seconds", type=float, default=0.0, metavar="SECONDS", help="For a service to be there."
        ),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """What the library raises is one line on standard error, and status 1."""
    try:
        yield
    except (IPCError, TypeError) as error:
        raise click.ClickException(" ".join(str(error).split())) from error


def show(value: object, *, indent: int | None = None) -> None:
    """Print JSON; without `indent` in a line."""
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False, default=str))
