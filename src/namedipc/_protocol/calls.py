"""The calls of one client on one connection, without I/O: which are in flight, and what became of each.

The law: every call that was begun is resolved exactly once, by its reply, by its error, or by the loss of the
connection; what arrives for a call that its caller has given up is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import Final, Generic, TypeVar

from .._errors import ConnectionLost, IPCError, ProtocolError, SchemaMismatch, WrongKind
from .._faults import error_of
from .frames import BIND, CANCEL, ERROR, GOODBYE, REPLY, SCHEMA, Frame, FrameReader, pack_call, pack_frame
from .hello import HELLO_BYTES, SERVICE, UNASKED_BYTES, Hello, unpack_hello

Sleeper = TypeVar("Sleeper")

WAITING: Final = 0
LOST: Final = 255
LARGEST_ID: Final = (1 << 32) - 1


class Waiter(Generic[Sleeper]):
    """One call in flight: what it is called, what became of it, and who sleeps for it (set by the shell).

    Attributes:
        kind: WAITING, REPLY, ERROR, or LOST.
        body: The body of the reply or the error.
    """

    __slots__ = ("body", "kind", "sleeper", "where")

    def __init__(self, where: str) -> None:
        self.where: str = where
        self.kind: int = WAITING
        self.body: bytes = b""
        self.sleeper: Sleeper | None = None


class ClientSession(Generic[Sleeper]):
    """The protocol of one connection at the client.

    Args:
        where: How messages call the service: its path.
        hello: What this side says of itself.
        bindings: Compares with the schema text of the service: the service's indices of our methods, or the first
            difference as text.
    """

    __slots__ = (
        "_bindings",
        "_bound",
        "_hello",
        "_last_id",
        "_reader",
        "_where",
        "failure",
        "greeted",
        "greeters",
        "outgoing",
        "pending",
        "said_goodbye",
        "their_message_bytes",
    )

    def __init__(self, where: str, hello: Hello, bindings: Callable[[bytes], list[int] | str]) -> None:
        self._where: Final = where
        self._hello: Final = hello
        self._bindings: Final = bindings
        self._reader = FrameReader(hello.message_bytes)
        self._last_id = 0
        self._bound = False
        self.pending: dict[int, Waiter[Sleeper]] = {}
        self.greeters: list[Waiter[Sleeper]] = []
        self.greeted: bool = False
        self.their_message_bytes: int = UNASKED_BYTES
        self.failure: IPCError | None = None
        self.said_goodbye: bool = False
        self.outgoing: list[bytes] = [hello.pack()]

    def begin(self, waiter: Waiter[Sleeper], method: int, body: bytes, deadline: float | None) -> tuple[int, bytes]:
        """Enter a call; return its id and its frame."""
        id_ = self._last_id
        while True:
            id_ = id_ + 1 if id_ < LARGEST_ID else 1
            if id_ not in self.pending:
                break
        self._last_id = id_
        self.pending[id_] = waiter
        return id_, pack_call(method, id_, body, deadline)

    def cancel(self, id: int) -> bytes:  # noqa: A002
        """Give up a call; return the frame which says so."""
        self.pending.pop(id, None)
        return pack_frame(CANCEL, id=id)

    def goodbye(self) -> bytes:
        """Return the frame which says that no more calls will come."""
        return pack_frame(GOODBYE)

    def feed(self, data: bytes) -> list[Waiter[Sleeper]]:
        """Take bytes as they came; return whose fate they have decided.

        A peer which breaks the protocol has ended the connection: that is in `failure`, as it is with a lost peer.
        """
        self._reader.feed(data)
        resolved: list[Waiter[Sleeper]] = []
        try:
            if not self.greeted and not self._take_hello(resolved):
                return resolved
            while (frame := self._reader.next_frame()) is not None:
                kind, _flags, _method, id_, body = frame
                if kind == REPLY or (kind == ERROR and id_):
                    waiter = self.pending.pop(id_, None)
                    if waiter is not None:
                        waiter.body = body
                        waiter.kind = kind
                        resolved.append(waiter)
                else:
                    self._take_other(frame)
        except IPCError as error:
            resolved += self.fail(self._placed(error))
        return resolved

    def end(self) -> list[Waiter[Sleeper]]:
        """The connection is at its end: whatever is in flight is lost."""
        if self.said_goodbye:
            why = "the service has shut down; connect again once it is back"
        elif self._reader.unfinished:
            why = "the connection ended in the middle of a frame"
        else:
            why = "the service went away without a goodbye"
        return self.fail(ConnectionLost(f"{self._where}: {why}"))

    def fail(self, error: IPCError) -> list[Waiter[Sleeper]]:
        """The connection cannot go on, for this reason; return whose fate that has decided."""
        if self.failure is None:
            self.failure = error
        if isinstance(self.failure, ConnectionLost) and not self.failure.calls:
            self.failure.calls = tuple(waiter.where for waiter in self.pending.values())
        resolved = [*self.pending.values(), *self.greeters]
        self.pending.clear()
        self.greeters.clear()
        for waiter in resolved:
            waiter.kind = LOST
        return resolved

    def _placed(self, error: IPCError) -> IPCError:
        if isinstance(error, ProtocolError | WrongKind) and not str(error).startswith(self._where):
            return type(error)(f"{self._where}: {error}")  # frames and hello do not know the path
        return error

    def _take_hello(self, resolved: list[Waiter[Sleeper]]) -> bool:
        data = self._reader.take(HELLO_BYTES)
        if data is None:
            return False
        theirs = unpack_hello(data, role=SERVICE)
        self.their_message_bytes = theirs.message_bytes
        self.greeted = True
        for greeter in self.greeters:
            greeter.kind = REPLY
        resolved += self.greeters
        self.greeters.clear()
        return True

    def _take_other(self, frame: Frame) -> None:
        kind, _flags, _method, _id, body = frame
        if kind == ERROR:
            raise error_of(body, where=self._where)
        if kind == GOODBYE:
            self.said_goodbye = True
        elif kind == SCHEMA and self._bound:
            raise ProtocolError(f"{self._where}: the service sent its schema twice")
        elif kind == SCHEMA:
            self._bound = True
            bindings = self._bindings(body)
            if isinstance(bindings, str):
                raise SchemaMismatch(f"{self._where}: {bindings}")
            self.outgoing.append(pack_frame(BIND, pack(f"<{len(bindings)}H", *bindings)))
        else:
            raise ProtocolError(f"{self._where}: a service may not send a frame of kind {kind}")
