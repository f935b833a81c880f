"""The C library, for the system calls that Python does not wrap. Every other module calls it through here.

The law: it is imported where it is called, as ctypes takes long to import, and few calls need it.
"""

from __future__ import annotations

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
"""The process's own C library; ctypes keeps errno aside for `succeed`."""


def succeed(result: int, filename: str | None = None) -> int:
    """Return the result of a C function, or raise the OSError that its -1 stands for."""
    if result != -1:
        return result
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), filename)
