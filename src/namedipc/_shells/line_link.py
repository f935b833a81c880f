"""A channel's connection whose messages are lines, for a peer that may be any program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from .._codec import Codec
from .._framing import NEWLINE
from .message_link import MessageLink

T = TypeVar("T")


class LineLink(MessageLink):
    """One connection. Its session is a `LineSession`. See `MessageLink`."""

    def pack(self, body: bytes) -> bytes:
        return body + NEWLINE

    def pack_many(self, bodies: Iterable[bytes]) -> tuple[bytes, int]:
        lines = [*bodies, b""]
        return NEWLINE.join(lines), len(lines) - 1

    def pack_values(self, codec: Codec[T], values: Sequence[T]) -> bytes | None:
        return None  # a message is a line of its own
