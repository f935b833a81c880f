"""Declared exceptions: there and back, those with fields equal and the others with their text."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc import Fd
from namedipc._errors import DeclarationError, InvalidMessage, TooLarge
from namedipc._raised import LARGEST_FIELDS_BYTES, NO_ERRORS, DeclaredErrors
from namedipc._texts import LONGEST_TEXT


@attrs.define
class Sold(Exception):
    """With fields."""

    dish: str
    left: int = 0


@attrs.frozen
class Burnt(Exception):
    """Frozen, with a message of its own."""

    pans: list[int]

    def __str__(self) -> str:
        return f"{len(self.pans)} pans"


@attrs.frozen
class Everything(Burnt):
    """A subclass with another field."""

    smoke: bool = True


class Empty(Exception):
    """Only its text."""


class Closed(Empty):
    """A subclass of it."""


def there_and_back(declared: DeclaredErrors, error: Exception) -> Exception | None:
    """What arrives where the same is declared."""
    packed = declared.pack(error)
    assert packed is not None
    return declared.unpack(*packed)


def same_fields(one: object, other: object) -> bool:
    """Exceptions compare by identity, unless they say otherwise: so class and fields."""
    assert attrs.has(type(one))
    return type(one) is type(other) and attrs.astuple(one) == attrs.astuple(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [Sold("soup", 3), Sold(dish=""), Burnt([1, 2]), Everything([], smoke=False)])
def test_fields_arrive(error: Exception) -> None:
    """Field by field, in an exception of the same class, with the same text."""
    arrived = there_and_back(DeclaredErrors("Kitchen.cook", [Sold, Burnt, Everything]), error)
    assert same_fields(arrived, error)
    assert str(arrived) == str(error)


@pytest.mark.parametrize("text", ["", "no soup", "é\N{PILE OF POO}"])
@pytest.mark.parametrize("cls", [Empty, Closed, ValueError, KeyError, OSError])
def test_texts_arrive(cls: type[Exception], text: str) -> None:
    """In an exception of the same class: also where its text is shown otherwise, as that of KeyError is."""
    arrived = there_and_back(DeclaredErrors("Kitchen.cook", [Empty, Closed, ValueError, KeyError, OSError]), cls(text))
    assert type(arrived) is cls
    assert arrived.args == (text,)
    assert str(arrived) == str(cls(text))


@pytest.mark.parametrize("error", [Empty(), Empty("a", 2), Empty(5), OSError(2, "No such file")])
def test_other_arguments_arrive_as_their_text(error: Exception) -> None:
    """None, several, or one that is no text."""
    arrived = there_and_back(DeclaredErrors("Kitchen.cook", [Empty, OSError]), error)
    assert arrived is not None
    assert arrived.args == (str(error),)


def test_a_subclass_travels_as_the_base_that_is_declared() -> None:
    """As the nearest one, by whatever order they were declared."""
    for errors in ([Empty, Exception], [Exception, Empty]):
        arrived = there_and_back(DeclaredErrors("Kitchen.cook", errors), Closed("for today"))
        assert (type(arrived), str(arrived)) == (Empty, "for today")
    arrived = there_and_back(DeclaredErrors("Kitchen.cook", [Burnt]), Everything([1]))
    assert same_fields(arrived, Burnt([1]))


def test_what_is_not_declared_is_not_packed() -> None:
    """Nor read, where only the other side declares it."""
    declared = DeclaredErrors("Kitchen.cook", [Closed])
    assert declared.pack(Empty("no")) is None
    assert declared.pack(ValueError("no")) is None
    assert declared.unpack("Sold", b"\xc1") is None
    assert NO_ERRORS.pack(Closed("no")) is None
    assert NO_ERRORS.description == {}


def test_a_class_twice_is_one() -> None:
    """As stacked marks may have it."""
    assert set(DeclaredErrors("Kitchen.cook", [Sold, Empty, Sold]).description) == {"Sold", "Empty"}


def test_two_of_one_name_are_refused() -> None:
    """On the wire they could not be told apart."""
    other = type("Sold", (Exception,), {})
    with pytest.raises(DeclarationError) as caught:
        DeclaredErrors("Kitchen.cook", [Sold, other])
    assert str(caught.value) == "Kitchen.cook: @raises has two exceptions of the name Sold; rename one"


def test_local_classes_are_known_by_their_own_name() -> None:
    """So that two processes which make them in functions of their own agree."""

    class Local(Exception):
        pass

    assert set(DeclaredErrors("Kitchen.cook", [Local]).description) == {"Local"}


def test_descriptions_are_of_the_fields() -> None:
    """None where there are none; a class of the same fields has the same one."""

    @attrs.define
    class Other(Exception):
        dish: str
        left: int = 0

    Other.__name__ = Other.__qualname__ = "Sold"
    mine, theirs = DeclaredErrors("a", [Sold, Empty]), DeclaredErrors("b", [Other, Empty])
    assert mine.description == theirs.description
    assert mine.description["Empty"] is None
    assert mine.description["Sold"] is not None


class OwnInit(Exception):
    """Takes what nobody knows."""

    def __init__(self, dish: str, left: int) -> None:
        super().__init__(dish, left)


class OwnNew(Exception):
    """Likewise."""

    def __new__(cls, dish: str) -> OwnNew:
        return super().__new__(cls, dish)


class Inherits(OwnInit):
    """From a base which does."""


@pytest.mark.parametrize("cls", [OwnInit, OwnNew, Inherits, UnicodeDecodeError, ExceptionGroup])
def test_what_cannot_be_made_from_a_text_is_refused(cls: type[Exception]) -> None:
    """With what to write."""
    with pytest.raises(DeclarationError) as caught:
        DeclaredErrors("Kitchen.cook", [Sold, cls])
    assert str(caught.value) == (
        f"Kitchen.cook, @raises({cls.__name__}): what its __init__ takes is not known here; decorate it with "
        "@attrs.define and declare its fields"
    )


def test_a_field_that_cannot_be_carried_is_told_with_the_place() -> None:
    """As in any record."""

    @attrs.define
    class Strange(Exception):
        anything: object

    with pytest.raises(DeclarationError, match=r"^Kitchen.cook, @raises\(Strange\): .*anything.* says nothing of what"):
        DeclaredErrors("Kitchen.cook", [Strange])


def test_an_exception_carries_no_descriptors() -> None:
    """They belong to results: an error is sent whatever else goes wrong."""

    @attrs.define
    class Lent(Exception):
        files: list[Fd]

    with pytest.raises(DeclarationError) as caught:
        DeclaredErrors("Kitchen.lend", [Lent])
    assert str(caught.value) == (
        "Kitchen.lend, @raises(Lent): an exception carries no open descriptors; return them instead"
    )


def test_a_field_of_another_type_is_told() -> None:
    """Where it cannot be encoded at once, otherwise at the other side, as with any record."""
    declared = DeclaredErrors("Kitchen.cook", [Sold])
    with pytest.raises(InvalidMessage):
        declared.pack(Sold(dish=object()))  # type: ignore[arg-type]  # the mistake that is told
    packed = declared.pack(Sold(dish=5))  # type: ignore[arg-type]  # likewise
    assert packed is not None
    with pytest.raises(InvalidMessage, match="dish"):
        declared.unpack(*packed)


def test_fields_always_fit_into_an_error() -> None:
    """The limit itself is allowed; beyond it the handler's service says what was too large."""
    declared = DeclaredErrors("Kitchen.cook", [Sold])
    packed = declared.pack(Sold("x"))
    assert packed is not None
    overhead = len(packed[1]) + 2 - 1 + 2  # a text of this length has a head of three or of five bytes
    packed = declared.pack(Sold("x" * (LARGEST_FIELDS_BYTES - overhead)))
    assert packed is not None
    assert LARGEST_FIELDS_BYTES - 4 <= len(packed[1]) <= LARGEST_FIELDS_BYTES
    with pytest.raises(
        TooLarge, match=rf"^the fields of Sold take \d+ bytes; an error carries {LARGEST_FIELDS_BYTES}$"
    ):
        declared.pack(Sold("x" * LARGEST_FIELDS_BYTES))


def test_texts_always_fit_and_can_always_be_told() -> None:
    """Cut, with replaced surrogates, and in spite of a broken `__str__`."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("broken")

    declared = DeclaredErrors("Kitchen.cook", [Empty, Broken])
    assert (
        str(there_and_back(declared, Empty("x" * (2 * LONGEST_TEXT) + "end")))
        == "... " + "x" * (LONGEST_TEXT - 3) + "end"
    )
    assert str(there_and_back(declared, Empty("/run/\udcff"))) == "/run/?"
    arrived = there_and_back(declared, Broken(1, 2))
    assert arrived is not None
    assert arrived.args == ("an exception whose text cannot be told",)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_an_exception_or_invalid(data: bytes) -> None:
    """Whatever a peer sends for a declared name."""
    declared = DeclaredErrors("Kitchen.cook", [Sold, Empty])
    for label, cls in (("Sold", Sold), ("Empty", Empty)):
        try:
            found = declared.unpack(label, data)
        except InvalidMessage:
            continue
        assert type(found) is cls
