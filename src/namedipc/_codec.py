"""A typed value becomes bytes and back.

The law: what comes out equals what went in, its type included, or an InvalidMessage says what is wrong,
before a byte has left. The functions are made once for each type; the usual way is one call of msgspec's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Generic, TypeVar, final

import msgspec

from ._batches import Batches
from ._checks import admits, exact_types
from ._coding import (
    Buffer,
    Encoding,
    check_claimed,
    encode_json,
    make_decoder,
    mismatch,
    refuse_for_json,
    undecodable,
    unencodable,
    when_used,
)
from ._compatibility import describe_node
from ._descriptors import Descriptors, Received
from ._errors import DeclarationError, InvalidMessage
from ._nodes import Node, carries_descriptors, carries_payloads
from ._types import Description, fingerprint, read, resolve_message
from ._wire import Wire, build_wire

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")


@final
class Codec(Generic[T]):
    """Values of one declared type, to bytes and back.

    `encoding="json"` is for text tools at the other end. It carries less: keys are all text, all integers or all
    floats, or the declaration is refused, as are descriptors; and floats are finite.

    Attributes:
        node: The type as a tree.
        type_name: The type as messages call it, without module names.
        title: The same, behind the path of the name where it has one.
        carries_descriptors: Whether values may hold descriptors.
        carries_payloads: Whether values may hold what travels beside the message where it is large.
        carries_attachments: Whether either: then `encode_with` and `decode_with` are for them.
        description: What the other side must know of it.
        fingerprint: 16 bytes, equal where the descriptions are.
        check: Raises InvalidMessage unless a value belongs to the type at its top; `encode` does it too.
        encode: A value to bytes. Raises InvalidMessage: of another type, or what cannot be carried (integers
            above 64 bits, text with lone surrogates).
        exact: The classes whose direct instances need no look: `encode_wire` makes of them what `encode` does.
        encode_wire: Raises whatever msgspec does: `encode` then says what is the matter.
        decode: Bytes to a value; nothing of it points into the bytes. Raises InvalidMessage: not of the type,
            damaged, nested too deep, or followed by something else.
    """

    __slots__ = (
        "_batches",
        "_json",
        "carries_attachments",
        "carries_descriptors",
        "carries_payloads",
        "check",
        "decode",
        "description",
        "encode",
        "encode_wire",
        "exact",
        "fingerprint",
        "node",
        "title",
        "type_name",
    )

    node: Node
    carries_descriptors: bool
    carries_payloads: bool
    carries_attachments: bool
    check: Callable[[object], None]
    encode: Callable[[T], bytes]
    exact: frozenset[type]
    encode_wire: Callable[[T], bytes]
    decode: Callable[[Buffer], T]
    description: Description
    fingerprint: bytes
    title: str
    type_name: str

    def __init__(self, tp: object, *, encoding: Encoding = "msgpack") -> None:
        node = read(tp)
        if encoding == "json":
            refuse_for_json(node)
        wire = build_wire(node)
        self.node = node
        self.type_name = self.title = node.label
        self.carries_descriptors = carries_descriptors(node)
        self.carries_payloads = encoding == "msgpack" and carries_payloads(node)
        self.carries_attachments = self.carries_descriptors or self.carries_payloads
        self.description = describe_node(node)
        self.fingerprint = fingerprint(self.description)
        self.check = _check(node, self.type_name)
        self.exact = exact_types(node) if wire.pack is None else frozenset()
        self.encode_wire = msgspec.msgpack.Encoder().encode if encoding == "msgpack" else encode_json
        self.encode = _encode(node, wire, self.check, self.encode_wire)
        self.decode = _decode(node, wire, encoding)
        self._json: Codec[T] | None = None
        self._batches: Batches[T] | None = None

    def in_batches(self) -> Batches[T]:
        """Return what carries several values as one; its functions are made when first needed. Not for JSON."""
        if self._batches is None:
            self._batches = Batches(self)
        return self._batches

    def encode_json(self, value: T) -> bytes:
        """Encode as the codec of the same type with `encoding="json"`; its functions are made when first needed."""
        return self.in_json().encode(value)

    def decode_json(self, data: Buffer) -> T:
        """Decode what `encode_json` has made, or a text tool has written. Raises InvalidMessage."""
        return self.in_json().decode(data)

    def in_json(self) -> Codec[T]:
        """Return the codec of the same type with `encoding="json"`. Raises InvalidMessage: JSON cannot carry it."""
        if self._json is None:
            with when_used():
                self._json = Codec(self.node.form, encoding="json")
        return self._json

    def named(self, where: object) -> Codec[T]:
        """Return the same codec for one place: its errors begin with the path of the name the value belongs to."""
        place: Codec[T] = Codec.__new__(Codec)
        place.node = self.node
        place._json = None
        place._batches = None
        place.type_name = self.type_name
        place.title = f"{where}: {self.title}"
        place.carries_descriptors = self.carries_descriptors
        place.carries_payloads = self.carries_payloads
        place.carries_attachments = self.carries_attachments
        place.description = self.description
        place.fingerprint = self.fingerprint
        place.exact = self.exact
        place.encode_wire = self.encode_wire
        place.check = naming(where, self.check)
        place.encode = naming(where, self.encode)
        place.decode = naming(where, self.decode)
        return place

    def encode_with(self, value: T, *, consume: bool = False) -> tuple[bytes, Descriptors]:
        """Encode a value, and what travels beside it.

        Args:
            value: Of the type.
            consume: Take the descriptors out of the value, which is given away, instead of duplicating them.

        Returns:
            The bytes; and duplicates of the descriptors, which the caller closes, or says that they were sent, with
            the large payloads.

        Raises:
            InvalidMessage: As `encode`; also for a descriptor that has been closed.
            OSError: EMFILE, there is no descriptor left for a duplicate.
        """
        descriptors = Descriptors(consume=consume, takes_payloads=self.carries_payloads)
        with descriptors.collecting():
            return self.encode(value), descriptors

    def encode_within(self, value: T, descriptors: Descriptors) -> bytes:
        """Encode a value once more, with its payloads within. See `encode_with`, which has given the descriptors."""
        with descriptors.collecting_again():
            return self.encode(value)

    def decode_with(self, data: Buffer, descriptors: list[int], payloads: Sequence[memoryview] = ()) -> T:
        """Decode a value with what came beside it.

        Args:
            data: The bytes.
            descriptors: Numbers; they belong to the value then, and are closed if there is none.
            payloads: The value points into them, and may change them.

        Raises:
            InvalidMessage: As `decode`; also where each of them is not spoken of exactly once.
        """
        received = Received(descriptors, payloads)
        with received.handing_out():
            value = self.decode(data)
            check_claimed(self.title, received)
            return value

    def refuse_descriptors(self, where: str) -> None:
        """Raise DeclarationError if values may hold descriptors, for a name that has no way to carry them."""
        if self.carries_descriptors:
            raise DeclarationError(
                f"{where}: {self.type_name} holds open descriptors, which only sockets carry; "
                "use a Channel or a Service"
            )


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
            raise InvalidMessage(mismatch(name, value))

    return check


def _encode(
    node: Node, wire: Wire, check: Callable[[object], None], encode_wire: Callable[[Any], bytes]
) -> Callable[[Any], bytes]:
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
                raise unencodable(name, error) from error

        return encode_packed

    def encode(value: Any) -> bytes:
        if type(value) not in exact:
            check(value)
        try:
            return encode_wire(value)
        except Exception as error:
            raise unencodable(name, error) from error

    return encode


def _decode(node: Node, wire: Wire, encoding: Encoding) -> Callable[[Buffer], Any]:
    decode_wire = make_decoder(wire.type, node.label, encoding)
    unpack = wire.unpack
    name = node.label

    if unpack is not None:

        def decode_packed(data: Buffer) -> Any:
            try:
                return unpack(decode_wire(data))
            except Exception as error:
                raise undecodable(name, error) from error

        return decode_packed

    def decode(data: Buffer) -> Any:
        try:
            return decode_wire(data)
        except Exception as error:
            raise undecodable(name, error) from error

    return decode
