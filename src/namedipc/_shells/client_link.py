"""What the trio and the blocking client of a service have in common: its bounds, how calls begin, what became of them.

The law: nothing here waits, or touches the descriptor; who reads, who writes and who sleeps is each shell's own affair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from .. import lowlevel
from .._errors import IPCError, NoServer, TooLarge, renewed
from .._faults import DRAINING, code_of, error_of
from .._protocol.attachments import Parcel, is_homeless
from .._protocol.calls import LOST, NOT_RUN, CallRun, ClientSession, Feeding, NotRun, Sleeper, StreamedCall, Waiter
from .._protocol.series import Piece, Series, cut
from .._raised import DeclaredErrors
from .._statistics import ConnectionStatistics
from .._values import Limits, Peer
from .large_frames import READ_BYTES
from .payloads import Payloads
from .polling import Spinner

OUTBOUND_BYTES: Final = Limits().outbound_bytes
"""What may wait for a service that does not read; beyond it calls and streams wait."""
LARGEST_BATCH: Final = 256
"""How many calls of one batch are in flight at once, however many more the service would run."""
EOF: Final = b"\x00EOF"
"""What a read gives at the end: nothing can be told from nothing yet."""

Flight: TypeAlias = deque[CallRun[Sleeper]]
"""The calls of a series that have begun, and were not looked at yet."""
Link = TypeVar("Link")


class Called(Protocol):
    """What is called, as far as that must be known here: a method of an interface, or one known by its name only."""

    @property
    def where(self) -> str:
        """How messages call it: `Kitchen.cook`."""

    @property
    def index(self) -> int:
        """Its number on the wire."""

    @property
    def requests(self) -> Sized:
        """Its streams of requests."""

    @property
    def is_stream(self) -> bool:
        """Whether it is answered with a stream."""

    @property
    def errors(self) -> DeclaredErrors:
        """The exceptions which it declares."""


class OpenCall(Generic[Link, Sleeper]):
    """A call with streams that has begun."""

    __slots__ = ("id", "link", "method", "waiter")

    def __init__(self, link: Link, id: int, waiter: StreamedCall[Sleeper], method: Called) -> None:  # noqa: A002
        self.link: Link = link
        self.id: int = id
        self.waiter: StreamedCall[Sleeper] = waiter
        self.method: Called = method


class ClientLink(Generic[Sleeper]):
    """One connection to a service. Owns the socket."""

    def __init__(
        self, where: str, socket: lowlevel.Socket, peer: Peer, session: ClientSession[Sleeper], *, spin: bool
    ) -> None:
        self.where: str = where
        self.peer: Peer = peer
        self._socket = socket
        self._session = session
        self._payloads: Payloads | None = None
        if session.payload_bytes:
            self._payloads = session.payloads = Payloads(where, session.payload_bytes)
            self._payloads.trust(peer)
        self._spinner = Spinner() if spin else None
        self._reader: Waiter[Sleeper] | None = None
        self._outbound_bytes = 0
        self._closed = False
        self._calls = 0
        self._answers = 0
        self._sent = 0
        self._received = 0

    # ------------------------------------------------------------ before a call

    def _check_session(self) -> None:
        """Raise NotRun if no call can be begun any more."""
        if self._session.failure is not None:
            raise NotRun(self._failure())
        if self._session.last_run is not None:
            raise NotRun(NoServer(f"{self.where}: not run: the service is shutting down"))

    def _check_limit(self, where: str, body: bytes, *, before: int = 0) -> None:
        """Raise TooLarge if the service, which has said its hello, does not accept this, and so much before it."""
        limit = self._session.their_message_bytes
        size = before + len(body)
        if size > limit:
            raise TooLarge(
                f"{self.where}: the arguments of {where} are {size} bytes long; the service accepts {limit}. "
                "Send less at once, or let it serve with a larger Limits(message_bytes=...)"
            )

    # ------------------------------------------------------------ calls begin

    def _new_streamed(self, method: Called) -> StreamedCall[Sleeper]:
        feedings = tuple(Feeding[Sleeper](method.where, number) for number in range(len(method.requests)))
        return StreamedCall(method.where, feedings, self._session.new_inflow() if method.is_stream else None)

    def _left(self, series: Series) -> deque[Piece]:
        """What is to be sent of a series.

        Raises:
            TooLarge: Something of it is longer than the service, which has said its hello, accepts.
        """
        left = series.left(self._session.their_message_bytes - len(series.before))
        for _, arguments in left:
            self._check_limit(series.method.where, arguments, before=len(series.before))
        return left

    def _begin_some(self, series: Series, left: deque[Piece], flight: Flight[Sleeper], deadline: float | None) -> bytes:
        """Enter further calls of a series, and return their frames: as many as one write carries.

        Nothing while the service is leaving and some of them are in flight: only what has become of those says from
        where on the series may be sent elsewhere.

        Args:
            series: What is called.
            left: What is left to be sent.
            flight: Those that have begun, and were not looked at yet; gets the new ones.
            deadline: Of each call.

        Raises:
            NotRun: Some are left, and no call can be begun any more.
        """
        session = self._session
        if not left or (flight and (session.failure is not None or session.last_run is not None)):
            return b""
        before = mine = sum(run.count for run in flight)
        others = len(session.pending) - sum(run.unanswered for run in flight)
        share = session.their_calls_in_flight * 3 // 4  # the rest is for other calls of this connection
        most = min(LARGEST_BATCH, max(1, share - others))
        if 2 * mine > most:
            return b""
        self._check_session()
        method = series.method
        frames = []
        size = 0
        while left and mine < most and size <= READ_BYTES:
            piece = left.popleft()
            together = min(most - mine, max(1, most // 2))  # the service works at one half while the other is made
            if piece[0] > together:
                piece, rest = cut(piece, together)
                left.appendleft(rest)
            run: CallRun[Sleeper] = CallRun(method.where, piece[0])
            frame = session.begin_run(run, method.index, series.before + piece[1], deadline, series.flags)
            flight.append(run)
            frames.append(frame)
            size += len(frame)
            mine += run.count
        self._calls += mine - before
        return b"".join(frames)

    # ------------------------------------------------------------ after a call

    def _error_of(self, waiter: Waiter[Sleeper], method: Called) -> Exception:
        """What a call raises that has ended without a result."""
        if waiter.kind == LOST:
            return self._failure()
        if waiter.kind == NOT_RUN:
            return NotRun(self._failure())
        if code_of(waiter.body) == DRAINING:
            return NotRun(NoServer(f"{self.where}: {waiter.where}: not run: the service is shutting down"))
        return error_of(waiter.body, where=f"{self.where}: {waiter.where}", declared=method.errors)

    def _failure(self) -> IPCError:
        """A fresh exception for each who asks: one object raised at several places would mix their tracebacks."""
        failure = self._session.failure
        assert failure is not None
        return renewed(failure)

    # ------------------------------------------------------------ large payloads

    def _place(self, body: bytes, *, may_grow: bool = True) -> bytes | None:
        """Find a place for the large payloads of a body, if it has any without; None while there is no room.

        Raises:
            TooLarge: There never will be.
        """
        if not is_homeless(body):
            return body
        assert self._payloads is not None
        assert isinstance(body, Parcel)
        return self._payloads.pool.place(body, self._session.their_message_bytes, may_grow=may_grow)

    def _let_go(self) -> None:
        """Give up the memory of large payloads; also in a forked child."""
        if self._payloads is not None:
            self._payloads.close()

    def _take_unsaid(self) -> list[bytes]:
        """What the service has to be told of buffers: before any call whose payloads have been placed."""
        return [] if self._payloads is None else self._payloads.unsaid()

    # ------------------------------------------------------------ what the protocol has to say, what can be asked

    def _take_outgoing(self) -> bytes:
        outgoing = self._session.outgoing
        if not outgoing:
            return b""
        data = b"".join(outgoing)
        outgoing.clear()
        return data

    @property
    def calls_may_move(self) -> bool:
        """Whether calls that were not run may be sent elsewhere: the service has said goodbye, or never hello."""
        return self._session.calls_may_move

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight, or on its way."""
        return not self._session.pending and not self._outbound_bytes

    def statistics(self) -> ConnectionStatistics:
        """What has been carried so far."""
        return ConnectionStatistics(
            messages_sent=self._calls,
            messages_received=self._answers + self._session.untold,
            bytes_sent=self._sent,
            bytes_received=self._received,
        )
