"""A class becomes methods: their order, their parameters, their types.

The law: everything is checked when the name is declared, and each message names the module, the method and the
parameter.
"""

from __future__ import annotations

import builtins
import dis
import functools
import inspect
import typing
from collections import ChainMap
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Coroutine,
    Mapping,
    Sequence,
)
from types import CodeType, FunctionType
from typing import Final, TypeVar

import attrs

from ._arguments import ArgumentsCodec, Parameter
from ._codec import Codec
from ._errors import DeclarationError
from ._marks import declared_errors, is_idempotent, is_one_way
from ._methods import Method, RequestStream
from ._raised import DeclaredErrors
from ._types import resolve_message

MOST_METHODS: Final = 0xFFF0  # the wire's number of a method has 16 bits, and the last 16 numbers are reserved
_STREAMS: Final = (AsyncIterator, AsyncIterable, AsyncGenerator)
_AWAITABLES: Final = (Awaitable, Coroutine)


def read_interface(
    interface: type, frame_globals: Mapping[str, object], frame_locals: Mapping[str, object]
) -> tuple[Method, ...]:
    """Return the methods of an interface, in the order of the wire: that of their names.

    Args:
        interface: The class.
        frame_globals: Of the declaring frame, whose names may be in annotations.
        frame_locals: Likewise.

    Raises:
        DeclarationError: It cannot be called from afar; the text names the method and the parameter.
    """
    functions = _functions(interface)
    if not functions:
        raise DeclarationError(
            f"{_place(interface)}: the interface has no method; write 'async def name(self, ...) -> Result: ...'"
        )
    if len(functions) > MOST_METHODS:
        raise DeclarationError(f"{_place(interface)}: more than {MOST_METHODS} methods; make several interfaces")
    return tuple(
        _method(interface, index, name, functions[name][1], _scope(*functions[name], frame_globals, frame_locals))
        for index, name in enumerate(sorted(functions))
    )


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


def is_empty(function: object) -> bool:
    """Whether a function's body is `...`, `pass` or a docstring: the body that a Protocol declares."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    if any(instruction.opname not in _EMPTY_BODIES for instruction in dis.get_instructions(code)):
        return False
    documentation = getattr(function, "__doc__", None)
    return all(constant in (None, ..., documentation) for constant in code.co_consts)
