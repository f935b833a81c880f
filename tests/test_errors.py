"""The error tree: what each error also is, that each pickles with what it carries, and that the list is complete."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re

import pytest

import namedipc
from namedipc import _errors
from namedipc._errors import ConnectionLost, IPCError, RemoteError, renewed

STANDARD: dict[str, type[Exception] | None] = {
    "NameTaken": FileExistsError,
    "NameNotFound": FileNotFoundError,
    "WrongKind": OSError,
    "NoServer": ConnectionRefusedError,
    "NotAllowed": PermissionError,
    "TimedOut": TimeoutError,
    "ConnectionLost": ConnectionResetError,
    "DeclarationError": TypeError,
    "InvalidMessage": ValueError,
    "TooLarge": ValueError,
    "SchemaMismatch": None,
    "ProtocolError": None,
    "LimitReached": None,
    "RemoteError": None,
    "OwnerDied": None,
    "EndOfChannel": None,
    "Closed": None,
    "Busy": None,
    "WouldBlock": None,
}
"""Each error, and which of the standard library's it is as well."""

ERRORS = [cls for cls in vars(_errors).values() if isinstance(cls, type) and issubclass(cls, IPCError)]
EACH = pytest.mark.parametrize("error", ERRORS, ids=[error.__name__ for error in ERRORS])


def test_these_are_all() -> None:
    """No error of the module is missing from the table above."""
    assert {error.__name__ for error in ERRORS} == {"IPCError", *STANDARD}


def test_the_modules_list_is_complete() -> None:
    """The docstring names every error once, with its base of the standard library."""
    lines = re.findall(r"^    \* (\w+)(?: \((\w+)\))?: \S", _errors.__doc__ or "", re.MULTILINE)
    assert len(lines) == len(STANDARD)
    assert dict(lines) == {name: base.__name__ if base else "" for name, base in STANDARD.items()}


@pytest.mark.parametrize(("name", "base"), STANDARD.items())
def test_each_is_what_the_standard_library_calls_it(name: str, base: type[Exception] | None) -> None:
    """`except FileExistsError` catches NameTaken; those without a counterpart are IPCErrors only."""
    error = getattr(_errors, name)
    assert error.__bases__ == (IPCError, base) if base else error.__bases__ == (IPCError,)
    with pytest.raises(base or IPCError, match="the name is taken"):
        raise error("/run/kitchen: the name is taken")


@EACH
def test_each_can_be_imported_from_the_package(error: type[IPCError]) -> None:
    """Under its own name."""
    assert getattr(namedipc, error.__name__) is error


@EACH
def test_each_pickles(error: type[IPCError]) -> None:
    """With its text, what it carries and its notes; under every protocol, and by `copy` too."""
    original = error("/run/kitchen: no")
    original.__dict__["calls"] = ("Kitchen.cook",)
    original.add_note("look there")
    again = [pickle.loads(pickle.dumps(original, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in [*again, copy.copy(original), copy.deepcopy(original)]:
        assert type(other) is error
        assert str(other) == "/run/kitchen: no"
        assert other.args == original.args
        assert other.__dict__ == {"calls": ("Kitchen.cook",), "__notes__": ["look there"]}


@EACH
def test_none_has_an_init_of_its_own(error: type[IPCError]) -> None:
    """That is why all pickle, and why each can be made anew from its arguments."""
    assert "__init__" not in vars(error)
    assert "__reduce__" not in vars(error)
    assert str(error("text")) == "text"


@EACH
def test_each_says_what_it_is(error: type[IPCError]) -> None:
    """The docstring is a sentence."""
    assert (error.__doc__ or "").split("\n")[0].endswith(".")


def test_what_is_carried_has_a_default() -> None:
    """A ConnectionLost without calls, a RemoteError of nobody."""
    assert ConnectionLost("x").calls == ()
    error = RemoteError("x")
    assert (error.type_name, error.message, error.traceback_text) == ("", "", "")


def test_this_layer_imports_nothing() -> None:
    """It is below all others, and needs no library."""
    tree = ast.parse(inspect.getsource(_errors))
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == ["from __future__ import annotations"]


@EACH
def test_a_renewed_error_is_the_same_but_for_the_object(error: type[IPCError]) -> None:
    """Text, attributes, notes and cause are kept; the traceback and later notes are one's own."""
    original = error("/run/kitchen: no")
    original.__dict__["calls"] = ("Kitchen.cook",)
    original.add_note("look there")
    try:
        raise original from OSError("the kernel's")
    except IPCError:
        fresh = renewed(original)
    assert type(fresh) is error
    assert fresh is not original
    assert (str(fresh), fresh.__dict__) == (str(original), original.__dict__)
    assert fresh.__cause__ is original.__cause__
    assert fresh.__traceback__ is None
    fresh.add_note("mine")
    assert original.__notes__ == ["look there"]


def test_an_error_may_be_renewed_as_a_kind_of_it() -> None:
    """That is how it becomes trio's as well."""

    class Mine(ConnectionLost):
        pass

    assert type(renewed(ConnectionLost("x"), Mine)) is Mine
