"""What the two ends of a channel agree on: the type of its messages, and how it is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from .. import lowlevel
from .._codec import Codec
from .._framing import Framing
from .._protocol.hello import CHANNEL, Hello
from .._protocol.lines import LineSession
from .._protocol.messages import MessageSession
from .._types import difference
from .._values import Limits, Peer
from .descriptor_link import DescriptorLink
from .line_link import LineLink
from .message_link import MessageLink

T = TypeVar("T")


class Conversation(Generic[T]):
    """One type of messages, for any number of connections.

    Args:
        where: How errors call the channel: its path, where it has one.
        codec: Of its messages.
        framing: How they follow one another.
    """

    def __init__(self, where: str, codec: Codec[T], framing: Framing = "frames") -> None:
        self.where: Final = where
        self.codec: Final = codec
        self.framing: Final[Framing] = framing

    @property
    def schema(self) -> bytes:
        """The description of the type, as text."""
        return json.dumps(self.codec.description, separators=(",", ":")).encode()

    def difference(self, theirs: bytes) -> str | None:
        """Compare with the other side's text; the first difference, or None."""
        mine = self.codec.description
        try:
            description = json.loads(theirs)
            return difference(mine, description) or difference(description, mine)
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            return f"the other side's message type cannot be read: {error}"

    def session(self, limits: Limits) -> MessageSession | LineSession:
        """Return the protocol of a new connection."""
        if self.framing != "frames":
            return LineSession(self.where, limits.message_bytes, skips_blank=self.framing == "json-lines")
        return MessageSession(
            self.where,
            Hello(CHANNEL, limits.message_bytes, self.codec.fingerprint),
            self.schema,
            self.difference,
            carries_descriptors=self.codec.carries_descriptors,
        )

    def link(
        self, socket: lowlevel.Socket, peer: Peer, limits: Limits, closed: Callable[[], object] | None
    ) -> MessageLink:
        """Return the work of a new connection, which owns the socket."""
        return self._link_class()(socket, peer, self.session(limits), closed)

    def _link_class(self) -> type[MessageLink]:
        if self.framing != "frames":
            return LineLink
        return DescriptorLink if self.codec.carries_descriptors else MessageLink
