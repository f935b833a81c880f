"""For the tests of what is compiled: skipped where the package was built without it, or is told to do without."""

from __future__ import annotations

from typing import Any

import pytest

from namedipc._shells.compiled import compiled


def needs_compiled(module: str, name: str) -> tuple[Any, pytest.MarkDecorator]:
    """Return what a compiled module calls by a name, and the mark of a test which needs it."""
    found = compiled(module, name)
    reason = "not compiled: NAMEDIPC_COMPILE=1 pip install, and not NAMEDIPC_COMPILED=0"
    return found, pytest.mark.skipif(found is None, reason=reason)
