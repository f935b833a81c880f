"""What the codec of a value and that of a method's arguments share: msgspec's decoders, and the words for what fails.

The law: whatever msgspec, or a conversion of ours, raises for a value or for bytes becomes an InvalidMessage which says
where and what; but want of memory or of descriptors stays what it is.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import msgspec

from ._descriptors import Received
from ._errors import DeclarationError, InvalidMessage
from ._nodes import Node, reachable, trouble_in_json

Encoding: TypeAlias = Literal["msgpack", "json"]
Buffer: TypeAlias = bytes | bytearray | memoryview

_LONG_INTEGER: Final = re.compile(rb"\d{19}")
"""What every integer beyond 64 bits contains, and few other things."""
_TOO_LONG: Final = "an integer does not fit 64 bits (-2**63 to 2**64 - 1)"
_SHOWN_CHARACTERS: Final = 60


def make_decoder(wire_type: Any, name: str, encoding: Encoding = "msgpack") -> Callable[[Buffer], Any]:
    """Return what makes values of bytes. Raises DeclarationError: msgspec does not carry the type."""
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


def encode_json(value: Any) -> bytes:
    """Encode what JSON can carry; raise for what it would change: a float that is not finite, a long integer."""
    data = msgspec.json.encode(value)
    if b"null" in data:  # a None, or a float that JSON has no word for and that would arrive as None
        json.dumps(msgspec.to_builtins(value), allow_nan=False)
    _refuse_long_integers(data, value)
    return data


def _refuse_long_integers(data: Buffer, value: Any) -> None:
    """Raise OverflowError where JSON has an integer which msgpack, and so the type, does not have."""
    if _LONG_INTEGER.search(data):
        msgspec.msgpack.encode(value)


def refuse_for_json(node: Node) -> None:
    """Raise DeclarationError where something inside is nothing for JSON."""
    for inner in reachable(node):
        trouble = trouble_in_json(inner)
        if trouble is not None:
            raise DeclarationError(trouble)


@contextmanager
def when_used() -> Iterator[None]:
    """What is declared rightly for msgpack, and shows itself as unfit for JSON when a message comes, is its fault."""
    try:
        yield
    except DeclarationError as error:
        raise InvalidMessage(str(error)) from error


def check_claimed(title: str, received: Received) -> None:
    """Raise InvalidMessage if more has come beside the message than was taken."""
    if received.unclaimed:
        raise InvalidMessage(f"{title}: {received.unclaimed} have come of which the message does not speak")


def mismatch(name: str, value: object) -> str:
    """Say that a value is not of the type of this name."""
    advice = ""
    if isinstance(value, bool):
        advice = "; a bool is kept apart from int and float, write int(...)"
    got = "" if value is None else f" ({short(value)})"
    return f"expected {name}, got {_kind(value)}{got}{advice}"


def _kind(value: object) -> str:
    if value is None:
        return "None"
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else f"{type(value).__name__} of {dtype}"


def short(value: object) -> str:
    """Show a value in a few characters, whatever it is."""
    try:
        text = reprlib.repr(value)
    except Exception:
        text = "a value whose repr fails"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def unencodable(name: str, error: Exception) -> Exception:
    """Return what to raise for an error of encoding."""
    if isinstance(error, MemoryError | OSError):  # OSError: no descriptor is left
        return error
    if isinstance(error, OverflowError):
        return InvalidMessage(f"{name}: {_TOO_LONG}")
    if isinstance(error, RecursionError):
        return InvalidMessage(f"{name}: nested too deep, or it contains itself")
    return InvalidMessage(f"{name}: {error}" if str(error) else f"{name}: {error!r}")


def undecodable(name: str, error: Exception) -> Exception:
    """Return what to raise for an error of decoding."""
    if isinstance(error, MemoryError):
        return error
    if isinstance(error, RecursionError):
        return InvalidMessage(f"{name}: what arrived is nested too deep")
    if isinstance(error, OverflowError):
        return InvalidMessage(f"{name}: what arrived does not fit: {_TOO_LONG}")
    return InvalidMessage(f"{name}: what arrived does not fit: {str(error) or repr(error)}")
