"""A name: a path and a type, as a value.

The law: immutable, and holds no descriptor, so that a module of names can be imported by every process. A
verb of a subclass opens it; until then the path is kept as it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self, TypeVar, cast, get_args

from . import _names
from ._errors import DeclarationError
from ._values import StrPath

NameT = TypeVar("NameT", bound="Name")


class Name:
    """A path and a type; immutable, hashable, holds no descriptor.

    The path is kept as given: a relative one is looked up from the working directory of the moment in which a
    verb opens the name. Pickling makes it absolute, so that a child in another directory finds the same name.

    A subclass sets its own slots in `__init__` by `object.__setattr__`, and says in `_arguments` and
    `_options` what besides the path it was made of.
    """

    __slots__ = ("__weakref__", "_path")

    _kind: ClassVar[_names.Kind]
    _path: Path

    def __init__(self, path: StrPath) -> None:
        """Check the path; nothing is opened, and nothing has to be there.

        Args:
            path: A filesystem path; each part has 255 bytes at most, the last one of a socket or a file 249.

        Raises:
            DeclarationError: It cannot be a name.
        """
        if type(self) is Name:
            raise DeclarationError(
                "Name is what all names have in common; write Service(path, ...), Fifo(path, ...), ..."
            )
        _names.check_path(path, kind=self._kind)
        object.__setattr__(self, "_path", Path(path))

    @property
    def path(self) -> Path:
        """The path as it was given."""
        return self._path

    def at(self, path: StrPath, /) -> Self:
        """Return the same name elsewhere: the type and the options stay, the path is another.

        Args:
            path: Where; a test's `tmp_path`, one name a user or a shard.

        Raises:
            DeclarationError: The path cannot be a name.
        """
        return _rebuild(type(self), path, self._arguments(), self._options())

    def exists(self) -> bool:
        """Whether the name is there, as the kind of file it has to be. Its owner may have died.

        Raises:
            NotAllowed: The directory may not be looked into.
        """
        return _names.name_exists(self._path, kind=self._kind)

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the name, and what killed processes have left beside it.

        Args:
            missing_ok: Say nothing where nothing is there.

        Raises:
            NameNotFound: Nothing is there, unless `missing_ok`.
            NameTaken: A living owner has it.
            WrongKind: Something else is there; it is not touched.
            NotAllowed: It belongs to somebody else.
        """
        _names.remove_name(self._path, kind=self._kind, missing_ok=missing_ok)

    def _arguments(self) -> tuple[object, ...]:
        """What the name was made of besides the path, in the order of its `__init__`."""
        return ()

    def _options(self) -> Mapping[str, object]:
        """What it was made of by keyword only."""
        return {}

    def _identity(self) -> tuple[object, ...]:
        return (self._path, self._arguments(), self._options())

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        # The path alone, for a type may be unhashable (Annotated with a list); equal names have equal paths.
        return hash((type(self), self._path))

    def __repr__(self) -> str:
        parts = [repr(os.fspath(self._path)), *map(_in_words, self._arguments())]
        parts += [f"{option}={value!r}" for option, value in self._options().items()]
        return f"{type(self).__name__}({', '.join(parts)})"

    if not TYPE_CHECKING:  # a checker that saw __setattr__ would let every attribute be set

        def __setattr__(self, attribute: str, value: object) -> NoReturn:
            raise AttributeError(f"{self!r} cannot be changed ({attribute}); at(path) gives the same name elsewhere")

        def __delattr__(self, attribute: str) -> NoReturn:
            raise AttributeError(f"{self!r} cannot be changed ({attribute})")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Mapping[int, object], /) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[..., Name], tuple[object, ...]]:
        return _rebuild, (type(self), Path(_names.absolute(self._path)), self._arguments(), dict(self._options()))


def _rebuild(kind: type[NameT], path: StrPath, arguments: tuple[object, ...], options: Mapping[str, object]) -> NameT:
    # Each subclass has an `__init__` of its own, whose arguments `_arguments` and `_options` repeat.
    return cast("Callable[..., NameT]", kind)(path, *arguments, **options)


def _in_words(argument: object) -> str:
    # `list[int]` is an instance of type for isinstance, and its qualified name lacks the parameter.
    return argument.__qualname__ if isinstance(argument, type) and not get_args(argument) else repr(argument)
