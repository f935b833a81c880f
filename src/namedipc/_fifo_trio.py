"""The ends of a FIFO in trio.

The law: only waiting is done here, by trio; what to wait for is said by the plans of `_shells/fifo_*.py`. Every
async function is a checkpoint, and after something was taken off the FIFO there is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar, final

import trio

from ._shells import trio_errors
from ._shells.connecting import Pause
from ._shells.fifo_bytes import check_max_bytes, receiving_bytes, sending_bytes, waiting_to_send
from ._shells.fifo_end import End, ReadingEnd, WritingEnd
from ._shells.fifo_messages import MessageSender
from ._shells.fifo_receiving import Receiver
from ._shells.trio_waiting import at_once, wait
from ._shells.waiting import check_max_messages

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


@final
class FifoWriter(trio.abc.SendChannel[T_contra]):
    """Sends messages, each to one reader. Several tasks may use it: they get their turns in order."""

    def __init__(self, sender: MessageSender[T_contra]) -> None:
        self._sender = sender
        self._turn = trio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._sender.end.path!r}>"

    async def send(self, value: T_contra) -> None:
        """Send a message; wait while the FIFO is full.

        Sent means that it lies in the FIFO: it is lost if the last reader and the last writer leave before it
        has been received.

        Args:
            value: Fits the declared type.

        Raises:
            InvalidMessage: It does not fit the type; nothing was sent. As for the next.
            TooLarge: It has more than 16 MiB, encoded; as a line, more than 4095 bytes.
            ConnectionLost: Nobody reads any more. The end stays usable, should another reader come.
            Closed: The end was closed here, be it meanwhile.

        Cancellation: Either nothing was sent, or the message has begun, and its rest goes out before the next
            one, or at `aclose` as far as it fits then. The next message is whole in any case.
        """
        await self.send_many((value,))

    def send_nowait(self, value: T_contra) -> None:
        """Send a message if the FIFO has room, and do not wait.

        Of a message above one packet (4 KB) the rest may stay in this end, and goes out as after a cancelled
        `send`.

        Raises:
            WouldBlock: There is no room, or another task is sending. Nothing was sent.
            InvalidMessage, TooLarge, ConnectionLost, Closed: As `send`.
        """
        with at_once(self._turn, self._sender.end.path), trio_errors.translating():
            if not self._sender.send_at_once(value):
                raise trio_errors.WouldBlock(f"{self._sender.end.path}: the FIFO is full")

    async def send_many(self, values: Iterable[T_contra], /) -> None:
        """Send messages one after the other; no other task's come between in this end.

        Args:
            values: Drawn one by one; when one fails, those before it have been sent.

        Raises:
            InvalidMessage, TooLarge, ConnectionLost, Closed: As `send`.

        Cancellation: As `send`; an unknown number of the values was sent.
        """
        async with self._turn:
            await carry_out(self._sender.sending(values))

    async def aclose(self) -> None:
        """Close the end; a task that waits in it gets `Closed`. Safe to repeat. Does not wait.

        The rest of a message that has begun is tried once more.

        Cancellation: It is closed all the same.
        """
        close(self._sender.end)
        await trio.lowlevel.checkpoint()


@final
class FifoReader(trio.abc.ReceiveChannel[T_co]):
    """Receives messages, each of which no other reader gets. Several tasks may use it, in order."""

    def __init__(self, receiver: Receiver[T_co]) -> None:
        self._receiver = receiver
        self._turn = trio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._receiver.end.path!r}>"

    async def receive(self) -> T_co:
        """Return the next message; wait for it.

        Raises:
            EndOfChannel: The last writer has left; only with `until_writers_gone=True`.
            SchemaMismatch: A message of another type has come. It was dropped; as for the next, the end stays
                usable.
            InvalidMessage: One that does not fit the type, or is no whole line; it was dropped.
            Closed: The end was closed here, be it meanwhile.

        Cancellation: No message is lost. If one has begun to arrive here, its rest waits for the next
            `receive`, and other readers for both.
        """
        return (await self.receive_many(max_messages=1))[0]

    def receive_nowait(self) -> T_co:
        """Return the next message if it is there, and do not wait.

        Raises:
            WouldBlock: There is none, or another reader or task is just taking one.
            EndOfChannel, SchemaMismatch, InvalidMessage, Closed: As `receive`.
        """
        with at_once(self._turn, self._receiver.end.path), trio_errors.translating():
            values = self._receiver.receive_at_once(1)
        if not values:
            raise trio_errors.WouldBlock(f"{self._receiver.end.path}: no message is there")
        return values[0]

    async def receive_many(self, *, max_messages: int = 1024) -> list[T_co]:
        """Return the messages that are there, the oldest first; wait for at least one.

        Args:
            max_messages: How many at most.

        Raises:
            EndOfChannel, SchemaMismatch, InvalidMessage, Closed: As `receive`.

        Cancellation: As `receive`.
        """
        check_max_messages(max_messages)
        async with self._turn:
            return await carry_out(self._receiver.receiving(max_messages))

    @property
    def dropped(self) -> int:
        """How many messages this end has given up: the writer died in the middle, or it was no message at all."""
        return self._receiver.dropped

    async def aclose(self) -> None:
        """Close the end; a task that waits in it gets `Closed`. Safe to repeat. Does not wait.

        Cancellation: It is closed all the same. A message that has begun to arrive here is lost.
        """
        close(self._receiver.end)
        await trio.lowlevel.checkpoint()


@final
class RawFifoWriter(trio.abc.SendStream):
    """Writes bytes. Used by one task at a time."""

    def __init__(self, end: WritingEnd) -> None:
        self._end = end
        self._use = _Use(end, "send")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._end.path!r}>"

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it; wait while the FIFO is full.

        Args:
            data: Up to 4096 bytes are never mixed with another writer's, more may be.

        Raises:
            ConnectionLost: Nobody reads any more.
            Busy: Another task is writing.
            Closed: The end was closed here, be it meanwhile.

        Cancellation: An unknown part of the data was written.
        """
        with self._use.alone():
            await trio.lowlevel.checkpoint()
            await carry_out(sending_bytes(self._end, data))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` might not have to.

        Raises:
            Busy: Another task is writing.
            Closed: The end was closed here, be it meanwhile.

        Cancellation: Leaves nothing behind.
        """
        with self._use.alone():
            await trio.lowlevel.checkpoint()
            await carry_out(waiting_to_send(self._end))

    async def aclose(self) -> None:
        """Close the end; a task that waits in it gets `Closed`. Safe to repeat.

        Cancellation: It is closed all the same.
        """
        close(self._end)
        await trio.lowlevel.checkpoint()


@final
class RawFifoReader(trio.abc.ReceiveStream):
    """Reads bytes. Used by one task at a time."""

    def __init__(self, end: ReadingEnd) -> None:
        self._end = end
        self._use = _Use(end, "receive")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._end.path!r}>"

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what is there, at least one byte; wait for it.

        Args:
            max_bytes: How many at most; None is 64 KiB.

        Returns:
            The bytes; none when the last writer has left, unless `until_writers_gone=False`.

        Raises:
            Busy: Another task is reading.
            Closed: The end was closed here, be it meanwhile.

        Cancellation: Nothing is lost.
        """
        check_max_bytes(max_bytes)
        with self._use.alone():
            await trio.lowlevel.checkpoint()
            return await carry_out(receiving_bytes(self._end, max_bytes))

    async def aclose(self) -> None:
        """Close the end; a task that waits in it gets `Closed`. Safe to repeat.

        Cancellation: It is closed all the same.
        """
        close(self._end)
        await trio.lowlevel.checkpoint()


@final
class _Use:
    """Whether a task uses an end."""

    def __init__(self, end: End, verb: str) -> None:
        self._path = end.path
        self._verb = verb
        self._is_used = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one."""
        if self._is_used:
            raise trio_errors.Busy(f"{self._path}: another task is about to {self._verb} here")
        self._is_used = True
        try:
            yield
        finally:
            self._is_used = False


def close(end: End) -> None:
    """Close an end at once. Whoever waits for it is told."""
    if not end.is_closed:
        trio.lowlevel.notify_closing(end.fileno())
        trio.lowlevel.notify_closing(end.bell_fileno())
    end.close(at_once=True)


async def carry_out(plan: Generator[Pause, None, R]) -> R:
    """Do a plan's waiting. No checkpoint where there is nothing to wait for."""
    with trio_errors.translating():
        try:
            while True:
                await wait(next(plan))
        except StopIteration as end:
            result: R = end.value
            return result
        except trio.ClosedResourceError:
            next(plan)  # it knows that the end was closed, and says so
            raise
        finally:
            plan.close()


@asynccontextmanager
async def writing(plan: Generator[Pause, None, MessageSender[T]]) -> AsyncIterator[FifoWriter[T]]:
    """Open a writer as planned, give it out, and close it at the end."""
    await trio.lowlevel.checkpoint()
    sender = await carry_out(plan)
    try:
        yield FifoWriter(sender)
    finally:
        close(sender.end)


@asynccontextmanager
async def reading(open_now: Callable[[], Receiver[T]]) -> AsyncIterator[FifoReader[T]]:
    """Open a reader, give it out, and close it at the end."""
    await trio.lowlevel.checkpoint()
    receiver = open_now()
    try:
        yield FifoReader(receiver)
    finally:
        close(receiver.end)


@asynccontextmanager
async def writing_bytes(plan: Generator[Pause, None, WritingEnd]) -> AsyncIterator[RawFifoWriter]:
    """Open a writer of bytes as planned, give it out, and close it at the end."""
    await trio.lowlevel.checkpoint()
    end = await carry_out(plan)
    try:
        yield RawFifoWriter(end)
    finally:
        close(end)


@asynccontextmanager
async def reading_bytes(open_now: Callable[[], ReadingEnd]) -> AsyncIterator[RawFifoReader]:
    """Open a reader of bytes, give it out, and close it at the end."""
    await trio.lowlevel.checkpoint()
    end = open_now()
    try:
        yield RawFifoReader(end)
    finally:
        close(end)
