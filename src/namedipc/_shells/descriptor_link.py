"""A channel's connection whose messages carry descriptors.

The law: descriptors leave with the first byte of their message and with no other; those whose message does not leave,
or does not arrive as a value, are closed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from .. import lowlevel
from .._codec import Codec
from .._errors import ConnectionLost, LimitReached
from .._protocol.attachments import Shipment, close_parcel, join_frames, make_parcel, pack_parcel, receiving
from .._protocol.frames import MESSAGE
from .._protocol.lines import LineSession
from .._protocol.messages import MessageSession
from .._values import Peer
from .departures import Departures
from .large_frames import bytes_to_read
from .message_link import MessageLink
from .patience import Patience

T = TypeVar("T")


class DescriptorLink(MessageLink):
    """One connection. Its bodies are parcels, its frames shipments. See `MessageLink`."""

    def __init__(
        self,
        socket: lowlevel.Socket,
        peer: Peer,
        session: MessageSession | LineSession,
        closed: Callable[[], object] | None,
        patience: Patience | None = None,
    ) -> None:
        self._departures = Departures()
        super().__init__(socket, peer, session, closed, patience)

    # ------------------------------------------------------------ the form of messages

    def coders(self, codec: Codec[T]) -> tuple[Callable[[T], bytes], Callable[[bytes], T]]:
        return partial(make_parcel, codec), receiving(codec)

    def pack(self, body: bytes) -> bytes | None:
        return pack_parcel(MESSAGE, body)

    def pack_many(self, bodies: Iterable[bytes]) -> tuple[bytes, int]:
        frames: list[bytes] = []
        try:
            frames += [pack_parcel(MESSAGE, body) for body in bodies]
        except BaseException:
            for frame in frames:
                self.drop(frame)
            raise
        return join_frames(frames), len(frames)

    def pack_values(self, codec: Codec[T], values: Sequence[T]) -> bytes | None:
        return None  # what travels beside each has to leave with its first byte

    def drop(self, frames: bytes) -> None:
        if isinstance(frames, Shipment):
            frames.close()

    # ------------------------------------------------------------ sending

    def check_sendable(self, body: bytes) -> None:
        try:
            super().check_sendable(body)
        except BaseException:
            close_parcel(body)
            raise

    def enqueue(self, frames: bytes, messages: int = 1) -> None:
        begin = self._bytes_sent + len(self._outbound)
        super().enqueue(frames, messages)
        self._departures.add(begin, frames)

    def withdraw(self, frames: bytes, messages: int = 1) -> bool:
        if not super().withdraw(frames, messages):
            return False
        self._departures.withdraw(self._bytes_sent + len(self._outbound))
        return True

    def _send_front(self) -> int:
        try:
            return self._departures.send(self.socket, self._bytes_sent, self._outbound)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            self._drop_outbound()  # which begins with a whole message, so that the next one is whole too
            raise LimitReached(
                f"{self.where}: too many descriptors of this user are on their way, until they are received; "
                "this message has not been sent"
            ) from error

    def _drop_outbound(self) -> None:
        super()._drop_outbound()
        self._departures.close()

    # ------------------------------------------------------------ receiving

    def _receive_some(self) -> bytes:
        arrivals = self.session.arrivals
        assert arrivals is not None
        try:
            data, numbers = lowlevel.receive_descriptors(self.socket, bytes_to_read(self.session))
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self.session.fail(ConnectionLost(f"{self.where}: {error.strerror}"))
                lowlevel.shutdown(self.socket)
            raise
        arrivals.add(numbers)
        return data

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        super().close()
        self._let_go()

    def forget(self) -> None:
        super().forget()
        self._let_go()

    def _let_go(self) -> None:
        self._drop_outbound()
        if self.session.arrivals is not None:
            self.session.arrivals.close()
