"""An interface becomes methods: their order, their parameters, their types; and what an implementation must have.

Everything is checked when the name is declared, and each message names the module, the method and the parameter. The
law: two processes with the same interface compute the same schema, whatever their modules are called.
"""

from __future__ import annotations

import builtins
import dis
import functools
import inspect
import json
import typing
from collections import ChainMap
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from types import CodeType, FunctionType
from typing import Final, Generic, TypeVar, final

import attrs

from ._arguments import Arguments, ArgumentsCodec, Parameter
from ._codec import Codec
from ._errors import DeclarationError, InvalidMessage
from ._marks import declared_errors, is_idempotent, is_one_way
from ._raised import DeclaredErrors
from ._types import Description, difference, fingerprint, resolve_message

T = TypeVar("T")

_STREAMS: Final = (AsyncIterator, AsyncIterable, AsyncGenerator)
_AWAITABLES: Final = (Awaitable, Coroutine)
_MOST_METHODS: Final = 0xFFF0  # the wire's number of a method has 16 bits, and the last 16 numbers are reserved
_SHOWN_METHODS: Final = 20


@final
@attrs.frozen(eq=False)
class RequestStream:
    """A parameter which is a stream.

    Attributes:
        name: Of the parameter.
        place: Its index among those which may be given by position; None where it may not.
        item: Encodes and decodes an item.
    """

    name: str
    place: int | None
    item: Codec[object]


@final
@attrs.frozen(eq=False, kw_only=True)
class Method:
    """One method of an interface, ready for use.

    Attributes:
        name: Its name.
        index: Its place in the interface: its identity on the wire between equal fingerprints.
        where: How messages call it: `Kitchen.cook`.
        arguments: Binds and encodes arguments; decodes and binds them at the other side. In place of a stream it has
            the number of that stream.
        requests: The parameters which are streams; their order is their number.
        result: Encodes and decodes the result; of a stream of results, an item.
        is_stream: Whether it is answered with a stream.
        is_one_way: Whether it is not answered at all.
        is_idempotent: Whether it may be run twice.
        errors: The exceptions which it declares.
        is_json: Whether all this is JSON on the wire.
    """

    name: str
    index: int
    where: str
    arguments: ArgumentsCodec
    requests: tuple[RequestStream, ...]
    result: Codec[object]
    is_stream: bool
    is_one_way: bool
    is_idempotent: bool
    errors: DeclaredErrors
    is_json: bool = False

    @functools.cached_property
    def in_json(self) -> Method:
        """The same method for a caller that speaks JSON.

        Raises:
            InvalidMessage: JSON cannot carry one of its types.
        """
        return attrs.evolve(
            self,
            arguments=self.arguments.in_json(),
            requests=tuple(attrs.evolve(stream, item=stream.item.in_json()) for stream in self.requests),
            result=self.result.in_json(),
            errors=self.errors.in_json(),
            is_json=True,
        )

    @property
    def is_plain(self) -> bool:
        """Whether a call of it is one body, and its answer one."""
        return not (self.requests or self.is_stream or self.arguments.carries_attachments)

    @property
    def takes_descriptors(self) -> bool:
        """Whether its arguments, or the items of a stream of requests, may hold descriptors."""
        return self.arguments.carries_descriptors or any(stream.item.carries_descriptors for stream in self.requests)

    @property
    def description(self) -> dict[str, object]:
        """What the other side must know of it; what is as usual is left out."""
        described: dict[str, object] = {
            "parameters": self.arguments.description,
            "result": self.result.description,
        }
        if self.requests:
            described["requests"] = {stream.name: stream.item.description for stream in self.requests}
        if self.is_stream:
            described["stream"] = True
        if self.is_one_way:
            described["one_way"] = True
        if self.errors.description:
            described["raises"] = self.errors.description
        return described

    def split_streams(self, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[Arguments, dict[int, object]]:
        """Take the streams out of the arguments; return what remains, with numbers in their place, and the streams."""
        values = list(args)
        named = dict(kwargs)
        streams: dict[int, object] = {}
        for number, stream in enumerate(self.requests):
            if stream.place is not None and stream.place < len(values):
                streams[number], values[stream.place] = values[stream.place], number
            elif stream.name in named:
                streams[number], named[stream.name] = named[stream.name], number
        for number, given in streams.items():
            if not hasattr(given, "__aiter__"):
                raise TypeError(
                    f"{self.where}: parameter '{self.requests[number].name}' is a stream, and a "
                    f"{type(given).__name__} is none; write feed(...) around an iterable"
                )
        return (tuple(values), named), streams

    def join_streams(
        self, args: tuple[object, ...], kwargs: dict[str, object], make: Callable[[int], object]
    ) -> Arguments:
        """Put streams in the place of their numbers.

        Args:
            args: As decoded.
            kwargs: As decoded.
            make: Makes the stream of a number.

        Raises:
            InvalidMessage: Where a stream should be there is not its number.
        """
        values = list(args)
        named = dict(kwargs)
        for number, stream in enumerate(self.requests):
            if stream.place is not None and stream.place < len(values):
                self._check_number(values[stream.place], number)
                values[stream.place] = make(number)
            elif stream.name in named:
                self._check_number(named[stream.name], number)
                named[stream.name] = make(number)
        return tuple(values), named

    def _check_number(self, found: object, number: int) -> None:
        if found != number:
            name = self.requests[number].name
            raise InvalidMessage(f"{self.where}: parameter '{name}': expected the number of its stream, {number}")


@final
class Schema(Generic[T]):
    """All methods of an interface, ordered by name; their description and its fingerprint."""

    def __init__(
        self, interface: object, *, frame_globals: Mapping[str, object], frame_locals: Mapping[str, object]
    ) -> None:
        if not isinstance(interface, type):
            raise DeclarationError(
                f"Service(path, {interface!r}): an interface is a class, best a typing.Protocol of 'async def' methods"
            )
        self.interface = interface
        self.name: str = interface.__qualname__.rpartition("<locals>.")[2]
        functions = _functions(interface)
        if not functions:
            raise DeclarationError(
                f"{_place(interface)}: the interface has no method; write 'async def name(self, ...) -> Result: ...'"
            )
        if len(functions) > _MOST_METHODS:
            raise DeclarationError(f"{_place(interface)}: more than {_MOST_METHODS} methods; make several interfaces")
        self.methods: tuple[Method, ...] = tuple(
            _method(interface, index, name, functions[name][1], _scope(*functions[name], frame_globals, frame_locals))
            for index, name in enumerate(sorted(functions))
        )
        self.by_name: dict[str, Method] = {method.name: method for method in self.methods}
        self.description: dict[str, object] = {method.name: method.description for method in self.methods}
        self.carries_attachments: bool = any(codec.carries_attachments for codec in self._codecs())
        self.carries_payloads: bool = any(codec.carries_payloads for codec in self._codecs())
        self.fingerprint: bytes = fingerprint(self.description)
        self.text: bytes = json.dumps(self.description, separators=(",", ":")).encode()

    def _codecs(self) -> Iterator[Codec[object] | ArgumentsCodec]:
        for method in self.methods:
            yield method.arguments
            yield method.result
            yield from (stream.item for stream in method.requests)

    def bindings(self, theirs: bytes) -> list[int] | str:
        """Compare with the schema text of a service.

        Returns:
            Which of the service's methods each of ours is; or, as text, the first difference that forbids it.
        """
        try:
            their_methods = _read_methods(theirs)
        except (ValueError, RecursionError) as error:
            return f"the service's schema cannot be read: {error}"
        order = {name: index for index, name in enumerate(sorted(their_methods))}
        for method in self.methods:
            where = f"{self.name}.{method.name}"
            if method.name not in their_methods:
                return f"{where}: the service has no such method (it has {_listing(order)})"
            different = _method_difference(method, their_methods[method.name])
            if different:
                return f"{where}: {different}"
        return [order[method.name] for method in self.methods]

    def check_implementation(self, implementation: object) -> None:
        """Raise DeclarationError unless every method is really there and takes these arguments."""
        if isinstance(implementation, type):
            raise DeclarationError(
                f"serve({implementation.__name__}): this is a class; give an instance: {implementation.__name__}()"
            )
        for method in self.methods:
            _check_method(implementation, method)


def _check_method(implementation: object, method: Method) -> None:
    cls = type(implementation)
    where = f"{cls.__module__}.{cls.__qualname__}"
    found = getattr(implementation, method.name, None)
    if found is None:
        raise DeclarationError(f"{where} does not implement {method.where}: there is no method of that name")
    if not callable(found):
        raise DeclarationError(f"{where}.{method.name} is a {type(found).__name__}, not a method")
    if _is_declaration(cls, method.name, found):
        raise DeclarationError(
            f"{where} does not implement {method.where}: it inherits the interface's empty body ('...')"
        )
    function = getattr(found, "__func__", found)
    if not method.is_stream and _yields(function):
        raise DeclarationError(
            f"{where}.{method.name} yields, and {method.where} declares one result: return it instead"
        )
    if method.is_stream and (inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function)):
        raise DeclarationError(
            f"{where}.{method.name} does not give what {method.where} declares, a stream: write 'async def' with "
            "'yield' in it, or a plain 'def' that returns an asynchronous iterator"
        )
    _check_parameters(f"{where}.{method.name}", found, method)


def _is_declaration(cls: type, name: str, found: object) -> bool:
    """Whether what was found is only what a Protocol declares, be it another one than the interface."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    if not getattr(owner, "_is_protocol", False):
        return False
    declared: Callable[..., object] = vars(owner)[name]
    return getattr(found, "__func__", None) is declared and _is_empty(inspect.unwrap(declared))


def _yields(function: Callable[..., object]) -> bool:
    if inspect.isasyncgenfunction(function):
        return True
    code = getattr(function, "__code__", None)
    is_awaitable = isinstance(code, CodeType) and code.co_flags & inspect.CO_ITERABLE_COROUTINE  # types.coroutine
    return inspect.isgeneratorfunction(function) and not is_awaitable


def _check_parameters(where: str, found: Callable[..., object], method: Method) -> None:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return  # a callable without a signature, such as one written in C
    for case, positional, named in _ways_to_call(method.arguments.parameters):
        try:
            signature.bind(*positional, **dict.fromkeys(named))
        except TypeError as error:
            raise DeclarationError(f"{where} does not take what {method.where} declares{case}: {error}") from None


def _ways_to_call(parameters: Sequence[Parameter]) -> Iterator[tuple[str, list[None], list[str]]]:
    """The calls that together show whether every call can be taken: how many values by place, and the names.

    What a caller leaves out is not sent, so that the implementation's default applies; and what comes after it is then
    given by its name.
    """
    by_place = [p for p in parameters if not p.keyword_only]
    by_name = [p for p in parameters if p.keyword_only]
    required = [None for p in by_place if not p.has_default]
    behind = [p.name for p in by_place[len(required) + 1 :] if not p.positional_only]
    yield "", [None for _ in by_place], [p.name for p in by_name]
    yield " where defaults apply", required, [p.name for p in by_name if not p.has_default]
    if behind:
        yield " by name", required, [*behind, *(p.name for p in by_name)]


@attrs.frozen(kw_only=True)
class _MethodDescription:
    parameters: Description
    result: Description
    requests: dict[str, Description]
    stream: bool
    one_way: bool
    raises: dict[str, Description | None]


def _read_methods(text: bytes) -> dict[str, _MethodDescription]:
    """Read a schema text; what is not one is a ValueError."""
    methods: object = json.loads(text)
    if not isinstance(methods, dict):
        raise ValueError("not an object")
    if len(methods) > _MOST_METHODS:
        raise ValueError(f"more than {_MOST_METHODS} methods")
    return {str(name): _read_method(str(name), method) for name, method in methods.items()}


def _read_method(name: str, method: object) -> _MethodDescription:
    if not isinstance(method, dict) or not method.keys() >= {"parameters", "result"}:
        raise ValueError(f"method {name!r} is incomplete")
    requests, raises = method.get("requests", {}), method.get("raises", {})
    if not (isinstance(requests, dict) and isinstance(raises, dict)):
        raise ValueError(f"method {name!r}: its streams or its exceptions are no objects")
    return _MethodDescription(
        parameters=method["parameters"],
        result=method["result"],
        requests=requests,
        stream=bool(method.get("stream")),
        one_way=bool(method.get("one_way")),
        raises=raises,
    )


def _method_difference(mine: Method, theirs: _MethodDescription) -> str | None:
    # What the caller sends is read by the service, and what the service answers is read by the caller.
    return (
        difference(mine.arguments.description, theirs.parameters)
        or _stream_difference(mine, theirs)
        or difference(mine.result.description, theirs.result)
        or _errors_difference(mine, theirs)
    )


def _stream_difference(mine: Method, theirs: _MethodDescription) -> str | None:
    streams = {stream.name: stream for stream in mine.requests}
    lone = next(iter(sorted(streams.keys() ^ theirs.requests.keys())), None)
    if lone is not None:
        return f"parameter '{lone}' is a stream {_here_only(here=lone in streams)}"
    if mine.is_stream != theirs.stream:
        return f"it is answered with a stream {_here_only(here=mine.is_stream)}"
    if mine.is_one_way != theirs.one_way:
        return f"it is one way {_here_only(here=mine.is_one_way)}"
    for name, stream in streams.items():
        different = difference(stream.item.description, theirs.requests[name])
        if different:
            return f"parameter '{name}', an item: {different}"
    return None


def _here_only(*, here: bool) -> str:
    return "on this side, and not at the service" if here else "at the service, and not on this side"


def _errors_difference(mine: Method, theirs: _MethodDescription) -> str | None:
    # One that is declared on one side only arrives as RemoteError, or never.
    for label, description in mine.errors.description.items():
        if label not in theirs.raises:
            continue
        other = theirs.raises[label]
        if description is None or other is None:
            if description is not other:
                return f"@raises({label}): it has fields on one side, and only a text on the other"
        elif different := difference(description, other):
            return f"@raises({label}): {different}"
    return None


def _listing(names: Iterable[str]) -> str:
    shown = list(names)
    more = ", ..." if len(shown) > _SHOWN_METHODS else ""
    return (", ".join(shown[:_SHOWN_METHODS]) or "none") + more


@attrs.frozen(eq=False)
class _Scope:
    """Where the names in a method's annotations are looked up: `first`, then in `then`."""

    first: Mapping[str, object]
    then: Mapping[str, object]

    def evaluate(self, annotation: object) -> object:
        """A string annotation as the object it names, where that is possible; `resolve` explains what is not."""
        if not isinstance(annotation, str):
            return annotation
        try:
            names = ChainMap(dict(self.first), dict(self.then))
            return typing.cast("object", eval(annotation, {"__builtins__": builtins}, names))
        except Exception:
            return annotation

    def resolve(self, annotation: object, where: str) -> object:
        """The annotation checked, and with every name in it resolved."""
        variable = _type_variable(annotation)
        if variable:
            raise DeclarationError(f"{where}: {variable} is a type variable, and cannot be carried; write the type")
        return resolve_message(annotation, frame_globals=self.then, frame_locals=self.first, where=where)


def _scope(
    owner: type, function: FunctionType, frame_globals: Mapping[str, object], frame_locals: Mapping[str, object]
) -> _Scope:
    """A method is read as its own module reads it, whatever the declaring frame means by the same names.

    Only an interface that is local to a function is read with the locals of the frame, if they are of its module.
    """
    own = {parameter.__name__: parameter for parameter in getattr(function, "__type_params__", ())}
    # A method may have the name of its type (`async def date(self) -> date`), so only the class's inner classes count.
    own |= {name: member for name, member in vars(owner).items() if isinstance(member, type)}
    module = {**vars(builtins), **function.__globals__}
    if "<locals>" in function.__qualname__ and frame_globals is function.__globals__:
        return _Scope({**frame_locals, **own}, module)
    return _Scope({**module, **own}, {**frame_globals, **frame_locals})


def _place(interface: type) -> str:
    return f"{interface.__module__}.{interface.__qualname__}"


def _functions(interface: type) -> dict[str, tuple[type, FunctionType]]:
    """The public functions of a class and its bases, and whose they are; refuses what cannot be called from afar."""
    found: dict[str, tuple[type, FunctionType]] = {}
    for cls in reversed(interface.__mro__):
        if cls is object or cls.__module__ in {"typing", "typing_extensions"}:
            continue
        _refuse_attributes(cls)
        for name, member in vars(cls).items():
            if name.startswith("_"):
                continue
            where = f"{_place(cls)}.{name}"
            if isinstance(member, FunctionType):
                found[name] = cls, member
            elif isinstance(member, property | functools.cached_property):
                raise DeclarationError(f"{where} is a property; write 'async def {name}(self) -> ...' instead")
            elif isinstance(member, staticmethod | classmethod):
                raise DeclarationError(
                    f"{where} is a {type(member).__name__}; an interface has ordinary methods, with self"
                )
    return found


def _refuse_attributes(cls: type) -> None:
    """What a Protocol declares, a checker lets a client use; the attributes of a plain class are its own affair."""
    if not getattr(cls, "_is_protocol", False):
        return
    for name, annotation in inspect.get_annotations(cls).items():
        if not name.startswith("_") and "ClassVar" not in str(annotation):
            raise DeclarationError(
                f"{_place(cls)}.{name} is an attribute; write 'async def {name}(self) -> ...' instead"
            )


def _method(interface: type, index: int, name: str, function: FunctionType, scope: _Scope) -> Method:
    where = f"{_place(interface)}.{name}"
    if (
        typing.get_overloads(function) or function.__qualname__ == "_overload_dummy"
    ):  # the last of several without a body
        raise DeclarationError(f"{where} is overloaded; declare one method a signature, or a union")
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind not in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }:
        raise DeclarationError(f"{where} has no 'self'; an interface has ordinary methods")
    resolved, requests = _read_parameters(where, parameters[1:], scope)
    result, is_stream = _result(where, function, signature.return_annotation, scope)
    short = f"{interface.__name__}.{name}"
    method = Method(
        name=name,
        index=index,
        where=short,
        arguments=ArgumentsCodec(short, resolved),
        requests=requests,
        result=Codec(result),
        is_stream=is_stream,
        is_one_way=is_one_way(function),
        is_idempotent=is_idempotent(function),
        errors=DeclaredErrors(where, declared_errors(function)),
    )
    _check_marks(where, method)
    return method


def _check_marks(where: str, method: Method) -> None:
    if method.is_one_way and (method.is_stream or method.result.type_name != "None"):
        raise DeclarationError(f"{where} is @one_way, and declares a result; write '-> None'")
    if method.is_one_way and method.errors.description:
        raise DeclarationError(f"{where} is @one_way: nobody learns what it @raises; leave one of the marks out")
    if method.is_idempotent and method.takes_descriptors:
        raise DeclarationError(
            f"{where} is @idempotent, and takes open descriptors, which are sent only once; leave the mark out"
        )
    if method.is_idempotent and method.requests:
        raise DeclarationError(
            f"{where} is @idempotent, and takes a stream, which cannot be sent a second time; leave the mark out"
        )


def _read_parameters(
    where: str, parameters: Sequence[inspect.Parameter], scope: _Scope
) -> tuple[list[Parameter], tuple[RequestStream, ...]]:
    """The parameters, those which are streams with the type of their number; and these."""
    resolved, requests = [], []
    for place, parameter in enumerate(parameters):
        found, item = _parameter(where, parameter, scope)
        resolved.append(found)
        if item is not None:
            requests.append(RequestStream(found.name, None if found.keyword_only else place, item))
    return resolved, tuple(requests)


def _parameter(where: str, parameter: inspect.Parameter, scope: _Scope) -> tuple[Parameter, Codec[object] | None]:
    """A parameter; and the codec of its items if it is a stream."""
    kinds = inspect.Parameter
    if parameter.kind in {kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD}:
        star = "*" if parameter.kind is kinds.VAR_POSITIONAL else "**"
        raise DeclarationError(f"{where}: {star}{parameter.name} has no fixed type; declare a list or a dict parameter")
    if parameter.annotation is kinds.empty:
        raise DeclarationError(f"{where}: parameter '{parameter.name}' has no annotation; write its type")
    place = f"{where}, parameter '{parameter.name}'"
    annotation = scope.evaluate(parameter.annotation)
    item = _stream_item(annotation, place, scope)
    found = Parameter(
        name=parameter.name,
        type=scope.resolve(annotation, place) if item is None else int,
        has_default=parameter.default is not kinds.empty,
        keyword_only=parameter.kind is kinds.KEYWORD_ONLY,
        positional_only=parameter.kind is kinds.POSITIONAL_ONLY,
    )
    return found, item


def _stream_item(annotation: object, place: str, scope: _Scope) -> Codec[object] | None:
    """The codec of the items, if this is a stream."""
    if _origin(annotation) not in _STREAMS:
        return None
    return Codec(scope.resolve(_item_of(annotation, place), f"{place}, an item"))


def _item_of(annotation: object, place: str) -> object:
    arguments = typing.get_args(annotation)
    if not arguments:
        raise DeclarationError(f"{place}: a stream of nothing; write 'AsyncIterator[...]' with what it delivers")
    return typing.cast("object", arguments[0])


def _result(where: str, function: FunctionType, annotation: object, scope: _Scope) -> tuple[object, bool]:
    """What answers a call, and whether that is a stream of it."""
    if annotation is inspect.Signature.empty:
        raise DeclarationError(f"{where}: the result has no annotation; write '-> None' where there is none")
    is_async = inspect.iscoroutinefunction(function)
    annotation = scope.evaluate(annotation)
    place = f"{where}, the result"
    if isinstance(annotation, str):
        scope.resolve(annotation, place)  # tells which name is not there
    if _origin(annotation) in _STREAMS:
        if is_async:
            raise DeclarationError(
                f"{where}: 'async def' with an AsyncIterator as its result is a coroutine which returns one; write "
                f"'def {function.__name__}(...) -> AsyncIterator[...]', without 'async', for a stream of results"
            )
        return scope.resolve(_item_of(annotation, place), f"{place}, an item"), True
    if inspect.isasyncgenfunction(function):
        raise DeclarationError(f"{where} yields, and its result is no stream; write '-> AsyncIterator[...]'")
    if not is_async:
        annotation = _awaited(where, place, annotation)
    return scope.resolve(annotation, place), False


def _awaited(where: str, place: str, annotation: object) -> object:
    """What a plain `def` promises to deliver, which must be an Awaitable."""
    if _origin(annotation) not in _AWAITABLES:
        raise DeclarationError(
            f"{where}: a plain 'def' with a plain result; write 'async def' instead, or '-> AsyncIterator[...]' for a "
            "stream of results"
        )
    arguments = typing.get_args(annotation)
    if not arguments:
        raise DeclarationError(f"{place}: an Awaitable of nothing; write 'Awaitable[...]' with what it delivers")
    return typing.cast("object", arguments[-1])


def _origin(annotation: object) -> object:
    return typing.get_origin(annotation) or annotation


def _type_variable(annotation: object) -> str | None:
    """The name of a type variable in an annotation, however deep."""
    if isinstance(annotation, TypeVar):
        return annotation.__name__
    return next(filter(None, map(_type_variable, typing.get_args(annotation))), None)


_EMPTY_BODIES: Final = frozenset(
    {
        "RESUME",
        "RETURN_GENERATOR",
        "POP_TOP",
        "LOAD_CONST",
        "RETURN_VALUE",
        "RETURN_CONST",
        "NOP",
        "COPY_FREE_VARS",
    }
    | {"CALL_INTRINSIC_1", "RERAISE", "CACHE", "LOAD_ASSERTION_ERROR"}
)


def _is_empty(function: object) -> bool:
    """Whether a function's body is `...`, `pass` or a docstring: the body that a Protocol declares."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    if any(instruction.opname not in _EMPTY_BODIES for instruction in dis.get_instructions(code)):
        return False
    documentation = getattr(function, "__doc__", None)
    return all(constant in (None, ..., documentation) for constant in code.co_consts)
