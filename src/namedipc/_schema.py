"""An interface becomes methods: their order, their parameters, their types; and what an implementation must have.

Everything is checked when the name is declared, and each message names the module, the method and the parameter. The
law: two processes with the same interface compute the same schema, whatever their modules are called.
"""

from __future__ import annotations

import dis
import inspect
import json
import sys
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from types import CodeType, FunctionType
from typing import Final, Generic, TypeVar, final

import attrs

from ._codec import ArgumentsCodec, Codec, Parameter
from ._errors import DeclarationError
from ._types import Description, difference, fingerprint, resolve_message

T = TypeVar("T")

_STREAMS: Final = (AsyncIterator, AsyncIterable, AsyncGenerator)
_AWAITABLES: Final = (Awaitable, Coroutine)


@final
@attrs.frozen(eq=False)
class Method:
    """One method of an interface, ready for use.

    Attributes:
        name: Its name.
        index: Its place in the interface: its identity on the wire between equal fingerprints.
        where: How messages call it: `Kitchen.cook`.
        arguments: Binds and encodes arguments; decodes and binds them at the other side.
        result: Encodes and decodes the result.
    """

    name: str
    index: int
    where: str
    arguments: ArgumentsCodec
    result: Codec[object]


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
        self.name = interface.__qualname__.rpartition("<locals>.")[2]
        functions = _functions(interface)
        if not functions:
            raise DeclarationError(
                f"{_place(interface)}: the interface has no method; write 'async def name(self, ...) -> Result: ...'"
            )
        scope = _Scope(frame_globals, frame_locals)
        self.methods = tuple(
            _method(interface, name, functions[name], index, scope) for index, name in enumerate(sorted(functions))
        )
        self.by_name = {method.name: method for method in self.methods}
        self.description: dict[str, object] = {
            method.name: {"parameters": method.arguments.description, "result": method.result.description}
            for method in self.methods
        }
        self.fingerprint = fingerprint(self.description)
        self.text = json.dumps(self.description, separators=(",", ":")).encode()

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
                return f"{where}: the service has no such method (it has {', '.join(order) or 'none'})"
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
            self._check_method(type(implementation), getattr(implementation, method.name, None), method)

    def _check_method(self, cls: type, found: object, method: Method) -> None:
        where = f"{cls.__module__}.{cls.__qualname__}"
        if found is None:
            raise DeclarationError(f"{where} does not implement {method.where}: there is no method of that name")
        function = inspect.unwrap(getattr(found, "__func__", found))  # type: ignore[arg-type]  # unwrap takes any object
        declared = inspect.getattr_static(self.interface, method.name)
        if function is declared and getattr(self.interface, "_is_protocol", False) and _is_empty(declared):
            raise DeclarationError(
                f"{where} does not implement {method.where}: it inherits the interface's empty body ('...')"
            )
        if not callable(found):
            raise DeclarationError(f"{where}.{method.name} is a {type(found).__name__}, not a method")
        if inspect.isasyncgenfunction(function):
            raise DeclarationError(
                f"{where}.{method.name} yields, and {method.where} declares one result: return it instead"
            )
        self._check_parameters(where, found, method)

    def _check_parameters(self, where: str, found: Callable[..., object], method: Method) -> None:
        positional = [p for p in method.arguments.parameters if not p.keyword_only]
        named = {p.name: None for p in method.arguments.parameters if p.keyword_only}
        try:
            inspect.signature(found).bind(*(None for _ in positional), **named)
        except TypeError as error:
            raise DeclarationError(
                f"{where}.{method.name} does not take what {method.where} declares: {error}"
            ) from None
        except ValueError:
            return  # a callable without a signature, such as one written in C


@attrs.frozen
class _MethodDescription:
    parameters: Description
    result: Description


def _read_methods(text: bytes) -> dict[str, _MethodDescription]:
    """Read a schema text; what is not one is a ValueError."""
    methods: object = json.loads(text)
    if not isinstance(methods, dict):
        raise ValueError("not an object")
    found = {}
    for name, method in methods.items():
        if not isinstance(method, dict) or method.keys() < {"parameters", "result"}:
            raise ValueError(f"method {name!r} is incomplete")
        found[str(name)] = _MethodDescription(method["parameters"], method["result"])
    return found


def _method_difference(mine: Method, theirs: _MethodDescription) -> str | None:
    # What the caller sends is read by the service, and what the service answers is read by the caller.
    return difference(mine.arguments.description, theirs.parameters) or difference(
        mine.result.description, theirs.result
    )


@attrs.frozen
class _Scope:
    """Where names in annotations are looked up besides their own module: the declaring frame."""

    frame_globals: Mapping[str, object]
    frame_locals: Mapping[str, object]


def _place(interface: type) -> str:
    return f"{interface.__module__}.{interface.__qualname__}"


def _functions(interface: type) -> dict[str, FunctionType]:
    """The public functions of a class and its bases; refuses what cannot be called from afar."""
    found: dict[str, FunctionType] = {}
    for cls in reversed(interface.__mro__):
        if cls is object or cls.__module__ in {"typing", "typing_extensions"}:
            continue
        for name, member in vars(cls).items():
            if name.startswith("_"):
                continue
            where = f"{_place(cls)}.{name}"
            if isinstance(member, FunctionType):
                found[name] = member
            elif isinstance(member, property):
                raise DeclarationError(f"{where} is a property; write 'async def {name}(self) -> ...' instead")
            elif isinstance(member, staticmethod | classmethod):
                raise DeclarationError(
                    f"{where} is a {type(member).__name__}; an interface has ordinary methods, with self"
                )
    return found


def _method(interface: type, name: str, function: FunctionType, index: int, scope: _Scope) -> Method:
    where = f"{_place(interface)}.{name}"
    if typing.get_overloads(function):
        raise DeclarationError(f"{where} is overloaded; declare one method a signature, or a union")
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind not in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }:
        raise DeclarationError(f"{where} has no 'self'; an interface has ordinary methods")
    resolved = [_parameter(where, parameter, function, scope) for parameter in parameters[1:]]
    result = _result(where, function, signature.return_annotation, scope)
    short = f"{interface.__name__}.{name}"
    return Method(name, index, short, ArgumentsCodec(short, resolved), Codec(result))


def _parameter(where: str, parameter: inspect.Parameter, function: FunctionType, scope: _Scope) -> Parameter:
    kinds = inspect.Parameter
    if parameter.kind in {kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD}:
        star = "*" if parameter.kind is kinds.VAR_POSITIONAL else "**"
        raise DeclarationError(f"{where}: {star}{parameter.name} has no fixed type; declare a list or a dict parameter")
    if parameter.annotation is kinds.empty:
        raise DeclarationError(f"{where}: parameter '{parameter.name}' has no annotation; write its type")
    place = f"{where}, parameter '{parameter.name}'"
    _refuse_type_variables(place, parameter.annotation, function)
    annotation = _resolve(place, parameter.annotation, function, scope)
    return Parameter(
        name=parameter.name,
        type=annotation,
        has_default=parameter.default is not kinds.empty,
        keyword_only=parameter.kind is kinds.KEYWORD_ONLY,
    )


def _result(where: str, function: FunctionType, annotation: object, scope: _Scope) -> object:
    if annotation is inspect.Signature.empty:
        raise DeclarationError(f"{where}: the result has no annotation; write '-> None' where there is none")
    is_async = inspect.iscoroutinefunction(function)
    annotation = _evaluate(annotation, function, scope)
    origin = typing.get_origin(annotation) or annotation
    if origin in _STREAMS or inspect.isasyncgenfunction(function):
        raise DeclarationError(_stream_advice(where, is_async=is_async))
    if not is_async:
        if origin not in _AWAITABLES:
            raise DeclarationError(
                f"{where}: a plain 'def' with a plain result; write 'async def {function.__name__}(...)'"
            )
        annotation = typing.get_args(annotation)[-1]
    place = f"{where}, the result"
    _refuse_type_variables(place, annotation, function)
    return _resolve(place, annotation, function, scope)


def _stream_advice(where: str, *, is_async: bool) -> str:
    advice = f"{where}: streams of results are not part of this version; return a list, or use a Channel or a Fifo"
    if is_async:
        advice += (
            " ('async def' with an AsyncIterator result would be a coroutine that returns one: plain 'def' is meant)"
        )
    return advice


def _evaluate(annotation: object, function: FunctionType, scope: _Scope) -> object:
    """A string annotation as the object it names, where that is possible; `_resolve` explains what is not."""
    if not isinstance(annotation, str):
        return annotation
    names = {**scope.frame_globals, **scope.frame_locals, **function.__globals__}
    try:
        return typing.cast("object", eval(annotation, names, dict(_class_namespace(function))))
    except Exception:
        return annotation


def _class_namespace(function: FunctionType) -> Mapping[str, object]:
    owner: object = sys.modules.get(function.__module__)
    for part in function.__qualname__.split(".")[:-1]:
        owner = getattr(owner, part, None)
    return vars(owner) if isinstance(owner, type) else {}


def _resolve(place: str, annotation: object, function: FunctionType, scope: _Scope) -> object:
    if typing.get_origin(annotation) in _STREAMS:
        raise DeclarationError(
            f"{place}: streams are not part of this version; pass a list, or use a Channel or a Fifo"
        )
    return resolve_message(
        annotation,
        frame_globals={**scope.frame_globals, **function.__globals__},
        frame_locals=scope.frame_locals,
        where=place,
    )


def _refuse_type_variables(place: str, annotation: object, function: FunctionType) -> None:
    if isinstance(annotation, TypeVar) or any(isinstance(a, TypeVar) for a in typing.get_args(annotation)):
        raise DeclarationError(f"{place}: a type variable of the method cannot be carried; write the type itself")


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
