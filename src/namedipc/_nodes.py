"""What a message type consists of: a small tree, the same for every way to write a type in Python.

The law: a tree says what travels and how Python holds it, and nothing of where a class was defined.
Description, checks and wire types are derived from it.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal, TypeAlias

import attrs

from ._fd import Fd
from ._held import HeldOpening

Style: TypeAlias = Literal["attrs", "dataclass", "struct", "typeddict", "namedtuple"]
Presence: TypeAlias = Literal["required", "default", "optional"]
"""required: always sent, must arrive; default: always sent, need not arrive; optional: need neither."""

SCALARS: Final[tuple[type, ...]] = (
    *(types.NoneType, bool, int, float, str, bytes, bytearray, uuid.UUID, decimal.Decimal),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
)

LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern", "tz")


@attrs.define(eq=False, repr=False, kw_only=True)
class Node:
    """A type. `metas` are the msgspec.Meta objects which bound it."""

    metas: tuple[object, ...] = ()

    @property
    def form(self) -> object:
        """The type as Python writes it, without strings and forward references."""
        return bounded(self.plain, self.metas)

    @property
    def limits(self) -> dict[str, object]:
        """What the metas ask of a value."""
        found = ((name, getattr(meta, name)) for meta in self.metas for name in LIMITS)
        return {name: value for name, value in found if value is not None}

    @property
    def plain(self) -> object:
        """The form without its bounds."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """The type as messages and tags name it: no module names, unions in order of their names."""
        raise NotImplementedError

    def children(self) -> Iterator[Node]:
        """The types directly inside."""
        return iter(())


@attrs.define(eq=False, repr=False)
class Scalar(Node):
    """One of SCALARS."""

    cls: type

    @property
    def plain(self) -> object:
        return self.cls

    @property
    def label(self) -> str:
        return "None" if self.cls is types.NoneType else self.cls.__name__


@attrs.define(eq=False, repr=False)
class Unset(Node):
    """msgspec.UnsetType: the field may be left out."""

    cls: object

    @property
    def plain(self) -> object:
        return self.cls

    @property
    def label(self) -> str:
        return "UnsetType"


@attrs.define(eq=False, repr=False)
class Choice(Node):
    """A Literal."""

    values: tuple[object, ...]

    @property
    def plain(self) -> object:
        return Literal[self.values]

    @property
    def label(self) -> str:
        return f"Literal[{', '.join(sorted(map(value_label, self.values)))}]"


@attrs.define(eq=False, repr=False)
class Enumeration(Node):
    """An Enum class."""

    cls: type[enum.Enum]

    @property
    def plain(self) -> object:
        return self.cls

    @property
    def label(self) -> str:
        return self.cls.__name__

    @property
    def by_value(self) -> bool:
        """Whether members travel by their value: all str, or all int of 64 bits; otherwise by their name."""
        values = [member.value for member in self.cls]
        if issubclass(self.cls, enum.Flag):
            return True
        return all(type(value) is str for value in values) or all(
            type(value) is int and -(2**63) <= value < 2**63 for value in values
        )


@attrs.define(eq=False, repr=False)
class Items(Node):
    """Any number of one type: list, set, frozenset, tuple; `abstract` where declared as a Sequence or so."""

    cls: type
    item: Node
    abstract: type | None = None

    @property
    def plain(self) -> object:
        origin = self.abstract or self.cls
        parameters = (self.item.form, ...) if self.cls is tuple else self.item.form
        return _subscript(origin, parameters)

    @property
    def label(self) -> str:
        return f"{self.cls.__name__}[{self.item.label}{', ...' if self.cls is tuple else ''}]"

    def children(self) -> Iterator[Node]:
        yield self.item


@attrs.define(eq=False, repr=False)
class Fixed(Node):
    """A tuple of fixed length."""

    items: tuple[Node, ...]

    @property
    def plain(self) -> object:
        return _subscript(tuple, tuple(item.form for item in self.items))

    @property
    def label(self) -> str:
        return f"tuple[{', '.join(item.label for item in self.items) or '()'}]"

    def children(self) -> Iterator[Node]:
        yield from self.items


@attrs.define(eq=False, repr=False)
class Table(Node):
    """A dict."""

    key: Node
    value: Node
    abstract: type | None = None

    @property
    def plain(self) -> object:
        return _subscript(self.abstract or dict, (self.key.form, self.value.form))

    @property
    def label(self) -> str:
        return f"dict[{self.key.label}, {self.value.label}]"

    def children(self) -> Iterator[Node]:
        yield self.key
        yield self.value


@attrs.define(eq=False, repr=False)
class Union(Node):
    """One of several types, no union among them. `tagged`: its values travel as [label, value]."""

    members: tuple[Node, ...]

    @property
    def plain(self) -> object:
        return union_of(member.form for member in self.members)

    @property
    def label(self) -> str:
        labels = sorted(member.label for member in self.members if member.label != "None")
        return " | ".join([*labels, *(["None"] if len(labels) < len(self.members) else [])])

    @property
    def tagged(self) -> bool:
        """Whether two members look alike on the wire. A rule of our own: msgspec's may change."""
        seen: set[str] = set()
        for kinds in _wire_kinds(self.members):
            if seen & kinds:
                return True
            seen |= kinds
        return False

    def children(self) -> Iterator[Node]:
        yield from self.members


@attrs.frozen(eq=False, repr=False)
class Field:
    """One field of a record; `wire_name` differs from `name` only where a msgspec struct renames it."""

    name: str
    wire_name: str
    node: Node
    presence: Presence


@attrs.define(eq=False, repr=False)
class Record(Node):
    """A class with named fields.

    Attributes:
        array: Its fields travel by position.
        closed: It refuses fields that it does not know.
        tag: The field and value that a msgspec struct adds, if it does.
        native: msgspec reads and writes the class itself rightly (what it contains aside).
    """

    cls: type
    arguments: tuple[object, ...]
    style: Style
    array: bool
    closed: bool
    tag: tuple[str, str | int] | None
    native: bool
    title: str
    fields: tuple[Field, ...] = ()

    @property
    def plain(self) -> object:
        return _subscript(self.cls, self.arguments) if self.arguments else self.cls

    @property
    def label(self) -> str:
        return self.title

    def children(self) -> Iterator[Node]:
        for field in self.fields:
            yield field.node


@attrs.define(eq=False, repr=False)
class Array(Node):
    """A numpy array of one scalar type; `dimensions` where the declared shape fixes them."""

    cls: type
    form_: object
    scalar: type
    dimensions: int | None

    @property
    def plain(self) -> object:
        return self.form_

    @property
    def label(self) -> str:
        return f"NDArray[{self.scalar.__name__}]"


@attrs.define(eq=False, repr=False)
class View(Node):
    """A memoryview: bytes which travel beside the message where they are many."""

    @property
    def plain(self) -> object:
        return memoryview

    @property
    def label(self) -> str:
        return "memoryview"


@attrs.define(eq=False, repr=False)
class Descriptor(Node):
    """An Fd: its place among the descriptors that travel beside the message."""

    @property
    def plain(self) -> object:
        return Fd

    @property
    def label(self) -> str:
        return "Fd"


@attrs.define(eq=False, repr=False)
class End(Node):
    """An unopened end of a channel, whose descriptor travels beside the message; `item`: what that channel carries."""

    cls: type[HeldOpening[object, object]]
    item: Node

    @property
    def plain(self) -> object:
        return _subscript(self.cls, self.item.form)

    @property
    def label(self) -> str:
        return f"{self.cls.__name__}[{self.item.label}]"

    def children(self) -> Iterator[Node]:
        yield self.item


def bounded(form: object, metas: tuple[object, ...]) -> object:
    """The form with its bounds."""
    return Annotated[form, *metas] if metas else form


def union_of(forms: Iterable[object]) -> object:
    """A union of types which are known at run time only."""
    return typing.Union[tuple(forms)]  # noqa: UP007


def reachable(root: Node) -> Iterator[Node]:
    """Every type inside, each once, the root first, in the order in which they are written."""
    seen: set[Node] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        waiting.extend(reversed(list(node.children())))


def carries_descriptors(root: Node) -> bool:
    """Whether values of a type may hold descriptors."""
    return any(isinstance(node, Descriptor | End) for node in reachable(root))


def carries_payloads(root: Node) -> bool:
    """Whether values of a type may hold what travels beside the message where it is large."""
    return any(isinstance(node, Array | View) for node in reachable(root))


def trouble_in_json(node: Node) -> str | None:
    """Why JSON cannot carry a type (what it contains aside): descriptors, and keys not to be told from their text."""
    if isinstance(node, Descriptor | End):
        return f"{node.label} cannot be sent as JSON, which carries no descriptors"
    if not isinstance(node, Table):
        return None
    if not isinstance(node.key, Union) and _kinds(node.key) in ({"str"}, {"int"}, {"float"}):
        return None
    return (
        f"{node.label} cannot be sent as JSON, whose keys are text; "
        f"write list[tuple[{node.key.label}, {node.value.label}]]"
    )


def value_label(value: object) -> str:
    """A Literal's value without module names."""
    return f"{type(value).__name__}.{value.name}" if isinstance(value, enum.Enum) else repr(value)


def _subscript(origin: type, parameters: object) -> object:
    return origin[parameters]  # type: ignore[index]  # only types that take parameters come here


def _wire_kinds(members: Sequence[Node]) -> Iterator[set[str]]:
    """What each member may look like in msgpack; structs with tags of their own count once."""
    structs = [member for member in members if isinstance(member, Record) and member.tag]
    tags = {member.tag for member in structs}
    shapes = {(member.tag[0], member.array) for member in structs if member.tag}
    told_apart = len(tags) == len(structs) and len(shapes) == 1
    for member in members:
        if told_apart and member in structs[1:]:
            continue
        yield _kinds(member)


def _kinds(node: Node) -> set[str]:  # noqa: PLR0911  # one return a kind of type
    if isinstance(node, Scalar):
        return {node.label if node.cls in {types.NoneType, bool, int, float} else "str"}
    if isinstance(node, Enumeration):
        return {"int" if node.by_value and isinstance(next(iter(node.cls)).value, int) else "str"}
    if isinstance(node, Choice):
        return {_value_kind(value) for value in node.values} if literal_is_native(node) else {"str"}
    if isinstance(node, Unset):
        return {"unset"}
    if isinstance(node, Descriptor | End):
        return {"int", "float"}  # its place is a number, and a float may be sent as an int
    if isinstance(node, View):
        return {"str", "int", "float"}  # its bytes, or its place
    if isinstance(node, Record | Array):
        # Not two in one union, though one may be a map and one an array: their shadows are structs, of which
        # msgspec takes one.
        return {"record", "map" if isinstance(node, Record) and not node.array else "array"}
    return {"map" if isinstance(node, Table) else "array"}


def literal_is_native(node: Choice) -> bool:
    """Whether each value travels as itself; else each travels as its label."""
    return all(isinstance(value, bool | int | str | None) and not isinstance(value, enum.Enum) for value in node.values)


def _value_kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
