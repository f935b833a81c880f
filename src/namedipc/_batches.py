"""Several values of one type become one array, and back: in one call of msgspec instead of one for each.

The law: an array of messages is the messages themselves, one behind the other, behind a count; so what was encoded one
by one can be joined, and what was encoded together can be split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import pack, unpack_from
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import msgspec

from ._checks import exact_types
from ._coding import Buffer, make_decoder, undecodable, unencodable
from ._constant import is_constant
from ._wire import build_wire

if TYPE_CHECKING:
    from ._codec import Codec

T = TypeVar("T")

_MOST_FIX: Final = 15
_ARRAY_FIX: Final = 0x90  # msgpack: an array of up to 15 items, their count in the low bits
_MOST_16: Final = (1 << 16) - 1
_ARRAY_16: Final = 0xDC  # msgpack: an array whose count is the next two bytes
_ARRAY_32: Final = 0xDD

LONGEST_START_BYTES: Final = 5
"""Of what stands before the items of an array."""

SEVERAL: Final = "several messages"

_split = make_decoder(list[msgspec.Raw], SEVERAL)


@final
class Batches(Generic[T]):
    """Values of a codec's type, many at a time. In msgpack, and without what would travel beside a message.

    Attributes:
        encode: Values to an array of them. Raises InvalidMessage: one of them does not fit; `codec.encode` tells which.
        decode: An array to values. Raises InvalidMessage: one of them does not fit; `split` and `codec.decode` tell
            which.
        are_constant: Whether values stay what they are until they are encoded, however much later that is.
    """

    __slots__ = ("are_constant", "decode", "encode")

    encode: Callable[[Sequence[T]], bytes]
    decode: Callable[[Buffer], list[T]]

    def __init__(self, codec: Codec[T]) -> None:
        wire = build_wire(codec.node)
        name = codec.title
        exact = exact_types(codec.node)
        check, to_wire, of_wire = codec.check, wire.pack, wire.unpack
        encode_array: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
        decode_array = make_decoder(list.__class_getitem__(wire.type), name)

        def encode(values: Sequence[T]) -> bytes:
            if not exact.issuperset(map(type, values)):
                for value in values:
                    check(value)
            try:
                return encode_array(values if to_wire is None else list(map(to_wire, values)))
            except Exception as error:
                raise unencodable(name, error) from error

        def decode(data: Buffer) -> list[T]:
            try:
                values: list[T] = decode_array(data)
                return values if of_wire is None else list(map(of_wire, values))
            except Exception as error:
                raise undecodable(name, error) from error

        self.encode = encode
        self.decode = decode
        self.are_constant: bool = is_constant(codec.node)


def join(messages: Sequence[bytes]) -> bytes:
    """Return an array of messages which are encoded already."""
    return array_start(len(messages)) + b"".join(messages)


def array_start(count: int) -> bytes:
    """Return what stands before the items of an array."""
    if count <= _MOST_FIX:
        return bytes((_ARRAY_FIX | count,))
    if count <= _MOST_16:
        return pack(">BH", _ARRAY_16, count)
    return pack(">BI", _ARRAY_32, count)


def longest_of(array: bytes) -> int:
    """Return the size of the longest message of an array that `Batches` has made."""
    return max(map(len, _split(array)))


def array_count(data: Buffer) -> int:
    """Return how many items an array says that it has; 0 also where it is none, or its count is cut off."""
    first = data[0] if data else 0
    if first & 0xF0 == _ARRAY_FIX:
        return first & _MOST_FIX
    if first == _ARRAY_16 and len(data) > 2:
        return int(unpack_from(">H", data, 1)[0])
    if first == _ARRAY_32 and len(data) > 4:
        return int(unpack_from(">I", data, 1)[0])
    return 0


def split(data: Buffer, name: str = SEVERAL) -> list[bytes]:
    """Return the messages of an array, each as it was encoded.

    Args:
        data: The array.
        name: What errors call it.

    Raises:
        InvalidMessage: It is no array, or damaged.
    """
    try:
        return list(map(bytes, _split(data)))
    except Exception as error:
        raise undecodable(name, error) from error
