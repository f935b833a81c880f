"""A typed value becomes bytes and back; the arguments of a call likewise.

The law: what comes out equals what went in, its type included, or an InvalidMessage says what is wrong,
before a byte has left. The functions are made once for each type; the usual way is one call of msgspec's own.
"""

from __future__ import annotations

import copy
import json
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, final

import attrs
import msgspec

from ._checks import admits, exact_types
from ._compatibility import describe_node, describe_parameters
from ._descriptors import Descriptors, Received
from ._errors import DeclarationError, InvalidMessage
from ._nodes import Node, carries_descriptors, reachable, trouble_in_json
from ._types import Description, fingerprint, read, resolve_message
from ._wire import Wire, build_wire

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

Encoding: TypeAlias = Literal["msgpack", "json"]
Buffer: TypeAlias = bytes | bytearray | memoryview
Arguments: TypeAlias = tuple[tuple[object, ...], dict[str, object]]

_ARRAY: Final = 0x90  # msgpack: the first byte of an array of 0 items; up to 15 in its low bits
_ARRAY_16: Final = 0xDC  # msgpack: an array whose count is the next two bytes
_EMPTY: Final = b"\x90"
_EMPTY_JSON: Final = b"[]"
_JSON_ARRAY: Final = re.compile(rb"[ \t\n\r]*\[")
_LONG_INTEGER: Final = re.compile(rb"\d{19}")
"""What every integer beyond 64 bits contains, and few other things."""
_TOO_LONG: Final = "an integer does not fit 64 bits (-2**63 to 2**64 - 1)"
_NOTHING: Final[frozenset[type]] = frozenset()
_MOST_PARAMETERS: Final = 255  # of a method: far above any that a person writes
_SHOWN_CHARACTERS: Final = 60


@final
class Codec(Generic[T]):
    """Values of one declared type, to bytes and back.

    `encoding="json"` is for text tools at the other end. It carries less: keys are all text, all integers or all
    floats, or the declaration is refused, as are descriptors; and floats are finite.

    Attributes:
        node: The type as a tree.
        type_name: The type as messages call it, without module names.
        title: The same, behind the path of the name where it has one.
        carries_descriptors: Whether values may hold descriptors: then `encode_with` and `decode_with` are for them.
        description: What the other side must know of it.
        fingerprint: 16 bytes, equal where the descriptions are.
        check: Raises InvalidMessage unless a value belongs to the type at its top; `encode` does it too.
        encode: A value to bytes. Raises InvalidMessage: of another type, or what cannot be carried (integers
            above 64 bits, text with lone surrogates).
        decode: Bytes to a value; nothing of it points into the bytes. Raises InvalidMessage: not of the type,
            damaged, nested too deep, or followed by something else.
    """

    __slots__ = (
        "_json",
        "carries_descriptors",
        "check",
        "decode",
        "description",
        "encode",
        "fingerprint",
        "node",
        "title",
        "type_name",
    )

    node: Node
    carries_descriptors: bool
    check: Callable[[object], None]
    encode: Callable[[T], bytes]
    decode: Callable[[Buffer], T]
    description: Description
    fingerprint: bytes
    title: str
    type_name: str

    def __init__(self, tp: object, *, encoding: Encoding = "msgpack") -> None:
        node = read(tp)
        if encoding == "json":
            _refuse_for_json(node)
        wire = build_wire(node)
        self.node = node
        self.type_name = self.title = node.label
        self.carries_descriptors = carries_descriptors(node)
        self.description = describe_node(node)
        self.fingerprint = fingerprint(self.description)
        self.check = _check(node, self.type_name)
        self.encode = _encode(node, wire, self.check, encoding)
        self.decode = _decode(node, wire, encoding)
        self._json: Codec[T] | None = None

    def encode_json(self, value: T) -> bytes:
        """Encode as the codec of the same type with `encoding="json"`; its functions are made when first needed."""
        return self.in_json().encode(value)

    def decode_json(self, data: Buffer) -> T:
        """Decode what `encode_json` has made, or a text tool has written. Raises InvalidMessage."""
        return self.in_json().decode(data)

    def in_json(self) -> Codec[T]:
        """Return the codec of the same type with `encoding="json"`. Raises InvalidMessage: JSON cannot carry it."""
        if self._json is None:
            with _when_used():
                self._json = Codec(self.node.form, encoding="json")
        return self._json

    def named(self, where: object) -> Codec[T]:
        """Return the same codec for one place: its errors begin with the path of the name the value belongs to."""
        place: Codec[T] = Codec.__new__(Codec)
        place.node = self.node
        place._json = None
        place.type_name = self.type_name
        place.title = f"{where}: {self.title}"
        place.carries_descriptors = self.carries_descriptors
        place.description = self.description
        place.fingerprint = self.fingerprint
        place.check = naming(where, self.check)
        place.encode = naming(where, self.encode)
        place.decode = naming(where, self.decode)
        return place

    def encode_with(self, value: T, *, consume: bool = False) -> tuple[bytes, Descriptors]:
        """Encode a value and the descriptors in it.

        Args:
            value: Of the type.
            consume: Take the descriptors out of the value, which is given away, instead of duplicating them.

        Returns:
            The bytes, and duplicates of the descriptors, which the caller closes, or says that they were sent.

        Raises:
            InvalidMessage: As `encode`; also for a descriptor that has been closed.
            OSError: EMFILE, there is no descriptor left for a duplicate.
        """
        descriptors = Descriptors(consume=consume)
        with descriptors.collecting():
            return self.encode(value), descriptors

    def decode_with(self, data: Buffer, descriptors: list[int]) -> T:
        """Decode a value with the descriptors that came with it.

        Args:
            data: The bytes.
            descriptors: Numbers; they belong to the value then, and are closed if there is none.

        Raises:
            InvalidMessage: As `decode`; also where each descriptor is not spoken of exactly once.
        """
        received = Received(descriptors)
        with received.handing_out():
            value = self.decode(data)
            _check_claimed(self.title, received)
            return value

    def refuse_descriptors(self, where: str) -> None:
        """Raise DeclarationError if values may hold descriptors, for a name that has no way to carry them."""
        if self.carries_descriptors:
            raise DeclarationError(
                f"{where}: {self.type_name} holds open descriptors, which only sockets carry; "
                "use a Channel or a Service"
            )


def _check_claimed(title: str, received: Received) -> None:
    if received.unclaimed:
        raise InvalidMessage(f"{title}: {received.unclaimed} descriptors have come of which the message does not speak")


def _refuse_for_json(node: Node) -> None:
    """Raise DeclarationError where something inside is nothing for JSON."""
    for inner in reachable(node):
        trouble = trouble_in_json(inner)
        if trouble is not None:
            raise DeclarationError(trouble)


@contextmanager
def _when_used() -> Iterator[None]:
    """What is declared rightly for msgpack, and shows itself as unfit for JSON when a message comes, is its fault."""
    try:
        yield
    except DeclarationError as error:
        raise InvalidMessage(str(error)) from error


def declared(where: str, path: object, tp: object, frame: FrameType) -> tuple[object, Codec[Any]]:
    """Read the type of a name's messages.

    Args:
        where: How errors call the declaration.
        path: The name's.
        tp: As it was given.
        frame: The declaring one: its names may be in the annotation.

    Returns:
        The type with every name in it resolved; and its codec, whose errors begin with the path.

    Raises:
        DeclarationError: It cannot be carried.
    """
    resolved = resolve_message(tp, frame_globals=frame.f_globals, frame_locals=frame.f_locals, where=where)
    return resolved, Codec[Any](resolved).named(path)


def naming(where: object, function: Callable[[A], R]) -> Callable[[A], R]:
    """Return a function whose InvalidMessage begins with where the value was to go, or came from."""

    def named(value: A) -> R:
        try:
            return function(value)
        except InvalidMessage as error:
            raise InvalidMessage(f"{where}: {error}") from error.__cause__

    return named


def _check(node: Node, name: str) -> Callable[[object], None]:
    exact = exact_types(node)

    def check(value: object) -> None:
        if type(value) not in exact and not admits(node, value):
            raise InvalidMessage(_mismatch(name, value))

    return check


def _encode(node: Node, wire: Wire, check: Callable[[object], None], encoding: Encoding) -> Callable[[Any], bytes]:
    encode_wire: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode if encoding == "msgpack" else _encode_json
    exact = exact_types(node)
    pack = wire.pack
    name = node.label

    if pack is not None:

        def encode_packed(value: Any) -> bytes:
            if type(value) not in exact:
                check(value)
            try:
                return encode_wire(pack(value))
            except Exception as error:
                raise _unencodable(name, error) from error

        return encode_packed

    def encode(value: Any) -> bytes:
        if type(value) not in exact:
            check(value)
        try:
            return encode_wire(value)
        except Exception as error:
            raise _unencodable(name, error) from error

    return encode


def _encode_json(value: Any) -> bytes:
    data = msgspec.json.encode(value)
    if b"null" in data:  # a None, or a float that JSON has no word for and that would arrive as None
        json.dumps(msgspec.to_builtins(value), allow_nan=False)
    _refuse_long_integers(data, value)
    return data


def _refuse_long_integers(data: Buffer, value: Any) -> None:
    """Raise OverflowError where JSON has an integer which msgpack, and so the type, does not have."""
    if _LONG_INTEGER.search(data):
        msgspec.msgpack.encode(value)


def _decode(node: Node, wire: Wire, encoding: Encoding) -> Callable[[Buffer], Any]:
    decode_wire = _decoder(wire.type, node.label, encoding)
    unpack = wire.unpack
    name = node.label

    if unpack is not None:

        def decode_packed(data: Buffer) -> Any:
            try:
                return unpack(decode_wire(data))
            except Exception as error:
                raise _undecodable(name, error) from error

        return decode_packed

    def decode(data: Buffer) -> Any:
        try:
            return decode_wire(data)
        except Exception as error:
            raise _undecodable(name, error) from error

    return decode


def _decoder(wire_type: Any, name: str, encoding: Encoding = "msgpack") -> Callable[[Buffer], Any]:
    try:
        decoder: Any = msgspec.msgpack.Decoder(wire_type) if encoding == "msgpack" else msgspec.json.Decoder(wire_type)
    except Exception as error:
        raise DeclarationError(f"{name} cannot be sent: {error}") from error
    decode: Callable[[Buffer], Any] = decoder.decode
    if encoding == "msgpack":
        return decode

    def decode_json(data: Buffer) -> Any:
        value = decode(data)
        _refuse_long_integers(data, value)
        return value

    return decode_json


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
        carries_descriptors: Whether arguments may hold descriptors: then `encode_with` and `decode_with` are for them.
        encode: Arguments to bytes. Raises TypeError as a call in Python does (missing, unexpected, given
            twice), and InvalidMessage for a value of another type.
        decode: Bytes to (args, kwargs) for the implementation. Raises InvalidMessage.
        nodes: The types of the parameters, as trees.
    """

    __slots__ = (
        "_decode_json",
        "_wires",
        "carries_descriptors",
        "decode",
        "description",
        "encode",
        "method",
        "nodes",
        "parameters",
    )

    carries_descriptors: bool
    encode: Callable[[tuple[object, ...], Mapping[str, object]], bytes]
    decode: Callable[[Buffer], Arguments]
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
        wires = [build_wire(node) for node in nodes]
        self.encode = _encode_arguments(method, self.parameters, nodes, wires)
        self.decode = _decode_arguments(method, self.parameters, wires)
        self._wires = wires
        self._decode_json: Callable[[Buffer], Arguments] | None = None

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
        return in_json

    def _json_decoder(self) -> Callable[[Buffer], Arguments]:
        if self._decode_json is None:
            with _when_used():
                for node in self.nodes:
                    _refuse_for_json(node)
                self._decode_json = _decode_json_arguments(self.method, self.parameters, self._wires)
        return self._decode_json

    def encode_with(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[bytes, Descriptors]:
        """Encode arguments and the descriptors in them. See `Codec.encode_with`."""
        descriptors = Descriptors()
        with descriptors.collecting():
            return self.encode(args, kwargs), descriptors

    def decode_with(self, data: Buffer, descriptors: list[int]) -> Arguments:
        """Decode arguments with the descriptors that came with them. See `Codec.decode_with`."""
        received = Received(descriptors)
        with received.handing_out():
            arguments = self.decode(data)
            _check_claimed(self.method, received)
            return arguments


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
            raise _unencodable(method, error) from error

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
            raise _unencodable(method, error) from error

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
            raise InvalidMessage(f"{self.names[index]}: {_mismatch(self.nodes[index].label, value)}")

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
            raise _unencodable(self.names[index], error) from error


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
) -> Callable[[Buffer], Arguments]:
    binding = _Binding(method, parameters)
    positional, least = binding.positional, binding.least
    decoders = [
        _decoder(tuple.__class_getitem__(tuple(wire.type for wire in wires[:count])), method)
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
            raise _undecodable(method, _with_names(error, names)) from error
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
            raise _undecodable(method, _with_names(error, names)) from error

    def decode_nothing(data: Buffer) -> Arguments:
        return ((), {}) if data == _EMPTY else decode_any(data)

    return decode if parameters else decode_nothing


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
    read_array = _decoder(msgspec.defstruct("Arguments", fields, array_like=True), method, "json")

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
            raise _undecodable(method, _with_names(error, names)) from error
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
    read_map = _decoder(dict[str, msgspec.Raw], method, encoding)
    names = list(binding.indexes)
    readers = [(_decoder(wire.type, method, encoding), wire.unpack) for wire in wires]

    def read_values(data: Buffer) -> Iterator[tuple[int, object]]:
        try:
            values = read_map(data)
        except Exception as error:
            raise _undecodable(method, error) from error
        for name, raw in values.items():
            index = binding.indexes.get(name)
            if index is None:
                raise InvalidMessage(f"{method} has no parameter {_short(name)}")
            decode_value, unpack = readers[index]
            try:
                value = decode_value(memoryview(raw))
                yield index, value if unpack is None else unpack(value)
            except Exception as error:
                raise _undecodable(f"{method}: parameter '{name}'", error) from error

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


def _mismatch(name: str, value: object) -> str:
    advice = ""
    if isinstance(value, bool):
        advice = "; a bool is kept apart from int and float, write int(...)"
    got = "" if value is None else f" ({_short(value)})"
    return f"expected {name}, got {_kind(value)}{got}{advice}"


def _kind(value: object) -> str:
    if value is None:
        return "None"
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else f"{type(value).__name__} of {dtype}"


def _short(value: object) -> str:
    try:
        text = reprlib.repr(value)
    except Exception:
        text = "a value whose repr fails"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _unencodable(name: str, error: Exception) -> Exception:
    if isinstance(error, MemoryError | OSError):  # OSError: no descriptor is left
        return error
    if isinstance(error, OverflowError):
        return InvalidMessage(f"{name}: {_TOO_LONG}")
    if isinstance(error, RecursionError):
        return InvalidMessage(f"{name}: nested too deep, or it contains itself")
    return InvalidMessage(f"{name}: {error}" if str(error) else f"{name}: {error!r}")


def _undecodable(name: str, error: Exception) -> Exception:
    if isinstance(error, MemoryError):
        return error
    if isinstance(error, RecursionError):
        return InvalidMessage(f"{name}: what arrived is nested too deep")
    if isinstance(error, OverflowError):
        return InvalidMessage(f"{name}: what arrived does not fit: {_TOO_LONG}")
    return InvalidMessage(f"{name}: what arrived does not fit: {str(error) or repr(error)}")


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
