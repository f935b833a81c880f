"""Annotations become types, and what cannot be carried is refused where it is declared."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime
import enum
import functools
import importlib.util
import io
import pathlib
import sys
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Annotated, Any, BinaryIO, ClassVar, Generic, Literal, NamedTuple, Required, TypedDict, TypeVar

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from typing_extensions import TypeAliasType

from namedipc._codec import Codec
from namedipc._errors import DeclarationError
from namedipc._types import describe, resolve_message

T = TypeVar("T")
U = TypeVar("U")
Here = typing.NewType("Here", int)
Texts = TypeAliasType("Texts", "list[bytes | str]")
Pages = TypeAliasType("Pages", "list[T]", type_params=(T,))
Endless = TypeAliasType("Endless", "list[Endless] | int")


@attrs.frozen
class Order:
    """A record which may contain itself."""

    table: int
    dish: str
    follows: Order | None = None


@attrs.frozen
class Page(Generic[T]):
    """A generic record."""

    items: list[T]


@attrs.frozen
class Marked(Page[tuple[U, int]], Generic[U]):
    """Its base holds pairs of what it holds itself."""

    mark: U


@attrs.frozen
class Final(Marked[str]):
    """Nothing is left open."""

    last: bool


def resolve(annotation: object, **names: object) -> object:
    """Resolve as a name declared in this module, in a function with these locals, would."""
    return resolve_message(annotation, frame_globals=globals(), frame_locals=names, where="Channel('x')")


def refusal(annotation: object, **names: object) -> str:
    """The message with which a type is refused."""
    with pytest.raises(DeclarationError) as caught:
        resolve(annotation, **names)
    assert str(caught.value).startswith("Channel('x'): ")
    return str(caught.value).removeprefix("Channel('x'): ")


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (None, type(None)),
        ("None", type(None)),
        (int, int),
        ("Order | str", Order | str),
        ("list['Order']", list[Order]),
        (typing.Optional["Order"], Order | None),
        (Page["Order"], Page[Order]),
        (tuple[int, "Order"], tuple[int, Order]),
        (tuple[()], tuple[()]),
        (Sequence["Order"], Sequence[Order]),
        (Here, int),
        (Here | int, int),
        (Texts, list[bytes | str]),
        (Pages[int], list[int]),
        (Literal["a", 1], Literal["a", 1]),
        (Annotated[int, msgspec.Meta(ge=0), "a note"], Annotated[int, msgspec.Meta(ge=0)]),
        (
            Annotated[int | bytes, msgspec.Meta(ge=0)] | None,
            Annotated[int, msgspec.Meta(ge=0)] | bytes | None,
        ),
    ],
)
def test_resolves(annotation: object, expected: object) -> None:
    """Strings, forward references, aliases and new types are replaced by what they stand for."""
    assert resolve(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "advice"),
    [
        (Any, "write the types that occur, as a union"),
        (object, "write the types that occur, as a union"),
        (int | Any, "write the types that occur, as a union"),
        (list, "write list[int]"),
        (typing.List, "write list[int]"),  # noqa: UP006  # refused in this spelling too
        (dict, "write dict[str, int]"),
        (set, "write set[int]"),
        (frozenset, "write frozenset[int]"),
        (tuple, "write tuple[int, str]"),
        (Sequence, "write Sequence[int]"),
        (Mapping, "write Mapping[str, int]"),
        (Page, "write what it holds, for example Page[int]"),
        (T, "T is a type variable; write the type itself"),
        ("Page[T]", "Page[T]: T is a type variable"),
        (Pages, "for example Pages[int]"),
        (Endless, "the alias Endless contains itself; write a class"),
        (Callable[[int], int], "Callable cannot be sent; send what it is to be applied to"),
        (complex, "write tuple[float, float]"),
        (range, "write list[int]"),
        (type, "write a Literal or an Enum"),
        (Iterator[int], "write list[...]"),
        (AsyncIterator[int], "AsyncIterator cannot be sent"),
        (collections.deque[int], "write list[...]"),
        (BinaryIO, "write Fd, and send Fd(file)"),
        (io.BufferedReader, "write Fd"),
        (pathlib.Path, "write str, and make a Path of it at the other side"),
        (np.float64, "write float, int or bool, or npt.NDArray[np.float64]"),
        (np.ndarray, "write the exact type of its numbers: npt.NDArray[np.float64]"),
        (npt.NDArray[Any], "write the exact type of its numbers"),
        (npt.NDArray[np.object_], "an array of object_"),
        (npt.NDArray[np.floating[Any]], "an array of floating"),
        (msgspec.Raw, "write bytes"),
        (dict[list[int], int], "[key]: list[int] cannot be hashed"),
        (set[dict[str, int]], "[...]: dict[str, int] cannot be hashed"),
        (Annotated[int, msgspec.Meta(pattern="a")], "Meta(pattern=...) says nothing about int"),
        (list[int] | Sequence[int], "two members of the union are called list[int]"),
        (5, "5 cannot be sent"),
        ("1 +", "the annotation '1 +' cannot be evaluated"),
        ("Nowhere", "there is no 'Nowhere' in the declaring module"),
        ("list[Nowhere]", "there is no 'Nowhere' (in 'list[Nowhere]') in the declaring module"),
    ],
)
def test_refuses(annotation: object, advice: str) -> None:
    """What says nothing of its content, and what cannot travel, is refused with what to write instead."""
    assert advice in refusal(annotation)


def test_type_variables_reach_inherited_fields() -> None:
    """A field of a generic base is read with what the derived class put in its place."""
    codec: Codec[Final] = Codec(resolve(Final))
    value = Final([("a", 1)], "m", True)
    assert codec.decode(codec.encode(value)) == value
    assert describe(resolve(Final))["records"] == {
        "Final": {
            "array": False,
            "closed": False,
            "tag": None,
            "fields": {
                "items": {
                    "name": "items",
                    "presence": "required",
                    "type": {"type": "list", "items": {"type": "fixed", "items": [{"type": "str"}, {"type": "int"}]}},
                },
                "mark": {"name": "mark", "presence": "required", "type": {"type": "str"}},
                "last": {"name": "last", "presence": "required", "type": {"type": "bool"}},
            },
        }
    }


def test_a_free_type_variable_of_a_base_is_refused() -> None:
    """A class which inherits from a bare generic names the field that nobody has filled in."""

    @attrs.frozen
    class Bare(Page):  # type: ignore[type-arg]  # what is refused here
        more: int

    assert refusal(Bare) == "Bare.items[...]: T is a type variable; write the type itself, for example Page[int]"


def test_local_classes_find_the_locals_of_the_declaring_function() -> None:
    """Local classes of every style, under postponed annotations, are read by their function's names."""

    class Kind(enum.Enum):
        HOT = "hot"

    @attrs.frozen
    class Dish:
        kind: Kind
        sides: list[Dish] = attrs.field(factory=list)

    @dataclasses.dataclass
    class Plate:
        dish: Dish
        note: "Dish | str | None" = None  # noqa: UP037  # quotes within postponed annotations

    class Card(TypedDict, total=False):
        dish: Required[Dish]
        price: float

    class Pair(NamedTuple):
        dish: Dish
        amount: int = 1

    class Ticket(msgspec.Struct, rename="camel", kw_only=True):
        seat_number: int = 3
        the_dish: Dish

    class Row(msgspec.Struct, array_like=True):
        dish: Dish
        count: int = 1

    dish = Dish(Kind.HOT, [Dish(Kind.HOT)])
    plain_card: Card = {"dish": dish}
    values: list[tuple[object, object]] = [
        (Dish, dish),
        (Plate, Plate(dish, dish)),
        (Card, plain_card),
        (Card, {"dish": dish, "price": 2.5}),
        (Pair, Pair(dish)),
        (Ticket, Ticket(the_dish=dish)),
        (Row, Row(dish, 2)),
        (Page[Dish], Page([dish])),
    ]
    for annotation, value in values:
        resolved = resolve(annotation, **{"Dish": Dish, "Kind": Kind})
        codec: Codec[object] = Codec(resolved)
        assert codec.decode(codec.encode(value)) == value
    struct: Codec[Ticket] = Codec(Ticket)
    assert msgspec.msgpack.decode(struct.encode(Ticket(the_dish=Dish(Kind.HOT)))) == {
        "theDish": {"kind": "hot", "sides": []},
        "seatNumber": 3,
    }


def test_a_local_name_of_another_function_is_explained() -> None:
    """A class whose annotation names a local of elsewhere says so, and where to declare it."""

    def elsewhere() -> type:
        class Hidden:
            pass

        @attrs.frozen
        class Shown:
            hidden: Hidden

        return Shown

    message = refusal(elsewhere())
    assert message.startswith("Shown.hidden: there is no 'Hidden' in module tests.test_types; import it there")
    assert message.endswith("a class local to a function must be declared in that function")


@pytest.fixture
def make_module(tmp_path: pathlib.Path) -> Iterator[Callable[[str, str], ModuleType]]:
    """Makes a module from its source, which can be imported until the test ends."""
    names: list[str] = []

    def make(name: str, source: str) -> ModuleType:
        path = tmp_path / f"{name}.py"
        path.write_text("from __future__ import annotations\n" + source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        names.append(name)
        spec.loader.exec_module(module)
        return module

    yield make
    for name in names:
        del sys.modules[name]


def test_a_name_for_type_checkers_only_is_explained(make_module: Callable[[str, str], ModuleType]) -> None:
    """The message names the name, the module it comes from and the module which imports it."""
    source = """
from typing import TYPE_CHECKING
import attrs
if TYPE_CHECKING:
    from decimal import Decimal as Price

@attrs.frozen
class Bill:
    total: list[Price]
"""
    assert refusal(make_module("bills_of_shop", source).Bill) == (
        "Bill.total: 'Price' is imported from decimal only under 'if TYPE_CHECKING:' in module bills_of_shop, "
        "so it does not exist when the program runs; import it outside of that block"
    )


def test_bases_in_other_modules_are_read_by_their_names(
    make_module: Callable[[str, str], ModuleType],
) -> None:
    """The annotations of a base are read with the names of the base's module, for every style."""
    bases = """
import datetime as dt, attrs, dataclasses
from typing import TypedDict

class Dated(TypedDict, total=False):
    day: dt.date

class Deeply(Dated, total=False):
    hour: dt.time

@attrs.frozen
class Attrs:
    day: dt.date

@dataclasses.dataclass
class Data:
    day: dt.date
"""
    derived = """
import bases_of_shop, attrs, dataclasses
class Dated(bases_of_shop.Deeply):
    note: str

@attrs.frozen
class Attrs(bases_of_shop.Attrs):
    note: str

@dataclasses.dataclass
class Data(bases_of_shop.Data):
    note: str
"""
    make_module("bases_of_shop", bases)
    module = make_module("derived_of_shop", derived)
    day = datetime.date(2026, 1, 2)
    for cls in (module.Dated, module.Attrs, module.Data):
        codec: Codec[object] = Codec(resolve(cls))
        value = cls(day=day, note="x")
        assert codec.decode(codec.encode(value)) == value
        assert "'type': 'date'" in str(codec.description)


@attrs.frozen
class _Private:
    _table: int


@attrs.frozen
class _Aliased:
    table: int = attrs.field(alias="tisch")


@attrs.frozen
class _Converted:
    table: int = attrs.field(converter=int)


@attrs.frozen
class _NotInit:
    table: int = attrs.field(init=False, default=3)


@dataclasses.dataclass
class _DataNotInit:
    table: int = dataclasses.field(init=False, default=3)


@dataclasses.dataclass
class _InitVar:
    table: dataclasses.InitVar[int]


@attrs.frozen
class _Nested:
    tables: dict[str, list[_Private]]


class _Undecorated(Order):
    extra: int


class _Plain:
    pass


class _Empty(enum.Enum):
    pass


class _Number(int):
    pass


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (_Private, "_Private._table: private attrs fields are never sent; name it 'table', or leave it out"),
        (_Aliased, "_Aliased.table: the alias 'tisch' would be lost on the way; name the field so"),
        (_Converted, "_Converted.table: a converter does not run when a message arrives"),
        (_NotInit, "_NotInit.table: a field with init=False could be set by the other side"),
        (_DataNotInit, "_DataNotInit.table: a field with init=False could be set by the other side"),
        (_InitVar, "_InitVar.table: an InitVar is not kept"),
        (_Nested, "_Nested.tables[value][...]: _Private._table: private attrs fields are never sent"),
        (_Undecorated, "_Undecorated adds fields, but is not decorated itself"),
        (_Plain, "_Plain cannot be sent; a plain class has no fields that could be sent; decorate it"),
        (_Empty, "the Enum _Empty has no members"),
        (_Number, "_Number would arrive without its class; write int"),
        (collections.namedtuple("Bare", "a b"), "Bare.a: the field has no annotation"),
        (attrs.make_class("Made", ["a"]), "Made.a: the field has no annotation"),
    ],
)
def test_traps_of_classes_are_refused(cls: type, message: str) -> None:
    """What msgspec would silently drop, or let the other side set, is refused with the field's name."""
    assert message in refusal(cls)


@dataclasses.dataclass
class Everyday:
    """A dataclass with a bit of everything."""

    date: typing.Annotated[int, "the name of a field may be that of a type"]
    kind: ClassVar[Any] = object
    parts: list[int] = dataclasses.field(default_factory=list)
    limit: int = dataclasses.field(default=3, kw_only=True)


def test_ordinary_dataclasses_are_accepted() -> None:
    """Class variables are no fields; factories and keyword-only fields are as good as others."""
    codec: Codec[Everyday] = Codec(resolve(Everyday))
    value = Everyday(5, limit=4)
    assert codec.decode(codec.encode(value)) == value


@attrs.define(slots=False)
class _Cached:
    base: int

    @functools.cached_property
    def heavy(self) -> object:
        return object()


@attrs.define
class _CachedInSlots:
    base: int

    @functools.cached_property
    def heavy(self) -> object:
        return object()


@pytest.mark.parametrize("cls", [_Cached, _CachedInSlots])
def test_only_fields_travel(cls: type[_Cached]) -> None:
    """What an attrs instance holds besides its fields, such as a cached property, is not sent."""
    value = cls(3)
    assert value.heavy is value.heavy
    codec: Codec[_Cached] = Codec(resolve(cls))
    assert msgspec.msgpack.decode(codec.encode(value)) == {"base": 3}
    assert codec.decode(codec.encode(value)) == value
