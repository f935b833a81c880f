"""What the two ends of a channel agree on: the type of its messages, and how it is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final, Generic, TypeVar

import attrs

from .. import lowlevel
from .._codec import Codec
from .._errors import IPCError
from .._faults import fault_of, pack_fault
from .._framing import Framing
from .._protocol.hello import CHANNEL, Hello
from .._protocol.lines import LineSession
from .._protocol.messages import MessageSession
from .._types import difference
from .._values import Limits, Peer
from .descriptor_link import DescriptorLink
from .line_link import LineLink
from .message_link import MessageLink
from .patience import Patience
from .payload_link import PayloadLink

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
            Hello(
                CHANNEL,
                limits.message_bytes,
                self.codec.fingerprint,
                payload_bytes=limits.payload_bytes if self.codec.carries_payloads else 0,
            ),
            self.schema,
            self.difference,
            carries_attachments=self.codec.carries_attachments,
        )

    def accepted(
        self, socket: lowlevel.Socket, peer: Peer, limits: Limits, closed: Callable[[], object]
    ) -> MessageLink:
        """Return the work of a connection that was accepted: its peer is to say its hello."""
        return _opened(self.unopened(socket, peer, limits, closed))

    def connected(
        self, socket: lowlevel.Socket, peer: Peer, limits: Limits, *, message_bytes: int | None = None
    ) -> MessageLink:
        """Return the work of a connection to somebody who may be slow to accept it.

        Args:
            socket: The connection's, from here on.
            peer: Who is at the other end.
            limits: This side's.
            message_bytes: The longest message the other side takes, where that is known already.
        """
        link = self.unopened(socket, peer, attrs.evolve(limits, handshake_seconds=inf), None)
        if message_bytes is not None:
            link.session.their_message_bytes = message_bytes
        return _opened(link)

    def unopened(
        self, socket: lowlevel.Socket, peer: Peer, limits: Limits, closed: Callable[[], object] | None
    ) -> MessageLink:
        """Return the work of a connection, which owns the socket and has not said a word yet."""
        patience = Patience(limits.handshake_seconds, limits.midframe_seconds)
        return self._link_class()(socket, peer, self.session(limits), closed, patience)

    def _link_class(self) -> type[MessageLink]:
        if self.framing != "frames":
            return LineLink
        if self.codec.carries_payloads:
            return PayloadLink
        return DescriptorLink if self.codec.carries_descriptors else MessageLink

    def refuse(self, socket: lowlevel.Socket, error: IPCError) -> None:
        """Tell a peer why it is turned away, as far as it fits into the socket now."""
        lowlevel.send_now(socket, self.session(Limits()).refusal(pack_fault(fault_of(error))))


def _opened(link: MessageLink) -> MessageLink:
    """Say the opening: a peer that only sends should know this side's limit, and one that only receives its type."""
    with suppress(IPCError):  # told by the first send, behind what has arrived
        link.write()
    return link
