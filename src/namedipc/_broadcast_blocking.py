"""The ends of a broadcast in blocking code.

The law: to send waits for the lock only; to receive waits for a message, and keeps no writer from writing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Generic, TypeVar, final

from ._codec import Codec
from ._errors import EndOfChannel, WouldBlock
from ._shells.blocking_lock import locked
from ._shells.connecting import Pause
from ._shells.ring_file import RingFile
from ._shells.ring_messages import Batch, BroadcastReceiver, BroadcastSender
from ._shells.waiting import Clock, ThreadQueue, carry_out, check_max_messages

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


@final
class BlockingBroadcastWriter(Generic[T_contra]):
    """Sends messages to every reader. Several threads may use it."""

    def __init__(self, sender: BroadcastSender[T_contra]) -> None:
        self._sender = sender

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._sender.file.path!r}>"

    def send(self, value: T_contra, *, timeout: float | None = None) -> None:
        """Send a message to all who read. Never waits for a reader: one which is too slow is lapped.

        Args:
            value: Fits the declared type.
            timeout: For the lock, which writers hold for microseconds; in seconds; None: no limit.

        Raises:
            InvalidMessage: It does not fit the type. As for the rest, nothing was sent.
            TooLarge: Encoded, it is longer than the broadcast's `message_bytes`.
            TimedOut: Other writers have held the lock for that long.
            Closed: The end was closed here, be it meanwhile by another thread.
        """
        self._publish(Batch(self._sender.encoded(value)), Clock(timeout))

    def send_nowait(self, value: T_contra) -> None:
        """Send a message if no other writer is sending one, and do not wait.

        Raises:
            WouldBlock: One is. Nothing was sent.
            InvalidMessage, TooLarge, Closed: As `send`.
        """
        payload = self._sender.encoded(value)
        if not self._sender.publish_at_once(payload):
            raise WouldBlock(f"{self._sender.file.path}: another writer is sending")

    def send_many(self, values: Iterable[T_contra], /, *, timeout: float | None = None) -> None:
        """Send messages one after the other, many at a time, which costs much less than one by one.

        Args:
            values: Drawn one by one; when one fails, those before it have been sent.
            timeout: For all together.

        Raises:
            InvalidMessage, TooLarge, TimedOut, Closed: As `send`. After `TimedOut` some have been sent.
        """
        clock = Clock(timeout)
        for batch in self._sender.batches(values):
            self._publish(batch, clock)

    @property
    def is_current(self) -> bool:
        """Whether the name still stands for this broadcast: no more once it was replaced or removed."""
        return self._sender.file.has_name()

    def close(self) -> None:
        """Close the end, as leaving `with` does. Safe to repeat.

        If no other process writes, readers come to the end after the last message, and the name is removed,
        unless it was made to persist.
        """
        self._sender.file.close()

    def _publish(self, batch: Batch, clock: Clock) -> None:
        with locked(self._sender.file.lock, clock.left()):
            self._sender.file.publish(*batch)


@final
class BlockingBroadcastReader(Generic[T_co]):
    """Receives every message. Several threads may use it: each gets the messages that the others have not got."""

    def __init__(self, receiver: BroadcastReceiver[T_co]) -> None:
        self._receiver = receiver
        self._turn = ThreadQueue(receiver.file.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._receiver.file.path!r}>"

    def receive(self, *, timeout: float | None = None) -> T_co:
        """Return the next message; wait for it.

        Args:
            timeout: The longest wait in seconds; None is for ever. When it has passed no message is lost.

        Raises:
            TimedOut: The time has passed.
            EndOfChannel: The last writer has left, and everything has been received.
            InvalidMessage: The message does not fit the type; it was dropped. As for the next, the end stays
                usable.
            ProtocolError: Somebody has damaged it, or has cut the file short.
            Closed: The end was closed here, be it meanwhile by another thread, or opened before a fork.
        """
        try:
            return self._receiver.take_decoded()
        except IndexError:
            return self.receive_many(max_messages=1, timeout=timeout)[0]

    def receive_nowait(self) -> T_co:
        """Return the next message if it is there, and do not wait.

        Raises:
            WouldBlock: There is none, or another thread is receiving.
            EndOfChannel, InvalidMessage, ProtocolError, Closed: As `receive`.
        """
        with self._turn.at_once():
            return self._receiver.receive_at_once(1)[0]

    def receive_many(self, *, max_messages: int = 1024, timeout: float | None = None) -> list[T_co]:
        """Return messages that are there, the oldest first; wait for at least one.

        Args:
            max_messages: How many at most. It may be fewer although others are there.
            timeout: As in `receive`.

        Raises:
            TimedOut, EndOfChannel, InvalidMessage, ProtocolError, Closed: As `receive`.
        """
        check_max_messages(max_messages)
        clock = Clock(timeout)
        with self._turn.within(clock):
            values = self._receiver.hear(max_messages, inf if clock.end is None else clock.end)
            if values:
                return values
            plan = self._receiver.receiving(max_messages)
            return carry_out(plan, clock, f"{self._receiver.file.path}: no message")

    def __iter__(self) -> Iterator[T_co]:
        """Iterate over the messages, until the last writer has left."""
        while True:
            try:
                value = self.receive()
            except EndOfChannel:
                return
            yield value

    @property
    def missed(self) -> int:
        """How many messages this reader has missed since it was opened, because it was lapped.

        It becomes more when the first message after a gap is received, or with others which came before that.
        """
        return self._receiver.missed

    @property
    def is_current(self) -> bool:
        """Whether the name still stands for this broadcast: no more once it was replaced or removed."""
        return self._receiver.file.has_name()

    def close(self) -> None:
        """Close the end; a thread that waits in it gets `Closed`. Safe to repeat."""
        self._receiver.close()


@contextmanager
def writing(plan: Generator[Pause, None, RingFile], codec: Codec[T]) -> Iterator[BlockingBroadcastWriter[T]]:
    """Open a writer as planned, give it out, and close it at the end."""
    writer = BlockingBroadcastWriter(BroadcastSender(carry_out(plan, Clock(None), ""), codec))
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def reading(plan: Generator[Pause, None, BroadcastReceiver[T]]) -> Iterator[BlockingBroadcastReader[T]]:
    """Open a reader as planned, give it out, and close it at the end."""
    reader = BlockingBroadcastReader(carry_out(plan, Clock(None), ""))
    try:
        yield reader
    finally:
        reader.close()
