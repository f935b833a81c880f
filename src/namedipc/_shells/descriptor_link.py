"""A channel's connection whose messages carry descriptors.

The law: descriptors leave with the first byte of their message and with no other; those whose message does not leave,
or does not arrive as a value, are closed.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from .. import lowlevel
from .._codec import Codec
from .._descriptors import Descriptors
from .._errors import ConnectionLost, LimitReached
from .._protocol.messages import MessageSession, Parcel, Shipment, join_shipments, pack_parcel
from .._values import Peer
from .message_link import READ_BYTES, MessageLink

T = TypeVar("T")


class DescriptorLink(MessageLink):
    """One connection. Its bodies are parcels, its frames shipments. See `MessageLink`."""

    def __init__(
        self,
        socket: lowlevel.Socket,
        peer: Peer,
        session: MessageSession,
        closed: Callable[[], object] | None,
    ) -> None:
        # In order: how many bytes have to be sent before, and what leaves with the next one.
        self._departures: deque[tuple[int, Descriptors]] = deque()
        super().__init__(socket, peer, session, closed)

    # ------------------------------------------------------------ the form of messages

    def coders(self, codec: Codec[T]) -> tuple[Callable[[T], bytes], Callable[[bytes], T]]:
        def encode(value: T) -> bytes:
            return Parcel(*codec.encode_with(value))

        def decode(body: bytes) -> T:
            assert isinstance(body, Parcel)
            return codec.decode_with(body, body.descriptors.detach())

        return encode, decode

    def pack(self, body: bytes) -> bytes:
        assert isinstance(body, Parcel)
        return pack_parcel(body)

    def pack_many(self, bodies: Iterable[bytes]) -> tuple[bytes, int]:
        shipments: list[Shipment] = []
        try:
            for body in bodies:
                assert isinstance(body, Parcel)
                shipments.append(pack_parcel(body))
        except BaseException:
            for shipment in shipments:
                shipment.close()
            raise
        return join_shipments(shipments), len(shipments)

    def drop(self, frames: bytes) -> None:
        if isinstance(frames, Shipment):
            frames.close()

    # ------------------------------------------------------------ sending

    def check_sendable(self, body: bytes) -> None:
        try:
            super().check_sendable(body)
        except BaseException:
            assert isinstance(body, Parcel)
            body.descriptors.close()
            raise

    def enqueue(self, frames: bytes, messages: int = 1) -> None:
        begin = self._bytes_sent + len(self._outbound)
        super().enqueue(frames, messages)
        if isinstance(frames, Shipment):
            self._departures += [(begin + at, descriptors) for at, descriptors in frames.release()]

    def withdraw(self, frames: bytes, messages: int = 1) -> bool:
        if not super().withdraw(frames, messages):
            return False
        end = self._bytes_sent + len(self._outbound)
        while self._departures and self._departures[-1][0] >= end:
            self._departures.pop()[1].close()
        return True

    def _send_front(self) -> int:
        if not self._departures:
            return super()._send_front()
        at, descriptors = self._departures[0]
        before = at - self._bytes_sent
        if before:
            return lowlevel.send_now(self.socket, self._outbound[:before])
        end = self._departures[1][0] - self._bytes_sent if len(self._departures) > 1 else None
        try:
            sent = lowlevel.send_descriptors(self.socket, self._outbound[:end], descriptors.numbers)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            self._drop_outbound()  # which begins with a whole message, so that the next one is whole too
            raise LimitReached(
                f"{self.where}: too many descriptors of this user are on their way, until they are received; "
                "this message has not been sent"
            ) from error
        self._departures.popleft()
        descriptors.sent()
        return sent

    def _drop_outbound(self) -> None:
        super()._drop_outbound()
        while self._departures:
            self._departures.pop()[1].close()

    # ------------------------------------------------------------ receiving

    def _receive_some(self) -> bytes:
        arrivals = self.session.arrivals
        assert arrivals is not None
        try:
            data, numbers = lowlevel.receive_descriptors(self.socket, READ_BYTES)
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
