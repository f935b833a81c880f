"""A channel's connection whose messages carry large payloads.

The law: what is said of buffers leaves between messages, a new buffer before the message that is in it; whoever needs a
buffer listens for those which are released, as long as nobody receives, and keeps the messages that come meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import final

from .. import lowlevel
from .._errors import ConnectionLost, IPCError
from .._protocol.attachments import Parcel, is_homeless, join_frames, pack_parcel
from .._protocol.frames import MESSAGE
from .._protocol.lines import LineSession
from .._protocol.messages import MessageSession
from .._values import Peer
from .descriptor_link import DescriptorLink
from .patience import Patience
from .payloads import Payloads
from .telling_lock import Waker


@final
class PayloadLink(DescriptorLink):
    """One connection. See `MessageLink`.

    Attributes:
        payloads: The memory of both ends.
        waker: Wakes a thread that waits for room.
    """

    def __init__(
        self,
        socket: lowlevel.Socket,
        peer: Peer,
        session: MessageSession | LineSession,
        closed: Callable[[], object] | None,
        patience: Patience | None = None,
    ) -> None:
        assert isinstance(session, MessageSession)  # lines carry no payloads
        self._frames: MessageSession = session
        self.payloads: Payloads = Payloads(session.where, session.payload_bytes)
        self.waker: Waker = Waker()
        self.payloads.trust(peer)
        session.payloads = self.payloads
        super().__init__(socket, peer, session, closed, patience)

    # ------------------------------------------------------------ sending

    def pack(self, body: bytes) -> bytes | None:
        return self._pack(body, may_grow=False)

    def pack_at_last(self, body: bytes) -> bytes | None:
        """As `pack`, once everything has been heard that is there: with a new buffer if there is none that is free."""
        return self._pack(body, may_grow=True)

    def _pack(self, body: bytes, *, may_grow: bool) -> bytes | None:
        if not is_homeless(body):
            return pack_parcel(MESSAGE, body)
        assert isinstance(body, Parcel)
        try:
            placed = self.payloads.pool.place(body, self.session.their_message_bytes, may_grow=may_grow)
        except BaseException:
            body.descriptors.close()
            raise
        return None if placed is None else pack_parcel(MESSAGE, placed)

    def write(self) -> bool:
        while super().write():
            if self._broken or not self.payloads.has_unsaid:
                return True
            self.enqueue(join_frames(self.payloads.unsaid()), 0)
        return False

    @property
    def owes(self) -> bool:
        """Whether the other side may wait for something that nobody sends."""
        return not (self.closed or self._broken) and (bool(self._outbound) or self.payloads.has_unsaid)

    def say_due(self) -> bool:
        """Say what the other side waits for, if it is still there; False if it has to read first."""
        with suppress(IPCError):  # told by whoever sends, or receives, next
            return self.write()
        return True

    # ------------------------------------------------------------ listening

    def hear_hello(self) -> None:
        if not (self.closed or self._lost or self._pid != os.getpid()) and self.may_listen:
            self.read()
            self._frames.listen()

    @property
    def may_listen(self) -> bool:
        """Whether more may be read before somebody receives."""
        return self._frames.may_listen

    def listen(self) -> bool:
        """Read once, for the sake of what is released; False if nothing is there. Only while nobody receives.

        Raises:
            ConnectionLost: Nothing will be released any more.
            IPCError: Why nothing can be received any more.
        """
        self.session.check()
        if self._lost or self._broken:
            raise ConnectionLost(f"{self.where}: the peer has gone, or reads no more")
        if not self.read():
            return False
        self._frames.listen()
        return True

    def hear(self) -> None:
        """Listen to what is there. Raises what `listen` does."""
        while self.may_listen and self.listen():
            pass

    # ------------------------------------------------------------ the end

    def half_close(self) -> None:
        """The peer has been told by the goodbye: what it sends must still be released."""

    def _let_go(self) -> None:
        self.payloads.close()
        self.waker.close()
        super()._let_go()
