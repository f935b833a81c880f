"""Receiving whole messages from a FIFO, however they lie there: turns among its readers, batches, and what to wait for.

A plan is a generator which says what to wait for, and never waits; it is run by one task or thread at a time.

The law: a plan that is given up loses nothing. What was taken off the FIFO is returned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from math import inf
from typing import Final, Generic, TypeVar

from .._errors import EndOfChannel, IPCError
from .connecting import Pause
from .fifo_end import ReadingEnd
from .fifo_turn import READERS, Turn

T_co = TypeVar("T_co", covariant=True)

READ_BYTES: Final = 1 << 16
"""What a read asks for at most: the usual capacity of a FIFO."""

LONG_BYTES: Final = 1 << 20
"""Of a message that is longer, each copy takes as long as reading so much."""

ROUNDS_AT_ONCE: Final = 32
"""How often `receive_at_once` looks for a message before it says that none is there: others may write without end."""


class Receiver(ABC, Generic[T_co]):
    """Receives messages through a reading end, which is its own.

    It has the turn among the FIFO's readers from its first look until it has whole messages and no other has begun.
    A subclass knows how messages lie in the FIFO.
    """

    reads_at_once: int
    """After so many, about 1 MiB, other tasks get their turn."""
    patience_seconds: float = inf
    """How long the rest of a message that has begun is waited for before its writer is looked at."""

    def __init__(self, end: ReadingEnd, decode: Callable[[bytes], T_co]) -> None:
        self.end: Final = end
        self._decode: Final = decode
        self._turn: Final = Turn(end, READERS)
        self._events: Final[deque[bytes | IPCError]] = deque()
        self._is_empty = False
        end.before_release = self._let_go

    @property
    @abstractmethod
    def dropped(self) -> int:
        """How many messages were given up."""

    @property
    @abstractmethod
    def _has_begun(self) -> bool:
        """Whether the beginning of a message was taken, so that the rest must not go to another reader."""

    @abstractmethod
    def _read(self, most: int) -> bool:
        """Put into `_events` what is there, at most so many messages, and errors in their place; whether anything is.

        Raises:
            EndOfChannel: The last writer has left; only if the end was to end then.
        """

    def _sweep(self) -> None:
        """Give up messages of which no more will come. Called while one has begun."""

    def receiving(self, most: int) -> Generator[Pause, None, list[T_co]]:
        """Receive at least one message and at most `most`, as many as are there.

        Raises:
            EndOfChannel: The last writer has left; only if the end was to end then.
            SchemaMismatch: A message of another type has come; it was dropped.
            InvalidMessage: One that does not fit the type; it was dropped.
            Closed: The end was closed, be it meanwhile.
        """
        self.end.enter()
        try:
            while True:
                if not self._turn.take():
                    self._turn.wait()
                    # Not for the FIFO: it may be full of what another reader is about to take.
                    yield Pause(self.end.bell_fileno(), inf)
                elif values := self._collect(most):
                    return values
                else:
                    yield self._pause()
                self.end.hear()
        finally:
            self._settle()
            self.end.leave()

    def receive_at_once(self, most: int) -> list[T_co]:
        """Receive what is there whole, at most `most` messages; none where another reader has the turn."""
        self.end.enter()
        try:
            for _ in range(ROUNDS_AT_ONCE):
                if not self._turn.take():
                    break
                values = self._collect(most)
                if values or self._is_empty:
                    return values
            return []
        finally:
            self._settle()
            self.end.leave()

    def _settle(self) -> None:
        """Keep the turn only if a message has begun: the rest of it must not go to another reader."""
        if self.end.is_closed:
            return
        self._turn.stop_waiting()
        if not self._has_begun:
            self._turn.give_back()

    def _pause(self) -> Pause:
        if not self._is_empty:
            return Pause(self.end.fileno(), 0)
        pause = self.end.pause()
        if self._has_begun:
            return Pause(pause.fd, min(pause.seconds, self.patience_seconds))
        self._turn.give_back()
        return pause

    def _collect(self, most: int) -> list[T_co]:
        """Read until there are enough messages, the FIFO is empty, or it is time for others."""
        values: list[T_co] = []
        self._is_empty = False
        try:
            for _ in range(self.reads_at_once):
                if not self._events:
                    if not self._read(most - len(values)):
                        self._is_empty = True
                        break
                    if self._events and _is_long(self._events[0]):
                        break  # putting it together was enough for now; it is decoded in the next step
                while self._events and len(values) < most:
                    values.append(self._value(self._events[0]))
                    self._events.popleft()
                if len(values) >= most:
                    break
        except EndOfChannel:
            if not values:
                raise
        except IPCError:
            # To be raised once, after what came before it has been returned.
            if not values:
                self._events.popleft()
                raise
        if self._has_begun:
            self._sweep()
        return values

    def _value(self, event: bytes | IPCError) -> T_co:
        if isinstance(event, IPCError):
            raise event
        return self._decode(event)

    def _let_go(self) -> None:
        self._turn.stop_waiting()
        self._turn.give_back()


def _is_long(event: bytes | IPCError) -> bool:
    return isinstance(event, bytes) and len(event) > LONG_BYTES
