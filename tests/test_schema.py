"""What makes a schema: the same for everybody, two of them compared, and what implements it."""

from __future__ import annotations

import functools
import inspect
import json
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Protocol

import attrs
import pytest

from namedipc import Service, idempotent, one_way, raises
from namedipc._errors import DeclarationError

from .schema_support import NOTHING, Empty, Kitchen, Order, Sold, Streams, module_of, refusal, schema_of

NO_CLASS = "an interface is a class, best a typing.Protocol of 'async def' methods"


@pytest.mark.parametrize("interface", [5, "Kitchen", None, list[int], len])
def test_an_interface_is_a_class(interface: object) -> None:
    """Anything else is refused with what it is."""
    assert refusal(interface) == f"Service(path, {interface!r}): {NO_CLASS}"


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
