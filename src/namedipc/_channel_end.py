"""ChannelEnd: one of two joined ends of a channel that nobody has opened yet; also what a message can carry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from . import lowlevel
from ._codec import Codec
from ._errors import Closed
from ._fd import Fd, adopt
from ._framing import Framing
from ._held import Held, HeldOpening
from ._opening import in_trio_task
from ._shells.connecting import peer_of
from ._shells.conversation import Conversation
from ._shells.message_link import MessageLink
from ._values import Limits

if TYPE_CHECKING:
    from ._channel_blocking import BlockingConnection
    from ._channel_trio import Connection

T = TypeVar("T")


class ChannelEnd(HeldOpening["Connection[T]", "BlockingConnection[T]"], Generic[T]):
    """One end of a channel, not opened yet: `async with` opens it in trio, `with` in ordinary blocking code.

    What `Channel.pair` returns can be sent: as a field or a result of type `ChannelEnd[Order]`, which then arrives as
    an end to be opened there. It is opened once, by whoever has it last.
    """

    def __init__(
        self, held: Held, message: object, conversation: Callable[[], Conversation[T]], framing: Framing = "frames"
    ) -> None:
        @asynccontextmanager
        async def trio() -> AsyncIterator[Connection[T]]:
            from ._channel_trio import Connection

            agreed = conversation()
            async with Connection(_link(held, agreed), agreed.codec) as end:
                yield end

        @contextmanager
        def blocking() -> Iterator[BlockingConnection[T]]:
            from ._channel_blocking import BlockingConnection

            agreed = conversation()
            with BlockingConnection(_link(held, agreed), agreed.codec) as end:
                yield end

        super().__init__(held, message, trio, blocking)
        self._framing: Framing = framing

    @classmethod
    def receiver(cls, message: object, label: str) -> Callable[[Fd], ChannelEnd[T]]:
        @cache
        def conversation() -> Conversation[T]:
            return Conversation(label, Codec[T](message).named(label))

        def receive(fd: Fd) -> ChannelEnd[T]:
            try:
                lowlevel.adopt_socket(fd.fileno()).detach()
            except OSError:
                raise ValueError(f"{label}: the descriptor that has come is no end of a channel") from None
            return cls(Held(label, fd), message, conversation)

        return receive

    def carries(self, message: object) -> bool:
        # Who receives an end knows the type of its messages only, and takes them for frames.
        return self._framing == "frames" and super().carries(message)

    def _refuse_second_entry(self) -> None:
        try:
            super()._refuse_second_entry()
        except Closed as error:
            if not in_trio_task():
                raise
            from ._shells.trio_errors import translate

            raise translate(error) from None


def joined_ends(what: str, message: object, conversation: Conversation[T]) -> tuple[ChannelEnd[T], ChannelEnd[T]]:
    """Make two joined ends. `what` is how errors call them."""
    one, other = (adopt(socket.detach()) for socket in lowlevel.socket_pair())

    def agreed() -> Conversation[T]:
        return conversation

    framing = conversation.framing
    return (
        ChannelEnd(Held(what, one), message, agreed, framing),
        ChannelEnd(Held(what, other), message, agreed, framing),
    )


def _link(held: Held, conversation: Conversation[T]) -> MessageLink:
    socket = held.take()
    try:
        if not conversation.codec.carries_attachments:
            lowlevel.refuse_descriptors(socket)
        return conversation.connected(socket, peer_of(socket), Limits())
    except BaseException:
        socket.close()
        raise
