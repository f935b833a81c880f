"""SharedRegion as a name: what it is declared with, and what its verbs refuse before anything is touched."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from namedipc import DeclarationError, InvalidMessage, NameNotFound, SchemaMismatch, TooLarge, WrongKind
from namedipc._region import SharedRegion

from .region_support import BOARD, Entry

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_it_is_a_value(tmp_path: Path) -> None:
    """Equal by path and type, hashable, elsewhere by `at`, absolute when pickled; nothing is opened."""
    assert SharedRegion("board", Entry) == BOARD
    assert hash(BOARD) == hash(SharedRegion("board", Entry))
    assert SharedRegion("board", int) != BOARD
    assert BOARD.at(tmp_path / "x").path == tmp_path / "x"
    assert repr(BOARD) == "SharedRegion('board', Entry)"
    copied = pickle.loads(pickle.dumps(BOARD))
    assert copied == BOARD.at(Path.cwd() / "board")
    assert not BOARD.at(tmp_path / "x").exists()


def test_types_of_the_calling_function_are_found(tmp_path: Path) -> None:
    """A local class in a string, or under `from __future__ import annotations`, is looked up where it is."""

    @attrs.frozen
    class Local:
        number: int

    region: SharedRegion[Local | None] = SharedRegion(tmp_path / "board", "Local | None")
    with region.create(Local(3)) as board:
        board.write(None)
        assert board.read() is None
        board.write(Local(4))
        assert board.read() == Local(4)


@pytest.mark.parametrize("value", [object, list, complex])
def test_a_type_that_cannot_be_carried_is_refused_when_declared(value: type) -> None:
    """The error names the region and what to write."""
    with pytest.raises(DeclarationError, match="board"):
        SharedRegion("board", value)


def test_options_out_of_range_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A capacity, a mode or a word which means nothing is an error at the call."""
    region = SharedRegion(tmp_path / "board", int)
    with pytest.raises(DeclarationError, match="capacity_bytes=0"):
        region.create(1, capacity_bytes=0)
    with pytest.raises(DeclarationError, match="capacity_bytes=8589934592"):
        region.create(1, capacity_bytes=1 << 33)
    with pytest.raises(DeclarationError, match="mode=0o444"):
        region.create(1, mode=0o444)
    with pytest.raises(DeclarationError, match="if_exists='ask'"):
        region.create(1, if_exists="ask")  # type: ignore[arg-type]  # what a checker refuses too
    with pytest.raises(InvalidMessage, match=r"board|int"):
        region.create("soup")  # type: ignore[arg-type]  # what a checker refuses too
    with pytest.raises(TooLarge, match=r"board: the value has 9 bytes encoded, the region takes 8"):
        region.create(1 << 60, capacity_bytes=8)
    assert not os.listdir(tmp_path)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    """Opening, viewing and removing what nobody has made: NameNotFound with the path."""
    region = SharedRegion(tmp_path / "board", int)
    for opening in (region.open(), region.view()):
        with pytest.raises(NameNotFound, match="board"), opening:
            pass
    with pytest.raises(NameNotFound):
        region.remove()
    region.remove(missing_ok=True)
    missing = region.at(tmp_path / "nowhere" / "board")
    with pytest.raises(NameNotFound, match="mkdir"), missing.create(1):
        pass
    with pytest.raises(NameNotFound), missing.open(wait_seconds=30):
        pass


def test_another_kind_or_another_type_under_the_name(tmp_path: Path) -> None:
    """Each is an error which names the path and the difference, and touches nothing."""
    region = SharedRegion(tmp_path / "board", Entry)
    (tmp_path / "board").mkdir()
    for opening in (region.create(Entry.of(0)), region.open(), region.view()):
        with pytest.raises(WrongKind, match="board"), opening:
            pass
    (tmp_path / "board").rmdir()

    older = attrs.make_class("Entry", {name: attrs.field(type=str) for name in ("number", "text")}, frozen=True)
    with region.create(Entry.of(0)), pytest.raises(SchemaMismatch, match=r"number.*(int.*str|str.*int)"):
        SharedRegion(tmp_path / "board", older).view().__enter__()


def menus() -> tuple[type, type]:
    """The same class in two versions of a program."""

    def older() -> type:
        @attrs.frozen
        class Menu:
            soup: int

        return Menu

    def newer() -> type:
        @attrs.frozen
        class Menu:
            soup: int
            salad: int = 0

        return Menu

    return older(), newer()


def test_a_new_optional_field_is_no_other_type(tmp_path: Path) -> None:
    """A program which knows a field more reads what an older one has written, and the other way round."""
    older, newer = menus()
    old_name: SharedRegion[object] = SharedRegion(tmp_path / "board", older)
    new_name: SharedRegion[object] = SharedRegion(tmp_path / "board", newer)
    with old_name.create(older(3)) as old, new_name.open() as new:
        assert new.read() == newer(3)
        new.write(newer(4, 5))
        assert old.read() == older(4)


def test_a_relative_path_is_that_of_the_moment_of_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the working directory while the region is open changes neither it nor what is removed."""
    monkeypatch.chdir(tmp_path)
    with BOARD.create(Entry.of(1)) as board:
        monkeypatch.chdir("/")
        board.write(Entry.of(2))
        assert (tmp_path / "board").exists()
    assert not os.listdir(tmp_path)


def test_persist_leaves_the_name_and_remove_takes_it(tmp_path: Path) -> None:
    """What persists is there for the next program, value and all."""
    region = SharedRegion(tmp_path / "board", int)
    with region.create(1, persist=True) as board:
        board.write(2)
    assert region.exists()
    with region.open() as board:
        assert (board.read(), board.version) == (2, 2)
    with region.create(9, if_exists="keep") as board:
        assert board.read() == 2
    assert region.exists()
    region.remove()
    assert not os.listdir(tmp_path)


def test_declaring_a_region_does_not_import_trio() -> None:
    """A blocking program stays light."""
    script = (
        "import sys; from namedipc._region import SharedRegion; SharedRegion('x', int).open(); "
        "sys.exit('trio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
