"""The two sides of a mechanism, as the probes see them.

The law: a side does what its mechanism's program in the chapter does, and nothing to make up for what the
mechanism lacks; and nothing here waits for a message: what is not there is not there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import attrs

MESSAGE_BYTES = 32
"""How much a program of the chapter reads at once: `char msg[32]`."""


class Side(ABC):
    """One process's side."""

    @abstractmethod
    def put(self, message: bytes) -> None:
        """Send a message; a server which has a descriptor for each client sends to who came last."""

    @abstractmethod
    def take(self) -> bytes:
        """Read what is there now; b"" is nothing."""


class ServerSide(Side):
    """The side which all clients talk to."""

    @property
    @abstractmethod
    def handle(self) -> str:
        """What a client is told: a path, or numbers of descriptors."""

    @property
    def names(self) -> tuple[str, str]:
        """The paths which a client reads from and writes to; the same twice where one is for both."""
        return (self.handle, self.handle)

    @property
    def inherited(self) -> tuple[int, int] | None:
        """The ends, one to write and one to read, which a client has to inherit; None: it has a path."""
        return None

    def answer_all(self) -> None:
        """Send back what is there, to whom the mechanism sends it."""
        self.put(self.take())


@attrs.frozen
class Mechanism:
    """One means of communication: how to be its server, and how to be a client that is told the handle."""

    title: str
    serve: Callable[[Path], AbstractContextManager[ServerSide]]
    join: Callable[[str], AbstractContextManager[Side]]
