"""An interface becomes methods, and what cannot be called from afar is refused where it is declared; two are compared.

Of `_interface`, `_methods` and `_schema`, which share the interfaces below.
"""

from __future__ import annotations

import abc
import functools
import importlib.util
import inspect
import json
import sys
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, overload

import attrs
import pytest

from namedipc import Service, feed, idempotent, one_way, raises
from namedipc._errors import DeclarationError, InvalidMessage
from namedipc._methods import Method
from namedipc._schema import Schema

if TYPE_CHECKING:
    from decimal import Decimal as Price

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


@attrs.frozen
class Order:
    """A record."""

    table: int
    dish: str


def schema_of(interface: object, **names: object) -> Schema[object]:
    """The schema of an interface, declared in this module in a function with these locals."""
    return Schema(interface, frame_globals=globals(), frame_locals=names)


def refusal(interface: object, **names: object) -> str:
    """The message with which an interface is refused; without the place of the test's local classes."""
    with pytest.raises(DeclarationError) as caught:
        schema_of(interface, **names)
    place, found, rest = str(caught.value).rpartition("<locals>.")
    assert not found or place.startswith(f"{__name__}."), place
    return rest


# --- what an interface may be


class Base(Protocol):
    """Inherited."""

    async def ping(self) -> int:
        """Answer."""
        ...


class Kitchen(Base, Protocol):
    """Every kind of parameter and of `def`."""

    limit: ClassVar[int] = 3

    async def cook(self, order: Order, *, salt: bool = False) -> str: ...

    async def seat(self, table: int, guests: int = 2, name: str = "", /) -> None: ...

    def stew(self, hours: float) -> Awaitable[str]: ...

    def _helper(self) -> int: ...


def parameters_of(schema: Schema[object], method: str) -> dict[str, tuple[object, bool, bool, bool]]:
    """Name to type, has a default, by name only, by place only."""
    return {
        p.name: (p.type, p.has_default, p.keyword_only, p.positional_only)
        for p in schema.by_name[method].arguments.parameters
    }


def test_methods_are_ordered_by_name_and_inherited() -> None:
    """A method's index is its place among the sorted names, those of the bases among them; private ones are not."""
    schema = schema_of(Kitchen)
    assert [(method.name, method.index) for method in schema.methods] == [
        ("cook", 0),
        ("ping", 1),
        ("seat", 2),
        ("stew", 3),
    ]
    assert schema.by_name["stew"].where == "Kitchen.stew"
    assert schema.name == "Kitchen"
    assert schema.interface is Kitchen


def test_parameters_are_resolved() -> None:
    """Names in annotations become types; defaults and the kinds of parameters are kept."""
    schema = schema_of(Kitchen)
    assert parameters_of(schema, "cook") == {
        "order": (Order, False, False, False),
        "salt": (bool, True, True, False),
    }
    assert parameters_of(schema, "seat") == {
        "table": (int, False, False, True),
        "guests": (int, True, False, True),
        "name": (str, True, False, True),
    }
    assert parameters_of(schema, "ping") == {}


def test_results_are_carried() -> None:
    """The result's codec is that of the annotation; None is one; an Awaitable counts as what it delivers."""
    schema = schema_of(Kitchen)
    results = {name: method.result.type_name for name, method in schema.by_name.items()}
    assert results == {"cook": "str", "ping": "int", "seat": "None", "stew": "str"}


def test_a_positional_only_parameter_is_not_known_by_name() -> None:
    """As Python: binding it by name is a TypeError at the caller."""
    encode = schema_of(Kitchen).by_name["seat"].arguments.encode
    assert encode((4, 2), {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'guests'"):
        encode((4,), {"guests": 2})


class Plain:
    """A class that implements itself."""

    size: int = 3

    def __init__(self) -> None:
        self.count = 0

    async def add(self, number: int) -> int:
        """Add."""
        self.count += number
        return self.count


class Derived(Plain):
    """Overrides one and adds one."""

    async def add(self, number: int, twice: bool = False) -> int:
        """Add, or add twice."""
        return await super().add(2 * number if twice else number)

    async def reset(self) -> None:
        """Begin anew."""
        self.count = 0


def test_a_plain_class_is_an_interface_too() -> None:
    """Its attributes are its own affair; the most derived definition of a method counts."""
    schema = schema_of(Derived)
    assert list(schema.by_name) == ["add", "reset"]
    assert parameters_of(schema, "add")["twice"] == (bool, True, False, False)
    schema.check_implementation(Derived())


def test_an_abstract_class_is_an_interface_too() -> None:
    """Abstract methods are methods."""

    class Abstract(abc.ABC):
        @abc.abstractmethod
        async def add(self, number: int) -> int: ...

    assert list(schema_of(Abstract).by_name) == ["add"]


def test_a_plain_def_may_return_a_coroutine() -> None:
    """The last of a Coroutine's three arguments is the result."""

    class Local(Protocol):
        def stew(self) -> Coroutine[Any, Any, list[int]]: ...

    assert schema_of(Local).by_name["stew"].result.type_name == "list[int]"


def test_local_classes_are_found() -> None:
    """An interface in a function uses a record of that function, which hides a global one of the same name."""

    @attrs.frozen
    class Order:
        number: int

    class Local(Protocol):
        async def cook(self, order: Order) -> list[Order]: ...

        def stew(self) -> Awaitable[Order]: ...

    service = Service("x", Local)
    schema = service._schema
    assert schema.by_name["cook"].arguments.parameters[0].type is Order
    assert schema.by_name["cook"].result.decode(schema.by_name["cook"].result.encode([Order(1)])) == [Order(1)]
    assert schema.by_name["stew"].result.decode(schema.by_name["stew"].result.encode(Order(2))) == Order(2)


def test_the_declaring_frame_does_not_hide_the_names_of_the_interface() -> None:
    """An interface of a module means that module's names, whatever the frame that declares it calls so."""
    schema = schema_of(Kitchen, Order=str, str=int)
    assert schema.fingerprint == schema_of(Kitchen).fingerprint
    assert parameters_of(schema, "cook")["order"][0] is Order
    assert schema.by_name["cook"].result.type_name == "str"


def test_the_declaring_frame_helps_out() -> None:
    """A name which the interface's module imports for checkers only may be imported where the service is declared."""

    class Shop(Protocol):
        async def pay(self, amount: Price) -> None: ...

    from decimal import Decimal  # not a name of this module

    assert schema_of(Shop, Price=Decimal).by_name["pay"].arguments.parameters[0].type is Decimal


def test_the_locals_of_another_module_are_not_the_surroundings() -> None:
    """An interface made by a function elsewhere means its own module's names."""

    class Local(Protocol):
        async def cook(self, order: Order) -> str: ...

    schema: Schema[object] = Schema(Local, frame_globals={"Order": bytes}, frame_locals={"Order": int})
    assert parameters_of(schema, "cook")["order"][0] is Order


def test_inner_classes_of_the_interface_are_found() -> None:
    """In parameters and results; but a method of the same name as a type does not hide the type."""

    class Local(Protocol):
        @attrs.frozen
        class Ticket:
            number: int

        async def take(self) -> Ticket: ...

        async def give(self, ticket: Ticket) -> None: ...

        async def list(self) -> list[int]: ...

    schema = schema_of(Local)
    assert schema.by_name["give"].arguments.parameters[0].type is Local.Ticket
    assert schema.by_name["take"].result.type_name == "Ticket"
    assert schema.by_name["list"].result.type_name == "list[int]"


def test_annotations_that_are_no_strings_are_read_as_well() -> None:
    """A module without `from __future__ import annotations` declares the same."""

    def cook(self: object, order, *, salt=False): ...  # type: ignore[no-untyped-def]  # annotated below

    cook.__annotations__ = {"order": Order, "salt": bool, "return": str}

    async def ping(self): ...  # type: ignore[no-untyped-def]  # annotated below

    ping.__annotations__ = {"return": "int"}
    cook.__annotations__["return"] = Awaitable[str]
    local = type("Local", (), {"cook": cook, "ping": ping})
    schema = schema_of(local)
    assert schema.by_name["cook"].arguments.description == schema_of(Kitchen).by_name["cook"].arguments.description
    assert schema.by_name["cook"].result.type_name == "str"
    assert schema.by_name["ping"].result.type_name == "int"


# --- streams and marks


@attrs.define
class Sold(Exception):
    """A declared exception with fields."""

    dish: str
    left: int = 0


class Empty(Exception):
    """One of which the text travels."""


NOTHING: AsyncIterable[str] = feed([])


class Streams(Protocol):
    """Streams in every place, and every mark."""

    def progress(self, table: int) -> AsyncIterator[float]: ...

    async def deliver(self, crates: AsyncIterable[bytes], weight: int = 1) -> int: ...

    def mixed(self, first: int, /, xs: AsyncIterator[int], *, zs: AsyncIterable[str]) -> AsyncGenerator[str, None]: ...

    async def later(self, *, ys: AsyncIterable[int], xs: AsyncIterable[str] = NOTHING) -> None: ...

    @one_way
    async def note(self, text: str) -> None: ...

    @idempotent
    async def seats(self) -> int: ...

    @raises(Sold, Empty)
    async def cook(self) -> str: ...


def stream_method(name: str) -> Method:
    """One of these methods."""
    return schema_of(Streams).by_name[name]


async def stream(*items: T) -> AsyncIterator[T]:
    """Any stream."""
    for item in items:
        yield item


def test_streams_of_results() -> None:
    """A plain `def` which returns an AsyncIterator, or an AsyncGenerator; the result's codec is that of an item."""
    for name, item in (("progress", "float"), ("mixed", "str")):
        method = stream_method(name)
        assert method.is_stream
        assert method.result.type_name == item
    assert not stream_method("deliver").is_stream


def test_an_async_generator_is_a_stream() -> None:
    """In a class which implements itself an `async def` with `yield` is one."""

    class Local:
        async def progress(self, table: int) -> AsyncIterator[float]:
            yield 0.5

    schema = schema_of(Local)
    assert schema.by_name["progress"].is_stream
    schema.check_implementation(Local())


def test_streams_of_requests_are_numbered_as_declared() -> None:
    """In their place among the arguments there is an int."""
    assert [(r.name, r.place, r.item.type_name) for r in stream_method("deliver").requests] == [("crates", 0, "bytes")]
    assert [(r.name, r.place) for r in stream_method("mixed").requests] == [("xs", 1), ("zs", None)]
    assert [(r.name, r.place) for r in stream_method("later").requests] == [("ys", None), ("xs", None)]
    assert stream_method("progress").requests == ()
    assert parameters_of(schema_of(Streams), "later") == {
        "ys": (int, False, True, False),
        "xs": (int, True, True, False),
    }


def test_streams_are_annotated_by_anything_that_names_them() -> None:
    """As text or as a type, from `typing` or from `collections.abc`."""
    for annotation in ("AsyncIterable[bytes]", AsyncIterable[bytes], "typing.AsyncIterator[bytes]"):

        async def deliver(self: object, crates: object) -> None: ...

        deliver.__annotations__["crates"] = annotation
        (request,) = schema_of(type("Local", (), {"deliver": deliver}), typing=typing).by_name["deliver"].requests
        assert request.item.type_name == "bytes"


@pytest.mark.parametrize("by_name", [False, True])
def test_streams_travel_as_their_numbers(by_name: bool) -> None:
    """Split off where they are given, and joined again at the other side, whatever way they were given."""
    method = stream_method("mixed")
    xs, zs = stream(1), stream("a")
    args: tuple[object, ...] = (4,) if by_name else (4, xs)
    kwargs: dict[str, object] = {"xs": xs, "zs": zs} if by_name else {"zs": zs}
    rest, streams = method.split_streams(args, kwargs)
    assert streams == {0: xs, 1: zs}
    arrived = method.arguments.decode(method.arguments.encode(*rest))
    assert method.join_streams(*arrived, lambda number: f"stream {number}") == (
        (4, "stream 0"),
        {"zs": "stream 1"},
    )


def test_a_stream_that_is_left_out_is_not_sent() -> None:
    """The default of the implementation applies, as for any other parameter."""
    method = stream_method("later")
    ys = stream(1)
    rest, streams = method.split_streams((), {"ys": ys})
    assert streams == {0: ys}
    arrived = method.arguments.decode(method.arguments.encode(*rest))
    assert method.join_streams(*arrived, lambda number: f"stream {number}") == ((), {"ys": "stream 0"})


def test_the_arguments_of_the_caller_are_left_as_they_are() -> None:
    """Splitting makes new ones."""
    kwargs: dict[str, object] = {"ys": stream(1)}
    before = dict(kwargs)
    stream_method("later").split_streams((), kwargs)
    assert kwargs == before


@pytest.mark.parametrize("given", [[b"crate"], b"crate", None, 0, iter([b"crate"])])
def test_what_is_no_stream_is_told(given: object) -> None:
    """With what makes one of it."""
    with pytest.raises(TypeError) as caught:
        stream_method("deliver").split_streams((given,), {})
    assert str(caught.value) == (
        f"Streams.deliver: parameter 'crates' is a stream, and a {type(given).__name__} is none; write feed(...) "
        "around an iterable"
    )


def test_a_stream_given_twice_or_missing_is_told_as_python_does() -> None:
    """By the encoder of the arguments, as for any other parameter."""
    method = stream_method("deliver")
    rest, streams = method.split_streams((stream(b""),), {"crates": stream(b"")})
    assert len(streams) == 1
    with pytest.raises(TypeError, match="multiple values for argument 'crates'"):
        method.arguments.encode(*rest)
    rest, streams = method.split_streams((), {"weight": 2})
    assert streams == {}
    with pytest.raises(TypeError, match="missing 1 required argument: 'crates'"):
        method.arguments.encode(*rest)


@pytest.mark.parametrize(("args", "kwargs"), [((4, 1), {"zs": 1}), ((4, 0), {"zs": 0}), ((4,), {"xs": -1, "zs": 1})])
def test_another_number_than_the_streams_is_refused(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """A caller cannot make one stream of two parameters, nor name one that is not there."""
    made: list[int] = []
    with pytest.raises(InvalidMessage, match=r"Streams.mixed: parameter '[xz]s': expected the number of its stream, "):
        stream_method("mixed").join_streams(args, kwargs, made.append)


def test_marks_are_read() -> None:
    """What the interface marks stands in the method; what it does not is as usual."""
    assert stream_method("note").is_one_way
    assert stream_method("seats").is_idempotent
    assert set(stream_method("cook").errors.description) == {"Sold", "Empty"}
    deliver = stream_method("deliver")
    assert (deliver.is_one_way, deliver.is_idempotent, deliver.errors.description) == (False, False, {})


def test_the_usual_is_left_out_of_the_description() -> None:
    """So that an interface without streams has the description, and the fingerprint, that it always had."""
    assert set(stream_method("seats").description) == {"parameters", "result"}
    assert set(stream_method("mixed").description) == {"parameters", "result", "requests", "stream"}
    assert set(stream_method("note").description) == {"parameters", "result", "one_way"}
    assert set(stream_method("cook").description) == {"parameters", "result", "raises"}


def test_streams_and_marks_have_a_part_in_the_fingerprint() -> None:
    """Whatever changes what travels does; being idempotent does not."""

    class Plain(Protocol):
        async def m(self, xs: int) -> None: ...

    class Takes(Protocol):
        async def m(self, xs: AsyncIterable[int]) -> None: ...

    class Gives(Protocol):
        def m(self, xs: int) -> AsyncIterator[None]: ...

    class OneWay(Protocol):
        @one_way
        async def m(self, xs: int) -> None: ...

    class Raises(Protocol):
        @raises(Empty)
        async def m(self, xs: int) -> None: ...

    class Idempotent(Protocol):
        @idempotent
        async def m(self, xs: int) -> None: ...

    assert len({schema_of(interface).fingerprint for interface in (Plain, Takes, Gives, OneWay, Raises)}) == 5
    assert schema_of(Idempotent).fingerprint == schema_of(Plain).fingerprint


# --- the same for everybody

SHOP = """
from __future__ import annotations
import attrs
from typing import Protocol

@attrs.frozen
class Order:
    table: int
    dish: str

class {name}(Protocol):
    async def cook(self, order: Order, *, salt: bool = False) -> str: ...
    async def ping(self) -> int: ...
"""


def module_of(directory: Path, name: str, source: str) -> types.ModuleType:
    """Import a module made of this text."""
    path = directory / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shops(tmp_path: Path) -> Generator[tuple[types.ModuleType, types.ModuleType]]:
    """Two modules which declare the same interface under other names."""
    names = ("shop_of_the_schema_test", "store_of_the_schema_test")
    yield (
        module_of(tmp_path, names[0], SHOP.format(name="Kitchen")),
        module_of(tmp_path, names[1], SHOP.format(name="Galley")),
    )
    for name in names:
        sys.modules.pop(name, None)


def test_modules_and_names_of_interfaces_are_not_part_of_the_schema(
    shops: tuple[types.ModuleType, types.ModuleType],
) -> None:
    """The same interface in two modules, under two names, has one fingerprint and one text."""
    one, other = schema_of(shops[0].Kitchen), schema_of(shops[1].Galley)
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 16
    assert one.text == other.text
    assert b"shop_of" not in one.text
    assert one.bindings(other.text) == [0, 1]


def test_another_interface_has_another_fingerprint() -> None:
    """A parameter's default, its name and a type each make a difference."""

    class One(Protocol):
        async def cook(self, table: int) -> str: ...

    class Two(Protocol):
        async def cook(self, table: int = 1) -> str: ...

    class Three(Protocol):
        async def cook(self, seat: int) -> str: ...

    class Four(Protocol):
        async def cook(self, table: int) -> bytes: ...

    assert len({schema_of(interface).fingerprint for interface in (One, Two, Three, Four)}) == 4


# --- what is refused

NO_CLASS = "an interface is a class, best a typing.Protocol of 'async def' methods"


@pytest.mark.parametrize("interface", [5, "Kitchen", None, list[int], len])
def test_an_interface_is_a_class(interface: object) -> None:
    """Anything else is refused with what it is."""
    assert refusal(interface) == f"Service(path, {interface!r}): {NO_CLASS}"


def test_an_interface_has_methods() -> None:
    """Private and special ones do not count."""

    class Empty(Protocol):
        def _private(self) -> int: ...

        def __len__(self) -> int: ...

    assert refusal(Empty) == "Empty: the interface has no method; write 'async def name(self, ...) -> Result: ...'"


def test_the_message_names_the_module() -> None:
    """Module, class, method and parameter, in this order."""

    class Local(Protocol):
        async def cook(self, *orders: Order) -> None: ...

    with pytest.raises(DeclarationError) as caught:
        Service("x", Local)
    place = "test_the_message_names_the_module.<locals>.Local.cook"
    assert str(caught.value) == (f"{__name__}.{place}: *orders has no fixed type; declare a list or a dict parameter")


def local_interfaces() -> Generator[tuple[type, str]]:
    """Interfaces, and what they are refused with."""

    class Stars(Protocol):
        async def cook(self, *orders: Order) -> None: ...

    yield Stars, "Stars.cook: *orders has no fixed type; declare a list or a dict parameter"

    class Double(Protocol):
        async def cook(self, **orders: Order) -> None: ...

    yield Double, "Double.cook: **orders has no fixed type; declare a list or a dict parameter"

    class WithProperty(Protocol):
        @property
        def size(self) -> int: ...

    yield WithProperty, "WithProperty.size is a property; write 'async def size(self) -> ...' instead"

    class WithCached:
        @functools.cached_property
        def size(self) -> int:
            return 1

    yield WithCached, "WithCached.size is a property; write 'async def size(self) -> ...' instead"

    class WithAttribute(Protocol):
        size: int

        async def cook(self) -> None: ...

    yield WithAttribute, "WithAttribute.size is an attribute; write 'async def size(self) -> ...' instead"

    class WithStatic(Protocol):
        @staticmethod
        async def cook(table: int) -> None: ...

    yield WithStatic, "WithStatic.cook is a staticmethod; an interface has ordinary methods, with self"

    class WithClass(Protocol):
        @classmethod
        async def cook(cls, table: int) -> None: ...

    yield WithClass, "WithClass.cook is a classmethod; an interface has ordinary methods, with self"

    class Selfless:
        async def cook() -> None: ...  # type: ignore[misc]  # the mistake that is refused

    yield Selfless, "Selfless.cook has no 'self'; an interface has ordinary methods"

    class KeywordSelf:
        async def cook(*, table: int) -> None: ...  # type: ignore[misc]  # the mistake that is refused

    yield KeywordSelf, "KeywordSelf.cook has no 'self'; an interface has ordinary methods"

    class PlainDef(Protocol):
        def cook(self) -> str: ...

    yield PlainDef, "PlainDef.cook: a plain 'def' with a plain result; write 'async def' instead"

    class BareAwaitable(Protocol):
        def cook(self) -> Awaitable: ...  # type: ignore[type-arg]  # the mistake that is refused

    yield (
        BareAwaitable,
        "BareAwaitable.cook, the result: an Awaitable of nothing; write 'Awaitable[...]' with what it delivers",
    )

    class UnknownAwaited(Protocol):
        def cook(self) -> Awaitable[Price]: ...

    yield UnknownAwaited, "UnknownAwaited.cook, the result: there is no 'Price'"

    class NoResult(Protocol):
        async def cook(self, table: int): ...  # type: ignore[no-untyped-def]  # the mistake that is refused

    yield NoResult, "NoResult.cook: the result has no annotation; write '-> None' where there is none"

    class NoType(Protocol):
        async def cook(self, table) -> None: ...  # type: ignore[no-untyped-def]  # the mistake that is refused

    yield NoType, "NoType.cook: parameter 'table' has no annotation; write its type"

    class OfAny(Protocol):
        async def cook(self, table: Any) -> None: ...

    yield OfAny, "OfAny.cook, parameter 'table': Any says nothing of what is sent; write the types that occur"

    class ToObject(Protocol):
        async def cook(self) -> object: ...

    yield ToObject, "ToObject.cook, the result: object says nothing of what is sent; write the types that occur"

    class OfList(Protocol):
        async def cook(self, orders: list) -> None: ...  # type: ignore[type-arg]  # the mistake that is refused

    yield OfList, "OfList.cook, parameter 'orders': list says nothing of its content; write list[int]"

    class OfFunction(Protocol):
        async def cook(self, *, then: Callable[[], int]) -> None: ...

    yield OfFunction, "OfFunction.cook, parameter 'then': Callable cannot be sent; "

    class ForCheckers(Protocol):
        async def cook(self, price: Price) -> None: ...

    yield ForCheckers, "ForCheckers.cook, parameter 'price': there is no 'Price'"

    class Variable(Protocol):
        async def cook(self, item: T) -> T: ...

    variable = "T is a type variable, and cannot be carried; write the type"
    yield Variable, f"Variable.cook, parameter 'item': {variable}"

    class Nested(Protocol):
        async def cook(self, items: dict[str, list[T | None]]) -> int: ...

    yield Nested, f"Nested.cook, parameter 'items': {variable}"

    class VariableResult(Protocol):
        def cook(self) -> Awaitable[list[T]]: ...

    yield VariableResult, f"VariableResult.cook, the result: {variable}"

    class Open(Protocol[T_contra]):
        async def cook(self, item: T_contra) -> None: ...

    yield Open, f"Open.cook, parameter 'item': {variable.replace('T', 'T_contra', 1)}"


REFUSED = list(local_interfaces())


@pytest.mark.parametrize(("interface", "message"), REFUSED, ids=[interface.__name__ for interface, _ in REFUSED])
def test_what_cannot_be_called_from_afar_is_refused(interface: type, message: str) -> None:
    """The message names the method and the parameter, and says what to write."""
    assert refusal(interface).startswith(message)


def test_a_checkers_only_name_is_explained() -> None:
    """The message says why the name is not there: it is not, when the program runs."""
    (interface,) = [cls for cls, _ in REFUSED if cls.__name__ == "ForCheckers"]
    assert "TYPE_CHECKING" in refusal(interface)


def refused_streams() -> Generator[tuple[type, str]]:
    """Interfaces whose streams are not what was meant, and what they are refused with."""

    class Coroutine(Protocol):
        async def progress(self, table: int) -> AsyncIterator[float]: ...

    yield (
        Coroutine,
        "Coroutine.progress: 'async def' with an AsyncIterator as its result is a coroutine which returns one; write "
        "'def progress(...) -> AsyncIterator[...]', without 'async', for a stream of results",
    )

    class Plain(Protocol):
        def progress(self, table: int) -> float: ...

    yield (
        Plain,
        "Plain.progress: a plain 'def' with a plain result; write 'async def' instead, or '-> AsyncIterator[...]' for "
        "a stream of results",
    )

    class Yields:
        async def progress(self) -> float:  # type: ignore[misc]  # the mistake that is refused
            yield 0.5

    yield Yields, "Yields.progress yields, and its result is no stream; write '-> AsyncIterator[...]'"

    class OfNothing(Protocol):
        def progress(self) -> AsyncIterator: ...  # type: ignore[type-arg]  # the mistake that is refused

    nothing = "a stream of nothing; write 'AsyncIterator[...]' with what it delivers"
    yield OfNothing, f"OfNothing.progress, the result: {nothing}"

    class TakesNothing(Protocol):
        async def deliver(self, crates: AsyncIterable) -> int: ...  # type: ignore[type-arg]  # likewise

    yield TakesNothing, f"TakesNothing.deliver, parameter 'crates': {nothing}"

    class OfAny(Protocol):
        def progress(self) -> AsyncIterator[Any]: ...

    yield OfAny, "OfAny.progress, the result, an item: Any says nothing of what is sent; write the types that occur"

    class TakesList(Protocol):
        async def deliver(self, crates: AsyncIterable[list]) -> int: ...  # type: ignore[type-arg]  # likewise

    yield TakesList, "TakesList.deliver, parameter 'crates', an item: list says nothing of its content; write list[int]"

    class TakesUnknown(Protocol):
        async def deliver(self, crates: AsyncIterable[Price]) -> int: ...

    yield TakesUnknown, "TakesUnknown.deliver, parameter 'crates': there is no 'Price'"

    class GivesUnknown(Protocol):
        def progress(self) -> AsyncIterator[Price]: ...

    yield GivesUnknown, "GivesUnknown.progress, the result: there is no 'Price'"

    class OfVariable(Protocol):
        def progress(self, items: AsyncIterable[int]) -> AsyncIterator[list[T]]: ...

    yield (
        OfVariable,
        "OfVariable.progress, the result, an item: T is a type variable, and cannot be carried; write the type",
    )

    whole = "only a whole parameter, or the whole result, of a service's method may be a stream"

    class OfStreams(Protocol):
        def progress(self) -> AsyncIterator[AsyncIterator[int]]: ...

    yield OfStreams, f"OfStreams.progress, the result, an item: AsyncIterator cannot be sent; {whole}"

    class Perhaps(Protocol):
        async def deliver(self, crates: AsyncIterable[bytes] | None = None) -> int: ...

    yield Perhaps, f"Perhaps.deliver, parameter 'crates': AsyncIterable cannot be sent; {whole}"

    class Inside(Protocol):
        async def deliver(self, crates: dict[str, AsyncGenerator[bytes, None]]) -> int: ...

    yield Inside, f"Inside.deliver, parameter 'crates': [value]: AsyncGenerator cannot be sent; {whole}"


WRONG_STREAMS = list(refused_streams())


@pytest.mark.parametrize(("interface", "message"), WRONG_STREAMS, ids=[cls.__name__ for cls, _ in WRONG_STREAMS])
def test_a_stream_that_is_not_what_was_meant_is_refused(interface: type, message: str) -> None:
    """The two classic mistakes, streams of nothing, and streams inside of something else, each with what to write."""
    assert refusal(interface).startswith(message)


def refused_marks() -> Generator[tuple[type, str]]:
    """Interfaces whose marks contradict what they declare, and what they are refused with."""

    class Answered(Protocol):
        @one_way  # type: ignore[type-var]  # the mistake that is refused
        async def note(self, text: str) -> int: ...

    yield Answered, "Answered.note is @one_way, and declares a result; write '-> None'"

    class Streamed(Protocol):
        @one_way  # type: ignore[type-var]  # the mistake that is refused
        def note(self, text: str) -> AsyncIterator[None]: ...

    yield Streamed, "Streamed.note is @one_way, and declares a result; write '-> None'"

    class Unheard(Protocol):
        @one_way
        @raises(Sold)
        async def note(self, text: str) -> None: ...

    yield Unheard, "Unheard.note is @one_way: nobody learns what it @raises; leave one of the marks out"

    class Repeated(Protocol):
        @idempotent
        async def deliver(self, crates: AsyncIterable[bytes]) -> int: ...

    yield (
        Repeated,
        "Repeated.deliver is @idempotent, and takes a stream, which cannot be sent a second time; leave the mark out",
    )

    class Unknown(Protocol):
        @raises(Sold, UnicodeDecodeError)
        async def cook(self) -> None: ...

    yield (
        Unknown,
        "Unknown.cook, @raises(UnicodeDecodeError): what its __init__ takes is not known here; decorate it with "
        "@attrs.define and declare its fields",
    )


WRONG_MARKS = list(refused_marks())


@pytest.mark.parametrize(("interface", "message"), WRONG_MARKS, ids=[cls.__name__ for cls, _ in WRONG_MARKS])
def test_marks_which_contradict_the_declaration_are_refused(interface: type, message: str) -> None:
    """The message names the method, and which of both is to go."""
    assert refusal(interface) == message


def test_overloads_are_refused() -> None:
    """With a body after them, as in a class, and without, as in a Protocol."""

    class Bodiless(Protocol):
        @overload
        async def cook(self, order: int) -> int: ...
        @overload
        async def cook(self, order: str) -> str: ...

    class Bodied:
        @overload
        async def cook(self, order: int) -> int: ...
        @overload
        async def cook(self, order: str) -> str: ...
        async def cook(self, order: int | str) -> int | str:
            return order

    advice = "is overloaded; declare one method a signature, or a union"
    assert refusal(Bodiless) == f"Bodiless.cook {advice}"
    assert refusal(Bodied) == f"Bodied.cook {advice}"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`def cook[T]` is younger")
@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_type_parameters_are_refused(tmp_path: Path, future: str) -> None:
    """A method's own type parameter, in its newer notation, is told as such."""
    source = f"{future}class Local:\n    async def cook[T](self, item: list[T]) -> None: ...\n"
    name = "newer_notation_of_the_schema_test"
    try:
        module = module_of(tmp_path, name, source)
        assert refusal(module.Local) == (
            f"{name}.Local.cook, parameter 'item': T is a type variable, and cannot be carried; write the type"
        )
    finally:
        sys.modules.pop(name, None)


def test_a_generic_interface_is_made_concrete_by_none() -> None:
    """A base's type variable stays open in a class that fills it: the method says which it is."""

    class Store(Protocol[T_contra]):
        async def put(self, item: T_contra) -> None: ...

    class Texts(Store[str], Protocol):
        pass

    assert (
        refusal(Texts)
        == "Texts.put, parameter 'item': T_contra is a type variable, and cannot be carried; write the type"
    )


# --- two sides


def theirs(**methods: object) -> bytes:
    """The text of a service whose methods are those of these interfaces."""
    description: dict[str, object] = {}
    for interface in methods.values():
        description |= schema_of(interface).description
    return json.dumps(description).encode()


class Old(Protocol):
    """What a client has."""

    async def cook(self, order: Order, *, salt: bool = False) -> str: ...

    async def ping(self) -> int: ...


def test_the_same_interface_binds_to_itself() -> None:
    """Each method is where it is here."""
    schema = schema_of(Old)
    assert schema.bindings(schema.text) == [0, 1]


def test_new_methods_are_compatible() -> None:
    """They shift the service's numbers, which is what binding is for."""

    class Local(Old, Protocol):
        async def bake(self) -> None: ...

        async def lunch(self) -> None: ...

    assert schema_of(Old).bindings(schema_of(Local).text) == [1, 3]


def test_a_new_optional_parameter_is_compatible() -> None:
    """At the service or at the client: where it is unknown it is not sent, or left out."""

    class Local(Protocol):
        async def cook(self, order: Order, *, salt: bool = False, pepper: bool = False) -> str: ...

        async def ping(self, text: str = "") -> int: ...

    assert schema_of(Old).bindings(schema_of(Local).text) == [0, 1]
    assert schema_of(Local).bindings(schema_of(Old).text) == [0, 1]


def incompatible_services() -> Generator[tuple[type, str]]:
    """Services that a client of `Old` cannot use, and why."""

    class Less(Protocol):
        async def ping(self) -> int: ...

    yield Less, "Old.cook: the service has no such method (it has ping)"

    class Required(Old, Protocol):
        async def ping(self, text: str) -> int: ...  # type: ignore[override]  # the difference

    yield Required, "Old.ping: parameter 'text': unknown here, required there"

    class Fewer(Old, Protocol):
        async def cook(self) -> str: ...  # type: ignore[override]  # the difference

    yield Fewer, "Old.cook: parameter 'order': required here, unknown there"

    class Insists(Old, Protocol):
        async def cook(self, order: Order, *, salt: bool) -> str: ...  # type: ignore[override]  # the difference

    yield Insists, "Old.cook: parameter 'salt': may be left out here, required there"

    class Renamed(Old, Protocol):
        async def cook(self, command: Order, *, salt: bool = False) -> str: ...

    yield Renamed, "Old.cook: parameter 1: 'order' here, 'command' there"

    class OtherType(Old, Protocol):
        async def cook(self, order: int, *, salt: bool = False) -> str: ...  # type: ignore[override]  # the difference

    yield OtherType, "Old.cook: parameter 'order': Order here, int there"

    class OtherResult(Old, Protocol):
        async def ping(self) -> str: ...  # type: ignore[override]  # the difference

    yield OtherResult, "Old.ping: int here, str there"


INCOMPATIBLE = list(incompatible_services())


@pytest.mark.parametrize(("service", "sentence"), INCOMPATIBLE, ids=[cls.__name__ for cls, _ in INCOMPATIBLE])
def test_an_incompatible_service_is_told_by_a_sentence(service: type, sentence: str) -> None:
    """The first difference, with the method and the parameter, as seen from the client."""
    assert schema_of(Old).bindings(schema_of(service).text) == sentence


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value"),
        (b"{\xff}", "decode"),
        (b"[]", "not an object"),
        (b"3", "not an object"),
        (b'{"cook": 3}', "method 'cook' is incomplete"),
        (b'{"cook": {}}', "method 'cook' is incomplete"),
        (b'{"cook": {"unknown": 1}}', "method 'cook' is incomplete"),
        (b'{"cook": {"parameters": {}, "unknown": 1}}', "method 'cook' is incomplete"),
        (b"[" * 100_000, "recursion"),
        (b"9" * 10_000, "digits"),
    ],
)
def test_a_text_which_is_no_schema_is_a_sentence_too(text: bytes, reason: str) -> None:
    """Whatever a service sends, the answer is text and never an exception."""
    answer = schema_of(Old).bindings(text)
    assert isinstance(answer, str)
    assert answer.startswith("the service's schema cannot be read: ")
    assert reason in answer


def test_a_damaged_description_is_a_sentence_too() -> None:
    """A method whose parts are something else."""
    parts: tuple[object, ...] = (3, [], {}, {"records": 3}, {"parameters": 3, "records": {}})
    for part in parts:
        text = json.dumps({"cook": {"parameters": part, "result": part}, "ping": {"parameters": part, "result": part}})
        answer = schema_of(Old).bindings(text.encode())
        assert isinstance(answer, str)
        assert answer.startswith("Old.cook: the other side's description cannot be read")


def test_more_methods_than_can_be_numbered_are_refused() -> None:
    """A method has 16 bits on the wire, the last 16 numbers are reserved, and a huge service is shown in part."""
    part = {"parameters": 1, "result": 1}
    huge = json.dumps({f"method{index}": part for index in range(65521)}).encode()
    assert schema_of(Old).bindings(huge) == "the service's schema cannot be read: more than 65520 methods"
    many = json.dumps({f"m{index:02}": part for index in range(21)}).encode()
    answer = schema_of(Old).bindings(many)
    assert isinstance(answer, str)
    assert answer.endswith("m18, m19, ...)")
    assert schema_of(Old).bindings(b"{}") == "Old.cook: the service has no such method (it has none)"


class OldStreams(Protocol):
    """What a client has."""

    @raises(Sold, Empty)
    async def cook(self, crates: AsyncIterable[int], *, salt: AsyncIterable[str] = NOTHING) -> None: ...

    def progress(self, table: int) -> AsyncIterator[int]: ...


def different_streams() -> Generator[tuple[type, str]]:
    """Services that a client of `OldStreams` cannot use, and why."""

    class NoStream(OldStreams, Protocol):
        async def cook(self, crates: int, *, salt: AsyncIterable[str] = NOTHING) -> None: ...  # type: ignore[override]

    yield NoStream, "OldStreams.cook: parameter 'crates' is a stream on this side, and not at the service"

    class MoreStreams(OldStreams, Protocol):
        def progress(self, table: AsyncIterable[int]) -> AsyncIterator[int]: ...  # type: ignore[override]

    yield MoreStreams, "OldStreams.progress: parameter 'table' is a stream at the service, and not on this side"

    class OneResult(OldStreams, Protocol):
        async def progress(self, table: int) -> int: ...  # type: ignore[override]

    yield OneResult, "OldStreams.progress: it is answered with a stream on this side, and not at the service"

    class ManyResults(OldStreams, Protocol):
        def cook(  # type: ignore[override]
            self, crates: AsyncIterable[int], *, salt: AsyncIterable[str] = NOTHING
        ) -> AsyncIterator[None]: ...

    yield ManyResults, "OldStreams.cook: it is answered with a stream at the service, and not on this side"

    class OneWay(OldStreams, Protocol):
        @one_way
        async def cook(self, crates: AsyncIterable[int], *, salt: AsyncIterable[str] = NOTHING) -> None: ...

    yield OneWay, "OldStreams.cook: it is one way at the service, and not on this side"

    class OtherItems(OldStreams, Protocol):
        async def cook(self, crates: AsyncIterable[str], *, salt: AsyncIterable[str] = NOTHING) -> None: ...  # type: ignore[override]

    yield OtherItems, "OldStreams.cook: parameter 'crates', an item: int here, str there"

    class OtherResults(OldStreams, Protocol):
        def progress(self, table: int) -> AsyncIterator[str]: ...  # type: ignore[override]

    yield OtherResults, "OldStreams.progress: int here, str there"

    def other_sold() -> type[Exception]:
        @attrs.define
        class Sold(Exception):
            dish: bytes

        return Sold

    class OtherFields(OldStreams, Protocol):
        @raises(other_sold())
        async def cook(self, crates: AsyncIterable[int], *, salt: AsyncIterable[str] = NOTHING) -> None: ...

    yield OtherFields, "OldStreams.cook: @raises(Sold): Sold.dish: str here, bytes there"

    class NoFields(OldStreams, Protocol):
        @raises(type("Sold", (Exception,), {}))
        async def cook(self, crates: AsyncIterable[int], *, salt: AsyncIterable[str] = NOTHING) -> None: ...

    yield NoFields, "OldStreams.cook: @raises(Sold): it has fields on one side, and only a text on the other"


DIFFERENT = list(different_streams())


@pytest.mark.parametrize(("service", "sentence"), DIFFERENT, ids=[cls.__name__ for cls, _ in DIFFERENT])
def test_different_streams_and_marks_are_told_by_a_sentence(service: type, sentence: str) -> None:
    """The first difference, as seen from the client."""
    assert schema_of(OldStreams).bindings(schema_of(service).text) == sentence


def test_a_one_way_method_here_is_told_as_well() -> None:
    """The service would answer what nobody waits for."""

    class Here(Protocol):
        @one_way
        async def note(self) -> None: ...

    class There(Protocol):
        async def note(self) -> None: ...

    assert (
        schema_of(Here).bindings(schema_of(There).text)
        == "Here.note: it is one way on this side, and not at the service"
    )


def test_exceptions_of_one_side_only_are_compatible() -> None:
    """At the caller they arrive as `RemoteError`, or never."""

    class Local(Protocol):
        @raises(Empty, type("Burnt", (Exception,), {}))
        async def cook(self, crates: AsyncIterable[int], *, salt: AsyncIterable[str] = NOTHING) -> None: ...

        def progress(self, table: int) -> AsyncIterator[int]: ...

    assert schema_of(OldStreams).bindings(schema_of(Local).text) == [0, 1]
    assert schema_of(Local).bindings(schema_of(OldStreams).text) == [0, 1]


@pytest.mark.parametrize("part", ["requests", "raises"])
def test_damaged_streams_are_a_sentence_too(part: str) -> None:
    """Where an object should be there is a list."""
    description: dict[str, dict[str, object]] = json.loads(schema_of(OldStreams).text)
    description["cook"][part] = []
    answer = schema_of(OldStreams).bindings(json.dumps(description).encode())
    assert answer == (
        "the service's schema cannot be read: method 'cook': its streams or its exceptions are no objects"
    )


@pytest.mark.parametrize("item", [3, [], {}, {"records": 3}])
@pytest.mark.parametrize(("part", "name"), [("requests", "crates"), ("raises", "Sold")])
def test_damaged_items_are_a_sentence_too(part: str, name: str, item: object) -> None:
    """A description of an item, or of an exception, which is something else."""
    description = json.loads(schema_of(OldStreams).text)
    description["cook"][part][name] = item
    answer = schema_of(OldStreams).bindings(json.dumps(description).encode())
    assert isinstance(answer, str)
    assert "the other side's description cannot be read" in answer


# --- implementations


class Chef:
    """What implements Kitchen."""

    async def ping(self) -> int:
        """Answer."""
        return 1

    async def cook(self, order: Order, *, salt: bool = False) -> str:
        """Cook."""
        return order.dish

    async def seat(self, table: int, guests: int = 2, name: str = "", /) -> None:
        """Seat."""

    async def stew(self, hours: float) -> str:
        """Stew."""
        return "stew"


def rejection(implementation: object, interface: object = Kitchen) -> str:
    """The message with which an implementation is refused; without the place of the test's local classes."""
    with pytest.raises(DeclarationError) as caught:
        schema_of(interface).check_implementation(implementation)
    return str(caught.value).rpartition("<locals>.")[2]


def with_method(name: str, method: object, base: type = Chef) -> object:
    """A Chef but for one attribute."""
    return type("Local", (base,), {name: method, "__module__": "shop"})()


def test_a_complete_implementation_is_accepted() -> None:
    """Also one which inherits the Protocol and fills every method, and one that takes more than is declared."""

    class Explicit(Chef, Kitchen):
        def _helper(self) -> int:
            return 1

    class Generous(Chef):
        async def cook(self, order: Order, *extra: object, salt: bool = True, **options: object) -> str:
            return order.dish

    for implementation in (Chef(), Explicit(), Generous()):
        schema_of(Kitchen).check_implementation(implementation)


def test_a_class_is_no_implementation() -> None:
    """The classic slip: the class where an instance is meant."""
    assert rejection(Chef) == "serve(Chef): this is a class; give an instance: Chef()"


def test_a_missing_method_is_named() -> None:
    """An implementation that lacks a method, or has None there, does not implement it."""

    class Short:
        async def ping(self) -> int:
            return 1

    message = "does not implement Kitchen.cook: there is no method of that name"
    assert rejection(Short()) == f"Short {message}"
    assert rejection(with_method("cook", None)) == f"shop.Local {message}"


def test_an_inherited_declaration_is_a_missing_method() -> None:
    """A body of `...`, of a docstring or of `pass` that a Protocol declares implements nothing."""

    class Declared(Protocol):
        async def dots(self, a: int) -> int: ...

        async def documented(self, a: int) -> int:
            """Tell."""

        async def nothing(self) -> None:
            pass

        def plain(self) -> Awaitable[int]: ...

    class Filled:
        async def dots(self, a: int) -> int:
            return a

        async def documented(self, a: int) -> int:
            return a

        async def nothing(self) -> None:
            pass

        async def plain(self) -> int:
            return 1

    schema_of(Declared).check_implementation(Filled())
    for name in vars(Filled):
        if name.startswith("_"):
            continue
        members = {other: member for other, member in vars(Filled).items() if other not in {name, "__dict__"}}
        forgetful = type("Forgetful", (Declared,), members)()
        assert rejection(forgetful, Declared).endswith(
            f"does not implement Declared.{name}: it inherits the interface's empty body ('...')"
        )


def test_a_body_which_a_protocol_has_is_inherited() -> None:
    """A default that does something is an implementation, also one that returns a constant."""

    class Defaults(Protocol):
        async def five(self) -> int:
            return 5

        async def text(self) -> str:
            """Tell."""
            return "text"

        async def fail(self) -> int:
            raise NotImplementedError

    inherits = type("Inherits", (Defaults,), {})()
    schema_of(Defaults).check_implementation(inherits)


def test_the_declaration_of_another_protocol_is_empty_too() -> None:
    """The implementation inherits a wider Protocol than the one that is served."""

    class Wider(Kitchen, Protocol):
        async def ping(self) -> int: ...

        async def cook(self, order: Order, *, salt: bool = False) -> str: ...

    forgetful = type("Forgetful", (Wider,), {"ping": Chef.ping, "seat": Chef.seat, "stew": Chef.stew})()
    assert "does not implement Kitchen.cook: it inherits the interface's empty body" in rejection(forgetful)


def test_a_wrapper_of_the_declaration_is_an_implementation() -> None:
    """`functools.wraps(Interface.method)` takes its docstring and its name, not its emptiness."""

    class Wrapping(Chef):
        @functools.wraps(Kitchen.cook)
        async def cook(self, order: Order, *, salt: bool = False) -> str:  # type: ignore[override]  # hidden by wraps
            return order.dish

    schema_of(Kitchen).check_implementation(Wrapping())


class Streamer:
    """What implements Streams."""

    async def progress(self, table: int) -> AsyncIterator[float]:
        """Yield."""
        yield 0.5

    async def deliver(self, crates: AsyncIterable[bytes], weight: int = 1) -> int:
        """Draw."""
        return sum([len(crate) async for crate in crates])

    def mixed(self, first: int, /, xs: AsyncIterator[int], *, zs: AsyncIterable[str]) -> AsyncGenerator[str, None]:
        """Hand on another's stream."""
        return strings(xs)

    async def later(self, *, ys: AsyncIterable[int], xs: AsyncIterable[str] = NOTHING) -> None:
        """Do nothing."""

    async def note(self, text: str) -> None:
        """Do nothing."""

    async def seats(self) -> int:
        """Count."""
        return 3

    async def cook(self) -> str:
        """Fail."""
        raise Sold("soup")


async def strings(xs: AsyncIterable[int]) -> AsyncGenerator[str, None]:
    """Each as text."""
    async for x in xs:
        yield str(x)


def test_streams_are_implemented_by_generators_and_by_what_returns_one() -> None:
    """An `async def` with `yield`, or a plain `def` that returns an asynchronous iterator."""
    schema_of(Streams).check_implementation(Streamer())


def test_what_gives_no_stream_is_refused() -> None:
    """A coroutine and a generator which is not `async` are none."""

    async def coroutine(self: object, table: int) -> float:
        return 0.5

    def generator(self: object, table: int) -> Generator[float]:
        yield 0.5

    for function in (coroutine, generator):
        assert rejection(with_method("progress", function, Streamer), Streams) == (
            "shop.Local.progress does not give what Streams.progress declares, a stream: write 'async def' with "
            "'yield' in it, or a plain 'def' that returns an asynchronous iterator"
        )


def test_an_inherited_declaration_of_a_stream_is_a_missing_method() -> None:
    """A plain `def` with an empty body that a Protocol declares gives no stream."""

    members = {name: vars(Streamer)[name] for name in schema_of(Streams).by_name if name != "progress"}
    forgetful = type("Forgetful", (Streams,), members)()
    assert "does not implement Streams.progress: it inherits the interface's empty body" in rejection(
        forgetful, Streams
    )


def test_what_cannot_be_called_is_no_method() -> None:
    """An attribute of the name is told with its class."""
    assert rejection(with_method("cook", 5)) == "shop.Local.cook is a int, not a method"


def test_a_generator_is_no_result() -> None:
    """One that yields where one result is declared, `async` or not."""

    async def yields(self: object, order: Order, *, salt: bool = False) -> AsyncIterator[str]:
        yield order.dish

    def plainly(self: object, order: Order, *, salt: bool = False) -> Generator[str]:
        yield order.dish

    for function in (yields, plainly):
        assert rejection(with_method("cook", function)) == (
            "shop.Local.cook yields, and Kitchen.cook declares one result: return it instead"
        )


def test_an_old_coroutine_is_a_result() -> None:
    """A generator that `types.coroutine` has made awaitable is what trio's own primitives are made of."""

    @types.coroutine
    def cook(self: object, order: Order, *, salt: bool = False) -> Generator[None, None, str]:
        yield
        return order.dish

    schema_of(Kitchen).check_implementation(with_method("cook", cook))


def test_a_wrapped_generator_counts_as_what_the_wrapper_is() -> None:
    """A decorator may gather what a generator yields."""

    def gathered(function: Callable[..., AsyncIterator[str]]) -> Callable[..., Awaitable[str]]:
        @functools.wraps(function)
        async def gather(*args: object, **kwargs: object) -> str:
            return "".join([part async for part in function(*args, **kwargs)])

        return gather

    async def cook(self: object, order: Order, *, salt: bool = False) -> AsyncIterator[str]:
        yield order.dish

    schema_of(Kitchen).check_implementation(with_method("cook", gathered(cook)))


def test_wrong_parameters_are_told() -> None:
    """Too few, too many, another name of one that goes by name: in Python's own words."""

    async def few(self: object) -> str:
        return ""

    async def many(self: object, order: Order, more: int, *, salt: bool = False) -> str:
        return ""

    async def renamed(self: object, order: Order, *, pepper: bool = False) -> str:
        return ""

    refused = "shop.Local.cook does not take what Kitchen.cook declares"
    assert rejection(with_method("cook", few)) == f"{refused}: too many positional arguments"
    assert rejection(with_method("cook", many)).startswith(f"{refused}: missing a required argument: 'more'")
    assert rejection(with_method("cook", renamed)) == f"{refused}: got an unexpected keyword argument 'salt'"


def test_a_default_of_the_interface_needs_one_in_the_implementation() -> None:
    """What a caller leaves out is not sent, so that the implementation must know what to do."""

    async def insists(self: object, order: Order, *, salt: bool) -> str:
        return ""

    assert rejection(with_method("cook", insists)).startswith(
        "shop.Local.cook does not take what Kitchen.cook declares where defaults apply: missing a required "
    )


def test_what_may_come_by_name_needs_that_name() -> None:
    """With two defaults a caller may give the second alone, which then arrives by its name."""

    class Declared(Protocol):
        async def seat(self, table: int, guests: int = 2, name: str = "") -> None: ...

    class Renamed:
        async def seat(self, table: int, people: int = 2, called: str = "") -> None:
            pass

    class FirstRenamed:
        async def seat(self, number: int, people: int = 2, name: str = "") -> None:
            pass

    assert rejection(Renamed(), Declared) == (
        "Renamed.seat does not take what Declared.seat declares by name: got an unexpected keyword argument 'name'"
    )
    schema_of(Declared).check_implementation(FirstRenamed())


def test_a_callable_without_a_signature_is_believed() -> None:
    """One written in C may tell nothing of its parameters."""
    opaque: Callable[..., Awaitable[str]] = type("Opaque", (), {"__call__": len, "__signature__": 5})()
    with pytest.raises(TypeError):
        inspect.signature(opaque)
    schema_of(Kitchen).check_implementation(with_method("cook", opaque))


def test_what_an_instance_holds_counts() -> None:
    """Functions given to an instance, and attributes made up on demand."""

    class Proxy:
        def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
            async def call(*args: object, **kwargs: object) -> object:
                return name

            return call

    schema_of(Kitchen).check_implementation(Proxy())


def test_a_service_refuses_an_implementation_before_anything_is_opened(tmp_path: Path) -> None:
    """`serve` and `run` check first."""

    class Inherits(Kitchen):
        pass

    service = Service(tmp_path / "x", Kitchen)
    for verb in (service.serve, service.run):
        with pytest.raises(DeclarationError, match="inherits the interface's empty body"):
            verb(Inherits())  # type: ignore[abstract]  # the mistake that is refused
    assert list(tmp_path.iterdir()) == []


class Page(Generic[T]):
    """No record."""


def test_a_class_of_the_wrong_kind_names_its_place() -> None:
    """What the codec refuses is told with the parameter's place, however deep."""

    class Local(Protocol):
        async def show(self, pages: dict[str, list[Page[int]]]) -> None: ...

    assert refusal(Local).startswith("Local.show, parameter 'pages': [value][...]: Page cannot be sent; a plain class")


def test_an_interface_has_a_number_for_each_method() -> None:
    """The last sixteen of the wire's numbers are reserved."""

    async def method(self: object) -> None: ...

    crowd = type("Crowd", (), {f"m{number}": method for number in range(0xFFF1)})
    with pytest.raises(DeclarationError, match="Crowd: more than 65520 methods"):
        Schema(crowd, frame_globals=globals(), frame_locals={})


def test_a_method_for_a_caller_that_speaks_json() -> None:
    """The same method, made once, with JSON in the place of msgpack."""
    method = schema_of(Kitchen).methods[0]
    in_json = method.in_json
    assert in_json is method.in_json
    assert (in_json.name, in_json.index, in_json.where) == (method.name, method.index, method.where)
    assert in_json.is_json
    assert not method.is_json
