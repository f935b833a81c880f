"""Whole messages through a FIFO: what the trio ends and the blocking ends share.

Both directions are plans: generators which say what to wait for, and never wait. Each is run by one task or
thread at a time.

The law: a plan that is given up loses nothing. A message is sent whole or not at all, be its rest sent later;
one that was taken off the FIFO is returned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from time import monotonic
from typing import Final, Generic, TypeVar, final

from .._errors import ConnectionLost, EndOfChannel, IPCError, SchemaMismatch
from .._protocol.fragments import Event, OtherType, Packets, Reassembler, Writer
from .connecting import Pause
from .fifo_end import ReadingEnd, WritingEnd
from .fifo_receiving import READ_BYTES, Receiver
from .fifo_turn import WRITERS, Turn
from .process_identity import has_ended, namespaces

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

PACKETS_AT_ONCE: Final = 256
"""After so many, 1 MiB, other tasks get their turn."""

SWEEP_SECONDS: Final = 0.05
"""How often it is looked whether the writer of a message that has begun still lives."""


LOOK_SECONDS: Final = 0.2
"""How often a writer that waits for its turn looks whether who has it makes use of it."""

IDLE_LOOKS: Final = 5
"""After so many looks that found room, a second altogether, the one who has the turn is taken for stopped."""


@final
class MessageSender(Generic[T_contra]):
    """Sends messages through a writing end, which is its own.

    For a message of several packets it takes the turn among the FIFO's writers, so that those of two messages
    do not mix: a reader keeps its own turn while a message has begun, and the other readers would wait. That
    is a courtesy. Mixed packets are put together as well.
    """

    def __init__(
        self, end: WritingEnd, encode: Callable[[T_contra], bytes], split: Callable[[bytes], Packets | deque[bytes]]
    ) -> None:
        self.end: Final = end
        self._encode: Final = encode
        self._split: Final = split
        self._rest: Packets | deque[bytes] = deque()
        self._written = 0
        self._turn: Final = Turn(end, WRITERS)
        self._is_impatient = False
        end.before_release = self._let_go

    def sending(self, values: Iterable[T_contra]) -> Generator[Pause, None, None]:
        """Send messages, each after the rest of what an earlier plan had begun.

        Raises:
            InvalidMessage, TooLarge: Of the value which is next; those before it were sent.
            ConnectionLost: Nobody reads any more.
            Closed: The end was closed, be it meanwhile.
        """
        self.end.enter()
        try:
            for value in values:
                packets = self._split(self._encode(value))
                if self._rest or len(packets) > 1:
                    yield from self._taking_turn()
                yield from self._flushing()
                while not self.end.write(packets[0]):
                    yield self.end.pause()
                    self.end.hear()
                # Begun: from here on the rest has to follow, and does, be it from the next plan.
                packets.popleft()
                self._rest = packets
                yield from self._flushing()
                self._turn.give_back()
                yield from self._breathing()
        except ConnectionLost:
            self._rest.clear()
            raise
        finally:
            self._settle()
            self.end.leave()

    def send_at_once(self, value: T_contra) -> bool:
        """Send a message if its first packet fits; the rest follows now or with the next.

        Returns:
            Whether it was sent; if not, nothing of it.
        """
        self.end.enter()
        try:
            packets = self._split(self._encode(value))
            if self._rest or len(packets) > 1:
                self._turn.take()
            self._flush_once()
            if self._rest or not self.end.write(packets[0]):
                return False
            packets.popleft()
            self._rest = packets
            self._flush_once()
            return True
        except ConnectionLost:
            self._rest.clear()
            raise
        finally:
            self._settle()
            self.end.leave()

    def _taking_turn(self) -> Generator[Pause, None, None]:
        """Wait for the turn, unless who has it does nothing although there is room."""
        idle_looks = 0
        while not self._turn.take():
            idle_looks = idle_looks + 1 if self.end.is_writable() else 0
            if self._is_impatient or idle_looks > IDLE_LOOKS:
                self._is_impatient = True
                return
            try:
                self._turn.wait()
            except IPCError:
                return  # without a reader, the write will say so
            yield Pause(self.end.bell_fileno(), LOOK_SECONDS)
            self.end.hear()
        self._is_impatient = False

    def _settle(self) -> None:
        if not self.end.is_closed:
            self._turn.stop_waiting()
            self._turn.give_back()

    def _let_go(self) -> None:
        with suppress(ConnectionLost):
            self._flush_once()
        self._turn.stop_waiting()
        self._turn.give_back()

    def _flushing(self) -> Generator[Pause, None, None]:
        while self._rest:
            if not self.end.write(self._rest[0]):
                yield self.end.pause()
                self.end.hear()
                continue
            self._rest.popleft()
            yield from self._breathing()

    def _flush_once(self) -> None:
        while self._rest and self.end.write(self._rest[0]):
            self._rest.popleft()

    def _breathing(self) -> Generator[Pause, None, None]:
        self._written += 1
        if self._written >= PACKETS_AT_ONCE:
            self._written = 0
            yield Pause(self.end.fileno(), 0)
            self.end.hear()


@final
class MessageReceiver(Receiver[T_co]):
    """Receives the messages that `MessageSender` sends. See `Receiver`."""

    reads_at_once = PACKETS_AT_ONCE
    patience_seconds = SWEEP_SECONDS

    def __init__(self, end: ReadingEnd, decode: Callable[[bytes], T_co], fingerprint: bytes) -> None:
        super().__init__(end, decode)
        self._assembly: Final = Reassembler(fingerprint)
        self._read_bytes = 0
        self._next_sweep = 0.0
        self._doomed: dict[Writer, int] = {}
        self._namespaces: Final = namespaces()

    @property
    def dropped(self) -> int:
        """How many messages were given up, as `Reassembler` counts them."""
        return self._assembly.dropped

    @property
    def _has_begun(self) -> bool:
        return self._assembly.is_open

    def _read(self, most: int) -> bool:
        try:
            # One packet as a rule; more where somebody else's bytes lie between, whose rest would be cut off.
            data = self.end.read(READ_BYTES)
        except EndOfChannel:
            self._forget_all()
            raise
        if data is None:
            return False
        self._read_bytes += len(data)
        self._events.extend(map(self._told, self._assembly.feed(data, monotonic())))
        return True

    def _told(self, event: Event) -> bytes | IPCError:
        if isinstance(event, OtherType):
            return SchemaMismatch(
                f"{self.end.path}: process {event.writer.pid} has sent a message of another type, which was "
                "dropped; declare the same type in every process, or use another path"
            )
        return event

    def _sweep(self) -> None:
        """Give up the messages whose writer has died, once everything that it had written has been read."""
        now = monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_SECONDS
        self._assembly.expire(now)
        writers = self._assembly.writers()
        self._doomed = {writer: position for writer, position in self._doomed.items() if writer in writers}
        dead = [writer for writer in writers if writer not in self._doomed and self._has_died(writer)]
        unread = self.end.unread_bytes()  # looked at after the death: it can only become less of theirs
        for writer in dead:
            self._doomed[writer] = self._read_bytes + unread
        for writer, position in self._doomed.items():
            if not unread or self._read_bytes >= position:
                self._assembly.drop(writer)

    def _has_died(self, writer: Writer) -> bool:
        return writer.namespaces == self._namespaces and has_ended(writer.pid, writer.start_time)

    def _forget_all(self) -> None:
        for writer in self._assembly.writers():
            self._assembly.drop(writer)
