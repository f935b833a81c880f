"""The arguments of a method become bytes and back, bound as Python binds them.

The law is that of `_codec`, for each argument; and what was not given is not sent, so that the default of the
implementation applies.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeAlias, final

import attrs
import msgspec

from ._batches import array_count, array_start, join
from ._checks import admits, exact_types
from ._coding import (
    Buffer,
    Encoding,
    check_claimed,
    make_decoder,
    mismatch,
    refuse_for_json,
    short,
    undecodable,
    unencodable,
    when_used,
)
from ._compatibility import describe_parameters
from ._descriptors import Descriptors, Received
from ._errors import DeclarationError, InvalidMessage
from ._nodes import Node, carries_descriptors, carries_payloads
from ._types import Description, read
from ._wire import Wire, build_wire

Arguments: TypeAlias = tuple[tuple[object, ...], dict[str, object]]

_ARRAY: Final = 0x90  # msgpack: the first byte of an array of 0 items; up to 15 in its low bits
_MOST_FIX: Final = 15
_ARRAY_16: Final = 0xDC  # msgpack: an array whose count is the next two bytes
_EMPTY: Final = b"\x90"
_EMPTY_JSON: Final = b"[]"
_JSON_ARRAY: Final = re.compile(rb"[ \t\n\r]*\[")
_NOTHING: Final[frozenset[type]] = frozenset()
_MOST_PARAMETERS: Final = 255  # of a method: far above any that a person writes


@final
@attrs.frozen(eq=False, kw_only=True)
class Parameter:
    """One parameter of a method: its name, its resolved type, and how it may be given."""

    name: str
    type: object
    has_default: bool = False
    keyword_only: bool = False
    positional_only: bool = False


@final
class ArgumentsCodec:
    """The arguments of one method: bound as Python binds them, checked, to bytes and back.

    What is not given is not sent. On the wire: where the first n parameters are given, an array of n values;
    otherwise a map of names to values.

    Attributes:
        method: The method as messages call it.
        parameters: In order: those that may be given by position, then those by name only.
        carries_descriptors: Whether arguments may hold descriptors.
        carries_payloads: Whether arguments may hold what travels beside the call where it is large.
        carries_attachments: Whether either: then `encode_with` and `decode_with` are for them.
        encode: Arguments to bytes. Raises TypeError as a call in Python does (missing, unexpected, given
            twice), and InvalidMessage for a value of another type.
        decode: Bytes to (args, kwargs) for the implementation. Raises InvalidMessage.
        direct: By the first byte, what decodes an array whose values are the positional arguments, and no others; None
            where `decode` has more to do. It raises whatever msgspec does: `decode` then says what is the matter.
        nodes: The types of the parameters, as trees.
    """

    __slots__ = (
        "_batches",
        "_decode_json",
        "_wires",
        "carries_attachments",
        "carries_descriptors",
        "carries_payloads",
        "decode",
        "description",
        "direct",
        "encode",
        "method",
        "nodes",
        "parameters",
    )

    carries_descriptors: bool
    carries_payloads: bool
    carries_attachments: bool
    encode: Callable[[tuple[object, ...], Mapping[str, object]], bytes]
    decode: Callable[[Buffer], Arguments]
    direct: list[Callable[[Buffer], Any] | None]
    description: Description
    parameters: tuple[Parameter, ...]
    nodes: tuple[Node, ...]
    method: str

    def __init__(self, method: str, parameters: Sequence[Parameter]) -> None:
        self.method = method
        self.parameters = tuple(parameters)
        if len(self.parameters) > _MOST_PARAMETERS:
            raise DeclarationError(f"{method}: more than {_MOST_PARAMETERS} parameters; gather them in a record")
        nodes = [read(parameter.type) for parameter in self.parameters]
        self.nodes = tuple(nodes)
        self.description = describe_parameters(
            [(p.name, node, p.has_default, p.keyword_only) for p, node in zip(self.parameters, nodes, strict=True)]
        )
        self.carries_descriptors = any(map(carries_descriptors, nodes))
        self.carries_payloads = any(map(carries_payloads, nodes))
        self.carries_attachments = self.carries_descriptors or self.carries_payloads
        wires = [build_wire(node) for node in nodes]
        self.encode = _encode_arguments(method, self.parameters, nodes, wires)
        self.decode, self.direct = _decode_arguments(method, self.parameters, wires)
        self._wires = wires
        self._decode_json: Callable[[Buffer], Arguments] | None = None
        self._batches: ArgumentBatches | None = None

    def in_batches(self) -> ArgumentBatches:
        """Return what carries the arguments of several calls as one; its functions are made when first needed."""
        if self._batches is None:
            self._batches = ArgumentBatches(self, self._wires)
        return self._batches

    def decode_json(self, data: Buffer) -> Arguments:
        """Decode JSON, as `decode` does msgpack: an array of the first n arguments, or an object of names to values.

        An empty text is a call without arguments. The functions are made when first needed.

        Raises:
            InvalidMessage: What has arrived does not fit, or JSON cannot carry the type of a parameter.
        """
        return self._json_decoder()(data)

    def in_json(self) -> ArgumentsCodec:
        """Return the same codec with `decode_json` as its `decode`. Raises InvalidMessage: JSON cannot carry a type."""
        in_json = copy.copy(self)
        in_json.decode = self._json_decoder()
        in_json.direct = [None] * 256
        return in_json

    def _json_decoder(self) -> Callable[[Buffer], Arguments]:
        if self._decode_json is None:
            with when_used():
                for node in self.nodes:
                    refuse_for_json(node)
                self._decode_json = _decode_json_arguments(self.method, self.parameters, self._wires)
        return self._decode_json

    def encode_with(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[bytes, Descriptors]:
        """Encode arguments, and what travels beside them. See `Codec.encode_with`."""
        descriptors = Descriptors(takes_payloads=self.carries_payloads)
        with descriptors.collecting():
            return self.encode(args, kwargs), descriptors

    def encode_within(self, args: tuple[object, ...], kwargs: Mapping[str, object], descriptors: Descriptors) -> bytes:
        """Encode arguments once more, with their payloads within. See `Codec.encode_within`."""
        with descriptors.collecting_again():
            return self.encode(args, kwargs)

    def decode_with(self, data: Buffer, descriptors: list[int], payloads: Sequence[memoryview] = ()) -> Arguments:
        """Decode arguments with what came beside them. See `Codec.decode_with`."""
        received = Received(descriptors, payloads)
        with received.handing_out():
            arguments = self.decode(data)
            check_claimed(self.method, received)
            return arguments


@final
class ArgumentBatches:
    """The arguments of several calls of one method as one array. In msgpack, and without what would travel beside them.

    Attributes:
        encode: The one argument of each call to an array of the calls' arguments. Raises as the codec does.
        decode: An array to the arguments of each call, where all are given by position. Raises InvalidMessage:
            those of a call are not, or do not fit; `split` and the codec's `decode` tell which.
    """

    __slots__ = ("decode", "encode")

    encode: Callable[[Sequence[object]], bytes]
    decode: Callable[[Buffer], list[tuple[object, ...]]]

    def __init__(self, codec: ArgumentsCodec, wires: list[Wire]) -> None:
        self.encode = _encode_each(codec, wires)
        self.decode = _decode_each(codec, wires)


def _encode_each(codec: ArgumentsCodec, wires: list[Wire]) -> Callable[[Sequence[object]], bytes]:
    encode_wire = msgspec.msgpack.Encoder().encode
    suffices = _Binding(codec.method, codec.parameters).suffices(1)
    only = _Values(codec.method, codec.parameters, list(codec.nodes), wires).plain_classes(0) if suffices else _NOTHING

    def encode(values: Sequence[object]) -> bytes:
        if only.issuperset(map(type, values)):
            with suppress(Exception):  # raised again, by the value that is at fault
                return encode_wire(list(zip(values, strict=True)))
        return join([codec.encode((value,), {}) for value in values])

    return encode


def _decode_each(codec: ArgumentsCodec, wires: list[Wire]) -> Callable[[Buffer], list[tuple[object, ...]]]:
    binding = _Binding(codec.method, codec.parameters)
    is_packed = any(wire.unpack is not None for wire in wires)
    decoders: dict[int, Callable[[Buffer], list[tuple[object, ...]]]] = {}
    for count in range(min(_MOST_FIX, binding.positional) + 1):
        if binding.suffices(count):
            row = tuple.__class_getitem__(tuple(wire.type for wire in wires[:count]))
            decoders[_ARRAY | count] = make_decoder(list.__class_getitem__(row), codec.method)

    def decode(data: Buffer) -> list[tuple[object, ...]]:
        at = len(array_start(array_count(data)))
        decode_rows = decoders.get(data[at]) if at < len(data) else None  # those of the first call are like the others
        if decode_rows is None:
            raise InvalidMessage(f"{codec.method}: not all arguments are given by position")
        try:
            rows = decode_rows(data)
            return [_unpacked(wires, row) for row in rows] if is_packed else rows
        except Exception as error:
            raise undecodable(codec.method, error) from error

    return decode


def _encode_arguments(
    method: str, parameters: tuple[Parameter, ...], nodes: list[Node], wires: list[Wire]
) -> Callable[[tuple[object, ...], Mapping[str, object]], bytes]:
    encode_wire = msgspec.msgpack.Encoder().encode
    binding = _Binding(method, parameters)
    values = _Values(method, parameters, nodes, wires)
    # Calls which give one or two values by position are most of all calls: what their classes must be, if that is
    # all there is to know of them; else nothing fits.
    only = values.plain_classes(0) if binding.suffices(1) else _NOTHING
    first, second = (values.plain_classes(0), values.plain_classes(1)) if binding.suffices(2) else (_NOTHING, _NOTHING)

    def encode(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        if kwargs:
            return encode_any(args, kwargs)
        count = len(args)
        if count == 1:
            is_plain = type(args[0]) in only
        elif count == 2:
            is_plain = type(args[0]) in first and type(args[1]) in second
        else:
            is_plain = binding.suffices(count) and values.are_plain(args)
        if not is_plain:
            return encode_any(args, kwargs)
        try:
            return encode_wire(args)
        except Exception as error:
            raise unencodable(method, error) from error

    def encode_any(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        given = binding.bind(args, kwargs)
        for index, value in given.items():
            values.check(index, value)
        packed = {index: values.pack(index, value) for index, value in given.items()}
        try:
            if list(packed) == list(range(len(packed))):
                return encode_wire(tuple(packed.values()))
            return encode_wire({parameters[index].name: value for index, value in packed.items()})
        except Exception as error:
            raise unencodable(method, error) from error

    def encode_nothing(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        if args or kwargs:
            binding.bind(args, kwargs)  # complains
        return _EMPTY

    return encode if parameters else encode_nothing


class _Values:
    """Checks and packs the values of arguments, each by the index of its parameter."""

    def __init__(self, method: str, parameters: tuple[Parameter, ...], nodes: list[Node], wires: list[Wire]) -> None:
        self.nodes = nodes
        self.packs = [wire.pack for wire in wires]
        self.exact = [exact_types(node) for node in nodes]
        self.names = [f"{method}: parameter '{parameter.name}'" for parameter in parameters]

    def check(self, index: int, value: object) -> None:
        if type(value) not in self.exact[index] and not admits(self.nodes[index], value):
            raise InvalidMessage(f"{self.names[index]}: {mismatch(self.nodes[index].label, value)}")

    def plain_classes(self, index: int) -> frozenset[type]:
        """The classes whose direct instances are right for this parameter, and are encoded as they are."""
        return self.exact[index] if self.packs[index] is None else _NOTHING

    def are_plain(self, args: tuple[object, ...]) -> bool:
        """Whether all of these values are right, and are encoded as they are."""
        return all(type(value) in self.plain_classes(index) for index, value in enumerate(args))

    def pack(self, index: int, value: object) -> object:
        pack = self.packs[index]
        try:
            return value if pack is None else pack(value)
        except Exception as error:
            raise unencodable(self.names[index], error) from error


class _Binding:
    """Binds arguments to parameters with Python's own complaints.

    Attributes:
        positional: How many parameters may be given by position.
        least: How many must be, for a call that names none; above `positional` where a named one is required.
    """

    def __init__(self, method: str, parameters: tuple[Parameter, ...]) -> None:
        self.method = method
        self.parameters = parameters
        self.indexes = {parameter.name: index for index, parameter in enumerate(parameters)}
        self.positional = sum(not parameter.keyword_only for parameter in parameters)
        self.required = [index for index, parameter in enumerate(parameters) if not parameter.has_default]
        self.least = self.required[-1] + 1 if self.required else 0

    def suffices(self, count: int) -> bool:
        """Whether a call may give so many values by position, and no other."""
        return self.least <= count <= self.positional

    def split(self, values: tuple[Any, ...]) -> Arguments:
        """The values of the first parameters as (args, kwargs)."""
        names = [parameter.name for parameter in self.parameters[self.positional : len(values)]]
        return values[: self.positional], dict(zip(names, values[self.positional :], strict=True))

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[int, object]:
        """Each given value by the index of its parameter, in order; raises TypeError."""
        if len(args) > self.positional:
            takes = f"{self.positional} positional argument{'' if self.positional == 1 else 's'}"
            raise TypeError(f"{self.method}() takes {takes} but {len(args)} were given")
        given = dict(enumerate(args))
        for name, value in kwargs.items():
            index = self.indexes.get(name)
            if index is None or self.parameters[index].positional_only:
                raise TypeError(f"{self.method}() got an unexpected keyword argument {name!r}")
            if index in given:
                raise TypeError(f"{self.method}() got multiple values for argument {name!r}")
            given[index] = value
        missing = [f"'{self.parameters[index].name}'" for index in self.required if index not in given]
        if missing:
            plural = "" if len(missing) == 1 else "s"
            raise TypeError(f"{self.method}() missing {len(missing)} required argument{plural}: {', '.join(missing)}")
        return dict(sorted(given.items()))


def _decode_arguments(
    method: str, parameters: tuple[Parameter, ...], wires: list[Wire]
) -> tuple[Callable[[Buffer], Arguments], list[Callable[[Buffer], Any] | None]]:
    binding = _Binding(method, parameters)
    positional, least = binding.positional, binding.least
    decoders = [
        make_decoder(tuple.__class_getitem__(tuple(wire.type for wire in wires[:count])), method)
        if count >= least
        else None
        for count in range(len(parameters) + 1)
    ]
    is_packed = any(wire.unpack is not None for wire in wires)
    names = list(binding.indexes)
    decode_named = _decode_named(method, binding, wires)

    def decode_any(data: Buffer) -> Arguments:
        if not data or not _is_array(data):
            return decode_named(data)
        count = _count(data)
        decode_array = decoders[count] if count < len(decoders) else None
        if decode_array is None:
            raise InvalidMessage(_wrong_count(method, binding, count))
        try:
            values = decode_array(data)
            if is_packed:
                values = _unpacked(wires, values)
        except Exception as error:
            raise undecodable(method, _with_names(error, names)) from error
        return binding.split(values)

    # By the first byte: the decoders of arrays whose values are the positional arguments as they are.
    plain: list[Callable[[Buffer], Any] | None] = [None] * 256
    if not is_packed:
        plain[_ARRAY : _ARRAY + positional + 1] = decoders[: positional + 1]

    def decode(data: Buffer) -> Arguments:
        decode_array = plain[data[0]] if data else None
        if decode_array is None:
            return decode_any(data)
        try:
            return decode_array(data), {}
        except Exception as error:
            raise undecodable(method, _with_names(error, names)) from error

    def decode_nothing(data: Buffer) -> Arguments:
        return ((), {}) if data == _EMPTY else decode_any(data)

    return decode if parameters else decode_nothing, plain


def _decode_json_arguments(
    method: str, parameters: tuple[Parameter, ...], wires: list[Wire]
) -> Callable[[Buffer], Arguments]:
    binding = _Binding(method, parameters)
    most = len(parameters)
    names = list(binding.indexes)
    decode_named = _decode_named(method, binding, wires, "json")
    # As many fields as there are parameters, and one: so that an array without end takes no memory.
    fields: list[tuple[str, Any, Any]] = [(f"f{index}", wire.type, msgspec.UNSET) for index, wire in enumerate(wires)]
    fields.append(("more", msgspec.Raw, msgspec.UNSET))
    read_array = make_decoder(msgspec.defstruct("Arguments", fields, array_like=True), method, "json")

    def decode(data: Buffer) -> Arguments:
        data = data or _EMPTY_JSON
        if not _JSON_ARRAY.match(data):
            return decode_named(data)
        try:
            found = msgspec.structs.astuple(read_array(data))
            values = tuple([value for value in found if value is not msgspec.UNSET])
            if binding.least <= len(values) <= most:
                return binding.split(_unpacked(wires, values))
        except Exception as error:
            raise undecodable(method, _with_names(error, names)) from error
        raise InvalidMessage(_wrong_count(method, binding, len(values) if len(values) <= most else "more"))

    return decode


def _unpacked(wires: list[Wire], values: tuple[Any, ...]) -> tuple[Any, ...]:
    steps = zip(wires, values, strict=False)
    return tuple([value if wire.unpack is None else wire.unpack(value) for wire, value in steps])


def _is_array(data: Buffer) -> bool:
    return data[0] & 0xF0 == _ARRAY or data[0] == _ARRAY_16


def _count(data: Buffer) -> int:
    """How many items a msgpack array has, from its header."""
    return int.from_bytes(data[1:3], "big") if data[0] == _ARRAY_16 else data[0] & 0x0F


def _wrong_count(method: str, binding: _Binding, count: int | Literal["more"]) -> str:
    most = len(binding.parameters)
    takes = str(most) if binding.least == most else f"{binding.least} to {most}"
    return f"{method} takes {takes} arguments, and {count} have arrived"


def _decode_named(
    method: str, binding: _Binding, wires: list[Wire], encoding: Encoding = "msgpack"
) -> Callable[[Buffer], Arguments]:
    read_map = make_decoder(dict[str, msgspec.Raw], method, encoding)
    names = list(binding.indexes)
    readers = [(make_decoder(wire.type, method, encoding), wire.unpack) for wire in wires]

    def read_values(data: Buffer) -> Iterator[tuple[int, object]]:
        try:
            values = read_map(data)
        except Exception as error:
            raise undecodable(method, error) from error
        for name, raw in values.items():
            index = binding.indexes.get(name)
            if index is None:
                raise InvalidMessage(f"{method} has no parameter {short(name)}")
            decode_value, unpack = readers[index]
            try:
                value = decode_value(memoryview(raw))
                yield index, value if unpack is None else unpack(value)
            except Exception as error:
                raise undecodable(f"{method}: parameter '{name}'", error) from error

    def decode_named(data: Buffer) -> Arguments:
        given = dict(read_values(data))
        missing = [names[index] for index in binding.required if index not in given]
        if missing:
            raise InvalidMessage(f"{method}: parameter '{missing[0]}' is required and has not arrived")
        args: list[object] = []
        while len(args) < binding.positional and len(args) in given:
            args.append(given.pop(len(args)))
        return tuple(args), {names[index]: value for index, value in given.items()}

    return decode_named


def _with_names(error: Exception, names: list[str]) -> Exception:
    """msgspec says `$[0].table`; a person knows the parameter's name."""
    if not isinstance(error, msgspec.ValidationError):
        return error
    text = re.sub(
        r"\$\[(\d{1,3})\]",
        lambda found: names[int(found[1])] if int(found[1]) < len(names) else found[0],
        str(error),
    )
    return msgspec.ValidationError(text)
