"""Many calls of one method, as their caller keeps them: what is to be sent, in pieces, and what has come back.

The law: nothing is sent before all arguments are encoded; results are taken in the order of the calls, and the first
that there is none of ends it. What small calls have to say is encoded, sent, answered and decoded together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, TypeAlias, final

from .._batches import join, split
from .._codec import naming
from .._errors import InvalidMessage
from .._methods import Method
from .attachments import receiving
from .calls import CallRun, Sleeper, Waiter
from .frames import REPLIES, REPLY

MOST_TOGETHER: Final = 64
"""How many calls are one frame at most: enough that a frame costs little for each, and few enough that the service
works at one while the next is made."""
LONGEST_BYTES: Final = 65536
"""What calls that are sent together have to say at most: a read; beyond that nothing is gained by it."""

Piece: TypeAlias = tuple[int, bytes]
"""How many calls, and an array of their arguments; of a single call its arguments as they are."""


@final
class Series:
    """The calls of one `call_each`.

    Args:
        method: What is called.
        where: The path of the service: errors begin with it.

    Attributes:
        method: What is called.
        before: What is before the arguments in each frame: its headers.
        flags: Of each frame; they say so.
        results: Of the calls so far, in order.
    """

    __slots__ = ("_decode", "_is_plain", "_pieces", "_where", "before", "flags", "method", "results")

    def __init__(self, method: Method, where: str) -> None:
        self.method: Method = method
        self._where = where
        self._decode = naming(where, receiving(method.result))
        self._is_plain = method.is_plain and not method.result.carries_attachments
        self._pieces: list[Piece] = []
        self.before: bytes = b""
        self.flags: int = 0
        self.results: list[object] = []

    def add(self, arguments: Iterable[object]) -> None:
        """Encode the one argument of each of further calls. Raises InvalidMessage."""
        source = iter(arguments)
        encode = naming(self._where, self._encoded)
        while chunk := list(islice(source, MOST_TOGETHER)):
            self._pieces += encode(chunk)

    def _encoded(self, arguments: list[object]) -> list[Piece]:
        codec = self.method.arguments
        if not self._is_plain or len(arguments) == 1:
            return [(1, codec.encode((argument,), {})) for argument in arguments]
        body = codec.in_batches().encode(arguments)
        if len(body) > LONGEST_BYTES:
            return [(1, single) for single in split(body)]
        return [(len(arguments), body)]

    def left(self, longest_bytes: int) -> deque[Piece]:
        """Return the calls without a result yet.

        Args:
            longest_bytes: How long the arguments of calls that are sent together may be.
        """
        done = len(self.results)
        left: deque[Piece] = deque()
        for piece in self._pieces:
            count, body = piece
            if done >= count:
                done -= count
                continue
            if done or (count > 1 and len(body) > longest_bytes):
                left += [(1, single) for single in singles(piece)[done:]]
            else:
                left.append(piece)
            done = 0
        return left

    def take(self, run: CallRun[Sleeper]) -> Waiter[Sleeper] | None:
        """Take in what has become of calls which are not waited for any more, the next in order.

        Returns:
            The first that there is no result of; None if there are all.

        Raises:
            InvalidMessage: A result does not fit its type.
        """
        for _place, _count, kind, body in sorted(run.answers):
            if kind == REPLIES:
                self.results += self._decoded(body)
            elif kind == REPLY:
                self.results.append(self._decode(body))
            else:
                failed: Waiter[Sleeper] = Waiter(run.where)
                failed.kind, failed.body = kind, body
                return failed
        return None

    def _decoded(self, body: bytes) -> Iterable[object]:
        try:
            return self.method.result.in_batches().decode(body)
        except InvalidMessage:
            return map(self._decode, naming(self._where, split)(body))


def singles(piece: Piece) -> list[bytes]:
    """Return the arguments of each call of a piece."""
    count, body = piece
    return [body] if count == 1 else split(body)


def cut(piece: Piece, most: int) -> tuple[Piece, Piece]:
    """Return the first calls of a piece, as many as these or fewer than there are, and the others."""
    arguments = singles(piece)
    return _piece(arguments[:most]), _piece(arguments[most:])


def _piece(arguments: list[bytes]) -> Piece:
    return len(arguments), arguments[0] if len(arguments) == 1 else join(arguments)
