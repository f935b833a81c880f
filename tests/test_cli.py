"""The command line: what it says of itself, what it loads for that, and where it finds the examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import namedipc
from namedipc.cli import examples_directory, main

LOADED = """
import sys
from namedipc.cli import main
main(sys.argv[1:], standalone_mode=False)
print("LOADED", *sorted(sys.modules))
"""


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a process has loaded after this command."""
    done = subprocess.run([sys.executable, "-c", LOADED, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.rpartition("LOADED ")[2].split())


def test_version_is_the_package_s() -> None:
    """`namedipc --version` says the name and the version."""
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"namedipc, version {namedipc.__version__}\n"


def test_help_names_every_command() -> None:
    """`namedipc --help` has a line for each command, and each of these exists and has a help of its own."""
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    context = click.Context(main)
    assert "demo" in main.list_commands(context)
    for name in main.list_commands(context):
        assert f"  {name}  " in result.output
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_help_loads_neither_trio_nor_the_demo() -> None:
    """What only lists the commands loads none of them."""
    loaded = loaded_by("--help")
    assert "namedipc.cli" in loaded
    assert not {"trio", "rich", "namedipc.cli.demo", "namedipc.cli.probes"} & loaded


def test_the_help_of_a_command_loads_that_command() -> None:
    """So the list of what was loaded is not empty for another reason."""
    assert "namedipc.cli.demo" in loaded_by("demo", "--help")


def test_an_unknown_command_is_refused() -> None:
    """The status is 2, and the message names the command."""
    result = CliRunner().invoke(main, ["dance"])
    assert result.exit_code == 2
    assert "No such command 'dance'" in result.output


def test_examples_of_a_checkout() -> None:
    """In a checkout they are the examples beside the sources."""
    directory = examples_directory()
    assert (directory / "instructor_service.py").is_file()
    assert (directory / "chapter" / "instructor.py").is_file()


def test_examples_of_an_installed_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Installed, they are inside of the package."""
    package = tmp_path / "site-packages" / "namedipc"
    (package / "_examples" / "chapter").mkdir(parents=True)
    monkeypatch.setattr(namedipc, "__file__", str(package / "__init__.py"))
    assert examples_directory() == package / "_examples"


def test_examples_which_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where neither is there the message says where they were looked for."""
    monkeypatch.setattr(namedipc, "__file__", str(tmp_path / "src" / "namedipc" / "__init__.py"))
    with pytest.raises(click.ClickException, match=str(tmp_path)):
        examples_directory()
