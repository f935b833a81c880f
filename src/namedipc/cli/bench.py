"""`namedipc bench`: the benchmarks, which are a package of their own beside this one.

The law: the command is theirs; nothing in here knows a peer, and no other command loads any of them.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from . import shipped


def _command() -> click.Command:
    directory = shipped("benchmarks", "command.py")
    package = "namedipc._benchmarks"
    if directory.name == "benchmarks":  # a checkout, whose root need not be on the path
        sys.path.insert(0, str(directory.parent))
        package = directory.name
    command = importlib.import_module(f"{package}.command").bench
    assert isinstance(command, click.Command)
    return command


bench: Final[click.Command] = _command()
