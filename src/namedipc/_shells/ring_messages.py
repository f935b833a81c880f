"""Whole messages through a broadcast: what the trio ends and the blocking ends share.

Receiving is a plan: a generator which says what to wait for, and never waits. One task or thread runs it at a time.

The law: a plan that is given up loses nothing; and the watch is there before the first look at the ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from threading import Lock
from typing import Final, Generic, Literal, TypeAlias, TypeVar, final

from .._errors import Closed, EndOfChannel, IPCError, WouldBlock
from .connecting import Pause
from .in_child import forget_in_child
from .ring_file import Cursor, RingFile
from .watching import waiting

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

LOOK_AHEAD: Final = 64
"""How many messages a reader takes at once, also one which asks for one; it then has them, whoever laps it."""

Start: TypeAlias = Literal["new", "oldest"]
"""With which message a reader begins."""


@final
class BroadcastSender(Generic[T_contra]):
    """Encodes messages for an open broadcast, which is its own, in batches that are published under the lock."""

    def __init__(self, file: RingFile, encode: Callable[[T_contra], bytes]) -> None:
        self.file: Final = file
        self._encode: Final = encode

    def encoded(self, value: T_contra) -> bytes:
        """Return a message as it is published.

        Raises:
            InvalidMessage: It does not fit the type.
            TooLarge: It is longer than the broadcast takes.
        """
        payload = self._encode(value)
        self.file.refuse_larger(payload)
        return payload

    def publish_at_once(self, payload: bytes) -> bool:
        """Publish a message if the lock is free.

        Returns:
            Whether it was published.
        """
        held = self.file.lock.take_soon(self)
        if held is None:
            return False
        try:
            self.file.publish([payload])
        finally:
            held.release()
        return True

    def batches(self, values: Iterable[T_contra]) -> Iterator[list[bytes]]:
        """Encode messages, drawn one by one; what fails is raised after the batch of those before it."""
        header = self.file.header
        batch: list[bytes] = []
        size_bytes = 0
        drawn = iter(values)
        while True:
            try:
                payload = self.encoded(next(drawn))
            except StopIteration:
                break
            except Exception:
                if batch:
                    yield batch
                raise
            if batch and (len(batch) >= header.batch_messages or size_bytes + len(payload) > header.batch_bytes):
                yield batch
                batch, size_bytes = [], 0
            batch.append(payload)
            size_bytes += len(payload)
        if batch:
            yield batch


@final
class BroadcastReceiver(Generic[T_co]):
    """Receives messages from an open broadcast, which is its own."""

    def __init__(self, file: RingFile, decode: Callable[[bytes], T_co], start: Start) -> None:
        self.file: Final = file
        self._decode: Final = decode
        self._taken: deque[bytes] = deque()
        self._in_use = Lock()
        self._listener: Final = file.listen()
        try:
            self._cursor: Final = Cursor(file, oldest=start == "oldest")
        except BaseException:
            self._listener.close()
            raise
        forget_in_child(self)

    @property
    def missed(self) -> int:
        """How many messages were gone before this reader came to them."""
        return self._cursor.missed

    def receiving(self, most: int) -> Generator[Pause, None, list[T_co]]:
        """Receive at least one message and at most `most`: what is there.

        Raises:
            EndOfChannel: The last writer has left, and everything has been received.
            InvalidMessage: A message does not fit the type; it was dropped. As for the next, others follow.
            ProtocolError: One is damaged, or the file was cut short.
            Closed: The end was closed, be it meanwhile.
        """
        with self._in_use:
            try:
                return (yield from waiting(self.file, self._listener, lambda: self._collect(most) or None))
            finally:
                if self._listener.is_stopped:
                    self._listener.close()

    def receive_at_once(self, most: int) -> list[T_co]:
        """Receive what is there, at most `most` messages.

        Raises:
            WouldBlock: Nothing is.
            EndOfChannel, InvalidMessage, ProtocolError, Closed: As `receiving`.
        """
        values = self._collect(most)
        if not values:
            raise WouldBlock(f"{self.file.path}: no message is there")
        return values

    def close(self) -> None:
        """Close the end, and wake whoever waits in it, who gets `Closed`. Safe to repeat."""
        self._taken.clear()
        self._listener.stop()
        self.file.close()
        if self._in_use.acquire(blocking=False):
            self._listener.close()
            self._in_use.release()

    def forget(self) -> None:
        """Forget in a forked child what was taken: it is the parent's."""
        self._in_use = Lock()  # another thread of the parent may have held it
        self._taken.clear()

    def _collect(self, most: int) -> list[T_co]:
        if self._listener.is_stopped:
            raise Closed(f"{self.file.path}: this end was closed here")
        values: list[T_co] = []
        try:
            while len(values) < most and self._look(most - len(values)):
                payload = self._taken[0]
                values.append(self._decode(payload))
                self._taken.popleft()
        except IPCError:
            # To be raised once, after what came before it has been returned.
            if not values:
                if self._taken:
                    self._taken.popleft()
                raise
        if not values and self._cursor.is_at_end():
            raise EndOfChannel(f"{self.file.path}: the last writer has left")
        return values

    def _look(self, most: int) -> bool:
        """Have messages in `_taken`, if any are there."""
        if not self._taken:
            self._taken.extend(self._cursor.take(max(LOOK_AHEAD, most)))
        return bool(self._taken)
