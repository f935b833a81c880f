"""Accepting connections of a channel, for both worlds: rules and limits. It never waits.

The law: who is not allowed, or too many, is told why and closed at once, and does not hold up the others; what is
accepted has cost nobody a wait.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final, TypeVar

from .. import _names, lowlevel
from .._errors import Closed, IPCError, LimitReached, NotAllowed
from .._values import Allow, Limits, Peer
from .connecting import peer_of

End = TypeVar("End")

_OUT_OF_DESCRIPTORS_SECONDS: Final = 0.05


class Reception:
    """The listening side of a name. Owns the claim, and counts who is connected.

    Args:
        claim: The claim to the name.
        allow: Who may connect.
        limits: How many.
        carries_attachments: Whether connections take descriptors; otherwise the kernel refuses them.
    """

    def __init__(self, claim: _names.Claim, allow: Allow, limits: Limits, *, carries_attachments: bool = False) -> None:
        self.claim = claim
        self._carries_attachments = carries_attachments
        self.limits = limits
        self._allow = allow
        self._of_uid: Counter[int] = Counter()
        self._counting = threading.Lock()  # connections are closed by the threads that use them
        self.closed: bool = False
        self.pause_until: float = 0.0
        self.pausing: threading.Event = threading.Event()

    def accept_now(
        self,
        make_end: Callable[[lowlevel.Socket, Peer, Callable[[], object]], End],
        refuse: Callable[[lowlevel.Socket, IPCError], object],
    ) -> End | None:
        """Accept one connection that is welcome; None if none is waiting.

        Args:
            make_end: Makes the end; its last argument is to be called when it is closed.
            refuse: Tells a peer why it is turned away.

        Raises:
            Closed: The listener has been closed.
        """
        while True:
            if self.closed:  # by another thread, too
                raise Closed(f"{self.claim.path}: this listener has been closed")
            try:
                socket = lowlevel.accept(self.claim.listener)
            except BlockingIOError:
                return None
            except ConnectionAbortedError:
                continue  # it has gone before it was accepted
            except OSError:
                if self._shut():
                    continue
                # Out of descriptors: it waits in the backlog, and asking again at once would burn a core.
                self.pause_until = monotonic() + _OUT_OF_DESCRIPTORS_SECONDS
                return None
            end = self._welcome(socket, make_end, refuse)
            if end is not None:
                return end

    def _shut(self) -> bool:
        return self.closed

    def _welcome(
        self,
        socket: lowlevel.Socket,
        make_end: Callable[[lowlevel.Socket, Peer, Callable[[], object]], End],
        refuse: Callable[[lowlevel.Socket, IPCError], object],
    ) -> End | None:
        try:
            socket.setblocking(False)
            if not self._carries_attachments:
                lowlevel.refuse_descriptors(socket)
            peer = peer_of(socket)
            error = self._unwelcome(peer)
        except BaseException as raised:
            socket.close()
            if isinstance(raised, OSError):
                return None
            raise
        if error is not None:
            with suppress(OSError, IPCError):
                refuse(socket, error)
            socket.close()
            return None
        self._count(peer, 1)

        def closed() -> None:
            self._count(peer, -1)

        return make_end(socket, peer, closed)

    def _count(self, peer: Peer, difference: int) -> None:
        with self._counting:
            self._of_uid[peer.uid] += difference
            if not self._of_uid[peer.uid]:
                del self._of_uid[peer.uid]

    def _unwelcome(self, peer: Peer) -> IPCError | None:
        if not self._allow(peer):
            return NotAllowed(f"the listener does not take user {peer.uid}")
        with self._counting:
            total, of_this_user = self._of_uid.total(), self._of_uid[peer.uid]
        if total >= self.limits.clients:
            return LimitReached(f"the listener has {self.limits.clients} connections already")
        if of_this_user >= self.limits.clients_per_uid:
            return LimitReached(f"user {peer.uid} has {self.limits.clients_per_uid} connections already")
        return None

    def close(self) -> None:
        """Stop listening and remove the name. Connections that were accepted go on. Safe to call twice."""
        self.closed = True
        self.claim.close()
