"""Finding what is compiled: without it everything goes the long way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from namedipc import _shells
from namedipc._shells.compiled import IS_WANTED, compiled

WHICH = """
import sys
import namedipc
from namedipc import Service
from namedipc._batches import longest_of
from namedipc._shells import blocking_client, ring_messages, service_loop, trio_client
parts = [blocking_client._short_way, service_loop._short_way, trio_client._receive, trio_client._poll_stream]
parts.append(ring_messages._short_way)
print({part is not None for part in parts} | {ring_messages._longest_of is not longest_of})
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
    assert which(NAMEDIPC_COMPILED="0") == "{False}\n"
    assert which(NAMEDIPC_COMPILED="1") in {"{True}\n", "{False}\n"}


@pytest.mark.skipif(not IS_WANTED, reason="NAMEDIPC_COMPILED=0")
def test_a_module_that_was_built_and_fails_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one that is not there is: a broken build shows itself."""
    monkeypatch.setitem(sys.modules, "namedipc._shells.broken", sys.modules[__name__])
    with pytest.raises(AttributeError):
        compiled("broken", "nothing_of_that_name")


@pytest.mark.skipif(not IS_WANTED, reason="NAMEDIPC_COMPILED=0")
def test_what_a_built_module_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, so that it cannot be loaded is no reason to do without."""
    (tmp_path / "lacking.py").write_text("import no_such_library\n")
    monkeypatch.setattr(_shells, "__path__", [*_shells.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        compiled("lacking", "anything")
