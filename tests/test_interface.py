"""A class becomes methods, and what cannot be called from afar is refused where it is declared."""

from __future__ import annotations

import abc
import functools
import sys
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import attrs
import pytest

from namedipc import Fd, Service, idempotent, one_way, raises
from namedipc._errors import DeclarationError
from namedipc._interface import is_empty
from namedipc._schema import Schema

from .schema_support import Kitchen, Order, Sold, Streams, module_of, parameters_of, refusal, schema_of, stream_method

if TYPE_CHECKING:
    from decimal import Decimal as Price

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


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


def test_marks_are_read() -> None:
    """What the interface marks stands in the method; what it does not is as usual."""
    assert stream_method("note").is_one_way
    assert stream_method("seats").is_idempotent
    assert set(stream_method("cook").errors.description) == {"Sold", "Empty"}
    deliver = stream_method("deliver")
    assert (deliver.is_one_way, deliver.is_idempotent, deliver.errors.description) == (False, False, {})


def test_what_a_protocol_declares_is_empty() -> None:
    """A body of `...`, of `pass` or of a docstring; no other one, and nothing that is written in C."""

    class Local(Protocol):
        async def documented(self) -> None:
            """Tell."""

        async def nothing(self) -> None:
            pass

        async def five(self) -> int:
            return 5

    assert all(map(is_empty, (Kitchen.cook, Kitchen.stew, Local.documented, Local.nothing)))
    assert not any(map(is_empty, (Local.five, Plain.add, len)))


# --- what is refused


def test_an_interface_has_methods() -> None:
    """Private and special ones do not count."""

    class Empty(Protocol):
        def _private(self) -> int: ...

        def __len__(self) -> int: ...

    assert refusal(Empty) == "Empty: the interface has no method; write 'async def name(self, ...) -> Result: ...'"


def test_an_interface_has_a_number_for_each_method() -> None:
    """The last sixteen of the wire's numbers are reserved."""

    async def method(self: object) -> None: ...

    crowd = type("Crowd", (), {f"m{number}": method for number in range(0xFFF1)})
    with pytest.raises(DeclarationError, match="Crowd: more than 65520 methods"):
        Schema(crowd, frame_globals=globals(), frame_locals={})


def test_the_message_names_the_module() -> None:
    """Module, class, method and parameter, in this order."""

    class Local(Protocol):
        async def cook(self, *orders: Order) -> None: ...

    with pytest.raises(DeclarationError) as caught:
        Service("x", Local)
    place = "test_the_message_names_the_module.<locals>.Local.cook"
    assert str(caught.value) == (f"{__name__}.{place}: *orders has no fixed type; declare a list or a dict parameter")


class Page(Generic[T]):
    """No record."""


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


def test_a_class_of_the_wrong_kind_names_its_place() -> None:
    """What the codec refuses is told with the parameter's place, however deep."""

    class Local(Protocol):
        async def show(self, pages: dict[str, list[Page[int]]]) -> None: ...

    assert refusal(Local).startswith("Local.show, parameter 'pages': [value][...]: Page cannot be sent; a plain class")


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

    class Opened(Protocol):
        @idempotent
        async def read(self, file: Fd) -> bytes: ...

    yield (
        Opened,
        "Opened.read is @idempotent, and takes open descriptors, which are sent only once; leave the mark out",
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
    name = "newer_notation_of_the_interface_test"
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
