"""The card beside a name: what is served there shows before anything is connected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import _names
from namedipc._card import check_card, make_card
from namedipc._errors import SchemaMismatch, WrongKind

PRINT, OTHER = bytes(16), bytes(range(16))

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def name(tmp_path: Path) -> Iterator[Path]:
    """A name whose owner serves a channel there."""
    path = tmp_path / "name"
    claim = _names.claim_socket(path, card=make_card("raw channel", PRINT, b"the\nschema"))
    yield path
    claim.close()


def test_its_bytes() -> None:
    """A line for the kind and the fingerprint, and the schema as it is."""
    assert make_card("channel", OTHER, b"{}") == b"channel 000102030405060708090a0b0c0d0e0f\n{}"
    assert make_card("channel", OTHER, b"{}", message_bytes=77) == (
        b"channel 000102030405060708090a0b0c0d0e0f message_bytes=77\n{}"
    )
    assert make_card("raw channel") == b"raw channel \n"


def test_what_was_expected(name: Path) -> None:
    """The same kind with the same fingerprint, and a kind that has no types."""
    check_card(name, "raw channel", PRINT, lambda _: pytest.fail("compared"))
    check_card(name, "raw channel")


def test_another_kind(name: Path) -> None:
    """Both kinds and the path are named."""
    with pytest.raises(WrongKind, match=f"{name}: its owner serves a raw channel there, not a channel"):
        check_card(name, "channel", PRINT, lambda _: None)


def test_another_fingerprint(name: Path) -> None:
    """The schemas decide: the owner's is compared, as it was written."""
    compared: list[bytes] = []
    check_card(name, "raw channel", OTHER, compared.append)  # compatible: append returns None
    assert compared == [b"the\nschema"]
    with pytest.raises(SchemaMismatch, match=f"{name}: table: int here, str there"):
        check_card(name, "raw channel", OTHER, lambda _: "table: int here, str there")


@pytest.mark.parametrize("message_bytes", [None, 77])
def test_the_longest_message(tmp_path: Path, message_bytes: int | None) -> None:
    """It is told where the card says it; all else is as without it."""
    path = tmp_path / "name"
    claim = _names.claim_socket(path, card=make_card("channel", OTHER, b"the schema", message_bytes=message_bytes))
    assert check_card(path, "channel", OTHER, lambda _: pytest.fail("compared")) == message_bytes
    assert check_card(path, "channel") == message_bytes
    with pytest.raises(SchemaMismatch):
        check_card(path, "channel", PRINT, lambda schema: schema.decode())
    with pytest.raises(WrongKind, match="serves a channel there"):
        check_card(path, "service")
    claim.close()


def test_no_card(name: Path, tmp_path: Path) -> None:
    """No name, no lock file, or one that cannot be read: the hello decides later."""
    check_card(tmp_path / "nothing", "channel", PRINT, lambda _: "different")
    (lock,) = tmp_path.glob(".*.lock")
    lock.write_bytes(b"something else")
    check_card(name, "channel", PRINT, lambda _: "different")
    lock.unlink()
    check_card(name, "channel", PRINT, lambda _: "different")
