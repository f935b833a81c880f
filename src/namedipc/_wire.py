"""A declared type becomes a wire type: one that msgspec reads and writes rightly, and the way there and back.

The law: the bytes depend on what was declared, not on how a class is implemented nor on msgspec's version.
Where msgspec does right by a type, the wire type is the type, and there is no way to go; else records become
shadow structs of the same layout, and unions whose members look alike become pairs of a label and a value.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, ForwardRef, Literal, TypeAlias

import attrs
import msgspec

from ._checks import admits, exact_types, fits
from ._descriptors import (
    MOST_DESCRIPTORS,
    MOST_PAYLOADS,
    attach,
    attach_end,
    attach_payload,
    claim,
    claim_end,
    claim_payload,
    takes_payload,
)
from ._fd import Fd
from ._nodes import (
    Array,
    Choice,
    Descriptor,
    End,
    Enumeration,
    Fixed,
    Items,
    Node,
    Record,
    Scalar,
    Table,
    Union,
    Unset,
    View,
    bounded,
    literal_is_native,
    reachable,
    union_of,
    value_label,
)

Step: TypeAlias = Callable[[Any], Any]


@attrs.frozen(eq=False, repr=False)
class Wire:
    """A wire type; `pack` leads to its values and `unpack` back, both None where nothing is to be done.

    Attributes:
        decoded: The classes of its values, for the union that it is a member of; asked for only after every type
            has been built.
    """

    type: Any
    pack: Step | None = None
    unpack: Step | None = None
    decoded: Callable[[], tuple[type, ...]] = tuple


def build_wire(node: Node) -> Wire:
    """The wire type of a declared type."""
    builder = _Builder()
    wire = builder.build(node)
    builder.finish()
    return wire


class _Builder:
    def __init__(self) -> None:
        self.shadows: dict[Node, _Shadow] = {}
        self.structs: list[Any] = []
        self.known: dict[Node, bool] = {}

    def build(self, node: Node) -> Wire:
        if not self._needs_help(node):
            return Wire(node.form)
        wire = self._build(node)
        if isinstance(node, Union) or not node.metas:
            return wire
        return attrs.evolve(wire, type=bounded(wire.type, node.metas))

    def finish(self) -> None:
        """Give every struct the names by which recursive records refer to each other."""
        names = {shadow.name: shadow.struct for shadow in self.shadows.values() if shadow.is_recursive}
        for struct in self.structs:
            for name, target in names.items():
                setattr(struct, name, target)

    def _needs_help(self, node: Node) -> bool:
        if node not in self.known:
            self.known[node] = any(map(_is_foreign, reachable(node)))
        return self.known[node]

    def _build(self, node: Node) -> Wire:  # noqa: PLR0911  # one return a kind of type
        if isinstance(node, Record):
            return self._record(node)
        if isinstance(node, Union):
            return self._tagged(node) if node.tagged else self._untagged(node)
        if isinstance(node, Items):
            return self._items(node)
        if isinstance(node, Fixed):
            return self._fixed(node)
        if isinstance(node, Table):
            return self._table(node)
        if isinstance(node, Choice):
            return _labelled({value_label(value): value for value in node.values})
        if isinstance(node, Enumeration):
            return _labelled({member.name: member for member in node.cls})
        if isinstance(node, Descriptor):
            return _descriptor(node)
        if isinstance(node, End):
            return _end(node)
        if isinstance(node, View):
            return _view(node)
        assert isinstance(node, Array)
        return _array(node)

    def _struct(self, name: str, fields: Iterable[tuple[Any, ...]], **options: Any) -> Any:
        struct = msgspec.defstruct(re.sub(r"\W+", "_", name), list(fields), frozen=True, **options)
        self.structs.append(struct)
        return struct

    def _record(self, node: Record) -> Wire:
        shadow = self.shadows.get(node)
        if shadow is None:
            shadow = self.shadows[node] = _Shadow(node, f"shadow_{len(self.shadows)}")
            shadow.fields = [
                _ShadowField(f"f{i}", field.name, self.build(field.node)) for i, field in enumerate(node.fields)
            ]
            shadow.struct = self._shadow_struct(node, shadow)
        elif shadow.struct is None:
            shadow.is_recursive = True
        return Wire(shadow.struct or ForwardRef(shadow.name), shadow.pack, shadow.unpack, shadow.decoded)

    def _shadow_struct(self, node: Record, shadow: _Shadow) -> Any:
        fields: list[tuple[Any, ...]] = []
        for field, mirrored in zip(node.fields, shadow.fields, strict=True):
            if field.presence == "required":
                fields.append((mirrored.slot, mirrored.wire.type))
            else:
                optional = union_of([mirrored.wire.type, msgspec.UnsetType])
                fields.append((mirrored.slot, optional, msgspec.UNSET))
        renamed = {mirrored.slot: field.wire_name for field, mirrored in zip(node.fields, shadow.fields, strict=True)}
        tag_field, tag = node.tag or (None, None)
        return self._struct(
            node.label,
            fields,
            kw_only=not node.array,
            array_like=node.array,
            forbid_unknown_fields=node.closed,
            rename=renamed,
            tag=tag,
            tag_field=tag_field,
        )

    def _tagged(self, node: Union) -> Wire:
        ways: list[_Way] = []
        types: list[Any] = []
        for member in node.members:
            wire = self.build(member)
            if _is_plainly_told(member):
                types.append(wire.type)
                ways.append(_Way(member, None, None, exact_types(member).__iter__))
                continue
            struct = self._struct(
                f"tagged_{member.label}",
                [("value", wire.type)],
                array_like=True,
                forbid_unknown_fields=True,
                tag=member.label,
            )
            types.append(struct)
            ways.append(_Way(member, _wrapping(struct, wire.pack), _unwrapping(wire.unpack), _only(struct)))
        dispatch = _Dispatch(node, ways)
        return Wire(union_of(types), dispatch.pack, dispatch.unpack)

    def _untagged(self, node: Union) -> Wire:
        wires = [self.build(member) for member in node.members]
        ways = [_Way(m, w.pack, w.unpack, w.decoded) for m, w in zip(node.members, wires, strict=True)]
        dispatch = _Dispatch(node, ways)
        return Wire(union_of(wire.type for wire in wires), dispatch.pack, dispatch.unpack)

    def _items(self, node: Items) -> Wire:
        item = self.build(node.item)
        pack_item, unpack_item = item.pack or _same, item.unpack or _same
        accepted = tuple(exact_types(node))
        make: Any = node.cls
        # What can be a key or in a set stays so on its way.
        travel: Any = tuple if node.cls in {tuple, frozenset} else list

        def pack(value: Any) -> Any:
            _expect(value, accepted, node)
            return travel([pack_item(each) for each in value])

        def unpack(value: Any) -> Any:
            return make([unpack_item(each) for each in value])

        form = travel.__class_getitem__((item.type, ...) if travel is tuple else item.type)
        return Wire(form, pack, unpack, _only(travel))

    def _fixed(self, node: Fixed) -> Wire:
        wires = [self.build(item) for item in node.items]
        packs = [wire.pack or _same for wire in wires]
        unpacks = [wire.unpack or _same for wire in wires]

        def pack(value: Any) -> tuple[Any, ...]:
            _expect(value, (tuple,), node)
            return tuple([step(each) for step, each in zip(packs, value, strict=True)])

        def unpack(value: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple([step(each) for step, each in zip(unpacks, value, strict=True)])

        return Wire(tuple.__class_getitem__(tuple(wire.type for wire in wires)), pack, unpack, _only(tuple))

    def _table(self, node: Table) -> Wire:
        key, value = self.build(node.key), self.build(node.value)
        pack_key, unpack_key = key.pack or _same, key.unpack or _same
        pack_value, unpack_value = value.pack or _same, value.unpack or _same

        def pack(table: Any) -> dict[Any, Any]:
            _expect(table, (dict,), node)
            return {pack_key(each): pack_value(held) for each, held in table.items()}

        def unpack(table: dict[Any, Any]) -> dict[Any, Any]:
            return {unpack_key(each): unpack_value(held) for each, held in table.items()}

        return Wire(dict.__class_getitem__((key.type, value.type)), pack, unpack, _only(dict))


@attrs.frozen(eq=False, repr=False)
class _ShadowField:
    slot: str
    name: str
    wire: Wire


class _Shadow:
    """A record beside the struct that travels in its place."""

    def __init__(self, node: Record, name: str) -> None:
        self.node = node
        self.name = name
        self.fields: list[_ShadowField] = []
        self.struct: Any = None
        self.is_recursive = False
        self.is_dict = node.style == "typeddict"

    def decoded(self) -> tuple[type, ...]:
        return (self.struct,)

    def pack(self, value: Any) -> Any:
        _expect(value, (dict,) if self.is_dict else (self.node.cls,), self.node)
        held: Mapping[str, Any] = value if self.is_dict else _Attributes(value)
        packed = [
            msgspec.UNSET if self.is_dict and field.name not in held and self._may_lack(index)
            else field.wire.pack(held[field.name]) if field.wire.pack is not None
            else held[field.name]
            for index, field in enumerate(self.fields)
        ]  # fmt: skip
        if self.node.array:
            return self.struct(*packed)
        return self.struct(**{field.slot: each for field, each in zip(self.fields, packed, strict=True)})

    def _may_lack(self, index: int) -> bool:
        return self.node.fields[index].presence == "optional"

    def unpack(self, struct: Any) -> Any:
        found: dict[str, Any] = {}
        for field in self.fields:
            value = getattr(struct, field.slot)
            if value is not msgspec.UNSET:  # left out: the default of the class itself applies
                found[field.name] = value if field.wire.unpack is None else field.wire.unpack(value)
        make: Any = dict if self.is_dict else self.node.cls
        return make(**found)


class _Attributes(Mapping[str, Any]):
    """An object's attributes as a mapping."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __getitem__(self, name: str) -> Any:
        return getattr(self._value, name)

    def __iter__(self) -> typing.Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


@attrs.frozen(eq=False, repr=False)
class _Way:
    """One member of a union: how its values travel, and which classes they come back as."""

    member: Node
    pack: Step | None
    unpack: Step | None
    decoded: Callable[[], Iterable[type]]


class _Dispatch:
    """Chooses a union's member: by the value's class; where several share it, by what it contains."""

    def __init__(self, node: Union, ways: list[_Way]) -> None:
        self.node = node
        self.ways = ways
        self.by_type: dict[type, list[_Way]] = {}
        self.by_decoded: dict[type, _Way] | None = None
        for way in ways:
            for cls in _strict_types(way.member):
                self.by_type.setdefault(cls, []).append(way)

    def pack(self, value: Any) -> Any:
        ways = self.by_type.get(type(value), ())
        way = ways[0] if len(ways) == 1 else self._choose(value, ways)
        return value if way.pack is None else way.pack(value)

    def _choose(self, value: Any, ways: Iterable[_Way]) -> _Way:
        for candidates, strict in ((ways, True), (self.ways, False)):
            for way in candidates:
                if fits(way.member, value, strict=strict):
                    return way
        raise TypeError(f"{_shown(value)} is none of {self.node.label}")

    def unpack(self, value: Any) -> Any:
        if self.by_decoded is None:  # recursive structs exist only now
            self.by_decoded = {cls: way for way in self.ways for cls in way.decoded()}
        way = self.by_decoded.get(type(value))
        return value if way is None or way.unpack is None else way.unpack(value)


def _is_foreign(node: Node) -> bool:
    """Whether msgspec itself would do wrong by this type (what it contains aside)."""
    if isinstance(node, Record):
        return not node.native
    if isinstance(node, Choice):
        return not literal_is_native(node)
    if isinstance(node, Enumeration):
        return not node.by_value
    return isinstance(node, Array | View | Descriptor | End) or (isinstance(node, Union) and node.tagged)


def _is_plainly_told(node: Node) -> bool:
    return isinstance(node, Unset) or (isinstance(node, Scalar) and node.cls is type(None))


def _strict_types(node: Node) -> frozenset[type]:
    if isinstance(node, Scalar | Array | Unset | End):
        return frozenset([type(msgspec.UNSET) if isinstance(node, Unset) else node.cls])
    if isinstance(node, Choice):
        return frozenset(map(type, node.values))
    return frozenset([tuple]) if isinstance(node, Fixed) else exact_types(node)


def _labelled(labels: dict[str, object]) -> Wire:
    """Values which travel as a text each."""
    back = {(type(value), value): label for label, value in labels.items()}
    classes = {type(value) for value in labels.values()}  # all of them hashable

    def pack(value: object) -> str:
        if type(value) not in classes or (type(value), value) not in back:
            raise TypeError(f"{value!r} is none of {', '.join(labels)}")
        return back[type(value), value]

    return Wire(Literal[tuple(labels)], pack, labels.__getitem__, _only(str))


_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=MOST_DESCRIPTORS)]


def _descriptor(node: Descriptor) -> Wire:
    def pack(value: Any) -> int:
        _expect(value, (Fd,), node)
        return attach(value)

    return Wire(_Place, pack, claim, _only(int))


def _end(node: End) -> Wire:
    receive = node.cls.receiver(node.item.form, node.label)

    def pack(value: Any) -> int:
        if not admits(node, value):
            raise TypeError(
                f"expected {node.label}, got {value!r}; what can be sent is an unopened end of a Channel.pair() of "
                "these messages, or one that was received"
            )
        return attach_end(value.held)

    def unpack(place: int) -> Any:
        return claim_end(place, receive)

    return Wire(_Place, pack, unpack, _only(int))


_PayloadPlace: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=MOST_PAYLOADS)]


def _view(node: View) -> Wire:
    def pack(value: Any) -> Any:
        _expect(value, (memoryview,), node)
        if value.ndim != 1 or not value.c_contiguous or value.format not in _ONE_BYTE:
            remedy = "view.cast('B')" if value.c_contiguous else "memoryview(bytes(view))"
            raise TypeError(
                f"expected a memoryview of bytes in one row, got one of {value.ndim} dimensions and of format "
                f"{value.format!r}; send {remedy}"
            )
        return attach_payload(value) if takes_payload(value.nbytes) else value

    def unpack(found: bytes | int) -> memoryview:
        return claim_payload(found).toreadonly() if isinstance(found, int) else memoryview(found)

    return Wire(union_of([bytes, _PayloadPlace]), pack, unpack, _only(bytes, int))


_ONE_BYTE: Final = frozenset("Bbc")


class _ArrayOnWire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    dtype: Annotated[str, msgspec.Meta(max_length=32)]
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(max_length=32)]
    data: memoryview | _PayloadPlace


# What numpy writes for types of plain memory. Its parser takes much more, and a peer shall not reach it.
_DTYPE: Final = re.compile(r"[<>|]([biufcSU]\d{1,7}|[mM]8(\[\d{0,9}[A-Za-z]{1,7}\])?)")


def _array(node: Array) -> Wire:
    import numpy as np

    def pack(value: Any) -> _ArrayOnWire:
        if not admits(node, value):
            raise TypeError(f"expected {node.label}, got {_shown_array(value)}")
        if not takes_payload(value.nbytes):
            return _ArrayOnWire(value.dtype.str, value.shape, memoryview(value.tobytes()))
        in_order = np.ascontiguousarray(value)  # itself, unless its items lie otherwise
        return _ArrayOnWire(value.dtype.str, value.shape, attach_payload(in_order.reshape(-1).view(np.uint8).data))

    def unpack(packed: _ArrayOnWire) -> Any:
        if not _DTYPE.fullmatch(packed.dtype):
            raise ValueError(f"expected {node.label}, got an array of {packed.dtype!r}")
        dtype = np.dtype(packed.dtype)
        is_beside = isinstance(packed.data, int)
        data = claim_payload(packed.data) if isinstance(packed.data, int) else packed.data
        if math.prod(packed.shape) * dtype.itemsize != data.nbytes:
            raise ValueError(f"an array of shape {packed.shape} and {data.nbytes} bytes")
        array = np.ndarray(packed.shape, dtype, data)
        if not is_beside:
            array = array.copy()
        if not admits(node, array):
            raise ValueError(f"expected {node.label}, got {_shown_array(array)}")
        return array

    return Wire(_ArrayOnWire, pack, unpack, _only(_ArrayOnWire))


def _shown_array(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return f"{type(value).__name__}" + ("" if dtype is None else f" of {dtype}, {value.ndim} dimensions")


def _wrapping(struct: Any, pack: Step | None) -> Step:
    return struct if pack is None else lambda value: struct(pack(value))


def _unwrapping(unpack: Step | None) -> Step:
    return (lambda struct: struct.value) if unpack is None else (lambda struct: unpack(struct.value))


def _only(*classes: type) -> Callable[[], tuple[type, ...]]:
    return lambda: classes


def _same(value: Any) -> Any:
    return value


def _expect(value: object, classes: tuple[type, ...], node: Node) -> None:
    if not isinstance(value, classes):
        raise TypeError(f"expected {node.label}, got {_shown(value)}")


def _shown(value: object) -> str:
    return f"{type(value).__name__}"
