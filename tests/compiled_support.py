"""For the tests of what is compiled: skipped where the package was built without it, or is told to do without."""

from __future__ import annotations

from typing import Any

import pytest

from namedipc._shells.compiled import compiled


def find_compiled(module: str, name: str) -> Any:
    """Return what a compiled module calls by a name; where it is not there, skip the tests of the module that asks."""
    found = compiled(module, name)
    if found is None:
        reason = "not compiled: NAMEDIPC_COMPILE=1 pip install, and not NAMEDIPC_COMPILED=0"
        pytest.skip(reason, allow_module_level=True)
    return found
