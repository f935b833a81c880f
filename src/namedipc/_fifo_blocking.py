"""The ends of a FIFO in blocking code.

The law: only waiting is done here, in poll(2); what to wait for is said by the plans of `_shells/fifo_*.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar, final

from ._errors import EndOfChannel, WouldBlock
from ._shells.connecting import Pause
from ._shells.fifo_bytes import check_max_bytes, receiving_bytes, sending_bytes
from ._shells.fifo_end import ReadingEnd, WritingEnd
from ._shells.fifo_messages import MessageSender
from ._shells.fifo_receiving import Receiver
from ._shells.waiting import Clock, ThreadQueue, carry_out, check_max_messages

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


@final
class BlockingFifoWriter(Generic[T_contra]):
    """Sends messages, each to one reader. Several threads may use it: their messages follow each other whole."""

    def __init__(self, sender: MessageSender[T_contra]) -> None:
        self._sender = sender
        self._turn = ThreadQueue(sender.end.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._sender.end.path!r}>"

    def send(self, value: T_contra, *, timeout: float | None = None) -> None:
        """Send a message; wait while the FIFO is full.

        Sent means that it lies in the FIFO: it is lost if the last reader and the last writer leave before it
        has been received.

        Args:
            value: Fits the declared type.
            timeout: The longest wait in seconds; None is for ever.

        Raises:
            InvalidMessage: It does not fit the type; nothing was sent. As for the next.
            TooLarge: It has more than 16 MiB, encoded; as a line, more than 4095 bytes.
            TimedOut: The time has passed. Either nothing was sent, or the message has begun, and its rest goes
                out before the next one, or at `close` as far as it fits then.
            ConnectionLost: Nobody reads any more. The end stays usable, should another reader come.
            Closed: The end was closed here, be it meanwhile by another thread.
        """
        self._send((value,), timeout)

    def send_nowait(self, value: T_contra) -> None:
        """Send a message if the FIFO has room, and do not wait.

        Of a message above one packet (4 KB) the rest may stay in this end, and goes out as after `TimedOut`.

        Raises:
            WouldBlock: There is no room, or another thread is sending. Nothing was sent.
            InvalidMessage, TooLarge, ConnectionLost, Closed: As `send`.
        """
        with self._turn.at_once():
            if not self._sender.send_at_once(value):
                raise WouldBlock(f"{self._sender.end.path}: the FIFO is full")

    def send_many(self, values: Iterable[T_contra], /, *, timeout: float | None = None) -> None:
        """Send messages one after the other; no other thread's come between in this end.

        Args:
            values: Drawn one by one; when one fails, those before it have been sent.
            timeout: For all together.

        Raises:
            InvalidMessage, TooLarge, TimedOut, ConnectionLost, Closed: As `send`.
        """
        self._send(values, timeout)

    def close(self) -> None:
        """Close the end; a thread that waits in it gets `Closed`. Safe to repeat. Does not wait.

        The rest of a message that has begun is tried once more.
        """
        self._sender.end.close()

    def _send(self, values: Iterable[T_contra], timeout: float | None) -> None:
        clock = Clock(timeout)
        with self._turn.within(clock):
            carry_out(self._sender.sending(values), clock, f"{self._sender.end.path}: not sent")


@final
class BlockingFifoReader(Generic[T_co]):
    """Receives messages, each of which no other reader gets. Several threads may use it."""

    def __init__(self, receiver: Receiver[T_co]) -> None:
        self._receiver = receiver
        self._turn = ThreadQueue(receiver.end.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._receiver.end.path!r}>"

    def receive(self, *, timeout: float | None = None) -> T_co:
        """Return the next message; wait for it.

        Args:
            timeout: The longest wait in seconds; None is for ever. When it has passed no message is lost.

        Raises:
            TimedOut: The time has passed.
            EndOfChannel: The last writer has left; only with `until_writers_gone=True`.
            SchemaMismatch: A message of another type has come. It was dropped; as for the next, the end stays
                usable.
            InvalidMessage: One that does not fit the type, or is no whole line; it was dropped.
            Closed: The end was closed here, be it meanwhile by another thread.
        """
        return self.receive_many(max_messages=1, timeout=timeout)[0]

    def receive_nowait(self) -> T_co:
        """Return the next message if it is there, and do not wait.

        Raises:
            WouldBlock: There is none, or another reader or thread is just taking one.
            EndOfChannel, SchemaMismatch, InvalidMessage, Closed: As `receive`.
        """
        with self._turn.at_once():
            values = self._receiver.receive_at_once(1)
        if not values:
            raise WouldBlock(f"{self._receiver.end.path}: no message is there")
        return values[0]

    def receive_many(self, *, max_messages: int = 1024, timeout: float | None = None) -> list[T_co]:
        """Return the messages that are there, the oldest first; wait for at least one.

        Args:
            max_messages: How many at most.
            timeout: As in `receive`.

        Raises:
            TimedOut, EndOfChannel, SchemaMismatch, InvalidMessage, Closed: As `receive`.
        """
        check_max_messages(max_messages)
        clock = Clock(timeout)
        with self._turn.within(clock):
            plan = self._receiver.receiving(max_messages)
            return carry_out(plan, clock, f"{self._receiver.end.path}: no message")

    def __iter__(self) -> Iterator[T_co]:
        """Iterate over the messages, until the last writer has left if the end was opened so."""
        while True:
            try:
                value = self.receive()
            except EndOfChannel:
                return
            yield value

    @property
    def dropped(self) -> int:
        """How many messages this end has given up: the writer died in the middle, or it was no message at all."""
        return self._receiver.dropped

    def close(self) -> None:
        """Close the end; a thread that waits in it gets `Closed`. Safe to repeat. Does not wait.

        A message that has begun to arrive here is lost.
        """
        self._receiver.end.close()


@final
class BlockingRawFifoWriter:
    """Writes bytes. Used by one thread at a time."""

    def __init__(self, end: WritingEnd) -> None:
        self._end = end
        self._turn = ThreadQueue(end.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._end.path!r}>"

    def send_all(self, data: bytes | bytearray | memoryview, /, *, timeout: float | None = None) -> None:
        """Write all of it; wait while the FIFO is full.

        Args:
            data: Up to 4096 bytes are never mixed with another writer's, more may be.
            timeout: The longest wait in seconds; None is for ever.

        Raises:
            TimedOut: The time has passed; an unknown part of the data was written.
            ConnectionLost: Nobody reads any more.
            Busy: Another thread is writing.
            Closed: The end was closed here, be it meanwhile by another thread.
        """
        with self._turn.alone():
            carry_out(sending_bytes(self._end, data), Clock(timeout), f"{self._end.path}: not all sent")

    def close(self) -> None:
        """Close the end; a thread that waits in it gets `Closed`. Safe to repeat."""
        self._end.close()


@final
class BlockingRawFifoReader:
    """Reads bytes. Used by one thread at a time."""

    def __init__(self, end: ReadingEnd) -> None:
        self._end = end
        self._turn = ThreadQueue(end.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._end.path!r}>"

    def receive_some(self, max_bytes: int | None = None, /, *, timeout: float | None = None) -> bytes:
        """Return what is there, at least one byte; wait for it.

        Args:
            max_bytes: How many at most; None is 64 KiB.
            timeout: The longest wait in seconds; None is for ever.

        Returns:
            The bytes; none when the last writer has left, unless `until_writers_gone=False`.

        Raises:
            TimedOut: The time has passed.
            Busy: Another thread is reading.
            Closed: The end was closed here, be it meanwhile by another thread.
        """
        check_max_bytes(max_bytes)
        with self._turn.alone():
            return carry_out(receiving_bytes(self._end, max_bytes), Clock(timeout), f"{self._end.path}: no data")

    def close(self) -> None:
        """Close the end; a thread that waits in it gets `Closed`. Safe to repeat."""
        self._end.close()


@contextmanager
def writing(plan: Generator[Pause, None, MessageSender[T]]) -> Iterator[BlockingFifoWriter[T]]:
    """Open a writer as planned, give it out, and close it at the end."""
    writer = BlockingFifoWriter(carry_out(plan, Clock(None), ""))
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def reading(open_now: Callable[[], Receiver[T]]) -> Iterator[BlockingFifoReader[T]]:
    """Open a reader, give it out, and close it at the end."""
    reader = BlockingFifoReader(open_now())
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def writing_bytes(plan: Generator[Pause, None, WritingEnd]) -> Iterator[BlockingRawFifoWriter]:
    """Open a writer of bytes as planned, give it out, and close it at the end."""
    writer = BlockingRawFifoWriter(carry_out(plan, Clock(None), ""))
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def reading_bytes(open_now: Callable[[], ReadingEnd]) -> Iterator[BlockingRawFifoReader]:
    """Open a reader of bytes, give it out, and close it at the end."""
    reader = BlockingRawFifoReader(open_now())
    try:
        yield reader
    finally:
        reader.close()
