"""Messages as lines of text, without I/O: what any program writes and reads, a newline behind each message.

Nothing else is on the wire: no hello, no goodbye. The end of a direction is the end of its stream.

The law: a line comes out as it was written, without its newline, or not at all: one that was cut is no message. And
whatever arrives, memory stays bounded.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

from .._errors import IPCError, ProtocolError, TooLarge, WrongKind
from .._framing import NEWLINE
from .hello import MAGIC, VERSION

_FRAMES: Final = MAGIC + bytes([VERSION])
"""How a channel of frames begins, and no text: the version is a control character."""
_BLANKS: Final = b" \t\r\n"


@final
class LineReader:
    """Cuts what arrives into lines. `feed` bytes, then take `next_line` until it is None.

    Holds at most one unfinished line beyond what was fed.

    Args:
        skips_blank: Whether blank lines are no messages. Otherwise they are empty ones.

    Attributes:
        waited_bytes: How much has come since the last line.
    """

    __slots__ = ("_lines", "_rest", "_skips_blank", "waited_bytes")

    def __init__(self, *, skips_blank: bool) -> None:
        self._skips_blank: Final = skips_blank
        self._lines: deque[bytes] = deque()
        self._rest = bytearray()
        self.waited_bytes: int = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self.waited_bytes += len(data)
        if self._skips_blank and not self._rest:
            data = data.lstrip(_BLANKS)
        first, *others = data.split(NEWLINE)
        self._rest += first
        if not others:
            return
        *whole, rest = bytes(self._rest), *others
        if self._skips_blank:
            whole = [line for line in whole if line.strip(_BLANKS)]
            rest = rest.lstrip(_BLANKS)
        self._rest = bytearray(rest)
        self._lines += whole
        if whole:
            self.waited_bytes = len(rest)

    def next_line(self) -> bytes | None:
        """Return the next whole line, or None until more is fed."""
        return self._lines.popleft() if self._lines else None

    def forget(self) -> None:
        """Drop the line that has begun."""
        self._rest = bytearray()

    @property
    def begun_bytes(self) -> int:
        """The length of the line that has begun, so far."""
        return len(self._rest)


@final
class LineSession:
    """The protocol of one connection of a channel of lines; in use it is what `MessageSession` is.

    Args:
        where: How errors call the channel: its path.
        message_bytes: The longest line that this side takes, without its newline.
        skips_blank: Whether blank lines are no messages.

    Attributes:
        arrivals: None: lines carry no descriptors.
        opening: Empty: nothing is sent before the first message.
        ended: The peer has ended its direction, behind a whole line.
        their_message_bytes: The longest line to be sent: what this side takes, unless the listener's card says another.
        greeted: True: there is no hello to wait for; nor a schema, so that all is `agreed`.
        failure: Why nothing more can be received.
    """

    __slots__ = ("_begun", "_lines", "_message_bytes", "ended", "failure", "their_message_bytes", "where")

    arrivals: None = None
    opening: bytes = b""
    greeted: bool = True
    agreed: bool = True

    def __init__(self, where: str, message_bytes: int, *, skips_blank: bool) -> None:
        self.where: Final = where
        self._lines = LineReader(skips_blank=skips_blank)
        self._begun = b""
        self.ended: bool = False
        self.failure: IPCError | None = None
        self._message_bytes: Final = message_bytes
        self.their_message_bytes: int = message_bytes

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        if len(self._begun) < len(_FRAMES):
            self._begun += data[: len(_FRAMES)]
        self._lines.feed(data)

    def feed_end(self) -> None:
        """Take the end of the stream."""
        self.ended = not self.unfinished

    def next_message(self) -> bytes | None:
        """Return the next whole line; None until more is fed, or at the end (`ended`).

        Raises:
            WrongKind: The other side is a channel of frames.
            ProtocolError: A line is longer than the limit.
        """
        self.check()
        if self._begun.startswith(_FRAMES):
            raise self.fail(WrongKind(f"{self.where}: the other side speaks in frames, this side in lines"))
        line = self._lines.next_line()
        # Blank lines without end are one that is too long, or whoever waits for a message would never do so.
        if (self._lines.waited_bytes if line is None else len(line)) > self._message_bytes:
            raise self.fail(
                ProtocolError(f"{self.where}: the peer sent a line of more than {self._message_bytes} bytes")
            )
        return line

    @property
    def missing(self) -> int:
        """How many bytes have not come yet of a line that has begun: nobody knows, so it is taken to be half there."""
        return self._lines.begun_bytes

    @property
    def waiting_bytes(self) -> int:
        """How much has come of a line that has begun."""
        return self._lines.begun_bytes

    @property
    def unfinished(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._lines.begun_bytes > 0

    def greet(self) -> None:
        """There is no hello."""

    def agree(self) -> bool:
        """There is no schema: whatever comes is taken for a message."""
        return self.agreed

    def check(self) -> None:
        """Raise the failure again, if there has been one."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    def fail(self, error: IPCError) -> IPCError:
        """Let nothing more be received, for this reason; return it."""
        self.failure = error
        return error

    def too_large(self, message_bytes: int) -> TooLarge:
        """Return what says that a message of so many bytes is longer than this side sends."""
        return TooLarge(
            f"{self.where}: a line of {message_bytes} bytes; {self.their_message_bytes} at most. "
            "Send less at once, or give both sides a larger Limits(message_bytes=...)"
        )

    def loss(self) -> str:
        """Return how the connection was lost, for who reads the error."""
        return "in the middle of a line" if self.unfinished else "without reading what it was sent"

    def goodbye(self) -> bytes:
        """There is none: the end of the stream says it."""
        return b""

    def fault(self, body: bytes) -> bytes:
        """There is none: the peer sees the end."""
        return b""

    def refusal(self, body: bytes) -> bytes:
        """There is none: the peer sees the end."""
        return b""
