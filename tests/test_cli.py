"""The command line: what it says of itself, what it loads for that, and where it finds the examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import namedipc
from namedipc import Service
from namedipc.cli import examples_directory, main

from .post_office import Clerk, Post

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
    assert main.list_commands(context) == ["bench", "call", "demo", "identity", "ping", "schema", "statistics"]
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
    assert not {"trio", "rich", "namedipc.inspect", "namedipc.cli.demo", "namedipc.cli.probes"} & loaded


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


# --- asking services


@pytest.fixture
def post(tmp_path: Path) -> Iterator[str]:
    """A post office."""
    with Service(tmp_path / "post", Post).serve(Clerk(), drain_seconds=0) as server:
        yield str(server.path)


def run(*arguments: str, given: str | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, arguments, given)


def printed(*arguments: str, given: str | None = None) -> list[object]:
    """The lines of JSON that a command prints; it ends well."""
    result = run(*arguments, given=given)
    assert result.stderr == ""
    assert result.exit_code == 0
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_ping_prints_how_long(post: str) -> None:
    """In milliseconds."""
    result = run("ping", post)
    assert result.exit_code == 0
    number, unit = result.stdout.split()
    assert 0 < float(number) < 5000
    assert unit == "ms"


def test_what_a_service_says_is_printed_as_json(post: str) -> None:
    """Identity, schema, statistics: one object each."""
    assert json.loads(run("identity", post).stdout)["pid"] == os.getpid()
    assert next(iter(json.loads(run("schema", post).stdout)["methods"])) == "burn"
    found = json.loads(run("statistics", post).stdout)
    assert found["calls"] == 0
    assert "latency_p99_seconds" in found


@pytest.mark.parametrize(
    ("arguments", "given", "lines"),
    [
        (["swap", "[1, 2]", '"b"'], None, [["b", [1, 2]]]),
        (["swap", "[]", "--arg", "times=2", "--arg", 'other="c=d"'], None, [["c=d", [], "c=d", []]]),
        (["notes"], None, [[]]),
        (["note", '"hello"'], None, []),
        (["count", "3"], None, [0, 1, 2]),
        (["post", "2"], '"YWJj"\n\n"YQ=="\n', [8]),
        (["post", "--arg", "stamps=3"], "", [0]),
        (["echo"], '"a"\n"b"', ["a", "b"]),
    ],
)
def test_call_prints_a_result_a_line(post: str, arguments: list[str], given: str | None, lines: list[object]) -> None:
    """Of a stream each item; nothing where nothing answers. A stream of requests is standard input."""
    assert printed("call", post, *arguments, given=given) == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ping", "nobody"], "nobody: "),
        (["call", "post", "bake"], "Post.bake: the service has no such method"),
        (["call", "post", "burn", '"stone"'], "Post.burn: ValueError: a stone does not burn"),
        (["call", "post", "swap", '"a"'], "what arrived does not fit"),
        (["call", "post", "wait", "100", "--timeout", "0.05"], "post: "),
        (["call", "post", "wait", "--arg", "timeout=1"], "multiple values for keyword argument 'timeout'"),
        (["call", "post", "post", "1", "2"], "2 arguments were given; beside the stream there are 1"),
        (["call", "post", "notes", "1"], "takes 0 arguments but 1 were given"),
    ],
)
def test_errors_are_a_line(
    post: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On standard error, with status 1; standard output stays empty."""
    assert post.startswith(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (["swap", "soup"], None, "soup is no JSON; a text is written '\"soup\"'"),
        (["swap", "--arg", "one"], None, "--arg one: write NAME=JSON"),
        (["swap", "--arg", "one=soup"], None, "soup is no JSON"),
        (["echo"], "soup\n", "soup is no JSON"),
    ],
)
def test_what_is_not_json_is_a_wrong_use(post: str, arguments: list[str], given: str | None, message: str) -> None:
    """Status 2, and how a text is written."""
    result = run("call", post, *arguments, given=given)
    assert result.exit_code == 2
    assert message in result.stderr
