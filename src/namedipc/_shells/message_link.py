"""The descriptor work of a channel's connection which both worlds share: it moves bytes, and never waits.

Each method does what can be done now and says whether that was everything; the trio and the blocking end wait in
between. The law: a frame leaves whole, in order, or not at all; every message that arrived comes before the error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from .. import lowlevel
from .._batches import array_count, split
from .._codec import Codec
from .._errors import Closed, ConnectionLost, EndOfChannel, InvalidMessage, IPCError, TimedOut
from .._faults import Fault, fault_of, fault_of_handler, pack_fault
from .._protocol.frames import MESSAGES, pack_frame
from .._protocol.lines import LineSession
from .._protocol.messages import LONGEST_TOGETHER_BYTES, MessageSession, pack_message, pack_together
from .._statistics import ConnectionStatistics
from .._values import Peer
from .large_frames import bytes_to_read, keep_room
from .patience import Patience
from .socket_end import SocketEnd

T = TypeVar("T")

ENCODED_TOGETHER: Final = 256
"""How many values one call encodes: so few that they seldom are more than one frame takes."""


class MessageLink(SocketEnd):
    """One connection. Owns the socket, which is non-blocking. The opening waits for the first `write`.

    Args:
        socket: A connected socket.
        peer: Who is at the other end.
        session: The protocol.
        closed: Called once, when the connection is closed.
        patience: How long the peer may owe what it owes; without it for ever.

    Attributes:
        patience: The same.
        sends_no_more: The end of this direction has been said.
        session: The same.
    """

    def __init__(
        self,
        socket: lowlevel.Socket,
        peer: Peer,
        session: MessageSession | LineSession,
        closed: Callable[[], object] | None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(socket, peer, session.where, closed)
        self.session = session
        self.patience: Patience = patience or Patience()
        self._outbound: bytes | bytearray = session.opening  # the latter where some of it has left
        self.sends_no_more: bool = False
        self._broken = False
        self._lost = False
        self._messages_sent = 0
        self._messages_received = 0
        self._bytes_sent = 0
        self._bytes_received = 0

    # ------------------------------------------------------------ the form of messages

    def coders(self, codec: Codec[T]) -> tuple[Callable[[T], bytes], Callable[[bytes], T]]:
        """Return what makes the body of a message of a value, and a value of it."""
        return codec.encode, codec.decode

    def pack(self, body: bytes) -> bytes | None:
        """Return a body as a frame; None while it has to wait for room, and the other side has to be listened to."""
        return pack_message(body)

    def pack_many(self, bodies: Iterable[bytes]) -> tuple[bytes, int]:
        """Return bodies as frames in one piece, and how many they are."""
        packed = list(bodies)
        return pack_together(packed, self._longest_together()), len(packed)

    def pack_all(self, codec: Codec[T], values: Iterable[T], checked: Callable[[T], bytes]) -> tuple[bytes, int]:
        """Return values as frames in one piece, and how many they are.

        Args:
            codec: Of the messages.
            values: A list's or a tuple's are encoded together. Of an iterator each is before the next one is drawn, as
                it may be the same object, changed.
            checked: Encodes one value, and raises unless it can be sent.

        Raises:
            IPCError: What `checked` raises.
        """
        if type(values) is list or type(values) is tuple:
            frames = self.pack_values(codec, values)
            if frames is not None:
                return frames, len(values)
        return self.pack_many(map(checked, values))

    def pack_values(self, codec: Codec[T], values: Sequence[T]) -> bytes | None:
        """Return values as frames in one piece; None where each has to be looked at, and packed, by itself.

        Raises:
            TooLarge: The other side does not accept one of them.
            IPCError: What `check_sendable` raises.
        """
        longest = self._longest_together()
        if longest == 0 or len(values) < 2:
            return None
        self._check_sending()
        encode = codec.in_batches().encode
        steps = range(0, len(values), ENCODED_TOGETHER)
        try:
            arrays = [encode(values[at : at + ENCODED_TOGETHER]) for at in steps]
        except InvalidMessage:
            return None  # which of them it is will be told
        return b"".join([self._pack_array(array, longest) for array in arrays])

    def _pack_array(self, array: bytes, longest: int) -> bytes:
        if len(array) <= longest and array_count(array) > 1:
            return pack_frame(MESSAGES, array)
        bodies = split(array)
        for body in bodies:
            if len(body) > self.session.their_message_bytes:
                raise self.session.too_large(len(body))
        return pack_together(bodies, longest)

    def _longest_together(self) -> int:
        """How long a frame of several messages may be: none is sent before the other side's limit is known."""
        return min(self.session.their_message_bytes, LONGEST_TOGETHER_BYTES) if self.session.greeted else 0

    def drop(self, frames: bytes) -> None:
        """Let go of frames, whether they have been enqueued or not: nobody enqueues them after this."""

    # ------------------------------------------------------------ sending

    def check_sendable(self, body: bytes) -> None:
        """Raise unless this message can be sent; nothing has left then, and the body is let go of."""
        self._check_sending()
        if len(body) > self.session.their_message_bytes:
            raise self.session.too_large(len(body))

    def _check_sending(self) -> None:
        self.check_open()
        if self.sends_no_more:
            raise Closed(f"{self.where}: send_eof() has been called; this end sends no more")
        if self._broken:
            raise ConnectionLost(f"{self.where}: the peer has gone, or reads no more")
        self.session.check()

    def hear_hello(self) -> None:
        """Learn the other side's limit, if it has told it by now. Only for whom else nobody receives meanwhile."""
        if not (self.closed or self._lost or self._pid != os.getpid()):
            self.read()
            self.session.greet()

    def enqueue(self, frames: bytes, messages: int = 1) -> None:
        """Put whole frames behind what waits to be sent."""
        if self._outbound:
            self._outbound += frames
        else:
            self._outbound = frames
        self._messages_sent += messages

    def write(self) -> bool:
        """Send what fits; True when nothing waits any more.

        Raises:
            ConnectionLost: The peer has gone. What waited is dropped.
        """
        while self._outbound:
            try:
                sent = self._send_front()
            except BlockingIOError:
                return False
            except OSError as error:
                self.check_open()  # another thread may have closed it just now
                self._broken = True
                self._drop_outbound()
                raise ConnectionLost(f"{self.where}: the peer has gone, or reads no more") from error
            self._bytes_sent += sent
            if sent == len(self._outbound):
                self._outbound = b""
            elif type(self._outbound) is bytearray:
                del self._outbound[:sent]
            else:
                keep_room(len(self._outbound))
                self._outbound = bytearray(memoryview(self._outbound)[sent:])
        return True

    def _send_front(self) -> int:
        return lowlevel.send_now(self.socket, self._outbound)

    def _drop_outbound(self) -> None:
        self._outbound = b""

    def withdraw(self, frames: bytes, messages: int = 1) -> bool:
        """Take frames back of which no byte has been sent; False if some has."""
        if len(self._outbound) < len(frames) or not self._outbound.endswith(frames):
            return False
        self._outbound = self._outbound[: len(self._outbound) - len(frames)]
        self._messages_sent -= messages
        return True

    # ------------------------------------------------------------ receiving

    def read(self) -> bool:
        """Receive what is there, once; False if nothing is there yet."""
        self.check_open()
        try:
            data = self._receive_some()
        except BlockingIOError:
            return False
        except OSError:
            self._lost = True
            return True
        self._bytes_received += len(data)
        if data:
            self.session.feed(data)
        else:
            self._lost = True
            self.session.feed_end()
        return True

    def agree(self) -> bool:
        """Read what is there until the other side's opening is; True once the types have been found to fit.

        Raises:
            ConnectionLost: It went away before that.
            IPCError: What `MessageSession.agree` raises.
        """
        while not self.session.agree():
            if self._lost:
                raise ConnectionLost(f"{self.where}: the peer went away before it had said its hello")
            if not self.read():
                return False
        return True

    def seconds_left(self) -> float | None:
        """Return how long a peer that owes something may still be waited for; None where it is for ever."""
        session = self.session
        return self.patience.left(agreed=session.agreed, unfinished=session.unfinished, number=self._messages_received)

    def _receive_some(self) -> bytes:
        return lowlevel.receive_now(self.socket, bytes_to_read(self.session))

    def take(self) -> bytes | None:
        """Return the next whole message, or a `Batch`; None if more has to be read first.

        Raises:
            EndOfChannel: The peer has ended its direction in order, and everything has been received.
            ConnectionLost: It went away without.
            IPCError: What `MessageSession.next_message` raises.
        """
        self.check_open()
        session = self.session
        body = session.next_message()
        if body is not None:
            return body
        if session.ended:
            raise EndOfChannel(f"{self.where}: the peer has closed its end")
        if self._lost:
            raise ConnectionLost(f"{self.where}: the peer went away {session.loss()}")
        return None

    def count_received(self, messages: int) -> None:
        """Count messages which have been taken, and looked at."""
        self._messages_received += messages

    # ------------------------------------------------------------ the end

    def say_goodbye(self) -> None:
        """Enqueue the end of this direction."""
        if not self.sends_no_more:
            self.sends_no_more = True
            if not self._broken:
                self.enqueue(self.session.goodbye(), 0)

    def half_close(self) -> None:
        """After the goodbye has been written: let the peer see the end."""
        try:
            lowlevel.shutdown_write(self.socket)
        except OSError:
            self._broken = True

    def give_up(self, *, telling: bool) -> IPCError:
        """End the connection, for the peer has had its time; return the error which says so.

        Args:
            telling: Tell the peer, as far as that fits into the socket now: nobody else is sending.
        """
        owed = self.patience.owed
        if telling:
            self._tell(fault_of(TimedOut(f"too slow: {owed}")))
        with suppress(OSError):  # it has gone by itself
            lowlevel.shutdown(self.socket)
        return self.session.fail(
            ConnectionLost(f"{self.where}: the peer was too slow: {owed} within {self.patience.seconds} seconds")
        )

    def tell_failure(self, error: Exception) -> None:
        """Let the peer's `receive` raise what a handler raised, as far as it fits into the socket now."""
        # A traceback shows source lines and paths: for the same user, who could read them anyway, and for root.
        trusted = self.peer.uid in {os.geteuid(), 0}
        self._tell(fault_of_handler(error, with_traceback=trusted))
        self.sends_no_more = True

    def _tell(self, fault: Fault) -> None:
        if self.closed or self.sends_no_more or self._broken:
            return
        self.enqueue(self.session.fault(pack_fault(fault)), 0)
        with suppress(IPCError):
            self.write()

    def statistics(self) -> ConnectionStatistics:
        """What has been carried so far."""
        return ConnectionStatistics(
            messages_sent=self._messages_sent,
            messages_received=self._messages_received,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
        )
