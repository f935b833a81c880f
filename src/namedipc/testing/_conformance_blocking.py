"""Whether a channel of blocking code keeps the same promises: the twin of `_conformance_trio`, with threads.

The law: a check never hangs. Whatever may wait has a timeout, or runs in a thread which is left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count, cycle
from time import monotonic
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, final

import attrs

from .._errors import Closed, ConnectionLost, EndOfChannel, TimedOut, WouldBlock
from . import _conformance as laws
from ._conformance import MOST_UNREAD, expect_each_once, expect_messages, expect_so_far, expecting, messages_by

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class BlockingSender(Protocol[T_contra]):
    """A sending end of blocking code, as the checks use it."""

    def send(self, value: T_contra, /, *, timeout: float | None = None) -> object:
        """Send a message; TimedOut after `timeout` seconds, None waits for ever."""
        ...

    def close(self) -> object:
        """Close the end."""
        ...


class BlockingReceiver(Protocol[T_co]):
    """A receiving end of blocking code, as the checks use it."""

    def receive(self, *, timeout: float | None = None) -> T_co:
        """Receive a message; TimedOut after `timeout` seconds, None waits for ever."""
        ...

    def __iter__(self) -> Iterator[T_co]:
        """Receive until the end."""
        ...

    def close(self) -> object:
        """Close the end."""
        ...


class BlockingBoth(BlockingSender[T], BlockingReceiver[T], Protocol[T]):
    """An end that sends and receives."""


OneWayMaker: TypeAlias = Callable[[], AbstractContextManager[tuple[BlockingSender[T], BlockingReceiver[T]]]]
TwoWayMaker: TypeAlias = Callable[[], AbstractContextManager[tuple[BlockingBoth[T], BlockingBoth[T]]]]

A_FEW: Final = 10

SHORT_SECONDS: Final = (0.0, 0.0, 0.0001, 0.001)
"""Timeouts that pass or not, as it happens."""

A_MOMENT_SECONDS: Final = 0.02
"""Longer than a thread takes to come to its wait, as a rule. Where it is not, a check says less, and nothing wrong."""


def check_blocking_one_way_channel(
    make_pair: OneWayMaker[T],
    message: Callable[[int], T] | None = None,
    *,
    many_threads: bool = True,
    sender_waits: bool = True,
    lost_receiver_breaks: bool = True,
    patience_seconds: float = 10.0,
) -> None:
    """Check a sending and a receiving end of blocking code which are joined, law by law.

    - Messages arrive whole, each once, in order. Of several threads that receive, each message reaches one.
    - When the sender has closed, what it had sent is received. Then each receive raises `EndOfChannel`, and `for` ends.
    - An end that was closed here raises `Closed`, also in a thread which waits in it at that moment. Closing twice is
      safe.
    - A receive that has timed out loses no message. A message whose send has timed out arrives whole or not at all, and
      the next one is whole.
    - A sender that is not received from waits in the end, and loses nothing.
    - Sending raises `ConnectionLost` once the receiver has closed, also in a thread which waits, and goes on to.
    - `send_nowait` and `receive_nowait`, where there are any, raise `WouldBlock` rather than wait, and have done
      nothing then.

    Args:
        make_pair: Called for each check. Returns what `with` opens: fresh ends, which it closes at its end.
        message: Makes the message of a number, a different one for each, equal to itself as it arrives; None sends
            the numbers. To time out in the middle of a message, make it longer than the channel holds.
        many_threads: False where one thread at a time may send, and one receive.
        sender_waits: False where a sender never waits, or only after 10 000 messages.
        lost_receiver_breaks: False where a sender does not learn that its receiver has closed.
        patience_seconds: When a check that makes no way is given up; its threads are left behind.

    Raises:
        AssertionError: A law is broken; the text begins with it.
    """
    traits = _Traits(
        many_threads=many_threads,
        sender_waits=sender_waits,
        lost_receiver_breaks=lost_receiver_breaks,
        patience_seconds=patience_seconds,
    )
    _OneWay(make_pair, messages_by(message), traits).check()


def check_blocking_two_way_channel(
    make_pair: TwoWayMaker[T],
    message: Callable[[int], T] | None = None,
    *,
    many_threads: bool = True,
    sender_waits: bool = True,
    lost_receiver_breaks: bool = True,
    patience_seconds: float = 10.0,
) -> None:
    """Check two joined ends of blocking code each of which sends and receives.

    Each direction is checked as by `check_blocking_one_way_channel`. Besides, both work at once, one that waits does
    not hold up the other, and an end that is closed is closed in both.

    Args:
        make_pair: As for `check_blocking_one_way_channel`, with two ends of which each does both; so are the rest.
        message: As there.
        many_threads: As there.
        sender_waits: As there.
        lost_receiver_breaks: As there.
        patience_seconds: As there.

    Raises:
        AssertionError: A law is broken; the text begins with it.
    """
    traits = _Traits(
        many_threads=many_threads,
        sender_waits=sender_waits,
        lost_receiver_breaks=lost_receiver_breaks,
        patience_seconds=patience_seconds,
    )
    _TwoWay(make_pair, messages_by(message), traits).check()


def check_blocking_half_closeable_channel(
    make_pair: TwoWayMaker[T],
    message: Callable[[int], T] | None = None,
    *,
    many_threads: bool = True,
    sender_waits: bool = True,
    lost_receiver_breaks: bool = True,
    patience_seconds: float = 10.0,
) -> None:
    """Check two joined ends of blocking code whose directions can be ended one by one, by `def send_eof(self) -> None`.

    They are checked as by `check_blocking_two_way_channel`. Besides, `send_eof` ends the other side's receiving, behind
    what was sent before, and leaves the other direction open. A send after it raises `Closed`. It may be repeated.

    Args:
        make_pair: As for `check_blocking_two_way_channel`, with ends that have `send_eof`; so are the rest.
        message: As there.
        many_threads: As there.
        sender_waits: As there.
        lost_receiver_breaks: As there.
        patience_seconds: As there.

    Raises:
        AssertionError: A law is broken; the text begins with it.
    """
    traits = _Traits(
        many_threads=many_threads,
        sender_waits=sender_waits,
        lost_receiver_breaks=lost_receiver_breaks,
        patience_seconds=patience_seconds,
    )
    _TwoWay(make_pair, messages_by(message), traits).check()
    _HalfCloseable(make_pair, messages_by(message), traits).check()


# ------------------------------------------------------------ what the checks share


@final
@attrs.frozen(kw_only=True)
class _Traits:
    """What differs between one kind of channel and another."""

    many_threads: bool
    sender_waits: bool
    lost_receiver_breaks: bool
    patience_seconds: float

    def within(self, action: Callable[[], R]) -> R:
        """Do something that may wait, but not for ever."""
        return self.beside(action)()

    def beside(self, action: Callable[[], R]) -> Callable[[], R]:
        """Begin something beside; what is returned waits for it, and raises what it raised."""
        future: Future[R] = Future()

        def run() -> None:
            try:
                future.set_result(action())
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=run, name="namedipc conformance", daemon=True)
        thread.start()

        def result() -> R:
            thread.join(self.patience_seconds)
            if thread.is_alive():
                raise laws.hung(self.patience_seconds)
            return future.result()

        return result

    def deadline(self) -> Callable[[], None]:
        """Return what raises when it is called after the time for a check."""
        end = monotonic() + self.patience_seconds

        def check() -> None:
            if monotonic() > end:
                raise laws.hung(self.patience_seconds)

        return check

    def fails(self, kind: type[Exception], operation: str, action: Callable[[], object]) -> None:
        """Expect an operation to raise."""
        with expecting(kind, operation):
            self.within(action)


def _a_moment() -> None:
    threading.Event().wait(A_MOMENT_SECONDS)


def _send_all(sender: BlockingSender[T], messages: Iterable[T]) -> None:
    for message in messages:
        sender.send(message)


def _receive_all(receiver: BlockingReceiver[T]) -> list[T]:
    received = []
    with suppress(EndOfChannel):
        while True:
            received.append(receiver.receive())
    return received


@final
@attrs.frozen
class _OneWay(Generic[T]):
    """The checks of one direction."""

    _make: OneWayMaker[T]
    _message: Callable[[int], T]
    _traits: _Traits

    def check(self) -> None:
        """Check each law, the simplest first: what breaks one breaks others as well."""
        self._order()
        self._end()
        self._closed()
        if self._traits.sender_waits:
            self._back_pressure()
        self._closed_meanwhile()
        if self._traits.lost_receiver_breaks:
            self._broken()
        if self._traits.many_threads:
            self._exactly_one()
        self._given_up_receives()
        if self._traits.sender_waits:
            self._given_up_sends()
        self._receive_nowait()
        if self._traits.sender_waits:
            self._send_nowait()

    @contextmanager
    def _trial(self, law: str) -> Iterator[tuple[BlockingSender[T], BlockingReceiver[T]]]:
        with laws.law(law), self._make() as (sender, receiver):
            yield sender, receiver

    def _messages(self, number: int) -> list[T]:
        return list(map(self._message, range(number)))

    def _fill(self, sender: BlockingSender[T]) -> list[T]:
        """Send until there is no more room; return what was sent. The next message has been given up."""
        sent = []
        with suppress(TimedOut):
            for number in range(MOST_UNREAD):
                sender.send(self._message(number), timeout=0)
                sent.append(self._message(number))
            raise AssertionError(f"{MOST_UNREAD} messages were sent, none received, and the sender never had to wait")
        return sent

    def _receive_all(self, receiver: BlockingReceiver[T]) -> list[T]:
        return self._traits.within(partial(_receive_all, receiver))

    # -------------------------------------------------------- messages

    def _order(self) -> None:
        sent = self._messages(A_FEW)
        with self._trial(laws.ORDER) as (sender, receiver):
            sending = self._traits.beside(partial(_send_all, sender, sent))
            received: list[T] = []
            for _ in sent:
                received.append(self._traits.within(receiver.receive))
                expect_so_far(received, sent)
            sending()

    def _exactly_one(self) -> None:
        sent = self._messages(2 * A_FEW)
        with self._trial(laws.EXACTLY_ONE) as (sender, receiver):
            receiving = [self._traits.beside(partial(_receive_all, receiver)) for _ in range(3)]
            sending = [self._traits.beside(partial(_send_all, sender, part)) for part in (sent[:A_FEW], sent[A_FEW:])]
            for result in sending:
                result()
            self._traits.within(sender.close)
            expect_each_once([message for result in receiving for message in result()], sent)

    def _back_pressure(self) -> None:
        with self._trial(laws.BACK_PRESSURE) as (sender, receiver):
            sent = self._traits.within(partial(self._fill, sender))
            self._finish(sender, receiver, sent, [self._message(len(sent))])

    def _finish(
        self, sender: BlockingSender[T], receiver: BlockingReceiver[T], sent: list[T], given_up: list[T]
    ) -> None:
        """Send one message more, and receive everything: of what was given up, what has come is whole, in its place."""
        last = self._message(MOST_UNREAD)

        def send_last() -> None:
            sender.send(last)
            sender.close()

        sending = self._traits.beside(send_last)
        received = self._receive_all(receiver)
        sending()
        self._expect(received, [*sent, *given_up, last], given_up)

    def _expect(self, received: list[T], sent: list[T], given_up: list[T]) -> None:
        expect_messages(received, [message for message in sent if message in received or message not in given_up])

    def _receive_nowait(self) -> None:
        with self._trial(laws.NOWAIT) as (sender, receiver):
            receive_nowait: Callable[[], T] | None = getattr(receiver, "receive_nowait", None)
            if receive_nowait is None:
                return
            self._traits.fails(WouldBlock, "receive_nowait from an empty channel", receive_nowait)
            sent = self._messages(A_FEW)
            sending = self._traits.beside(partial(_send_all, sender, sent))
            received: list[T] = []
            give_up = self._traits.deadline()
            while len(received) < A_FEW:
                give_up()
                with suppress(WouldBlock):
                    received.append(receive_nowait())
            sending()
            expect_messages(received, sent)
            self._traits.within(receiver.close)
            self._traits.fails(Closed, "receive_nowait from an end that was closed", receive_nowait)

    def _send_nowait(self) -> None:
        with self._trial(laws.NOWAIT) as (sender, receiver):
            send_nowait: Callable[[T], None] | None = getattr(sender, "send_nowait", None)
            if send_nowait is None:
                return
            sent = []
            with expecting(WouldBlock, "send_nowait to a full channel"):
                for message in map(self._message, range(MOST_UNREAD)):
                    send_nowait(message)
                    sent.append(message)
            self._finish(sender, receiver, sent, [])
            self._traits.fails(Closed, "send_nowait to an end that was closed", partial(send_nowait, sent[0]))

    # -------------------------------------------------------- the end

    def _end(self) -> None:
        sent = self._messages(A_FEW)

        def send() -> None:
            _send_all(sender, sent)
            sender.close()

        with self._trial(laws.END) as (sender, receiver):
            sending = self._traits.beside(send)
            expect_messages(self._receive_all(receiver), sent)
            sending()
            for _ in range(3):
                self._traits.fails(EndOfChannel, "receive behind the last message", receiver.receive)
        with self._trial(laws.ITERATION) as (sender, receiver):
            sending = self._traits.beside(send)
            expect_messages(self._traits.within(partial(list, receiver)), sent)
            sending()

    def _closed(self) -> None:
        with self._trial(laws.CLOSED) as (sender, receiver):
            for end in (receiver, sender):
                self._traits.within(end.close)
            self._traits.fails(Closed, "send", partial(sender.send, self._message(0)))
            self._traits.fails(Closed, "receive", receiver.receive)
        for sender_first in (True, False):
            with self._trial(laws.CLOSED_TWICE) as (sender, receiver):
                ends = (sender, receiver) if sender_first else (receiver, sender)
                for end in ends:
                    self._traits.within(end.close)
                    self._traits.within(end.close)

    def _closed_meanwhile(self) -> None:
        with self._trial(laws.CLOSED_MEANWHILE) as (_sender, receiver):
            waiting = [self._traits.beside(receiver.receive) for _ in range(1 + self._traits.many_threads)]
            _a_moment()
            self._traits.within(receiver.close)
            for result in waiting:
                with expecting(Closed, "a receive that waited"):
                    result()
        if not self._traits.sender_waits:
            return
        with self._trial(laws.CLOSED_MEANWHILE) as (sender, _receiver):
            self._traits.within(partial(self._fill, sender))
            sending = self._traits.beside(partial(sender.send, self._message(0)))
            _a_moment()
            self._traits.within(sender.close)
            with expecting(Closed, "a send that waited"):
                sending()

    def _broken(self) -> None:
        with self._trial(laws.BROKEN) as (sender, receiver):
            self._traits.within(receiver.close)
            for _ in range(2):
                send = partial(_send_all, sender, map(self._message, range(MOST_UNREAD)))
                self._traits.fails(ConnectionLost, "send", send)
        if not self._traits.sender_waits:
            return
        with self._trial(laws.BROKEN) as (sender, receiver):
            self._traits.within(partial(self._fill, sender))
            sending = self._traits.beside(partial(sender.send, self._message(0)))
            _a_moment()
            self._traits.within(receiver.close)
            with expecting(ConnectionLost, "a send that waited"):
                sending()

    # -------------------------------------------------------- timeouts

    def _given_up_receives(self) -> None:
        sent = self._messages(4 * A_FEW)
        with self._trial(laws.GIVEN_UP_RECEIVE) as (sender, receiver):
            self._traits.fails(TimedOut, "receive from an empty channel", partial(receiver.receive, timeout=0))
            sending = self._traits.beside(partial(_send_all, sender, sent))
            received: list[T] = []
            give_up = self._traits.deadline()
            for timeout in cycle(SHORT_SECONDS):
                give_up()
                with suppress(TimedOut):
                    received.append(receiver.receive(timeout=timeout))
                    expect_so_far(received, sent)
                if len(received) == len(sent):
                    break
            sending()
            expect_messages(received, sent)

    def _given_up_sends(self) -> None:
        with self._trial(laws.GIVEN_UP_SEND) as (sender, receiver):
            filled = self._traits.within(partial(self._fill, sender))
            tried = [self._message(number) for number in range(len(filled), len(filled) + 4 * A_FEW)]
            given_up = tried[:1]
            receiving = self._traits.beside(partial(_receive_all, receiver))
            for message, timeout in zip(tried[1:], cycle(SHORT_SECONDS), strict=False):
                try:
                    sender.send(message, timeout=timeout)
                except TimedOut:
                    given_up.append(message)
            last = self._message(MOST_UNREAD)
            sender.send(last)
            self._traits.within(sender.close)
            self._expect(receiving(), [*filled, *tried, last], given_up)


@final
@attrs.frozen
class _TwoWay(Generic[T]):
    """The checks of two directions."""

    _make: TwoWayMaker[T]
    _message: Callable[[int], T]
    _traits: _Traits

    def check(self) -> None:
        """Check each direction, and then both together."""
        for make in (self._make, self._turned):
            _OneWay[T](make, self._message, self._traits).check()
        self._both_ways()
        self._closed()
        if self._traits.sender_waits:
            self._one_waits()

    @contextmanager
    def _turned(self) -> Iterator[tuple[BlockingBoth[T], BlockingBoth[T]]]:
        with self._make() as (one, other):
            yield other, one

    def _messages(self) -> list[T]:
        return list(map(self._message, range(A_FEW)))

    def _both_ways(self) -> None:
        sent = self._messages()
        with laws.law(laws.BOTH_WAYS), self._make() as ends:
            sending = [self._traits.beside(partial(_send_all, end, sent)) for end in ends]
            receiving = [self._traits.beside(partial(_receive_some, end, A_FEW)) for end in ends]
            for result in sending:
                result()
            for received in receiving:
                expect_messages(received(), sent)

    def _one_waits(self) -> None:
        sent = self._messages()
        with laws.law(laws.BOTH_WAYS), self._make() as (one, other):
            waiting = self._traits.beside(partial(_send_until_closed, one, self._message))
            _a_moment()
            sending = self._traits.beside(partial(_send_all, other, sent))
            expect_messages(self._traits.within(partial(_receive_some, one, A_FEW)), sent)
            sending()
            self._traits.within(one.close)
            waiting()

    def _closed(self) -> None:
        with laws.law(laws.CLOSED), self._make() as (one, _other):
            self._traits.within(one.close)
            self._traits.fails(Closed, "send", partial(one.send, self._message(0)))
            self._traits.fails(Closed, "receive", one.receive)


def _receive_some(receiver: BlockingReceiver[T], number: int) -> list[T]:
    return [receiver.receive() for _ in range(number)]


def _send_until_closed(sender: BlockingSender[T], message: Callable[[int], T]) -> None:
    with suppress(Closed):
        _send_all(sender, map(message, count()))


@final
@attrs.frozen
class _HalfCloseable(Generic[T]):
    """The checks of `send_eof`."""

    _make: TwoWayMaker[T]
    _message: Callable[[int], T]
    _traits: _Traits

    def check(self) -> None:
        """Check each law."""
        self._ends_one_direction()
        self._closes()

    def _ends_one_direction(self) -> None:
        sent = list(map(self._message, range(A_FEW)))

        def say(end: BlockingBoth[T], send_eof: Callable[[], None]) -> None:
            _send_all(end, sent)
            send_eof()

        with laws.law(laws.EOF_ENDS), self._make() as (one, other):
            for speaker, listener in ((one, other), (other, one)):
                saying = self._traits.beside(partial(say, speaker, _eof(speaker)))
                expect_messages(self._traits.within(partial(_receive_all, listener)), sent)
                saying()
                self._traits.fails(EndOfChannel, "receive behind the end", listener.receive)

    def _closes(self) -> None:
        with laws.law(laws.EOF_CLOSES), self._make() as (one, _other):
            for _ in range(2):
                self._traits.within(_eof(one))
                self._traits.fails(Closed, "send", partial(one.send, self._message(0)))
            self._traits.within(one.close)
            self._traits.fails(Closed, "send_eof of an end that was closed", _eof(one))


def _eof(end: BlockingBoth[T]) -> Callable[[], None]:
    send_eof: Callable[[], None] | None = getattr(end, "send_eof", None)
    if send_eof is None:
        raise AssertionError("an end has no send_eof")
    return send_eof
