"""What has come over a channel's connection, as values.

The law: in order, each once, and each before the error behind it. What came together is decoded together, by one call.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar, final

from .._batches import split
from .._codec import Codec
from .._errors import InvalidMessage, IPCError, renewed
from .._protocol.messages import Batch
from .message_link import MessageLink

T = TypeVar("T")


@final
class Incoming(Generic[T]):
    """The receiving half of one connection. One thread or task at a time takes; nothing here waits.

    Args:
        link: The connection.
        codec: Of its messages.
    """

    __slots__ = ("_ahead", "_codec", "_decode", "_link", "_rest")

    def __init__(self, link: MessageLink, codec: Codec[T]) -> None:
        self._link: Final = link
        self._codec: Final = codec
        _, self._decode = link.coders(codec)
        self._rest: list[T] = []  # what is left of messages that came together, the last one first
        self._ahead: deque[bytes | IPCError] = deque()  # such as do not all fit, or an error that was put off

    def take(self, most: int) -> list[T]:
        """Return the next messages, at least one and at most so many; none if more has to be read first.

        Raises:
            InvalidMessage: The next one does not fit the type.
            IPCError: What `MessageLink.take` raises.
        """
        link = self._link
        if self._rest or self._ahead:
            link.check_open()
        else:
            body = link.take()
            if body is None:
                return []
            if type(body) is not Batch:
                link.count_received(1)
                return [self._decode(body)]
            self._open(body)
        if self._ahead:
            return [self._next_ahead()]
        messages = self._rest[: -most - 1 : -1]
        del self._rest[-most:]
        link.count_received(len(messages))
        return messages

    def take_now(self, most: int) -> list[T]:
        """Return the next messages, reading as long as that needs no waiting. Raises what `take` does."""
        while not (messages := self.take(most)) and self._link.read():
            pass
        return messages

    def fill(self, messages: list[T], most: int) -> None:
        """Add those which are there, up to so many in all. Of an error the next `take` tells."""
        try:
            while len(messages) < most and (more := self.take_now(most - len(messages))):
                messages += more
        except InvalidMessage as error:
            self._ahead.appendleft(renewed(error))
            self._link.count_received(-1)
        except IPCError:
            pass  # it comes again

    def _next_ahead(self) -> T:
        body = self._ahead.popleft()
        self._link.count_received(1)
        if isinstance(body, IPCError):
            raise body
        return self._decode(body)

    def _open(self, batch: Batch) -> None:
        """Decode what came together; if something in it does not fit each is looked at by itself, in its turn."""
        try:
            messages = self._codec.in_batches().decode(batch)
            messages.reverse()
            self._rest = messages
        except InvalidMessage:
            try:
                self._ahead += split(batch, self._codec.title)
            except InvalidMessage as error:
                self._ahead.append(error)
