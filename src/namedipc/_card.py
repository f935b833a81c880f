"""The card: what the owner of a socket name says of itself beside the name, for whoever wants to connect.

It lies in the lock file of the name. With it a wrong kind or a wrong type shows before anything is connected, and a
message that the owner does not take before it is sent; without it (another user's, or a listener that is not
namedipc's) the hello shows it a little later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import _names
from ._errors import SchemaMismatch, WrongKind
from ._values import StrPath

_LIMIT: Final = " message_bytes="


def make_card(kind: str, fingerprint: bytes = b"", schema: bytes = b"", *, message_bytes: int | None = None) -> bytes:
    """Return a card: the kind, the fingerprint and the longest message in a line, then the schema's text."""
    limit = "" if message_bytes is None else f"{_LIMIT}{message_bytes}"
    return f"{kind} {fingerprint.hex()}{limit}\n".encode() + schema


def check_card(
    path: StrPath,
    kind: str,
    fingerprint: bytes = b"",
    difference: Callable[[bytes], str | None] | None = None,
) -> int | None:
    """Compare with the card of the name's owner, if there is one.

    Args:
        path: The name.
        kind: What this side takes it for: `service`, `channel`, `raw channel`.
        fingerprint: This side's.
        difference: Compares with the owner's schema, where the fingerprints differ.

    Returns:
        The longest message that the owner takes, in bytes; None where no card says so.

    Raises:
        WrongKind: The owner serves something else there.
        SchemaMismatch: The owner declares another type or interface, and they are not compatible.
    """
    card = _names.read_card(path)
    if card is None:
        return None
    line, _, schema = card.partition(b"\n")
    words, _, limit = line.decode("ascii", "replace").partition(_LIMIT)
    theirs, _, their_print = words.rpartition(" ")
    if theirs != kind:
        raise WrongKind(f"{path}: its owner serves a {theirs} there, not a {kind}; open it as what it is")
    if difference is not None and their_print != fingerprint.hex():
        different = difference(schema)
        if different is not None:
            raise SchemaMismatch(f"{path}: {different}")
    return int(limit) if limit.isdigit() else None
