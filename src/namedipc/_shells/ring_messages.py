"""Whole messages through a broadcast: what the trio ends and the blocking ends share.

Receiving is a plan: a generator which says what to wait for, and never waits. One task or thread runs it at a time.

The law: a plan that is given up loses nothing; and the watch is there before the first look at the ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar, final

from .._batches import LONGEST_START_BYTES, join, longest_of, split
from .._codec import Codec
from .._errors import Closed, EndOfChannel, InvalidMessage, IPCError, WouldBlock
from .compiled import compiled
from .connecting import Pause
from .in_child import forget_in_child
from .ring_file import Cursor, RingFile
from .watching import waiting

if TYPE_CHECKING:
    from .heard_alone import HeardAlone

_longest_of: Callable[[bytes], int] = compiled("array_items", "longest_of") or longest_of
_short_way: type[HeardAlone] | None = compiled("heard_alone", "HeardAlone")

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

LOOK_AHEAD: Final = 64
"""How many batches a reader takes at once, also one which asks for a message; it then has them, whoever laps it."""
MOST_TOGETHER: Final = 1024
"""How many messages are one batch: more save nothing more."""
FIRST_TOGETHER: Final = 16
"""How many are encoded at once while nobody knows how long they are."""

Start: TypeAlias = Literal["new", "oldest"]
"""With which message a reader begins."""


class Batch(NamedTuple):
    """What is published together: a message, or an array of several, and how many they are."""

    payload: bytes
    messages: int = 1


@final
class BroadcastSender(Generic[T_contra]):
    """Encodes messages for an open broadcast, which is its own, in batches that are published under the lock."""

    def __init__(self, file: RingFile, codec: Codec[T_contra]) -> None:
        self.file: Final = file
        self._codec: Final = codec
        self._together = min(FIRST_TOGETHER, file.header.batch_bytes // file.header.message_bytes)

    def encoded(self, value: T_contra) -> bytes:
        """Return a message as it is published.

        Raises:
            InvalidMessage: It does not fit the type.
            TooLarge: It is longer than the broadcast takes.
        """
        return self._not_too_large(self._codec.encode(value))

    def publish_at_once(self, payload: bytes) -> bool:
        """Publish a message if the lock is free.

        Returns:
            Whether it was published.
        """
        held = self.file.lock.take_soon(self)
        if held is None:
            return False
        try:
            self.file.publish(payload)
        finally:
            held.release()
        return True

    def batches(self, values: Iterable[T_contra]) -> Iterator[Batch]:
        """Encode messages, drawn one by one; what fails is raised after the batches of those before it."""
        if type(values) is list or type(values) is tuple:
            return self._encoded_together(values)
        return self._put_together(map(self.encoded, values))  # what is drawn may change once the next one is

    def _encoded_together(self, values: Sequence[T_contra]) -> Iterator[Batch]:
        header = self.file.header
        encode = self._codec.in_batches().encode
        done = 0
        while done < len(values):
            some = values[done : done + self._together]
            done += len(some)
            try:
                array = encode(some)
            except InvalidMessage:  # of one of them: which, and what of it, is said when its turn comes
                yield from self._put_together(map(self.encoded, some))
                continue
            # Take as many the next time as will fill a batch, if they are as long as these.
            self._together = min(max(1, header.batch_bytes * len(some) // len(array)), MOST_TOGETHER)
            if len(some) > 1 and len(array) <= header.batch_bytes and _longest_of(array) <= header.message_bytes:
                yield Batch(array, len(some))
            else:
                yield from self._put_together(map(self._not_too_large, split(array)))

    def _put_together(self, messages: Iterator[bytes]) -> Iterator[Batch]:
        """Gather messages to batches; what fails is raised after those before it."""
        most_bytes = self.file.header.batch_bytes - LONGEST_START_BYTES
        together: list[bytes] = []
        size_bytes = 0
        while True:
            try:
                message = next(messages, None)
            except Exception:
                if together:
                    yield _together(together)
                raise
            full = len(together) == MOST_TOGETHER or (message and size_bytes + len(message) > most_bytes)
            if together and (message is None or full):
                yield _together(together)
                together, size_bytes = [], 0
            if message is None:
                return
            together.append(message)
            size_bytes += len(message)

    def _not_too_large(self, payload: bytes) -> bytes:
        self.file.refuse_larger(payload)
        return payload


def _together(messages: list[bytes]) -> Batch:
    return Batch(messages[0]) if len(messages) == 1 else Batch(join(messages), len(messages))


@final
class BroadcastReceiver(Generic[T_co]):
    """Receives messages from an open broadcast, which is its own."""

    def __init__(self, file: RingFile, codec: Codec[T_co], start: Start) -> None:
        self.file: Final = file
        self._codec: Final = codec
        self._short_way: Final = None if _short_way is None else _short_way(file.header, codec, file.spinner)
        self._batches: deque[tuple[bytes, int]] = deque()
        self._values: deque[T_co] = deque()
        self._in_use = Lock()
        self.listener: Final = file.listen()
        try:
            self.cursor: Final = Cursor(file, oldest=start == "oldest")
        except BaseException:
            self.listener.close()
            raise
        forget_in_child(self)

    @property
    def missed(self) -> int:
        """How many messages were gone before this reader came to them."""
        return self.cursor.missed

    def take_decoded(self) -> T_co:
        """Return the next message if it was decoded with others before it. In one step: needs no turn.

        Raises:
            IndexError: There is none, or the end was closed; one may be in the ring.
        """
        if self.listener.is_stopped:
            raise IndexError
        return self._values.popleft()

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
                return (yield from waiting(self.file, self.listener, lambda: self._collect(most) or None))
            finally:
                if self.listener.is_stopped:
                    self.listener.close()

    def hear(self, most: int, end: float) -> list[T_co] | None:
        """Receive as `receiving` does, by the short way, and wait in the kernel until then; None: go the long way."""
        if self._short_way is None or self._values or self._batches or not self._in_use.acquire(blocking=False):
            return None
        try:
            return self._at_most(most, self._short_way.receive(self, end))
        finally:
            if self.listener.is_stopped:
                self.listener.close()
            self._in_use.release()

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
        self.listener.stop()  # what was taken stays: another thread may be in the middle of it
        self.file.close()
        if self._in_use.acquire(blocking=False):
            self.listener.close()
            self._in_use.release()

    def forget(self) -> None:
        """Forget in a forked child what was taken: it is the parent's."""
        self._in_use = Lock()  # another thread of the parent may have held it
        self._batches.clear()
        self._values.clear()

    def _collect(self, most: int) -> list[T_co]:
        if self.listener.is_stopped:
            raise Closed(f"{self.file.path}: this end was closed here")
        if self._short_way is not None and not self._values and not self._batches:
            found = self._at_most(most, self._short_way.take(self))
            if found:
                return found
        values: list[T_co] = []
        try:
            while len(values) < most and (self._values or self._look()):
                self._hand_out(values, most - len(values))
        except IPCError:
            # To be raised once, after what came before it has been returned.
            if not values:
                if self._batches:
                    self._batches.popleft()
                raise
        if not values and self.cursor.is_at_end():
            raise EndOfChannel(f"{self.file.path}: the last writer has left")
        return values

    def _at_most(self, most: int, values: list[T_co] | None) -> list[T_co] | None:
        """Keep for later what are more."""
        if values is not None and len(values) > most:
            self._values.extend(values[most:])
            del values[most:]
        return values

    def _hand_out(self, values: list[T_co], most: int) -> None:
        """Move at most `most` values into a list, of those which are decoded, or else of the next batch."""
        if not self._values:
            decoded = self._decoded()
            self._batches.popleft()
            if len(decoded) <= most:
                values += decoded
                return
            self._values.extend(decoded)
        with suppress(IndexError):  # another thread has taken the last one
            for _ in range(min(most, len(self._values))):
                values.append(self._values.popleft())

    def _decoded(self) -> list[T_co]:
        """Return the values of the next batch, which stays the next one. Where one does not fit it is taken apart."""
        payload, messages = self._batches[0]
        if messages == 1:
            return [self._codec.decode(payload)]
        try:
            return self._codec.in_batches().decode(payload)
        except InvalidMessage:
            bodies = split(payload, self._codec.title)
            self._batches.popleft()
            self._batches.extendleft((body, 1) for body in reversed(bodies))
            return self._decoded()

    def _look(self) -> bool:
        """Have batches in `_batches`, if any are there."""
        if not self._batches:
            self._batches.extend(self.cursor.take(LOOK_AHEAD))
        return bool(self._batches)
