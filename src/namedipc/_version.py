"""The version of the package; it is also what a service says of itself."""

from __future__ import annotations

__version__ = "0.1.0"
