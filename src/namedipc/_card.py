"""The card: what the owner of a socket name says of itself beside the name, for whoever wants to connect.

It lies in the lock file of the name. With it a wrong kind or a wrong type shows before anything is connected; without
it (another user's, or a listener that is not namedipc's) the hello shows it a little later.
"""

from __future__ import annotations

from collections.abc import Callable

from . import _names
from ._errors import SchemaMismatch, WrongKind
from ._values import StrPath


def make_card(kind: str, fingerprint: bytes = b"", schema: bytes = b"") -> bytes:
    """Return a card: the kind and the fingerprint in a line, then the schema's text."""
    return f"{kind} {fingerprint.hex()}\n".encode() + schema


def check_card(
    path: StrPath,
    kind: str,
    fingerprint: bytes = b"",
    difference: Callable[[bytes], str | None] | None = None,
) -> None:
    """Compare with the card of the name's owner, if there is one.

    Args:
        path: The name.
        kind: What this side takes it for: `service`, `channel`, `raw channel`.
        fingerprint: This side's.
        difference: Compares with the owner's schema, where the fingerprints differ.

    Raises:
        WrongKind: The owner serves something else there.
        SchemaMismatch: The owner declares another type or interface, and they are not compatible.
    """
    card = _names.read_card(path)
    if card is None:
        return
    line, _, schema = card.partition(b"\n")
    theirs, _, their_print = line.decode("ascii", "replace").rpartition(" ")
    if theirs != kind:
        raise WrongKind(f"{path}: its owner serves a {theirs} there, not a {kind}; open it as what it is")
    if difference is None or their_print == fingerprint.hex():
        return
    different = difference(schema)
    if different is not None:
        raise SchemaMismatch(f"{path}: {different}")
