"""Broadcast as a name: what it is declared with, and what its verbs refuse before anything is touched."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from namedipc import Broadcast, DeclarationError, Fd, NameNotFound, SchemaMismatch, WrongKind

from .region_support import BOARD, NEWS, Entry

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_it_is_a_value(tmp_path: Path) -> None:
    """Equal by path and type, hashable, elsewhere by `at`, absolute when pickled; nothing is opened."""
    assert Broadcast("news", Entry) == NEWS
    assert hash(NEWS) == hash(Broadcast("news", Entry))
    assert Broadcast("news", int) != NEWS
    assert NEWS.at(tmp_path / "x").path == tmp_path / "x"
    assert repr(NEWS) == "Broadcast('news', Entry)"
    assert pickle.loads(pickle.dumps(NEWS)) == NEWS.at(Path.cwd() / "news")
    assert not NEWS.at(tmp_path / "x").exists()


def test_types_of_the_calling_function_are_found(tmp_path: Path) -> None:
    """A local class in a string, or under `from __future__ import annotations`, is looked up where it is."""

    @attrs.frozen
    class Local:
        number: int

    news: Broadcast[Local | None] = Broadcast(tmp_path / "news", "Local | None")
    with news.writer() as writer, news.reader() as reader:
        writer.send_many([None, Local(4)])
        assert reader.receive_many() == [None, Local(4)]


@pytest.mark.parametrize("message", [object, list, complex, Fd])
def test_a_type_that_cannot_be_carried_is_refused_when_declared(message: type) -> None:
    """The error names the broadcast and what to write."""
    with pytest.raises(DeclarationError, match="news"):
        Broadcast("news", message)


def test_options_out_of_range_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A number, a mode or a word which means nothing is an error at the call."""
    news = Broadcast(tmp_path / "news", int)
    for options, text in (
        ({"slots": 0}, "slots=0"),
        ({"slots": 1 << 25}, "slots=33554432"),
        ({"message_bytes": 0}, "message_bytes=0"),
        ({"message_bytes": 1 << 33}, "message_bytes=8589934592"),
        ({"mode": 0o444}, "mode=0o444"),
    ):
        with pytest.raises(DeclarationError, match=text):
            news.writer(**options)  # type: ignore[arg-type]  # integers
    with pytest.raises(DeclarationError, match="if_exists='ask'"):
        news.writer(if_exists="ask")  # type: ignore[arg-type]  # what a checker refuses too
    with pytest.raises(DeclarationError, match="start='now'"):
        news.reader(start="now")  # type: ignore[arg-type]  # what a checker refuses too
    assert not os.listdir(tmp_path)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    """Reading and removing what nobody has made, or making it where no directory is: NameNotFound with the path."""
    news = Broadcast(tmp_path / "news", int)
    with pytest.raises(NameNotFound, match="news"), news.reader():
        pass
    with pytest.raises(NameNotFound):
        news.remove()
    news.remove(missing_ok=True)
    with pytest.raises(NameNotFound, match="mkdir"), news.at(tmp_path / "nowhere" / "news").writer():
        pass


def test_another_kind_or_another_type_under_the_name(tmp_path: Path) -> None:
    """A region is no broadcast, nor the other way round; another type is named with its first difference."""
    news, board = NEWS.at(tmp_path / "name"), BOARD.at(tmp_path / "name")
    with board.create(Entry.of(0)):
        for opening in (news.writer(), news.writer(if_exists="replace"), news.reader()):
            with pytest.raises(WrongKind, match="no broadcast"), opening:
                pass
    with news.writer():
        with pytest.raises(WrongKind, match="no region"), board.open():
            pass
        older = attrs.make_class("Entry", {name: attrs.field(type=str) for name in ("number", "text")}, frozen=True)
        other: Broadcast[object] = Broadcast(tmp_path / "name", older)
        for enter in (other.writer().__enter__, other.reader().__enter__):
            with pytest.raises(SchemaMismatch, match=r"number.*(int.*str|str.*int)"):
                enter()


def test_a_relative_path_is_that_of_the_moment_of_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the working directory while it is open changes neither it nor what is removed."""
    monkeypatch.chdir(tmp_path)
    with NEWS.writer() as writer:
        monkeypatch.chdir("/")
        writer.send(Entry.of(2))
        assert (tmp_path / "news").exists()
    assert not os.listdir(tmp_path)


def test_persist_leaves_the_name_and_remove_takes_it(tmp_path: Path) -> None:
    """What persists is there for the next program, with its messages."""
    news = Broadcast(tmp_path / "news", int)
    with news.writer(persist=True) as writer:
        writer.send(1)
    with news.reader(start="oldest") as reader:
        assert reader.receive(timeout=0) == 1
        with news.writer() as writer:
            writer.send(2)
        assert reader.receive(timeout=0) == 2
        news.remove()
        assert list(reader) == []
    assert not os.listdir(tmp_path)


def test_declaring_a_broadcast_does_not_import_trio() -> None:
    """A blocking program stays light."""
    script = "import sys; from namedipc import Broadcast; Broadcast('x', int).reader(); sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
