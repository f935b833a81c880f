"""Name: a value that can be compared, hashed, printed, copied and pickled, and that nothing can change."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Generic, TypeVar

import pytest

from namedipc import _names
from namedipc._errors import DeclarationError, NameNotFound, NameTaken, WrongKind
from namedipc._name import Name

from .conftest import Children
from .lowlevel_support import run_python

T = TypeVar("T")


class Pipe(Name):
    """A name of one argument, like RawFifo."""

    __slots__ = ()
    _kind: ClassVar[_names.Kind] = "fifo"


class Board(Name):
    """A name of another kind."""

    __slots__ = ()
    _kind: ClassVar[_names.Kind] = "file"


class Talk(Name, Generic[T]):
    """A name with a type and an option, like Channel."""

    __slots__ = ("_framing", "_message")
    _kind: ClassVar[_names.Kind] = "socket"
    _message: type[T]
    _framing: str

    def __init__(self, path: str | os.PathLike[str], message: type[T], *, framing: str = "frames") -> None:
        super().__init__(path)
        object.__setattr__(self, "_message", message)
        object.__setattr__(self, "_framing", framing)

    def _arguments(self) -> tuple[object, ...]:
        return (self._message,)

    def _options(self) -> Mapping[str, object]:
        return {} if self._framing == "frames" else {"framing": self._framing}


def test_a_path_is_kept_as_given() -> None:
    """Relative stays relative, and nothing has to be there."""
    assert Pipe("shop/orders").path == Path("shop/orders")
    assert Pipe(Path("/no/such/orders")).path == Path("/no/such/orders")
    assert not Pipe("/no/such/orders").exists()


@pytest.mark.parametrize("path", ["", "a\0b", ".", "..", "shop/..", "/", b"orders", 3, None, "x" * 256])
def test_a_path_that_cannot_be_a_name_is_refused_when_it_is_declared(path: object) -> None:
    """DeclarationError, a TypeError: long before a verb opens anything."""
    with pytest.raises(DeclarationError):
        Pipe(path)  # type: ignore[arg-type]  # what a program without a type checker does
    with pytest.raises(TypeError):
        Pipe("orders").at(path)  # type: ignore[arg-type]  # the same


def test_a_name_that_needs_a_lock_file_leaves_room_for_it() -> None:
    """249 bytes for a socket and a file, 255 for a FIFO."""
    Pipe("x" * 255)
    Talk("x" * 249, int)
    for kind in (lambda: Talk("x" * 250, int), lambda: Board("x" * 250)):
        with pytest.raises(DeclarationError, match="250 bytes, 249 are allowed, for the lock file"):
            kind()


def test_the_base_itself_is_no_name() -> None:
    """Which verbs would it have?"""
    with pytest.raises(DeclarationError, match="write Service"):
        Name("orders")


def test_names_are_equal_where_path_class_type_and_options_are() -> None:
    """Equal names have equal hashes."""
    one, same = Talk("talk", int, framing="lines"), Talk(Path("talk"), int, framing="lines")
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same}) == 1
    others: list[object] = [
        Talk("talk", int),
        Talk("talk", str, framing="lines"),
        Talk("other", int, framing="lines"),
        Pipe("talk"),
        "talk",
        Path("talk"),
    ]
    assert all(one != other for other in others)


def test_a_type_that_has_no_hash_is_no_obstacle() -> None:
    """Annotated with a list, for instance."""
    message: type[int] = Annotated[int, ["a list"]]  # type: ignore[assignment]  # a TypeForm in the real ones
    with pytest.raises(TypeError):
        hash(message)
    assert hash(Talk("talk", message)) == hash(Talk("talk", message))


def test_a_name_cannot_be_changed() -> None:
    """Neither its own attributes nor new ones; the error says what to do."""
    name = Talk("talk", int)
    with pytest.raises(AttributeError, match=r"at\(path\) gives the same name elsewhere"):
        name._path = Path("other")
    with pytest.raises(AttributeError, match="cannot be changed"):
        name.colour = "red"  # type: ignore[attr-defined]  # there is none
    with pytest.raises(AttributeError, match="cannot be changed"):
        del name._path
    with pytest.raises(AttributeError):
        name.path = Path("other")  # type: ignore[misc]  # a property
    assert name == Talk("talk", int)


def test_at_gives_the_same_name_elsewhere(tmp_path: Path) -> None:
    """Class, type and options stay."""
    moved = Talk("talk", int, framing="lines").at(tmp_path / "talk")
    assert moved == Talk(tmp_path / "talk", int, framing="lines")
    assert type(moved) is Talk


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (Pipe("orders"), "Pipe('orders')"),
        (Talk("talk", int), "Talk('talk', int)"),
        (Talk("talk", list[int], framing="lines"), "Talk('talk', list[int], framing='lines')"),
        (Talk("talk", Path), "Talk('talk', Path)"),
    ],
)
def test_a_name_prints_as_it_was_declared(name: Name, text: str) -> None:
    """What a log or an error shows can be pasted back."""
    assert repr(name) == text


def test_a_name_with_its_parameter_written_out_is_the_same() -> None:
    """`Talk[int](...)`: typing wants to note the parameter on the value, and may not."""
    assert Talk[int]("talk", int) == Talk("talk", int)


def test_pickling_makes_the_path_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in another directory finds the same name."""
    monkeypatch.chdir(tmp_path)
    name = Talk("shop/../talk", int, framing="lines")
    data = pickle.dumps(name)
    monkeypatch.chdir("/")
    received = pickle.loads(data)
    # `..` stays: only the kernel knows the parent of what may be a link.
    assert received == Talk(tmp_path / "shop" / ".." / "talk", int, framing="lines")
    assert type(received) is Talk
    assert name.path == Path("shop/../talk")


def test_a_copy_is_the_name_itself() -> None:
    """An immutable value needs none, and copying does not change the path."""
    name = Talk("talk", int)
    assert copy.copy(name) is name
    assert copy.deepcopy([name]) == [name]


def test_names_exist_and_are_removed_by_kind(tmp_path: Path) -> None:
    """What stands there has to be of the name's kind, or it is not touched."""
    pipe, board = Pipe(tmp_path / "it"), Board(tmp_path / "it")
    assert not pipe.exists()
    with pytest.raises(NameNotFound):
        pipe.remove()
    pipe.remove(missing_ok=True)
    os.mkfifo(tmp_path / "it")
    assert pipe.exists()
    assert not board.exists()
    with pytest.raises(WrongKind):
        board.remove(missing_ok=True)
    pipe.remove()
    assert os.listdir(tmp_path) == []


def test_a_relative_name_is_looked_up_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the working directory of that moment."""
    pipe = Pipe("it")
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "inner" / "it")
    monkeypatch.chdir(tmp_path)
    assert not pipe.exists()
    monkeypatch.chdir(tmp_path / "inner")
    assert pipe.exists()
    pipe.remove()
    assert os.listdir(tmp_path / "inner") == []


@pytest.mark.usefixtures("no_leaks")
def test_a_living_owner_keeps_its_name_and_a_killed_one_does_not(tmp_path: Path, child: Children) -> None:
    """`remove` refuses the one, and takes away all that the other has left."""
    talk = Talk(tmp_path / "talk", int)
    owner = child(
        """
        import sys
        from namedipc._names import claim_socket
        claim = claim_socket(sys.argv[1], card=b"")
        print("owner", flush=True)
        input()
        """,
        str(talk.path),
    )
    owner.expect("owner")
    with pytest.raises(NameTaken, match=f"owned by process {owner.pid}"):
        talk.remove()
    assert talk.exists()
    owner.kill()
    talk.remove()
    assert os.listdir(tmp_path) == []


def test_importing_names_opens_nothing_and_loads_no_trio() -> None:
    """A module of names is like a header file."""
    out = run_python(
        """
import os, sys
before = os.listdir("/proc/self/fd")
import namedipc._name
print(os.listdir("/proc/self/fd") == before, "trio" in sys.modules)
"""
    )
    assert out == "True False\n"
