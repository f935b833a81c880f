"""An interface as both sides see it: whether two of them fit together, and whether an implementation has all of it.

The law: two processes with the same interface compute the same schema, whatever their modules are called.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from types import CodeType
from typing import Final, Generic, TypeVar, final

import attrs

from ._arguments import ArgumentsCodec, Parameter
from ._codec import Codec
from ._errors import DeclarationError
from ._interface import MOST_METHODS, is_empty, read_interface
from ._methods import Method
from ._types import Description, difference, fingerprint

T = TypeVar("T")

_SHOWN_METHODS: Final = 20


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
        self.methods: tuple[Method, ...] = read_interface(interface, frame_globals, frame_locals)
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
    return getattr(found, "__func__", None) is declared and is_empty(inspect.unwrap(declared))


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
    if len(methods) > MOST_METHODS:
        raise ValueError(f"more than {MOST_METHODS} methods")
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
