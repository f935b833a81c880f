"""A service without a name: its clients are joined to it in this process, by pairs of sockets.

The law: all that is different is where a connection comes from; both ends are real, and the kernel vouches for both.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

from .. import lowlevel
from .connecting import Connected, Pause, peer_of
from .in_child import forget_in_child


class Ownership(Protocol):
    """What a service has of its place while it serves: a claim of a name is one."""

    @property
    def path(self) -> str:
        """Where it is found, for people."""
        ...

    @property
    def listener(self) -> lowlevel.Socket:
        """Readable when somebody waits to be accepted."""
        ...

    def close(self) -> None:
        """Give the place up. Safe to call twice."""
        ...


class Unnamed:
    """The place of a service which nobody finds: its listener is a socket that never becomes readable."""

    def __init__(self, path: str) -> None:
        self.path: str = path
        self.listener, self._silent = lowlevel.socket_pair()
        forget_in_child(self)

    def close(self) -> None:
        """Close both ends. Safe to call twice."""
        self.listener.close()
        self._silent.close()

    def forget(self) -> None:
        """In a forked child: the descriptors are the parent's."""
        self.close()


def joining(adopt: Callable[[lowlevel.Socket], None]) -> Generator[Pause, None, Connected]:
    """Connect to a service of this process: make a pair, and have the service take one end of it in."""
    mine, theirs = lowlevel.socket_pair()
    try:
        for end in (mine, theirs):
            end.setblocking(False)
        peer = peer_of(mine)
        adopt(theirs)
    except BaseException:
        mine.close()
        theirs.close()
        raise
    yield from ()  # there is nothing to wait for
    return Connected(mine, peer)
