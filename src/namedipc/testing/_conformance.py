"""What a channel promises, law by law in words, and how a broken one is told: what the checks of both worlds share.

Each check is of one law. What goes wrong in it becomes an AssertionError that begins with the law.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar, cast

T = TypeVar("T")

ORDER: Final = "messages arrive whole, each once, in the order in which they were sent"
END: Final = "once the sender has closed, what it had sent is received, and after that every receive says so"
ITERATION: Final = "iterating over a receiver ends when the sender has closed"
CLOSED: Final = "an end that was closed says so to whoever uses it"
CLOSED_MEANWHILE: Final = "closing an end wakes whoever waits in it, and says so"
CLOSED_TWICE: Final = "an end may be closed twice"
CLOSED_WHEN_CANCELLED: Final = "an aclose that is cancelled closes all the same"
CHECKPOINTS: Final = "every operation that succeeds is a checkpoint"
FAILING_CHECKPOINTS: Final = "every operation that fails is a checkpoint"
GIVEN_UP_RECEIVE: Final = "a receive that is given up, wherever it is, loses no message"
GIVEN_UP_SEND: Final = "a message whose send is given up, wherever it is, arrives whole or not at all, and so the next"
BROKEN: Final = "sending to a receiver that has closed is an error, sooner or later, and stays one"
EXACTLY_ONE: Final = "of several who receive each message reaches exactly one"
BACK_PRESSURE: Final = "a sender that is not received from waits in the end, and nothing is lost"
NOWAIT: Final = "without waiting an operation is done or says that it would have to wait; then it has done nothing"
BOTH_WAYS: Final = "both directions work at once, and one that waits does not hold up the other"
EOF_ENDS: Final = "send_eof ends this direction, behind what was sent; the other one goes on"
EOF_CLOSES: Final = (
    "after send_eof a send says that this side was closed; send_eof may be repeated, until the end is closed"
)
EOF_GIVEN_UP: Final = "a send_eof that is given up, wherever it is, can be repeated"

DONE_ALL_THE_SAME: Final = "it was cancelled before it began, and was carried out all the same"

MOST_UNREAD: Final = 10_000
"""So many messages without a receive are taken for a channel which never makes its sender wait."""


@contextmanager
def law(sentence: str) -> Iterator[None]:
    """Whatever goes wrong inside breaks this law."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{sentence}: {_said(error)}") from error


def _said(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, AssertionError) else f"unexpected {type(error).__name__}: {error}"


def hung(seconds: float) -> AssertionError:
    """Return what says that a check made no way."""
    return AssertionError(f"nothing more has happened within {seconds} seconds")


def expect(condition: bool, otherwise: str) -> None:
    """Raise AssertionError with a text unless something holds; `assert` can be switched off."""
    if not condition:
        raise AssertionError(otherwise)


@contextmanager
def expecting(kind: type[Exception], operation: str) -> Iterator[None]:
    """The body raises an exception of this kind."""
    try:
        yield
    except kind:
        return
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{operation} raised {type(error).__name__}, not {kind.__name__}") from error
    raise AssertionError(f"{operation} did not raise {kind.__name__}")


def expect_messages(received: Sequence[object], sent: Sequence[object]) -> None:
    """The same messages in the same order."""
    if list(received) != list(sent):
        expect_each_once(received, sent)
        raise AssertionError(f"{shown(sent)} came in another order: {shown(received)}")


def expect_so_far(received: Sequence[object], sent: Sequence[object]) -> None:
    """The first of the messages that were sent, in their order."""
    _expect_sent_once(received, sent)
    for message in sent[: sent.index(received[-1])]:
        expect(message in received, f"a message was lost, or overtaken: {shown(message)}")


def expect_each_once(received: Sequence[object], sent: Sequence[object]) -> None:
    """The same messages in any order."""
    _expect_sent_once(received, sent)
    for message in sent:
        expect(message in received, f"a message was lost: {shown(message)}")


def _expect_sent_once(received: Sequence[object], sent: Sequence[object]) -> None:
    for message in received:
        expect(message in sent, f"a message came which had not been sent: {shown(message)}")
        expect(received.count(message) == 1, f"a message came more than once: {shown(message)}")


def shown(value: object) -> str:
    """Return a value as a message of an error shows it."""
    return reprlib.repr(value)


def messages_by(message: Callable[[int], T] | None) -> Callable[[int], T]:
    """Return what makes the message of a number: what the caller gave, or the number itself."""
    return message or cast("Callable[[int], T]", _the_number)


def _the_number(number: int) -> int:
    return number
