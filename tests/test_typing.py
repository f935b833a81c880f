"""What the type checkers accept also works when it runs. The checkers themselves run in `scripts/check types`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ACCEPTED = sorted(path.stem for path in (Path(__file__).parent / "typing").glob("accepted_*.py"))


def test_there_are_type_tests() -> None:
    """The list of modules is not empty, and each has a counterpart of what is refused."""
    assert ACCEPTED
    folder = Path(__file__).parent / "typing"
    assert all((folder / name.replace("accepted", "refused")).with_suffix(".py").exists() for name in ACCEPTED)


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_declarations_are_accepted_at_run_time(name: str) -> None:
    """Each name which both checkers accept can be declared."""
    importlib.import_module(f"tests.typing.{name}")
