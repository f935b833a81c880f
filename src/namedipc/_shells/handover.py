"""How a living owner hands its name over to a successor, as plans that both shells carry out: they never wait.

The successor connects to `.NAME.handover`, and both speak in words of 8 bytes:

    successor: TAKE      I want the name
    owner:     OFFER     with copies of the listening socket, of the handover socket and of the lock file
    successor: ACCEPT    they are what they should be
    owner:     YOURS     it is yours
    successor: MINE      I am the owner now

The laws: whoever waits in the listener's backlog stays there, and is accepted by the one or the other; the owner
serves until it has sent YOURS, and again if the successor dies without MINE; the successor changes nothing before
YOURS. Whoever may send signals to the owner may ask: the same user, and root.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Final, Literal, TypeAlias, TypeVar

from .. import _names, lowlevel
from .._card import check_card
from .._errors import NameNotFound, NameTaken, NoServer, TimedOut
from .._values import StrPath
from .connecting import Pause

R = TypeVar("R")

Kind: TypeAlias = Literal[
    "service", "channel", 'channel with framing="lines"', 'channel with framing="json-lines"', "raw channel"
]

ANSWER_SECONDS: Final = 5.0
"""How long a successor waits for the owner: one that is stopped or stuck answers nothing."""
PATIENCE_SECONDS: Final = 2.0
"""How long the owner waits for a successor's next word, while others queue behind it."""
RETRY_SECONDS: Final = 0.01
"""Between two tries of a successor whose owner is about to begin, to end, or to be gone."""
_OUT_OF_DESCRIPTORS_SECONDS: Final = 0.05

_WORD_BYTES: Final = 8
TAKE: Final = b"take   1"
OFFER: Final = b"offer  1"
ACCEPT: Final = b"accept 1"
YOURS: Final = b"yours  1"
MINE: Final = b"mine   1"
BUSY: Final = b"busy   1"
"""From the owner, to whoever asks while the name is being handed over to another."""


# ---------------------------------------------------------------- the successor


def claiming(
    path: StrPath, *, kind: Kind, card: bytes, mode: int, takeover: bool
) -> Generator[Pause, None, _names.Claim]:
    """Become the owner of a socket name: of a free one, or with `takeover` also of one that has a living owner.

    Raises:
        NameTaken: It has a living owner, which is not to hand it over, or cannot, or is handing it over to another.
        TimedOut: The owner does not answer. It stays the owner.
        WrongKind: Something else stands there, or the owner serves another kind of name.
        NameNotFound: The directory is missing.
        NotAllowed: The directory may not be written to, or the owner is another user's process.
    """
    end = monotonic() + ANSWER_SECONDS
    while True:
        try:
            return _names.claim_socket(path, card=card, mode=mode)
        except NameTaken:
            if not takeover or monotonic() >= end:
                raise
        claim = yield from _asking(path, kind, card, mode)
        if claim is not None:
            return claim
        yield Pause(None, RETRY_SECONDS)


def _asking(path: StrPath, kind: Kind, card: bytes, mode: int) -> Generator[Pause, None, _names.Claim | None]:
    """Ask the owner for the name; None if the owner has gone meanwhile, or is not ready yet."""
    try:
        sock, owner = _names.connect_socket(_handover_path(path))
    except (NameNotFound, NoServer, BlockingIOError):
        return None
    try:
        return (yield from _taking_over(sock, path, kind, card, mode))
    except ConnectionError:
        return None
    except TimeoutError:
        raise TimedOut(
            f"{path}: its owner, process {owner.pid}, has not handed it over within {ANSWER_SECONDS} seconds, and "
            "keeps it; if that process hangs, end it"
        ) from None
    finally:
        sock.close()


def _taking_over(
    sock: lowlevel.Socket, path: StrPath, kind: Kind, card: bytes, mode: int
) -> Generator[Pause, None, _names.Claim | None]:
    lowlevel.send(sock, TAKE)
    word, descriptors = yield from _received(
        sock, lambda: lowlevel.receive_descriptors(sock, _WORD_BYTES), ANSWER_SECONDS
    )
    if word == BUSY:
        raise NameTaken(f"{path}: its owner is handing it over to another process already")
    if word != OFFER or len(descriptors) != 3:
        for fd in descriptors:
            os.close(fd)
        return None
    listener, handover, lock = descriptors
    try:
        claim = _names.inherit_claim(path, (listener, handover, lock), card=card, mode=mode)
    except (NameNotFound, NameTaken):
        return None  # the owner is ending, and has removed what it had
    try:
        check_card(path, kind)
        lowlevel.send(sock, ACCEPT)
        if (yield from _word(sock, ANSWER_SECONDS)) != YOURS:
            claim.close()
            return None
        claim.assume()
    except BaseException:
        claim.close()
        raise
    with suppress(OSError):  # an owner that has been killed meanwhile does not want to know any more
        lowlevel.send(sock, MINE)
    return claim


def _handover_path(path: StrPath) -> str:
    directory, name = os.path.split(os.fspath(path).rstrip("/"))
    return os.path.join(directory, _names.handover_name(name))


# ---------------------------------------------------------------- the owner


def _nothing() -> None:
    """A channel goes on with whom it accepts until the end: no harm if that is while the name changes hands."""


def handing_over(
    claim: _names.Claim,
    stop_accepting: Callable[[], object] = _nothing,
    accept_again: Callable[[], object] = _nothing,
) -> Generator[Pause, None, bool]:
    """Wait for a successor, and hand the name over to it.

    Args:
        claim: The ownership. Once the name has been handed over, closing it removes nothing.
        stop_accepting: Called before the successor accepts connections.
        accept_again: Called if the successor has died before it did.

    Returns:
        True: another process owns the name now. False: the claim has been closed.
    """
    while not claim.closed:
        yield Pause(claim.handover.fileno(), inf)
        try:
            sock = lowlevel.accept(claim.handover)
        except BlockingIOError:  # it has gone
            continue
        except OSError:  # out of descriptors, for instance; or the claim has been closed
            yield Pause(None, _OUT_OF_DESCRIPTORS_SECONDS)
            continue
        try:
            handed_over = yield from _handing_over_to(sock, claim, stop_accepting, accept_again)
        finally:
            sock.close()
        if handed_over:
            return True
    return False


def _handing_over_to(
    sock: lowlevel.Socket, claim: _names.Claim, stop_accepting: Callable[[], object], accept_again: Callable[[], object]
) -> Generator[Pause, None, bool]:
    try:
        lowlevel.refuse_descriptors(sock)
        if lowlevel.peer_credentials(sock).uid not in {os.geteuid(), 0}:
            return False
        if (yield from _word(sock, PATIENCE_SECONDS)) != TAKE or claim.closed:
            return False
        lowlevel.send_descriptors(sock, OFFER, claim.descriptors())
        if (yield from _word(sock, PATIENCE_SECONDS)) != ACCEPT or claim.closed:
            return False
    except OSError:  # it has gone, or takes too long
        return False
    stop_accepting()
    _turn_away(claim.handover)
    claim.give()
    with suppress(OSError):
        lowlevel.send(sock, YOURS)
        # No limit: it lives, so the name is its own; only its death would give the name back.
        if (yield from _word(sock, inf)) == MINE:
            return True
    if not claim.closed:
        claim.take_back()
        accept_again()
    return False


def _turn_away(handover: lowlevel.Socket) -> None:
    """Tell those who ask at the same time that they are too late; otherwise the successor would be asked next."""
    with suppress(BlockingIOError):
        while True:
            sock = lowlevel.accept(handover)
            with suppress(OSError):
                lowlevel.send(sock, BUSY)
            sock.close()


# ---------------------------------------------------------------- words


def _word(sock: lowlevel.Socket, seconds: float) -> Generator[Pause, None, bytes]:
    return (yield from _received(sock, lambda: lowlevel.receive_now(sock, _WORD_BYTES), seconds))


def _received(sock: lowlevel.Socket, receive: Callable[[], R], seconds: float) -> Generator[Pause, None, R]:
    """Wait for the other side's next word.

    Raises:
        TimeoutError: It has not come in time.
    """
    end = monotonic() + seconds
    while True:
        try:
            return receive()
        except BlockingIOError:
            left = end - monotonic()
        if left <= 0:
            raise TimeoutError
        yield Pause(sock.fileno(), left)
