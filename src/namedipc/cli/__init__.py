"""The command `namedipc`.

The law of this package: it knows only the public surface; and a subcommand's module is loaded when that
subcommand runs, so that `--help` and `--version` load neither trio nor a demonstration.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import click

import namedipc

__all__ = ["examples_directory", "main", "shipped"]

_COMMANDS = {
    "bench": "Measure namedipc, alone or beside its peers.",
    "call": "Call a method of a service, in JSON.",
    "demo": "Run the chapter's examples beside namedipc's, and compare the mechanisms.",
    "identity": "Print who serves a name.",
    "ping": "Ask a service for a sign of life.",
    "schema": "Print the JSON Schema of every method of a service.",
    "statistics": "Print what a service has done since it began.",
}
"""Each is a module of this package which has a command of its own name; here is its line of help."""


class _LazyGroup(click.Group):
    """Subcommands which are known by name and loaded by need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(namedipc.__version__, prog_name="namedipc")
def main() -> None:
    """Typed IPC between processes on one machine, named by a filesystem path."""


def examples_directory() -> Path:
    """Find the examples.

    Returns:
        The directory of the programs; the chapter's are in its `chapter`.
    Raises:
        click.ClickException: This installation came without them.
    """
    return shipped("examples", "chapter")


def shipped(name: str, part: str) -> Path:
    """Find a directory that lies beside the sources in a checkout, and inside of the package once it is installed.

    Args:
        name: Of the directory in a checkout; inside of the package it begins with an underscore.
        part: Something in it, by which it is known from another one of that name.
    Raises:
        click.ClickException: This installation came without it.
    """
    package = Path(namedipc.__file__).parent
    for directory in (package / f"_{name}", package.parent.parent / name):
        if (directory / part).exists():
            return directory
    raise click.ClickException(f"the {name} are neither in {package} nor beside its sources")
