"""What README says of setting up is what CI runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import namedipc

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def set_up_commands() -> list[str]:
    """The lines of the shell blocks of the section "Set up"."""
    section = README.split("\n## Set up\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_set_up_is_two_commands_of_one_line() -> None:
    """The first one shows the demo, the second one ends with the tests; each makes its environment."""
    demo, tests = set_up_commands()
    for command in (demo, tests):
        assert command.startswith("python3 -m venv .venv")
        assert "/bin/pip install" in command
    assert demo.endswith("/bin/namedipc demo")
    assert tests.endswith("/bin/pytest")


@pytest.mark.parametrize("number", [1, 2])
def test_ci_takes_the_commands_from_readme(number: int) -> None:
    """CI runs both commands word for word: it reads them here, and has no copy of its own."""
    printed = subprocess.run(
        [ROOT / "scripts" / "setup-command", str(number)], capture_output=True, text=True, check=True
    ).stdout
    assert printed == set_up_commands()[number - 1] + "\n"
    script = (ROOT / ".ci" / "run").read_text()
    assert f'bash -c "$(scripts/setup-command {number})"' in script
    assert "/bin/pytest" not in script


def test_there_is_no_third_command() -> None:
    """Asking for a third command is an error, not an empty command that passes."""
    assert subprocess.run([ROOT / "scripts" / "setup-command", "3"], check=False).returncode == 1


def test_the_table_has_every_name_and_verb() -> None:
    """The table of abstractions has each public name with its verbs, and no other."""
    rows = re.findall(r"^\| `(\w+)\(path.*\)` \|.*\| (.*) \|$", README, re.MULTILINE)
    assert {name for name, _ in rows} == {
        name
        for name in dir(namedipc)
        for value in [getattr(namedipc, name)]
        if isinstance(value, type) and issubclass(value, namedipc.Name) and value is not namedipc.Name
    }
    for name, verbs in rows:
        for verb in re.findall(r"`(\w+)`", verbs):
            assert callable(getattr(getattr(namedipc, name), verb))


def test_links_lead_somewhere() -> None:
    """Each relative link of README and CONTRIBUTING points to a file that is there."""
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
            assert "://" in target or (ROOT / target).exists(), f"{page}: {target}"
