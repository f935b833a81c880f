"""Finds what is compiled, where the package was built with it (`NAMEDIPC_COMPILE=1 pip install`).

The law: everything works without, and just so. A process that has `NAMEDIPC_COMPILED=0` in its environment does.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final

IS_WANTED: Final = os.environ.get("NAMEDIPC_COMPILED", "1") != "0"


def compiled(module: str, name: str) -> Any:
    """Return what a compiled module of this package calls by a name; None where that module was not built."""
    if not IS_WANTED:
        return None
    try:
        found = import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{module}":
            raise  # it was built, and cannot do without something
        return None
    return getattr(found, name)
