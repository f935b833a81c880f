"""How messages follow one another: in frames of namedipc's own, or a line each, for programs that know nothing of it.

The law: a message that would not come out as one line does not become one.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Final, Literal, TypeAlias, TypeVar, cast, get_args

from ._codec import Codec, declared
from ._coding import Buffer, undecodable, unencodable
from ._errors import DeclarationError, InvalidMessage
from ._types import resolve_message

T = TypeVar("T")

Framing: TypeAlias = Literal["frames", "lines", "json-lines"]

NEWLINE: Final = b"\n"


def declared_in(framing: Framing, where: str, path: object, tp: object, frame: FrameType) -> tuple[object, Codec[T]]:
    """Read the type of a name's messages, as `declared` does, for one way of framing them.

    Args:
        framing: What the name was declared with.
        where: How errors call the declaration.
        path: The name's.
        tp: The type as it was given.
        frame: The declaring one: its names may be in the annotation.

    Returns:
        The type with every name in it resolved; and its codec, whose errors begin with the path. With the framings of
        lines what it makes of a value holds no newline.

    Raises:
        DeclarationError: The type cannot be carried, or not in such lines; or there is no such framing.
    """
    if framing == "frames":
        return declared(where, path, tp, frame)
    if framing not in get_args(Framing):
        raise DeclarationError(f"{where}: framing={framing!r}: 'frames', 'lines' or 'json-lines'")
    resolved = resolve_message(tp, frame_globals=frame.f_globals, frame_locals=frame.f_locals, where=where)
    if framing == "json-lines":
        return resolved, _in_json(where, resolved).named(path)
    if resolved is str:
        return resolved, cast("Codec[T]", _text()).named(path)
    if resolved is bytes:
        return resolved, cast("Codec[T]", _binary()).named(path)
    raise DeclarationError(
        f"{where}: framing='lines' carries str or bytes, a line each; for other types use framing='json-lines'"
    )


def _in_json(where: str, resolved: object) -> Codec[T]:
    try:
        return Codec[T](resolved, encoding="json")
    except DeclarationError as error:
        raise DeclarationError(f"{where}: framing='json-lines': {error}") from error


def _text() -> Codec[str]:
    codec = Codec[str](str)

    def encode(value: str) -> bytes:
        codec.check(value)
        try:
            return _one_line("str", value.encode())
        except UnicodeEncodeError as error:
            raise unencodable("str", error) from error

    def decode(line: Buffer) -> str:
        try:
            return str(line, "utf-8")
        except UnicodeDecodeError as error:
            raise undecodable("str", error) from error

    return _with(codec, encode, decode)


def _binary() -> Codec[bytes]:
    codec = Codec[bytes](bytes)

    def encode(value: bytes) -> bytes:
        codec.check(value)
        return _one_line("bytes", bytes(value))

    return _with(codec, encode, bytes)


def _with(codec: Codec[T], encode: Callable[[T], bytes], decode: Callable[[Buffer], T]) -> Codec[T]:
    codec.encode = encode
    codec.decode = decode
    return codec


def _one_line(name: str, line: bytes) -> bytes:
    if NEWLINE in line:
        raise InvalidMessage(
            f"{name}: it holds a newline, and would arrive as several lines; "
            "split it, or use framing='json-lines' or 'frames'"
        )
    return line
