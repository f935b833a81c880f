"""A typed value becomes bytes and back. The only module that knows msgspec.

The law: what comes out equals what went in, its type included, or an InvalidMessage says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, final

import attrs
import msgspec

from ._errors import InvalidMessage
from ._types import Description, describe, fingerprint

T = TypeVar("T")

_EMPTY: Final = b"\x90"


@final
class Codec(Generic[T]):
    """Values of one declared type, to bytes and back."""

    __slots__ = ("check", "decode", "description", "encode", "fingerprint", "type_name")

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    check: Callable[[object], None]
    description: Description
    fingerprint: bytes
    type_name: str

    def __init__(self, tp: object) -> None:
        name = tp.__name__ if isinstance(tp, type) else repr(tp)
        self.type_name = name
        self.description = describe(tp)
        self.fingerprint = fingerprint(self.description)
        encode_wire = msgspec.msgpack.Encoder().encode
        decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(tp)
        decode_wire = decoder.decode

        def check(value: object) -> None:
            if isinstance(tp, type) and not isinstance(value, tp):
                raise InvalidMessage(f"{value!r} is no {name}")

        def encode(value: T) -> bytes:
            if type(value) is not tp:
                check(value)
            try:
                return encode_wire(value)
            except Exception as error:
                raise InvalidMessage(f"{name}: {error}") from error

        def decode(data: bytes) -> T:
            try:
                return decode_wire(data)  # type: ignore[no-any-return]  # the decoder was made for T
            except Exception as error:
                raise InvalidMessage(f"{name}: {error}") from error

        self.check = check
        self.encode = encode
        self.decode = decode


@final
@attrs.frozen(eq=False, kw_only=True)
class Parameter:
    """One parameter of a method: its name, its resolved type, and how it may be given."""

    name: str
    type: object
    has_default: bool = False
    keyword_only: bool = False


@final
class ArgumentsCodec:
    """The arguments of one method: bound as Python binds them, checked, to bytes and back."""

    __slots__ = ("decode", "description", "encode", "method", "parameters")

    encode: Callable[[tuple[object, ...], dict[str, object]], bytes]
    decode: Callable[[bytes], tuple[tuple[object, ...], dict[str, object]]]
    description: Description
    parameters: tuple[Parameter, ...]
    method: str

    def __init__(self, method: str, parameters: Sequence[Parameter]) -> None:
        self.method = method
        self.parameters = tuple(parameters)
        self.description = {p.name: describe(p.type) for p in parameters}
        pack = msgspec.msgpack.encode
        unpack: Callable[[bytes], Any] = msgspec.msgpack.Decoder(tuple[list[Any], dict[str, Any]]).decode
        types = {p.name: p.type for p in parameters}
        positional = [p for p in parameters if not p.keyword_only]

        def encode(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
            if not args and not kwargs:
                return _EMPTY
            return pack((args, kwargs))

        def decode(data: bytes) -> tuple[tuple[object, ...], dict[str, object]]:
            if data == _EMPTY:
                return (), {}
            args, kwargs = unpack(data)
            try:
                return (
                    tuple(msgspec.convert(a, p.type) for a, p in zip(args, positional, strict=False)),
                    {k: msgspec.convert(v, types[k]) for k, v in kwargs.items()},
                )
            except msgspec.ValidationError as error:
                raise InvalidMessage(f"{method}: {error}") from error

        self.encode = encode
        self.decode = decode
