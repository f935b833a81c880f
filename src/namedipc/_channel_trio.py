"""The open ends of a channel in trio: Connection and Listener. They only wait; `MessageLink` moves the bytes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar, final

import trio
import trio.abc

from . import lowlevel
from ._codec import Codec
from ._errors import Closed, EndOfChannel, IPCError
from ._protocol.attachments import is_homeless
from ._shells import trio_errors
from ._shells.handover import handing_over
from ._shells.incoming import Incoming
from ._shells.message_link import MessageLink
from ._shells.payload_link import PayloadLink
from ._shells.reception import Reception
from ._shells.trio_waiting import carry_out
from ._statistics import ConnectionStatistics
from ._values import Peer

log = logging.getLogger(__name__)

T = TypeVar("T")
Resource_co = TypeVar("Resource_co", bound=trio.abc.AsyncResource, covariant=True)

FINISH_SECONDS = 1.0
"""How long closing waits for a peer to take what was sent before."""


@final
class Connection(trio.abc.Channel[T]):
    """One connection of a channel: whole typed messages both ways.

    Any number of tasks may send, and any number receive; each message goes to one of them. `async for` ends when the
    peer has closed its end.
    """

    def __init__(self, link: MessageLink, codec: Codec[T]) -> None:
        self._link = link
        self._codec = codec
        self._encode, _ = link.coders(codec)
        self._incoming = Incoming(link, codec)
        self._sending = trio.StrictFIFOLock()
        self._receiving = trio.StrictFIFOLock()
        self._finishing = False
        self._news: trio.CancelScope | None = None  # around the task that waits for room
        if isinstance(link, PayloadLink):
            self._attend(link)

    def _attend(self, link: PayloadLink) -> None:
        """Have whoever waits for room told of what is released, and the peer of what is released here."""
        token = trio.lowlevel.current_trio_token()

        def soon(what: Callable[[], None]) -> None:  # garbage may be collected in any thread, and at any line
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(what, idempotent=True)

        self._placing = trio.StrictFIFOLock()
        link.payloads.pool.when_released = partial(soon, self._tell_news)
        link.payloads.windows.when_due = partial(soon, self._say_due)

    async def send(self, value: T) -> None:
        """Send one message; it is in the kernel's hands, or the peer's, when this returns.

        Raises:
            InvalidMessage: The value does not fit the declared type. Nothing has been sent.
            TooLarge: It is longer than the other side accepts. Nothing has been sent.
            ConnectionLost: The peer has gone. What it had sent before can still be received.
            Closed: This end has been closed.

        Cancellation: while no byte has left the message is taken back; otherwise it is finished in the background, and
        the next one is whole all the same.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            body = self._checked(value)
            frame = self._link.pack(body)
            await self._send_frames(await self._pack_later(body) if frame is None else frame, 1)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_many(self, values: Iterable[T], /) -> None:
        """Send several messages at one go; all are checked before the first leaves. See `send`.

        Cancellation: while no byte has left all are taken back; otherwise all are finished in the background. Those
        with large payloads leave one after the other: what has not left then does not.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            if isinstance(self._link, PayloadLink):
                await self._send_bodies(list(map(self._checked, values)))
            else:
                with trio_errors.translating():
                    self._hear_hello()
                    frames, messages = self._link.pack_all(self._codec, values, self._checked)
                await self._send_frames(frames, messages)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, value: T) -> None:
        """Send one message if that takes no waiting. See `send`.

        Raises:
            WouldBlock: The peer has to read first, or to let go of large payloads, or another task is sending. Nothing
                has been sent.
        """
        link = self._link
        body = self._checked(value)
        frame = link.pack(body)
        if frame is None:
            frame = self._pack_now(body)
        try:
            if self._sending.locked():
                raise trio_errors.WouldBlock(f"{link.where}: another task is sending")
            with trio_errors.translating():
                if link.write():
                    link.enqueue(frame)
                    if link.write():
                        return
                    if not link.withdraw(frame):
                        self._finish_later()
                        return
        finally:
            link.drop(frame)
        raise trio_errors.WouldBlock(f"{link.where}: the peer has to read first")

    async def receive(self) -> T:
        """Receive the next message.

        Raises:
            EndOfChannel: The peer has closed its end, and everything it sent has been received.
            ConnectionLost: It went away without a goodbye, or in the middle of a line; or is too slow:
                `handshake_seconds`, `midframe_seconds`.
            InvalidMessage: What came does not fit the declared type. The next message can be received.
            SchemaMismatch: The other side declares another type.
            Closed: This end has been closed.

        Cancellation: nothing is lost; the next `receive` has the message.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            async with _Turn(self._receiving):
                return (await self._next(1))[0]
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive_many(self, *, max_messages: int = 1024) -> list[T]:
        """Receive what is there: at least one message, waiting for it, and as many more as need no waiting.

        Args:
            max_messages: The most to return.

        Raises:
            IPCError: As `receive`; an error behind messages that arrived is raised by the next call.
        """
        if max_messages < 1:
            raise ValueError(f"max_messages={max_messages}: must be at least 1")
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            async with _Turn(self._receiving):
                messages = await self._next(max_messages)
                self._incoming.fill(messages, max_messages)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return messages

    def receive_nowait(self) -> T:
        """Receive a message which is there already. See `receive`.

        Raises:
            WouldBlock: None is there, or another task is receiving.
        """
        if self._receiving.locked():
            raise trio_errors.WouldBlock(f"{self._link.where}: another task is receiving")
        with trio_errors.translating():
            messages = self._incoming.take_now(1)
        if self._news is not None:
            self._news.cancel()
        if not messages:
            raise trio_errors.WouldBlock(f"{self._link.where}: no message is there")
        return messages[0]

    async def send_eof(self) -> None:
        """Say that this end sends no more: the peer's `receive` ends, and it can still send.

        Cancellation: the end is said in the background.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._end_sending()
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        """Say goodbye and close. What was sent and not received yet by the peer stays receivable. Safe to call twice.

        Waits up to a second for a peer that has to read first.

        Cancellation: the connection is closed all the same; a peer that had not read sees it as lost.
        """
        link = self._link
        try:
            if not link.closed:
                with trio.move_on_after(FINISH_SECONDS):
                    await self._say_goodbye()
        except IPCError:
            pass  # the peer has gone before
        finally:
            if not link.closed:
                trio.lowlevel.notify_closing(link.socket)
                link.close()
                self._tell_news()
        await trio.lowlevel.checkpoint()

    @property
    def peer(self) -> Peer:
        """Whom the kernel vouches for at the other end."""
        return self._link.peer

    def statistics(self) -> ConnectionStatistics:
        """Return what has been carried so far."""
        return self._link.statistics()

    # ------------------------------------------------------------ inside

    async def _end_sending(self) -> None:
        async with _Turn(self._sending):
            with trio_errors.translating():
                self._link.check_open()
                self._link.say_goodbye()
                try:
                    while not self._link.write():
                        await self._writable()
                except trio.Cancelled:
                    self._finish_later()
                    raise
                self._link.half_close()

    async def _say_goodbye(self) -> None:
        link = self._link
        if self._sending.locked() and not self._finishing and not link.sends_no_more:
            return  # a task is in the middle of a message, and will learn that this end was closed
        async with _Turn(self._sending):
            link.check_open()
            link.say_goodbye()
            while not link.write():
                await self._writable()

    def _checked(self, value: T) -> bytes:
        body = self._encode(value)
        with trio_errors.translating():
            self._hear_hello()
            self._link.check_sendable(body)
        return body

    def _hear_hello(self) -> None:
        if not self._link.session.greeted and not self._receiving.locked():
            self._link.hear_hello()

    async def _send_frames(self, frames: bytes, messages: int) -> None:
        link = self._link
        try:
            async with _Turn(self._sending):
                with trio_errors.translating():
                    link.check_open()
                    while not link.write():  # the rest of one that was cancelled
                        await self._writable()
                    link.enqueue(frames, messages)
                    try:
                        while not link.write():
                            await self._writable()
                    except trio.Cancelled:
                        if not link.withdraw(frames, messages):
                            self._finish_later()
                        raise
        finally:
            link.drop(frames)

    def _finish_later(self) -> None:
        """Write the rest of a frame that has begun: nobody else may come in between, and the peer waits for it."""
        if not self._finishing:
            self._finishing = True
            trio.lowlevel.spawn_system_task(self._finish)

    async def _finish(self) -> None:
        try:
            async with self._sending:
                while not self._link.write():
                    await self._writable()
                if self._link.sends_no_more:
                    self._link.half_close()
        except IPCError:
            log.debug("%s: a message which was cancelled could not be finished", self._link.where, exc_info=True)
        finally:
            self._finishing = False

    async def _writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._link.socket)
        except (trio.ClosedResourceError, OSError):
            raise Closed(f"{self._link.where}: this end has been closed") from None

    async def _next(self, most: int) -> list[T]:
        try:
            with trio_errors.translating():
                while not (messages := self._incoming.take(most)):
                    if self._link.read():
                        continue
                    if self._news is not None:
                        self._news.cancel()  # this task listens now
                    await self._readable()
                return messages
        finally:
            if self._news is not None:
                self._news.cancel()  # and it does so no more

    # ------------------------------------------------------------ large payloads

    async def _send_bodies(self, bodies: list[bytes]) -> None:
        """Send messages: those which have large payloads one after the other, as they have to wait for room."""
        for waits, group in groupby(bodies, key=is_homeless):
            if waits:
                for body in group:
                    await self._send_frames(await self._pack_later(body), 1)
            else:
                await self._send_frames(*self._link.pack_many(group))

    async def _pack_later(self, body: bytes) -> bytes:
        """Pack a message once there is room for its payloads: while nobody receives, this task listens."""
        link = self._link
        assert isinstance(link, PayloadLink)
        await trio.lowlevel.checkpoint_if_cancelled()
        async with _Turn(self._placing):
            with trio_errors.translating():
                if not self._receiving.locked():
                    link.hear()
                while (frame := link.pack_at_last(body)) is None:
                    link.check_open()
                    if self._receiving.locked() or not link.may_listen:
                        await self._until_news(trio.sleep_forever)
                    elif not link.listen():
                        await self._until_news(self._readable)
        return frame

    def _pack_now(self, body: bytes) -> bytes:
        """Pack a message if there is room for its payloads."""
        link = self._link
        assert isinstance(link, PayloadLink)
        with trio_errors.translating():
            if not self._receiving.locked():
                link.hear()
            frame = link.pack_at_last(body)
        if frame is None:
            raise trio_errors.WouldBlock(
                f"{link.where}: there is no room for its payloads until the peer lets go of others"
            )
        return frame

    async def _until_news(self, wait: Callable[[], Awaitable[object]]) -> None:
        try:
            with trio.CancelScope() as self._news:
                await wait()
        finally:
            self._news = None

    def _tell_news(self) -> None:
        """Have whoever waits for room look again."""
        if self._news is not None:
            self._news.cancel()

    def _say_due(self) -> None:
        """Say what the peer waits for, in the background if it has to read first."""
        link = self._link
        if isinstance(link, PayloadLink) and link.owes and not link.say_due():
            self._finish_later()

    async def _readable(self) -> None:
        """Wait for the peer, and for one that owes something no longer than it may take."""
        link = self._link
        seconds = link.seconds_left()
        if seconds == 0:
            raise link.give_up(telling=not self._sending.locked())
        try:
            if seconds is None:
                await trio.lowlevel.wait_readable(link.socket)
                return
            with trio.move_on_after(seconds), link.patience.counting():
                await trio.lowlevel.wait_readable(link.socket)
        except (trio.ClosedResourceError, OSError):
            raise Closed(f"{link.where}: this end has been closed") from None


class _Turn:
    """A FIFO lock whose free case costs no trip through the scheduler."""

    __slots__ = ("_lock",)

    def __init__(self, lock: trio.StrictFIFOLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *error: object) -> None:
        self._lock.release()


@final
class Listener(trio.abc.Listener[Resource_co], Generic[Resource_co]):
    """The listening end: accepts connections while its `async with` lasts, and owns the name."""

    def __init__(
        self,
        reception: Reception,
        make_end: Callable[[lowlevel.Socket, Peer, Callable[[], object]], Resource_co],
        refuse: Callable[[lowlevel.Socket, IPCError], object],
    ) -> None:
        self._reception = reception
        self._make_end = make_end
        self._refuse = refuse
        self._accepting = trio.StrictFIFOLock()
        self._successors = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._hand_over)

    async def _hand_over(self) -> None:
        """Hand the name over to a process that asks for it. Who is accepted until then stays here."""
        with self._successors, suppress(trio.ClosedResourceError):
            if await carry_out(handing_over(self._reception.claim)):
                await self.aclose()

    async def accept(self) -> Resource_co:
        """Accept the next connection. Who is not allowed, or over a limit, is turned away meanwhile.

        Returns:
            The connection, which the caller closes.

        Raises:
            Closed: The listener has been closed, or another process has taken the name over.

        Cancellation: no connection is lost; it stays in the backlog.
        """
        await trio.lowlevel.checkpoint()
        async with _Turn(self._accepting):
            with trio_errors.translating():
                while True:
                    end = self._reception.accept_now(self._make_end, self._refuse)
                    if end is not None:
                        return end
                    await self._wait()

    async def _wait(self) -> None:
        pause = self._reception.pause_until - monotonic()
        if pause > 0:
            await trio.sleep(pause)
        try:
            await trio.lowlevel.wait_readable(self._reception.claim.listener)
        except (trio.ClosedResourceError, OSError, ValueError):
            raise Closed(f"{self.path}: this listener has been closed") from None

    async def __aiter__(self) -> AsyncIterator[Resource_co]:
        """Accept one connection after the other, until the listener is closed."""
        while True:
            try:
                yield await self.accept()
            except Closed:
                return

    async def serve(self, handler: Callable[[Resource_co], Awaitable[object]], /) -> None:
        """Accept connections, a task for each; each is closed when its handler ends.

        Returns once the listener has been closed, or another process has taken the name over, and the last handler has
        ended.

        A handler's exception ends its connection only: the peer receives it as `RemoteError`. A peer that went away,
        or closed, while the handler was receiving is no error.

        Cancellation: the handlers are cancelled and their connections closed; the listener stays.
        """
        async with trio.open_nursery() as nursery:
            async for connection in self:
                nursery.start_soon(self._attend, handler, connection)

    async def _attend(self, handler: Callable[[Resource_co], Awaitable[object]], connection: object) -> None:
        end: Resource_co = connection  # type: ignore[assignment]  # start_soon has no place for a covariant variable
        async with end:
            try:
                await handler(end)
            except (EndOfChannel, trio.BrokenResourceError):
                pass
            except Exception as error:  # told to the peer
                log.debug("%s: a handler failed", self.path, exc_info=True)
                if isinstance(end, Connection):
                    end._link.tell_failure(error)

    async def aclose(self) -> None:
        """Stop listening and remove the name. Connections that were accepted go on. Safe to call twice."""
        if not self._reception.closed:
            self._successors.cancel()
            trio.lowlevel.notify_closing(self._reception.claim.handover)
            trio.lowlevel.notify_closing(self._reception.claim.listener)
            self._reception.close()
        await trio.lowlevel.checkpoint()

    @property
    def path(self) -> Path:
        """The absolute path of the name."""
        return Path(self._reception.claim.path)
