"""Channel-based: is a message gone once it was read?"""

from __future__ import annotations

from collections.abc import Sequence

from ._conversation import Client
from ._observation import Observation
from ._sides import ServerSide

MESSAGE = "soup"


def is_channel_based(server: ServerSide, clients: Sequence[Client]) -> Observation:
    """Send one message, let everybody read twice, and count how often it was seen."""
    server.put(MESSAGE.encode())
    readers = [*clients, *clients]
    reads = [client.take() for client in readers]
    seen = reads.count(MESSAGE)
    gone = seen == 1 and set(reads) == {MESSAGE, ""}
    return Observation(gone, f"one message, {len(readers)} reads of two processes: it was seen {times(seen)}")


def times(count: int) -> str:
    """A count in words."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
