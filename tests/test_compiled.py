"""Finding what is compiled: without it everything goes the long way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from namedipc._shells.compiled import IS_WANTED, compiled

WHICH = """
import sys
import namedipc
from namedipc import Service
from namedipc._shells import blocking_client, client_link, service_loop
parts = [blocking_client._short_way, service_loop._short_way, client_link.quick_receive, client_link.quick_poll]
print(*[part is not None for part in parts])
"""


def which(**environment: str) -> str:
    """Which of the compiled parts a process uses."""
    command = [sys.executable, "-c", WHICH]
    return subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True, timeout=50
    ).stdout


def test_what_was_not_built_is_none() -> None:
    """So the caller takes the long way."""
    assert compiled("no_such_module", "anything") is None


def test_a_process_may_do_without() -> None:
    """By its environment; and all parts are used together, or none."""
    assert which(NAMEDIPC_COMPILED="0") == "False False False False\n"
    assert which(NAMEDIPC_COMPILED="1") in {"True True True True\n", "False False False False\n"}


@pytest.mark.skipif(not IS_WANTED, reason="NAMEDIPC_COMPILED=0")
def test_a_module_that_was_built_and_fails_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one that is not there is: a broken build shows itself."""
    monkeypatch.setitem(sys.modules, "namedipc._shells.broken", sys.modules[__name__])
    with pytest.raises(AttributeError):
        compiled("broken", "nothing_of_that_name")
