"""How two processes which do not know who comes first become a pair, as a plan that both shells carry out.

The first claims the name and listens, the second connects. The laws: who listens says its hello to nobody but its
partner, and only once that one has said its own; so whoever has heard the hello of the listener is its partner, and
whoever sees the end before that begins anew. The name is free again when the listener has its partner.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import suppress
from time import monotonic
from typing import Final, TypeVar, final

import attrs

from .. import _names, lowlevel
from .._card import check_card
from .._errors import (
    ConnectionLost,
    IPCError,
    NameNotFound,
    NameTaken,
    NoServer,
    NotAllowed,
    SchemaMismatch,
    TimedOut,
    WrongKind,
)
from .._values import Allow, Limits, Peer, StrPath
from .connecting import FIRST_PAUSE_SECONDS, Connected, Pause, connecting
from .conversation import Conversation
from .message_link import MessageLink
from .reception import Reception

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_PAUSE_SECONDS: Final = 0.05
"""Between two tries, while an owner is about to begin, to end, or to be gone."""
BARRED_SECONDS: Final = 1.0
"""How long that may take an owner whose name this process may not claim: one that was killed would never be gone."""


@final
@attrs.frozen
class Rules:
    """On what terms one side meets another; see `Channel.meet`."""

    wait_seconds: float
    allow: Allow
    limits: Limits
    mode: int


def meeting(
    path: StrPath, conversation: Conversation[T], *, card: bytes, rules: Rules
) -> Generator[Pause, None, MessageLink]:
    """Find a partner under the name, whoever of the two comes first.

    Args:
        path: The name.
        conversation: What this side takes it for.
        card: What this side says of itself while it owns the name.
        rules: Whom to meet, and how long to wait.

    Raises:
        TimedOut: Nobody has come, or who listens does not answer.
        SchemaMismatch: Who came declares another type; it is told.
        WrongKind: Something else stands under the name, or who came is no channel.
        NotAllowed: One of the two rules refuses; or this process may not own the name, and nobody listens there.
        LimitReached: Who listens there takes no more connections.
        NameNotFound: The directory is missing.
    """
    deadline = monotonic() + rules.wait_seconds
    seen = monotonic()  # when somebody has listened there, as far as is known
    pause = FIRST_PAUSE_SECONDS
    while True:
        link = None
        try:
            claim = _names.claim_socket(path, card=card, mode=rules.mode)
        except (NameTaken, NotAllowed) as refused:
            try:
                link = yield from _joining(path, conversation, rules, deadline)
                seen = monotonic()
            except (NameNotFound, NoServer):
                if isinstance(refused, NotAllowed) and monotonic() >= min(deadline, seen + BARRED_SECONDS):
                    raise refused from refused.__cause__
        else:
            link = yield from _listening(claim, conversation, rules, deadline)
        if link is not None:
            return link
        left = deadline - monotonic()
        if left <= 0:
            raise TimedOut(f"{path}: nobody to meet has come within {rules.wait_seconds} seconds")
        yield Pause(None, min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


# ---------------------------------------------------------------- who comes first


def _listening(
    claim: _names.Claim, conversation: Conversation[T], rules: Rules, deadline: float
) -> Generator[Pause, None, MessageLink | None]:
    """Wait for a partner; None if the time is over."""
    reception = Reception(claim, rules.allow, rules.limits, carries_attachments=conversation.codec.carries_attachments)

    def make_link(socket: lowlevel.Socket, peer: Peer, closed: Callable[[], object]) -> MessageLink:
        return conversation.unopened(socket, peer, rules.limits, closed)

    try:
        while True:
            link = reception.accept_now(make_link, conversation.refuse)
            if link is not None:
                if (yield from _is_partner(link, rules.limits.handshake_seconds)):
                    return link
                continue
            now = monotonic()
            if now >= deadline:
                return None
            if reception.pause_until > now:
                yield Pause(None, min(reception.pause_until, deadline) - now)
            else:
                yield Pause(claim.listener.fileno(), deadline - now)
    finally:
        reception.close()


def _is_partner(link: MessageLink, seconds: float) -> Generator[Pause, None, bool]:
    """Hear who was accepted, and then say the hello. Who is not the partner has been closed."""
    is_partner = False
    end = monotonic() + seconds
    try:
        yield from _agreed(link, end)
        yield from _said(link, end)
        is_partner = True
    except (SchemaMismatch, WrongKind):
        with suppress(IPCError):
            yield from _said(link, end)  # so that the other side finds out as well
        raise
    except IPCError:  # it has gone, is silent, or speaks something else: somebody else may come
        log.debug("%s: process %d is nobody to meet", link.where, link.peer.pid, exc_info=True)
    finally:
        if not is_partner:
            link.close()
    return is_partner


# ---------------------------------------------------------------- who comes second


def _joining(
    path: StrPath, conversation: Conversation[T], rules: Rules, deadline: float
) -> Generator[Pause, None, MessageLink | None]:
    """Be the partner of whoever listens; None if it has found another, or has gone.

    Raises:
        NameNotFound, NoServer: Nobody listens.
    """
    connected = yield from connecting(path, wait_seconds=0.0, allow=rules.allow)
    link = _link_to(connected, path, conversation, rules.limits)
    is_partner = False
    end = max(deadline, monotonic() + rules.limits.handshake_seconds)
    try:
        yield from _said(link, end)
        yield from _agreed(link, end)
        is_partner = True
    except ConnectionLost:
        return None
    except TimedOut:
        raise TimedOut(
            f"{path}: process {link.peer.pid} listens there, and has not answered within "
            f"{max(rules.wait_seconds, rules.limits.handshake_seconds)} seconds"
        ) from None
    finally:
        if not is_partner:
            link.close()
    return link


def _link_to(connected: Connected, path: StrPath, conversation: Conversation[T], limits: Limits) -> MessageLink:
    try:
        check_card(path, "channel")  # of the types both sides are to hear
    except BaseException:
        connected.socket.close()
        raise
    return conversation.connected(connected.socket, connected.peer, limits)


# ---------------------------------------------------------------- both


def _agreed(link: MessageLink, end: float) -> Generator[Pause, None, None]:
    """Wait for the other side's opening."""
    while not link.agree():
        yield Pause(link.socket.fileno(), _left(link, end))


def _said(link: MessageLink, end: float) -> Generator[Pause, None, None]:
    """Say the opening. That waits for the peer only where the type's description is longer than a socket's buffer."""
    while not link.write():
        yield Pause(None, min(FIRST_PAUSE_SECONDS, _left(link, end)))


def _left(link: MessageLink, end: float) -> float:
    left = end - monotonic()
    if left <= 0:
        raise TimedOut(f"{link.where}: no whole hello in time")
    return left
