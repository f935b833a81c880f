"""The calls of one client on one connection, without I/O: which are in flight, and what became of each.

The law: every call that was begun is resolved exactly once, by its reply, by its error, or by the loss of the
connection; what arrives for a call that its caller has given up is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import pack
from typing import Final, Generic, TypeVar

from .._batches import array_count
from .._errors import ConnectionLost, IPCError, ProtocolError, SchemaMismatch, WrongKind
from .._faults import connection_error_of
from .attachments import Arrivals, Parcel, open_parcel, pack_parcel, replaced
from .frames import (
    ATTACHMENT_FLAGS,
    BIND,
    BUFFER,
    CALL,
    CALLS,
    CANCEL,
    CREDIT,
    DEADLINE_FLAG,
    END,
    ERROR,
    GOODBYE,
    HEADER,
    ITEM,
    ONE_WAY_FLAG,
    RELEASE,
    REPLIES,
    REPLY,
    SCHEMA,
    Frame,
    FrameReader,
    pack_call,
    pack_frame,
    with_deadline,
)
from .hello import HELLO_BYTES, OPENING_BYTES, SERVICE, UNASKED_BYTES, Hello, check_opening, unpack_hello
from .payloads import PayloadEnds, take_payload_frame
from .streams import Inflow, Outflow

Sleeper = TypeVar("Sleeper")

WAITING: Final = 0
LOST: Final = 255
NOT_RUN: Final = 254
LARGEST_ID: Final = (1 << 32) - 1
_OF_PAYLOADS: Final = frozenset({BUFFER, RELEASE})
_OF_A_STREAM: Final = frozenset({ITEM, END, CREDIT})
_RESULTS: Final = frozenset({REPLY, REPLIES})
_pack_header = HEADER.pack


def _pack_call(method: int, id: int, body: bytes, deadline: float | None, flags: int) -> bytes:  # noqa: A002
    if type(body) is not Parcel:
        return pack_call(method, id, body, deadline, flags)
    whole = replaced(body, with_deadline(deadline, body))
    return pack_parcel(CALL, whole, flags=flags if deadline is None else flags | DEADLINE_FLAG, method=method, id=id)


class Waiter(Generic[Sleeper]):
    """One call in flight: what it is called, what became of it, and who sleeps for it (set by the shell).

    Attributes:
        kind: WAITING, REPLY, ERROR; LOST with the connection, so that nobody knows whether it was run; NOT_RUN with
            the connection, and certainly not run.
        body: The body of the reply or the error.
        sleeper: Whom to wake once `kind` is another than WAITING.
        unanswered: For how many calls in flight it stands.
    """

    __slots__ = ("body", "kind", "sleeper", "where")
    unanswered: int = 1

    def __init__(self, where: str) -> None:
        self.where: str = where
        self.kind: int = WAITING
        self.body: bytes = b""
        self.sleeper: Sleeper | None = None


class Feeding(Waiter[Sleeper]):
    """One stream of requests on its way to the service. It waits, if it does, for leave to send.

    Attributes:
        kind: WAITING, REPLY once it may look again whether it may send, LOST once its call is over.
        number: Which of the call's streams it is.
        outflow: What may be sent.
    """

    __slots__ = ("number", "outflow")

    def __init__(self, where: str, number: int) -> None:
        super().__init__(where)
        self.number: int = number
        self.outflow: Outflow = Outflow(0, 0)


class StreamedCall(Waiter[Sleeper]):
    """A call with streams: of requests, of replies, or both.

    Attributes:
        kind: As of any call; ITEM while items of its stream of replies wait to be taken, then END or what ended it.
        feedings: Its streams of requests.
        inflow: Its stream of replies, if it is answered with one.
    """

    __slots__ = ("_last", "feedings", "inflow")
    kind: int
    body: bytes

    def __init__(self, where: str, feedings: tuple[Feeding[Sleeper], ...], inflow: Inflow | None) -> None:
        super().__init__(where)
        self.feedings: tuple[Feeding[Sleeper], ...] = feedings
        self.inflow: Inflow | None = inflow
        self._last = WAITING

    def arrived(self, body: bytes) -> bool:
        """Take in an item; True if somebody may have waited for it."""
        if self.inflow is None:
            raise ProtocolError(f"{self.where} is answered with one result, and an item of a stream came")
        self.inflow.arrived(body)
        waited = self.kind == WAITING
        self.kind = ITEM
        return waited

    def take(self) -> bytes:
        """Return the next item; `kind` must be ITEM."""
        assert self.inflow is not None
        body = self.inflow.take()
        if not self.inflow.items:
            self.kind = self._last
        return body

    def finish(self, kind: int, body: bytes = b"") -> bool:
        """The call is over; what waits to be taken is taken first. True if somebody may have waited for it."""
        waited = self.kind == WAITING
        self._last = kind
        self.body = body
        if self.inflow is not None:
            self.inflow.ended = True
        if self.kind != ITEM:
            self.kind = kind
        return waited


class CallRun(Waiter[Sleeper]):
    """Several calls of one method which are sent together, or a single one of many.

    Attributes:
        kind: WAITING, until all answers up to the first failure, in the order of the calls, have come; then REPLY.
        count: How many calls there are.
        first: The id of the first; theirs are consecutive.
        answers: What has become of them, as it came: the place of a call in the run, how many from there on, the kind
            (REPLY, REPLIES, ERROR, LOST, NOT_RUN), and the body.
        unanswered: How many are still in flight.
    """

    __slots__ = ("_awaited", "_end", "answers", "count", "first", "unanswered")

    def __init__(self, where: str, count: int) -> None:
        super().__init__(where)
        self.count: int = count
        self.first: int = 0
        self.answers: list[tuple[int, int, int, bytes]] = []
        self.unanswered: int = count
        self._end = count  # the place of the first call that has failed, as far as is known
        self._awaited = count  # how many of those before it are in flight

    @property
    def ids(self) -> range:
        """The ids of its calls."""
        return range(self.first, self.first + self.count)

    def answered(self, place: int, count: int, kind: int, body: bytes) -> bool:
        """Take in what has become of some of its calls; True if somebody may have waited for that."""
        self.answers.append((place, count, kind, body))
        self.unanswered -= count
        if place < self._end:
            if kind in _RESULTS:
                self._awaited -= count
            else:
                self._end = place
                self._awaited = place - sum(answer[1] for answer in self.answers if answer[0] < place)
        if self._awaited or self.kind != WAITING:
            return False
        self.kind = REPLY
        return True


class NotRun(Exception):
    """A call was certainly not run: its connection had ended before, or the service is about to end.

    Attributes:
        reason: What the caller gets, if nobody sends it again.
    """

    def __init__(self, reason: IPCError) -> None:
        super().__init__(str(reason))
        self.reason: IPCError = reason


class ClientSession(Generic[Sleeper]):
    """The protocol of one connection at the client.

    Args:
        where: How messages call the service: its path.
        hello: What this side says of itself.
        bindings: Compares with the schema text of the service: the service's indices of our methods, or the first
            difference as text.
        carries_attachments: Whether anything may travel beside calls or answers.

    Attributes:
        arrivals: Descriptors that have come and wait for their frame; None where no method carries any.
        payloads: The large payloads of the connection, from whoever has their memory.
        words: How often the service has said something that is of no call, and that `greeters` may wait for.
        untold: How many answers have come to calls which were sent together; but of each such run `feed` tells once.
        reader: What has come and was not taken.
        last_id: The id of the call that has begun last.
        last_run: The id of the last call that a service runs which is about to end; None while it goes on.
    """

    __slots__ = (
        "_bindings",
        "_bound",
        "_hello",
        "_where",
        "arrivals",
        "failure",
        "greeted",
        "greeters",
        "last_id",
        "last_run",
        "outgoing",
        "payloads",
        "pending",
        "reader",
        "their_calls_in_flight",
        "their_message_bytes",
        "their_stream_bytes",
        "their_stream_items",
        "untold",
        "words",
    )

    def __init__(
        self,
        where: str,
        hello: Hello,
        bindings: Callable[[bytes], list[int] | str],
        *,
        carries_attachments: bool = False,
    ) -> None:
        self._where: Final = where
        self._hello: Final = hello
        self._bindings: Final = bindings
        self.arrivals: Final = Arrivals() if carries_attachments else None
        self.payloads: PayloadEnds | None = None
        self.reader: Final = FrameReader(hello.message_bytes)
        self.last_id: int = 0
        self._bound = False
        self.pending: dict[int, Waiter[Sleeper]] = {}
        self.greeters: list[Waiter[Sleeper]] = []
        self.greeted: bool = False
        self.words: int = 0
        self.untold: int = 0
        self.their_message_bytes: int = UNASKED_BYTES
        self.their_calls_in_flight: int = 1
        self.their_stream_items: int = 0
        self.their_stream_bytes: int = 0
        self.failure: IPCError | None = None
        self.last_run: int | None = None
        self.outgoing: list[bytes] = [hello.pack()]

    def begin(
        self,
        waiter: Waiter[Sleeper],
        method: int,
        body: bytes,
        deadline: float | None,
        flags: int = 0,
    ) -> tuple[int, bytes]:
        """Enter a call; return its id and its frame."""
        id_ = self.last_id
        while True:
            id_ = id_ + 1 if id_ < LARGEST_ID else 1
            if id_ not in self.pending:
                break
        self.last_id = id_
        self.pending[id_] = waiter
        if type(waiter) is not Waiter:
            assert isinstance(waiter, StreamedCall)
            self._open_windows(waiter)
        if deadline is None and type(body) is bytes:  # as `pack_call` does; one call less
            return id_, _pack_header(len(body), CALL, flags, method, id_) + body
        return id_, _pack_call(method, id_, body, deadline, flags)

    def begin_run(
        self, run: CallRun[Sleeper], method: int, body: bytes, deadline: float | None, flags: int = 0
    ) -> bytes:
        """Enter calls that are sent together; return their frame.

        Args:
            run: The calls.
            method: What is called.
            body: What the flags say, and then the arguments: an array of those of each call, or of a single one as
                they are.
            deadline: Of each call.
            flags: Of the frame.
        """
        pending = self.pending
        first = self.last_id + 1
        while True:
            if first + run.count - 1 > LARGEST_ID:
                first = 1
            ids = range(first, first + run.count)
            if pending.keys().isdisjoint(ids):
                break
            first = max(pending.keys() & ids) + 1
        run.first = first
        self.last_id = ids[-1]
        pending.update(dict.fromkeys(ids, run))
        return pack_call(method, first, body, deadline, flags, CALL if run.count == 1 else CALLS)

    @property
    def payload_bytes(self) -> int:
        """How many bytes of the other side's buffers this side has said that it maps."""
        return self._hello.payload_bytes

    def new_inflow(self) -> Inflow:
        """Return the receiving end of a stream of replies."""
        return Inflow(self._hello.stream_items, self._hello.stream_bytes)

    def one_way(self, method: int, body: bytes, deadline: float | None, flags: int = 0) -> bytes:
        """Return the frame of a call that is not answered."""
        return _pack_call(method, 0, body, deadline, flags | ONE_WAY_FLAG)

    def item(self, id: int, feeding: Feeding[Sleeper], body: bytes) -> bytes:  # noqa: A002
        """Return the frame of an item of a stream of requests, which must be open."""
        feeding.outflow.sent(len(body))
        return pack_parcel(ITEM, body, method=feeding.number, id=id)

    def end_stream(self, id: int, feeding: Feeding[Sleeper]) -> bytes:  # noqa: A002
        """Return the frame which says that a stream of requests has ended."""
        return pack_frame(END, method=feeding.number, id=id)

    def take_item(self, id: int, call: StreamedCall[Sleeper]) -> tuple[bytes, bytes | None]:  # noqa: A002
        """Return the next item of a stream of replies, and the frame, if one is due, which asks for more."""
        body = call.take()
        assert call.inflow is not None
        credit = call.inflow.credit()
        return body, None if credit is None else pack_frame(CREDIT, credit, id=id)

    def sleepers(self) -> Iterator[Waiter[Sleeper]]:
        """Every waiter that somebody may sleep for."""
        for waiter in self.pending.values():
            yield waiter
            if isinstance(waiter, StreamedCall):
                yield from waiter.feedings
        yield from self.greeters

    def cancel(self, id: int) -> bytes:  # noqa: A002
        """Give up a call; return the frame which says so."""
        self.pending.pop(id, None)
        return pack_frame(CANCEL, id=id)

    def cancel_run(self, run: CallRun[Sleeper]) -> bytes:
        """Give up what is in flight of a run; return the frames which say so."""
        return b"".join([self.cancel(id_) for id_ in run.ids if self.pending.get(id_) is run])

    def goodbye(self) -> bytes:
        """Return the frame which says that no more calls will come."""
        return pack_frame(GOODBYE)

    def only_answer(self, data: bytes) -> Waiter[Sleeper] | None:
        """Return the call whose reply bytes are, if they are that and nothing else; else None, and nothing is done.

        They are what was to be fed: that nothing waits before them is looked at, too.
        """
        if not self.greeted or self.arrivals is not None:
            return None
        frame = self.reader.only_frame(data)
        if frame is None or frame[0] != REPLY or frame[1]:
            return None
        waiter = self.pending.get(frame[3])
        if type(waiter) is not Waiter:
            return None
        del self.pending[frame[3]]
        waiter.body = frame[4]
        waiter.kind = REPLY
        return waiter

    def feed(self, data: bytes) -> list[Waiter[Sleeper]]:
        """Take bytes as they came; return whose fate they have decided.

        A peer which breaks the protocol has ended the connection: that is in `failure`, as it is with a lost peer.
        """
        resolved: list[Waiter[Sleeper]] = []
        self.reader.feed(data)
        try:
            if not self.greeted and not self._take_hello(resolved):
                return resolved
            while (frame := self.reader.next_frame()) is not None:
                kind, flags, _method, id_, body = frame
                if flags & ATTACHMENT_FLAGS:
                    frame = self._opened(frame)
                    body = frame[4]
                if kind == REPLY or (kind == ERROR and id_):
                    waiter = self.pending.pop(id_, None)
                    if type(waiter) is Waiter:
                        waiter.body = body
                        waiter.kind = kind
                        resolved.append(waiter)
                    elif waiter is not None:
                        self._resolve(id_, waiter, kind, body, resolved)
                elif kind == REPLIES:
                    self._take_replies(frame, resolved)
                elif kind in _OF_A_STREAM:
                    self._take_of_stream(frame, resolved)
                else:
                    self._take_other(frame, resolved)
            if self.arrivals is not None:
                self.arrivals.settle(unfinished=self.reader.unfinished)
        except IPCError as error:
            resolved += self.fail(self._placed(error))
        return resolved

    def end(self) -> list[Waiter[Sleeper]]:
        """The connection is at its end: whatever is in flight is lost."""
        if self.last_run is not None:
            why = "the service has shut down; connect again once it is back"
        elif self.reader.unfinished:
            why = "the connection ended in the middle of a frame"
        else:
            why = "the service went away without a goodbye"
        return self.fail(ConnectionLost(f"{self._where}: {why}"))

    def fail(self, error: IPCError) -> list[Waiter[Sleeper]]:
        """The connection cannot go on, for this reason; return whose fate that has decided."""
        if self.failure is None:
            self.failure = error
        fates = {id_: self._fate(id_) for id_ in self.pending}
        if isinstance(self.failure, ConnectionLost) and not self.failure.calls:
            self.failure.calls = tuple(self.pending[id_].where for id_, fate in fates.items() if fate == LOST)
        resolved: list[Waiter[Sleeper]] = []
        for id_, waiter in self.pending.items():
            self._resolve(id_, waiter, fates[id_], b"", resolved)
        for greeter in self.greeters:
            greeter.kind = LOST
            resolved.append(greeter)
        self.pending.clear()
        self.greeters.clear()
        self.close()
        return resolved

    def close(self) -> None:
        """Close the descriptors that nobody will take."""
        if self.arrivals is not None:
            self.arrivals.close()

    def _fate(self, id: int) -> int:  # noqa: A002
        """What has become of a call that is in flight as the connection ends."""
        if not self.greeted:
            return NOT_RUN  # a service has sent its hello before it runs a call
        if self.last_run is None:
            return LOST
        later_by = (id - self.last_run) % (LARGEST_ID + 1)  # ids begin again; half of the range lies ahead
        return NOT_RUN if 0 < later_by <= LARGEST_ID // 2 else LOST

    def _resolve(
        self,
        id: int,  # noqa: A002
        waiter: Waiter[Sleeper],
        kind: int,
        body: bytes,
        resolved: list[Waiter[Sleeper]],
    ) -> None:
        """Tell a call, of whichever kind, what has become of it."""
        if isinstance(waiter, StreamedCall):
            self._finish(waiter, kind, body, resolved)
        elif not isinstance(waiter, CallRun):
            waiter.kind, waiter.body = kind, body
            resolved.append(waiter)
        else:
            self._resolve_some(waiter, id - waiter.first, 1, kind, body, resolved)

    def _resolve_some(
        self,
        run: CallRun[Sleeper],
        place: int,
        count: int,
        kind: int,
        body: bytes,
        resolved: list[Waiter[Sleeper]],
    ) -> None:
        self.untold += count
        if run.answered(place, count, kind, body):
            self.untold -= 1
            resolved.append(run)

    def _take_replies(self, frame: Frame, resolved: list[Waiter[Sleeper]]) -> None:
        """Answers to calls which were sent together."""
        _kind, flags, _method, first, body = frame
        run = self.pending.get(first)
        if run is None:
            return  # given up: with all the others of its run that were in flight
        count = array_count(body)
        ids = range(first, first + count)
        if flags or not isinstance(run, CallRun) or not 0 < count <= run.unanswered or not self._all_of(run, ids):
            raise ProtocolError(f"{count} answers came together, to calls from {first} on which were not made so")
        for id_ in ids:
            del self.pending[id_]
        self._resolve_some(run, first - run.first, count, REPLIES, body, resolved)

    def _all_of(self, run: CallRun[Sleeper], ids: range) -> bool:
        return list(map(self.pending.get, ids)).count(run) == len(ids)

    def _finish(self, call: StreamedCall[Sleeper], kind: int, body: bytes, resolved: list[Waiter[Sleeper]]) -> None:
        misfit = kind == REPLY and call.inflow is not None
        if call.finish(LOST if misfit else kind, body):
            resolved.append(call)
        for feeding in call.feedings:
            feeding.kind = LOST
            resolved.append(feeding)
        if misfit:
            raise ProtocolError(f"{call.where} is answered with a stream, and one result came")

    def _take_of_stream(self, frame: Frame, resolved: list[Waiter[Sleeper]]) -> None:
        kind, _flags, number, id_, body = frame
        call = self.pending.get(id_)
        if call is None:
            return  # its caller has given it up
        if not isinstance(call, StreamedCall):
            raise ProtocolError(f"{call.where} has no streams, and a frame of one came")
        if kind == ITEM:
            if call.arrived(body):
                resolved.append(call)
        elif kind == END:
            if call.inflow is None:
                raise ProtocolError(f"{call.where} is answered with one result, and the end of a stream came")
            del self.pending[id_]
            self._finish(call, END, b"", resolved)
        elif number >= len(call.feedings):
            raise ProtocolError(f"CREDIT for stream {number} of {call.where}, which has {len(call.feedings)}")
        else:
            feeding = call.feedings[number]
            feeding.outflow.credited(body)
            self._wake(feeding, resolved)

    def _open_windows(self, call: StreamedCall[Sleeper]) -> None:
        for feeding in call.feedings:
            feeding.outflow.window_items = self.their_stream_items
            feeding.outflow.window_bytes = self.their_stream_bytes

    def _wake(self, feeding: Feeding[Sleeper], resolved: list[Waiter[Sleeper]]) -> None:
        if feeding.kind == WAITING:
            feeding.kind = REPLY
            resolved.append(feeding)

    @property
    def calls_may_move(self) -> bool:
        """Whether calls that were not run may be sent elsewhere: the service has said goodbye, or never hello."""
        return self.last_run is not None or (isinstance(self.failure, ConnectionLost) and not self.greeted)

    def _placed(self, error: IPCError) -> IPCError:
        if isinstance(error, ProtocolError | WrongKind) and not str(error).startswith(self._where):
            return type(error)(f"{self._where}: {error}")  # frames and hello do not know the path
        return error

    def _take_hello(self, resolved: list[Waiter[Sleeper]]) -> bool:
        data = self.reader.take(HELLO_BYTES)
        if data is None:
            check_opening(self.reader.peek(OPENING_BYTES))
            return False
        theirs = unpack_hello(data, role=SERVICE)
        self.their_message_bytes = theirs.message_bytes
        self.their_calls_in_flight = theirs.calls_in_flight
        self.their_stream_items = theirs.stream_items
        self.their_stream_bytes = theirs.stream_bytes
        self.greeted = True
        for call in self.pending.values():
            if isinstance(call, StreamedCall):
                self._open_windows(call)
                for feeding in call.feedings:
                    self._wake(feeding, resolved)
        if self.payloads is not None:
            self.payloads.pool.greeted(theirs.payload_bytes)
        resolved += self.answer_greeters()
        return True

    def answer_greeters(self) -> list[Waiter[Sleeper]]:
        """Return those who wait for a word of the service itself, as if it had come: its hello, a release."""
        self.words += 1
        greeters = self.greeters[:]
        self.greeters.clear()
        for greeter in greeters:
            greeter.kind = REPLY
        return greeters

    def _opened(self, frame: Frame) -> Frame:
        return open_parcel(frame, self.arrivals, None if self.payloads is None else self.payloads.windows)

    def _take_other(self, frame: Frame, resolved: list[Waiter[Sleeper]]) -> None:
        kind, _flags, _method, _id, body = frame
        if kind == ERROR:
            raise connection_error_of(body, where=self._where)
        if kind == GOODBYE:
            self.last_run = frame[3]
        elif self.payloads is not None and kind in _OF_PAYLOADS:
            take_payload_frame(frame, self.payloads)
            resolved += self.answer_greeters()
        elif kind == SCHEMA and self._bound:
            raise ProtocolError(f"{self._where}: the service sent its schema twice")
        elif kind == SCHEMA:
            self._bound = True
            bindings = self._bindings(body)
            if isinstance(bindings, str):
                raise SchemaMismatch(f"{self._where}: {bindings}")
            self.outgoing.append(pack_frame(BIND, pack(f"<{len(bindings)}H", *bindings)))
        else:
            raise ProtocolError(f"{self._where}: a service may not send a frame of kind {kind}")
