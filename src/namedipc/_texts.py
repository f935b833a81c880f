"""The texts of exceptions, as they travel.

The law: whatever an exception holds, its text can be told, encoded, and fits into a frame.
"""

from __future__ import annotations

from typing import Final

LONGEST_TEXT: Final = 16 << 10
"""Messages and tracebacks are cut to this many characters, the end being kept: an error always fits into a frame."""


def text_of(error: Exception) -> str:
    """Return the text of an exception."""
    try:
        return str(error)
    except Exception:  # a class with a broken __str__ must not end the service
        return "an exception whose text cannot be told"


def cut(text: str) -> str:
    """Return a text which can be encoded, and is no longer than is carried."""
    # A lone surrogate cannot be encoded, and an exception's text may hold anything.
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= LONGEST_TEXT else "... " + clean[-LONGEST_TEXT:]
