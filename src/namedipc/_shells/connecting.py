"""How a socket name is connected to, as a plan that both shells carry out: it says what to wait for, and never waits.

The law: watch first, then try, then wait; so a name that appears in between is not missed.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Final, TypeAlias

import attrs

from .. import _names, lowlevel
from .._errors import NameNotFound, NoServer, NotAllowed
from .._values import Allow, Peer, StrPath, same_user, seen

FIRST_PAUSE_SECONDS: Final = 0.002
LONGEST_PAUSE_SECONDS: Final = 1.0
FULL_BACKLOG_SECONDS: Final = 5.0
"""How long a listener with a full backlog is asked again, where the caller gave no longer time."""


@attrs.frozen
class Pause:
    """What to wait for: until `fd` is readable, where there is one, and no longer than `seconds`."""

    fd: int | None
    seconds: float


@attrs.frozen
class Connected:
    """A connected, non-blocking socket and whom the kernel vouches for at its other end. The caller owns the socket."""

    socket: lowlevel.Socket
    peer: Peer


Plan: TypeAlias = Generator[Pause, None, Connected]


def connecting(path: StrPath, *, wait_seconds: float, allow: Allow) -> Plan:
    """Connect to the socket under a name, waiting for it where it is not there yet.

    Raises:
        NameNotFound: Nothing stands under the name, and `wait_seconds` have passed.
        NoServer: Nobody listens there, and `wait_seconds` have passed.
        WrongKind: Something that is no socket stands there.
        NotAllowed: The permissions of the file, its owner, or `allow` refuse it.
    """
    began = monotonic()
    pause = FIRST_PAUSE_SECONDS
    watch: _names.NameWatch | None = None
    try:
        while True:
            left = began + wait_seconds - monotonic()
            try:
                return _allowed(path, allow)
            except BlockingIOError:
                left = max(left, began + FULL_BACKLOG_SECONDS - monotonic())
                if left <= 0:
                    raise NoServer(f"{path}: the listener's backlog is full; it does not accept") from None
            except (NameNotFound, NoServer):
                if left <= 0:
                    raise
                if watch is None:
                    watch = _names.NameWatch(path)
                    continue
            yield Pause(watch.fileno() if watch else None, min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            if watch is not None:
                watch.drain()
    finally:
        if watch is not None:
            watch.close()


def _allowed(path: StrPath, allow: Allow) -> Connected:
    # Any other rule than the default decides about the peer itself, so the file's owner is left to it.
    any_owner = allow is not same_user
    socket, credentials = _names.connect_socket(path, any_owner=any_owner)
    try:
        peer = peer_of(socket, credentials)
        if not allow(peer):
            raise NotAllowed(
                f"{path}: its owner is process {peer.pid} of user {peer.uid}, which this side's 'allow' rule refuses"
            )
    except BaseException:
        socket.close()
        raise
    return Connected(socket, peer)


def peer_of(socket: lowlevel.Socket, credentials: lowlevel.Credentials | None = None) -> Peer:
    """Return whom the kernel vouches for at the other end of a connected socket."""
    credentials = credentials or lowlevel.peer_credentials(socket)
    return seen(Peer(credentials.pid, credentials.uid, credentials.gid, lowlevel.peer_groups(socket)), socket)
