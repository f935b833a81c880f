"""The interfaces that the tests of interfaces, methods and schemas share, and what reads them."""

from __future__ import annotations

import builtins
import importlib.util
import inspect
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from pathlib import Path
from typing import ClassVar, Protocol

import attrs
import pytest

from namedipc import feed, idempotent, one_way, raises
from namedipc._errors import DeclarationError
from namedipc._methods import Method
from namedipc._schema import Schema


@attrs.frozen
class Order:
    """A record."""

    table: int
    dish: str


def schema_of(interface: object, **names: object) -> Schema[object]:
    """The schema of an interface, declared in its own module in a function with these locals."""
    module = inspect.getmodule(interface) or builtins
    return Schema(interface, frame_globals=vars(module), frame_locals=names)


def refusal(interface: object, **names: object) -> str:
    """The message with which an interface is refused; without the place of the test's local classes."""
    with pytest.raises(DeclarationError) as caught:
        schema_of(interface, **names)
    place, found, rest = str(caught.value).rpartition("<locals>.")
    assert not found or place.startswith(f"{getattr(interface, '__module__', '')}."), place
    return rest


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
    """A method of Streams."""
    return schema_of(Streams).by_name[name]


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
