"""An annotation becomes a checked, resolved type.

The law: nothing becomes Any. What cannot be carried is refused where it is declared, with the place inside
the type and with what to write instead.
"""

from __future__ import annotations

import ast
import builtins
import collections
import collections.abc
import contextlib
import dataclasses
import datetime
import enum
import inspect
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, ForwardRef, Literal, NoReturn, TypeVar, cast

import attrs
import typing_extensions

from ._compatibility import Description, describe_node, difference, fingerprint
from ._errors import DeclarationError
from ._fd import Fd
from ._held import HeldOpening
from ._nodes import (
    LIMITS,
    SCALARS,
    Array,
    Choice,
    Descriptor,
    End,
    Enumeration,
    Field,
    Fixed,
    Items,
    Node,
    Presence,
    Record,
    Scalar,
    Style,
    Table,
    Union,
    Unset,
    View,
)

__all__ = ["Description", "describe", "difference", "fingerprint", "read", "resolve_message"]


def resolve_message(
    annotation: object,
    *,
    frame_globals: Mapping[str, object] | None = None,
    frame_locals: Mapping[str, object] | None = None,
    where: str = "the message type",
) -> object:
    """Resolve and check what a name was declared with.

    Args:
        annotation: A type, or a string that names one.
        frame_globals: Where names in strings are looked up: the module which declares.
        frame_locals: The function which declares; searched first, also for the fields of its local classes.
        where: What messages call the place, for example `Channel('pass')`.

    Returns:
        The type with every string and forward reference replaced.

    Raises:
        DeclarationError: The type, or one inside it, cannot be carried; says what to write instead.
    """
    return read(annotation, frame_globals=frame_globals, frame_locals=frame_locals, where=where).form


def describe(tp: object) -> Description:
    """Describe a resolved type: what the other side must know of it, as JSON can hold it; no module names."""
    return describe_node(read(tp))


def read(
    annotation: object,
    *,
    frame_globals: Mapping[str, object] | None = None,
    frame_locals: Mapping[str, object] | None = None,
    where: str = "the message type",
) -> Node:
    """As resolve_message, but returns the tree."""
    frame = ChainMap(dict(frame_locals or {}), dict(frame_globals or {}))
    reader = _Reader(frame, where)
    node = reader.read(annotation, _Scope(frame, "the declaring module"), "")
    reader.remember()
    return node


@attrs.frozen(eq=False)
class _Scope:
    """Where the names in an annotation are looked up, and what its type variables stand for."""

    names: Mapping[str, object]
    place: str
    module: str = ""
    variables: Mapping[object, Node] = attrs.field(factory=dict)


_MEMO: Final = "__namedipc_records__"

_SEQUENCES: Final = (collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection)
_SETS: Final = (collections.abc.Set, collections.abc.MutableSet)
_MAPPINGS: Final = (collections.abc.Mapping, collections.abc.MutableMapping)
_BARE_ADVICE: Final[dict[object, str]] = {
    list: "list[int], or what its items are",
    set: "set[int], or what its items are",
    frozenset: "frozenset[int], or what its items are",
    tuple: "tuple[int, str], or tuple[int, ...] for any number",
    dict: "dict[str, int], or what its keys and values are",
}
_FILE_ADVICE: Final = "write Fd, and send Fd(file): the other side gets the open file"
_ADVICE_ON_STREAMS: Final = "only a whole parameter, or the whole result, of a service's method may be a stream"
_ADVICE: Final[dict[object, str]] = {
    complex: "write tuple[float, float]",
    range: "write list[int], or a record with start and stop",
    slice: "write a record with start and stop",
    type: "write a Literal or an Enum of the names that occur",
    typing.BinaryIO: _FILE_ADVICE,
    typing.TextIO: _FILE_ADVICE,
    typing.IO: _FILE_ADVICE,
    collections.deque: "write list[...]",
    collections.defaultdict: "write dict[..., ...]",
    collections.OrderedDict: "write dict[..., ...], which keeps its order too",
    collections.Counter: "write dict[..., int]",
    collections.abc.Callable: "send what it is to be applied to, or declare a Service",
    collections.abc.Iterable: "write Sequence[...] or list[...]",
    collections.abc.Iterator: "write list[...]",
    collections.abc.Generator: "write list[...]",
    collections.abc.AsyncIterator: _ADVICE_ON_STREAMS,
    collections.abc.AsyncIterable: _ADVICE_ON_STREAMS,
    collections.abc.AsyncGenerator: _ADVICE_ON_STREAMS,
    collections.abc.Hashable: "write the types that occur, as a union",
}
_NAMED_ADVICE: Final = {
    "pathlib": "write str, and make a Path of it at the other side",
    "fractions": "write tuple[int, int]",
    "ctypes": "write an attrs class or a dataclass with the same fields",
    "numpy": "write float, int or bool, or npt.NDArray[np.float64] for arrays",
    "re": "write str",
    "io": _FILE_ADVICE,
    "_io": _FILE_ADVICE,
    "socket": _FILE_ADVICE,
}
_HOW_TO_CARRY: Final = (
    "a plain class has no fields that could be sent; decorate it with @attrs.frozen "
    "(a dataclass, msgspec.Struct, TypedDict, NamedTuple or Enum will do as well)"
)
_BOUNDS_OF: Final = {
    "number": {"ge", "gt", "le", "lt", "multiple_of"},
    "text": {"min_length", "max_length", "pattern"},
    "many": {"min_length", "max_length"},
    "time": {"tz"},
}


class _Reader:
    """Reads one annotation. Recursive classes are found again in `records`."""

    def __init__(self, frame: Mapping[str, object], where: str) -> None:
        self.frame = frame
        self.where = where
        self.records: dict[tuple[object, ...], Record] = {}
        self.aliases: list[object] = []

    def remember(self) -> None:
        """Keep what was found on the classes: local names in their annotations can be resolved only here."""
        for (cls, *arguments), record in self.records.items():
            assert isinstance(cls, type)
            with contextlib.suppress(AttributeError, TypeError):  # a class which takes no attributes
                if _MEMO not in vars(cls):
                    setattr(cls, _MEMO, {})
                vars(cls)[_MEMO][tuple(arguments)] = record

    def refuse(self, path: str, problem: str) -> NoReturn:
        raise DeclarationError(f"{self.where}: {path + ': ' if path else ''}{problem}")

    def read(self, form: Any, scope: _Scope, path: str) -> Node:  # noqa: PLR0911  # one return a kind of type
        if isinstance(form, ForwardRef):
            form = form.__forward_arg__
        if isinstance(form, str):
            return self.read(self._evaluate(form, scope, path), scope, path)
        if isinstance(form, TypeVar):
            return self._variable(form, scope, path)
        if isinstance(form, typing.NewType | typing_extensions.NewType):
            return self.read(form.__supertype__, scope, path)
        if form is None or form in SCALARS:
            return Scalar(types.NoneType if form is None else form)
        if _from_msgspec(form, "UnsetType"):
            return Unset(form)
        origin = typing.get_origin(form) or form
        if origin is Annotated:
            return self._annotated(form, scope, path)
        if origin in {typing.Union, types.UnionType}:
            return self._union(typing.get_args(form), scope, path)
        if origin is Literal:
            return Choice(typing.get_args(form))
        if _is_alias(origin) and origin.__module__.partition(".")[0] == "numpy":
            # numpy 2.5's NDArray: its argument is a scalar type, which is no message by itself.
            return self.read(origin.__value__[typing.get_args(form)], scope, path)
        if _is_alias(origin):
            return self._alias(origin, typing.get_args(form), scope, path)
        if isinstance(origin, type):
            return self._class(origin, form, scope, path)
        return self._unknown(form, path)

    def _evaluate(self, text: str, scope: _Scope, path: str) -> object:
        try:
            # The programmer's own annotation, exactly as Python would evaluate it without the quotes.
            return cast("object", eval(text, {"__builtins__": builtins}, scope.names))
        except NameError as error:
            self.refuse(path, _explain_name(error.name or text, text, scope))
        except Exception as error:
            self.refuse(path, f"the annotation {text!r} cannot be evaluated in {scope.place}: {error}")

    def _variable(self, form: TypeVar, scope: _Scope, path: str) -> Node:
        if form not in scope.variables:
            self.refuse(path, f"{form.__name__} is a type variable; write the type itself, for example Page[int]")
        return scope.variables[form]

    def _alias(self, alias: Any, arguments: tuple[object, ...], scope: _Scope, path: str) -> Node:
        if alias in self.aliases:
            self.refuse(path, f"the alias {alias.__name__} contains itself; write a class for the part that recurs")
        variables = self._variables(alias, alias.__type_params__, arguments, scope, path)
        module = getattr(sys.modules.get(alias.__module__ or ""), "__dict__", {})
        inner = _Scope(ChainMap(dict(self.frame), module), f"module {alias.__module__}", alias.__module__, variables)
        self.aliases.append(alias)
        try:
            return self.read(alias.__value__, inner, path)
        except NameError as error:
            self.refuse(path, _explain_name(error.name or "", alias.__name__, inner))
        finally:
            self.aliases.pop()

    def _variables(
        self, owner: Any, parameters: tuple[Any, ...], arguments: tuple[object, ...], scope: _Scope, path: str
    ) -> dict[object, Node]:
        if parameters and not arguments:
            example = ", ".join("int" for _ in parameters)
            self.refuse(
                path,
                f"{owner.__name__} is generic; write what it holds, for example {owner.__name__}[{example}]",
            )
        return {
            parameter: self.read(argument, scope, f"{path or owner.__name__}[{parameter.__name__}]")
            for parameter, argument in zip(parameters, arguments, strict=True)
        }

    def _annotated(self, form: Any, scope: _Scope, path: str) -> Node:
        inner, *extras = typing.get_args(form)
        node = self.read(inner, scope, path)
        for meta in extras:
            if _from_msgspec(type(meta), "Meta"):
                node = self._bound(node, meta, path)
        return node

    def _bound(self, node: Node, meta: object, path: str) -> Node:
        """The node with a bound; a bound of a union is one of each member that it can say something about."""
        asked = {name for name in LIMITS if getattr(meta, name) is not None}
        if not asked:
            return node
        members = node.members if isinstance(node, Union) else (node,)
        unused = asked - set().union(*map(_possible_bounds, members))
        if unused:
            self.refuse(path, f"Meta({', '.join(sorted(unused))}=...) says nothing about {node.label}")
        bound = [_with_bounds(member, meta, asked) for member in members]
        return Union(tuple(bound)) if isinstance(node, Union) else bound[0]

    def _union(self, forms: tuple[object, ...], scope: _Scope, path: str) -> Node:
        members: dict[object, Node] = {}
        for form in forms:
            node = self.read(form, scope, path)
            for member in node.members if isinstance(node, Union) else (node,):
                members.setdefault(member.form, member)
        if len(members) == 1:
            return next(iter(members.values()))
        union = Union(tuple(members.values()))
        labels = collections.Counter(member.label for member in union.members)
        twice = [label for label, count in labels.items() if count > 1]
        if twice:
            self.refuse(
                path,
                f"two members of the union are called {twice[0]}; rename one, so that a tag can name it",
            )
        return union

    def _class(self, cls: Any, form: Any, scope: _Scope, path: str) -> Node:  # noqa: PLR0911  # as above
        if cls is Fd:
            return Descriptor()
        if cls is memoryview:
            return View()
        if issubclass(cls, HeldOpening):
            return self._end(cls, typing.get_args(form), scope, path)
        arguments = typing.get_args(form)
        is_empty_tuple = cls is tuple and form not in {tuple, typing.Tuple}  # noqa: UP006  # which is the same
        if cls in _BARE_ADVICE and not arguments and not is_empty_tuple:
            self.refuse(path, f"{cls.__name__} says nothing of its content; write {_BARE_ADVICE[cls]}")
        if cls is tuple:
            return self._tuple(arguments, scope, path)
        if cls in {list, set, frozenset, *_SEQUENCES, *_SETS}:
            return self._items(cls, arguments, scope, path)
        if cls in {dict, *_MAPPINGS}:
            return self._table(cls, arguments, scope, path)
        if issubclass(cls, enum.Enum):
            return self._enum(cls, path)
        if cls.__module__ == "numpy" and cls.__name__ == "ndarray":
            return self._array(cls, form, path)
        style = _style(cls)
        if style is None:
            return self._unknown(form, path)
        return self._record(cls, style, arguments, scope, path)

    def _end(self, cls: type, arguments: tuple[object, ...], scope: _Scope, path: str) -> Node:
        if not arguments:
            self.refuse(path, f"{cls.__name__} does not say what it carries; write {cls.__name__}[int] or the like")
        return End(cls, self.read(arguments[0], scope, f"{path or cls.__name__}[message]"))

    def _tuple(self, arguments: tuple[object, ...], scope: _Scope, path: str) -> Node:
        if len(arguments) == 2 and arguments[1] is ...:
            return Items(tuple, self.read(arguments[0], scope, f"{path}[...]"))
        return Fixed(tuple(self.read(a, scope, f"{path}[{i}]") for i, a in enumerate(arguments)))

    def _items(self, cls: type, arguments: tuple[object, ...], scope: _Scope, path: str) -> Node:
        if not arguments:
            self.refuse(
                path,
                f"{cls.__name__} says nothing of its content; write {cls.__name__}[int] or the like",
            )
        item = self.read(arguments[0], scope, f"{path}[...]")
        if cls in _SEQUENCES:
            return Items(list, item, cls)
        if cls is list:
            return Items(list, item)
        self._hashable(item, f"{path}[...]")
        return Items(set, item, cls) if cls in _SETS else Items(cls, item)

    def _table(self, cls: type, arguments: tuple[object, ...], scope: _Scope, path: str) -> Node:
        if not arguments:
            self.refuse(
                path,
                f"{cls.__name__} says nothing of its content; write {cls.__name__}[str, int] or the like",
            )
        key = self.read(arguments[0], scope, f"{path}[key]")
        self._hashable(key, f"{path}[key]")
        return Table(key, self.read(arguments[1], scope, f"{path}[value]"), cls if cls in _MAPPINGS else None)

    def _hashable(self, node: Node, path: str) -> None:
        for member in node.members if isinstance(node, Union) else (node,):
            unhashable = (
                isinstance(member, Table | Array | View) or getattr(getattr(member, "cls", None), "__hash__", 1) is None
            )
            if unhashable or (isinstance(member, Record) and member.style == "typeddict"):
                self.refuse(
                    path,
                    f"{member.label} cannot be hashed, as sets and keys need; use a tuple or a frozen class",
                )

    def _enum(self, cls: type[enum.Enum], path: str) -> Node:
        if not list(cls) and not issubclass(cls, enum.Flag):
            self.refuse(path, f"the Enum {cls.__name__} has no members; declare some")
        return Enumeration(cls)

    def _array(self, cls: type, form: object, path: str) -> Node:
        shape, dtype = (*typing.get_args(form), None, None)[:2]
        scalar = (*typing.get_args(dtype), None)[0]
        if not isinstance(scalar, type) or not _is_concrete(scalar):
            name = getattr(scalar, "__name__", "anything")
            self.refuse(path, f"an array of {name}; write the exact type of its numbers: npt.NDArray[np.float64]")
        sizes = typing.get_args(shape)
        dimensions = None if not sizes or ... in sizes else len(sizes)
        return Array(cls, form, scalar, dimensions)

    def _unknown(self, form: Any, path: str) -> NoReturn:
        origin = typing.get_origin(form) or form
        name = getattr(origin, "__name__", None) or repr(form)
        if form is Any or form is object:
            self.refuse(path, f"{name} says nothing of what is sent; write the types that occur, as a union")
        module = str(getattr(origin, "__module__", "")).partition(".")[0]
        if module == "msgspec":
            self.refuse(path, f"msgspec.{name} has no type of its own; write bytes, or what it holds")
        is_class = isinstance(origin, type) and module not in {"typing", "builtins", "collections"}
        advice = _ADVICE.get(origin) or _NAMED_ADVICE.get(module)
        if advice is None and is_class and issubclass(origin, SCALARS):
            advice = f"{name} would arrive without its class; write {_scalar_base(origin)}"
        fallback = _HOW_TO_CARRY if is_class else "write the types that occur: records, lists, numbers, text, bytes"
        self.refuse(path, f"{name} cannot be sent; {advice or fallback}")

    def _record(self, cls: Any, style: Style, arguments: tuple[object, ...], scope: _Scope, path: str) -> Node:
        variables = self._variables(cls, _parameters(cls), arguments, scope, path)
        forms = tuple(node.form for node in variables.values())
        key = (cls, *forms)
        known = self.records.get(key) or vars(cls).get(_MEMO, {}).get(forms)
        if known is not None:
            return cast("Record", known)
        if not _is_decorated(cls, style):
            self.refuse(path, f"{cls.__name__} adds fields, but is not decorated itself; decorate it as its base is")
        held = ", ".join(node.label for node in variables.values())
        config = getattr(cls, "__struct_config__", None)
        record = Record(
            cls,
            forms,
            style,
            array=style == "namedtuple" or (config is not None and config.array_like),
            closed=style == "namedtuple" or (config is not None and config.forbid_unknown_fields),
            tag=(config.tag_field, config.tag) if config is not None and config.tag is not None else None,
            native=style != "attrs" or _is_slotted(cls),
            title=f"{cls.__name__}[{held}]" if held else cls.__name__,
        )
        self.records[key] = record
        try:
            record.fields = tuple(self._fields(record, variables, path or cls.__name__))
        except BaseException:
            del self.records[key]
            raise
        return record

    def _fields(self, record: Record, variables: dict[object, Node], path: str) -> Iterator[Field]:
        cls: Any = record.cls
        short = path if path == cls.__name__ else f"{path}: {cls.__name__}"
        hints = self._hints(cls, variables)
        for name, wire_name, presence, problem in _declared_fields(cls, record.style):
            place = f"{short}.{name}"
            if problem:
                self.refuse(place, problem)
            if name not in hints:
                self.refuse(place, "the field has no annotation; write its type")
            form, scope = hints[name]
            declared = form
            form, wrapper = self._unwrap(form, scope, place)
            node = self.read(form, scope, place)
            if not _resolves_itself(cls, declared, self.frame):
                record.native = False
            yield Field(name, wire_name, node, wrapper or presence)

    def _unwrap(self, form: Any, scope: _Scope, path: str) -> tuple[object, Presence | None]:
        """Take Required, NotRequired, ReadOnly and Final off; a string is evaluated for it."""
        presence: Presence | None = None
        while True:
            if isinstance(form, ForwardRef):
                form = form.__forward_arg__
            if isinstance(form, str):
                form = self._evaluate(form, scope, path)
            origin = typing.get_origin(form)
            if origin in {typing.Required, typing_extensions.Required}:
                presence = "required"
            elif origin in {typing.NotRequired, typing_extensions.NotRequired}:
                presence = "optional"
            elif origin not in {typing_extensions.ReadOnly, typing.Final}:
                return form, presence
            form = typing.get_args(form)[0]

    def _hints(self, cls: Any, variables: Mapping[object, Node]) -> dict[str, tuple[object, _Scope]]:
        """Each field's annotation with the scope of the class that declares it: bases may live elsewhere."""
        found: dict[str, tuple[object, _Scope]] = {}
        for base, known in self._bases(cls, variables):
            scope = self._class_scope(base, known)
            for name, form in _own_annotations(base).items():
                # A TypedDict repeats its bases' fields: there the base, which knows its own names, is right.
                if name not in found or base not in cls.__mro__:
                    found[name] = form, _scope_of(form, scope)
        return found

    def _bases(self, cls: Any, variables: Mapping[object, Node]) -> Iterator[tuple[Any, Mapping[object, Node]]]:
        """The classes that declare fields, most derived first, and what their type variables stand for."""
        known: dict[object, Mapping[object, Node]] = {cls: variables}
        mro = [base for base in cls.__mro__ if base not in {object, dict, tuple, typing.Generic}]
        for base in mro:
            mine = known.get(base, {})
            yield base, mine
            scope = self._class_scope(base, mine)
            for parent in _original_bases(base):
                origin: Any = typing.get_origin(parent) or parent
                if not isinstance(origin, type) or origin in {typing.Generic, object, dict, tuple}:
                    continue
                if origin not in mro and not typing_extensions.is_typeddict(origin):
                    continue
                arguments = typing.get_args(parent)
                parameters = _parameters(origin) if arguments else ()  # a field that needs them will say so
                known.setdefault(origin, self._variables(origin, parameters, arguments, scope, base.__name__))
                if origin not in mro:
                    mro.append(origin)  # a TypedDict forgets its bases

    def _class_scope(self, cls: Any, variables: Mapping[object, Node]) -> _Scope:
        module = getattr(sys.modules.get(cls.__module__), "__dict__", {})
        own = {parameter.__name__: parameter for parameter in getattr(cls, "__type_params__", ())}
        local = self.frame if "<locals>" in cls.__qualname__ else {}
        # A field may have the name of its type (`date: date`): the class's own names come last.
        names = ChainMap(own, dict(local), module, {cls.__name__: cls}, dict(vars(cls)))
        return _Scope(names, f"module {cls.__module__}", cls.__module__, variables)


def _scope_of(form: object, scope: _Scope) -> _Scope:
    """The scope of an annotation that a TypedDict has taken over from a base in another module."""
    module = form.__forward_module__ if isinstance(form, ForwardRef) else None
    if module is None or module == scope.module:
        return scope
    names = getattr(sys.modules.get(str(module)), "__dict__", {})
    return _Scope(ChainMap({}, names), f"module {module}", str(module), scope.variables)


def _from_msgspec(form: object, name: str) -> bool:
    """By name: importing msgspec is the codec's."""
    return getattr(form, "__module__", "") == "msgspec" and getattr(form, "__qualname__", "") == name


def _is_alias(origin: object) -> bool:
    return isinstance(origin, typing_extensions.TypeAliasType) or type(origin).__name__ == "TypeAliasType"


def _parameters(cls: Any) -> tuple[Any, ...]:
    return getattr(cls, "__parameters__", ()) or getattr(cls, "__type_params__", ())


def _scalar_base(cls: type) -> str:
    return next(base.__name__ for base in cls.__mro__ if base in SCALARS)


def _original_bases(cls: type) -> tuple[object, ...]:
    return tuple(vars(cls).get("__orig_bases__", cls.__bases__))


def _own_annotations(cls: type) -> dict[str, object]:
    return {name: form for name, form in inspect.get_annotations(cls).items() if not _is_class_variable(form)}


def _is_class_variable(form: object) -> bool:
    if isinstance(form, str):
        return form.startswith(("ClassVar", "typing.ClassVar", "t.ClassVar"))
    return form is typing.ClassVar or typing.get_origin(form) is typing.ClassVar


def _style(cls: type) -> Style | None:
    """Which way to declare a record this class is; None where it is none."""
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "namedtuple"
    if typing_extensions.is_typeddict(cls) or typing.is_typeddict(cls):
        return "typeddict"
    if hasattr(cls, "__struct_config__"):
        return "struct"
    if attrs.has(cls):
        return "attrs"
    return "dataclass" if dataclasses.is_dataclass(cls) else None


def _is_decorated(cls: Any, style: Style) -> bool:
    """Whether a class which inherits its fields adds none that nobody has told attrs or dataclasses about."""
    mark = {"attrs": "__attrs_attrs__", "dataclass": "__dataclass_fields__"}.get(style)
    return mark is None or mark in vars(cls) or not _own_annotations(cls)


def _declared_fields(cls: Any, style: Style) -> Iterator[tuple[str, str, Presence, str | None]]:
    """Each field's name, name on the wire, presence, and why it cannot be carried."""
    if style == "attrs":
        return ((a.name, a.name, _presence(a.default is attrs.NOTHING), _attrs_trap(a)) for a in attrs.fields(cls))
    if style == "dataclass":
        return _dataclass_fields(cls)
    if style == "struct":
        return _struct_fields(cls)
    if style == "namedtuple":
        return ((name, name, _presence(name not in cls._field_defaults), None) for name in cls._fields)
    required = cls.__required_keys__
    return ((n, n, "required" if n in required else "optional", None) for n in cls.__annotations__)


def _presence(required: bool) -> Presence:
    return "required" if required else "default"


def _attrs_trap(attribute: attrs.Attribute[Any]) -> str | None:
    """What msgspec would silently do otherwise than attrs."""
    name = attribute.name
    if name.startswith("_"):
        return f"private attrs fields are never sent; name it '{name.lstrip('_')}', or leave it out"
    if not attribute.init:
        return "a field with init=False could be set by the other side; make it a property, or a field with init"
    if attribute.alias != name:
        return f"the alias {attribute.alias!r} would be lost on the way; name the field so"
    if attribute.converter is not None:
        return "a converter does not run when a message arrives; declare the type that is kept, convert before"
    return None


def _dataclass_fields(cls: Any) -> Iterator[tuple[str, str, Presence, str | None]]:
    for name, form in inspect.get_annotations(cls).items():
        is_init = isinstance(form, dataclasses.InitVar) or (isinstance(form, str) and "InitVar" in form)
        if is_init and name not in {field.name for field in dataclasses.fields(cls)}:
            yield name, name, "required", "an InitVar is not kept, so it cannot be sent; make it a field"
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        trap = None if field.init else "a field with init=False could be set by the other side; make it a property"
        yield field.name, field.name, _presence(required), trap


def _struct_fields(cls: Any) -> Iterator[tuple[str, str, Presence, str | None]]:
    names, wire_names, defaults = cls.__struct_fields__, cls.__struct_encode_fields__, cls.__struct_defaults__
    missing = len(names) - len(defaults)  # the defaults are those of the last fields
    for index, (name, wire_name) in enumerate(zip(names, wire_names, strict=True)):
        default = defaults[index - missing] if index >= missing else None
        presence = _presence(index < missing or repr(default) == "NODEFAULT")
        leaves_out = cls.__struct_config__.omit_defaults or _from_msgspec(type(default), "UnsetType")
        yield name, wire_name, "optional" if presence == "default" and leaves_out else presence, None


def _is_slotted(cls: type) -> bool:
    """Whether an attrs class holds its fields only: msgspec would send whatever an instance holds."""
    names = {attribute.name for attribute in attrs.fields(cls)} | {"__weakref__"}
    slots = {slot for base in cls.__mro__ for slot in _slots(base)}
    return cls.__dictoffset__ == 0 and slots <= names


def _slots(cls: type) -> tuple[str, ...]:
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _resolves_itself(cls: type, form: object, frame: Mapping[str, object]) -> bool:
    """Whether msgspec finds the names of this annotation: it does not know the locals of a function."""
    if not _has_text(form):
        return True
    if getattr(cls, "__type_params__", ()):
        return False
    if "<locals>" not in cls.__qualname__:
        return True
    if not isinstance(form, str):
        return False
    module = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    names = compile(form, "annotation", "eval").co_names
    quoted = "'" in form or '"' in form
    return not quoted and all(
        (name in module or hasattr(builtins, name)) and frame.get(name, module.get(name)) is module.get(name)
        for name in names
    )


def _has_text(form: object) -> bool:
    if isinstance(form, str | ForwardRef):
        return True
    return typing.get_origin(form) is not Literal and any(map(_has_text, typing.get_args(form)))


def _is_concrete(scalar: type) -> bool:
    """Whether a numpy scalar type is one whose arrays are plain memory, and not a family of them."""
    import numpy as np

    return scalar in set(np.sctypeDict.values()) and scalar not in {np.object_, np.void}


def _possible_bounds(node: Node) -> set[str]:
    if isinstance(node, Items | Table | Fixed):
        return _BOUNDS_OF["many"]
    if not isinstance(node, Scalar):
        return set()
    if node.cls in {int, float}:
        return _BOUNDS_OF["number"]
    if node.cls is str:
        return _BOUNDS_OF["text"]
    if node.cls in {bytes, bytearray}:
        return _BOUNDS_OF["many"]
    return _BOUNDS_OF["time"] if node.cls in {datetime.datetime, datetime.time} else set()


def _with_bounds(node: Node, meta: object, asked: set[str]) -> Node:
    wanted = asked & _possible_bounds(node)
    if not wanted:
        return node
    part: Any = type(meta)
    kept = meta if wanted == asked else part(**{name: getattr(meta, name) for name in wanted})
    return attrs.evolve(node, metas=(*node.metas, kept))


def _explain_name(name: str, text: str, scope: _Scope) -> str:
    """Why a name in an annotation is not there."""
    source = _checking_import(scope.module, name)
    if source:
        return (
            f"{name!r} is imported from {source} only under 'if TYPE_CHECKING:' in module {scope.module}, "
            "so it does not exist when the program runs; import it outside of that block"
        )
    shown = "" if name == text else f" (in {text!r})"
    return (
        f"there is no {name!r}{shown} in {scope.place}; import it there, not only under 'if TYPE_CHECKING:'; "
        "a class local to a function must be declared in that function"
    )


def _checking_import(module: str, name: str) -> str | None:
    """The module from which `name` is imported for type checkers only; None where it cannot be told."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return None
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test):
            for statement in block.body:
                if isinstance(statement, ast.ImportFrom | ast.Import) and any(
                    name == (alias.asname or alias.name.partition(".")[0]) for alias in statement.names
                ):
                    return getattr(statement, "module", None) or statement.names[0].name
    return None
