"""The ends of a broadcast in trio.

The law: every async function is a checkpoint, and there is none after a message was published or taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar, final

import trio

from ._codec import Codec
from ._shells import trio_errors
from ._shells.connecting import Pause
from ._shells.ring_file import RingFile
from ._shells.ring_messages import Batch, BroadcastReceiver, BroadcastSender
from ._shells.trio_lock import Line
from ._shells.trio_waiting import at_once, carry_on, carry_out
from ._shells.waiting import check_max_messages

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


@final
class BroadcastWriter(trio.abc.SendChannel[T_contra]):
    """Sends messages to every reader. Several tasks may use it."""

    def __init__(self, sender: BroadcastSender[T_contra]) -> None:
        self._sender = sender
        self._line = Line(sender.file)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._sender.file.path!r}>"

    async def send(self, value: T_contra) -> None:
        """Send a message to all who read. Never waits for a reader: one which is too slow is lapped.

        Args:
            value: Fits the declared type.

        Raises:
            InvalidMessage: It does not fit the type. As for the rest, nothing was sent.
            TooLarge: Encoded, it is longer than the broadcast's `message_bytes`.
            Closed: The end was closed here, be it meanwhile.

        Cancellation: Nothing was sent, and nobody's lock is held.
        """
        await self._publish(Batch(self._sender.encoded(value)))

    def send_nowait(self, value: T_contra) -> None:
        """Send a message if no other writer is sending one, and do not wait.

        Raises:
            WouldBlock: One is. Nothing was sent.
            InvalidMessage, TooLarge, Closed: As `send`.
        """
        payload = self._sender.encoded(value)
        with trio_errors.translating():
            if not self._sender.publish_at_once(payload):
                raise trio_errors.WouldBlock(f"{self._sender.file.path}: another writer is sending")

    async def send_many(self, values: Iterable[T_contra], /) -> None:
        """Send messages one after the other, many at a time, which costs much less than one by one.

        Args:
            values: Drawn one by one; when one fails, those before it have been sent.

        Raises:
            InvalidMessage, TooLarge, Closed: As `send`.

        Cancellation: As `send`; an unknown number of the values was sent.
        """
        await trio.lowlevel.checkpoint()
        for batch in self._sender.batches(values):
            await self._publish(batch)

    @property
    def is_current(self) -> bool:
        """Whether the name still stands for this broadcast: no more once it was replaced or removed."""
        return self._sender.file.has_name()

    async def aclose(self) -> None:
        """Close the end, as leaving `async with` does. Safe to repeat.

        If no other process writes, readers come to the end after the last message, and the name is removed,
        unless it was made to persist.

        Cancellation: It is closed all the same.
        """
        self._sender.file.close()
        await trio.lowlevel.checkpoint()

    async def _publish(self, batch: Batch) -> None:
        with trio_errors.translating():
            async with self._line.alone():
                self._sender.file.publish(*batch)


@final
class BroadcastReader(trio.abc.ReceiveChannel[T_co]):
    """Receives every message. Several tasks may use it: each gets the messages that the others have not got."""

    def __init__(self, receiver: BroadcastReceiver[T_co]) -> None:
        self._receiver = receiver
        self._turn = trio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._receiver.file.path!r}>"

    async def receive(self) -> T_co:
        """Return the next message; wait for it.

        Raises:
            EndOfChannel: The last writer has left, and everything has been received.
            InvalidMessage: The message does not fit the type; it was dropped. As for the next, the end stays
                usable.
            ProtocolError: Somebody has damaged it, or has cut the file short.
            Closed: The end was closed here, be it meanwhile.

        Cancellation: No message is lost.
        """
        return (await self.receive_many(max_messages=1))[0]

    def receive_nowait(self) -> T_co:
        """Return the next message if it is there, and do not wait.

        Raises:
            WouldBlock: There is none, or another task is receiving.
            EndOfChannel, InvalidMessage, ProtocolError, Closed: As `receive`.
        """
        with at_once(self._turn, self._receiver.file.path), trio_errors.translating():
            return self._receiver.receive_at_once(1)[0]

    async def receive_many(self, *, max_messages: int = 1024) -> list[T_co]:
        """Return messages that are there, the oldest first; wait for at least one.

        Args:
            max_messages: How many at most. It may be fewer although others are there.

        Raises:
            EndOfChannel, InvalidMessage, ProtocolError, Closed: As `receive`.

        Cancellation: As `receive`.
        """
        check_max_messages(max_messages)
        with trio_errors.translating():
            async with self._turn:
                return await carry_on(self._receiver.receiving(max_messages))

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

    async def aclose(self) -> None:
        """Close the end; a task that waits in it gets `Closed`. Safe to repeat.

        Cancellation: It is closed all the same.
        """
        self._receiver.close()
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def writing(plan: Generator[Pause, None, RingFile], codec: Codec[T]) -> AsyncIterator[BroadcastWriter[T]]:
    """Open a writer as planned, give it out, and close it at the end."""
    file = await carry_out(plan)
    try:
        yield BroadcastWriter(BroadcastSender(file, codec))
    finally:
        file.close()


@asynccontextmanager
async def reading(plan: Generator[Pause, None, BroadcastReceiver[T]]) -> AsyncIterator[BroadcastReader[T]]:
    """Open a reader as planned, give it out, and close it at the end."""
    receiver = await carry_out(plan)
    try:
        yield BroadcastReader(receiver)
    finally:
        receiver.close()
