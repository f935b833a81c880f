"""What the chapter's table says of a mechanism, found out by trying it with real processes.

Four questions, one module each; each answers by what it has just seen, and nothing in this package knows what
the chapter's answers are:

    transparent     programs that were not changed take part in it, and nobody has to open a name
    named           a process that is told a path, and has inherited nothing, can send through it
    channel_based   a message that was read is gone: whoever reads next does not see it again
    multi_client    two clients with requests in flight get each their own answer

`mechanisms` has the two sides of each mechanism, `participant` is the program that the other processes run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ._conversation import Participant
from ._observation import Assessment, Observation
from ._sides import Mechanism, ServerSide
from .channel_based import is_channel_based
from .mechanisms import MECHANISMS
from .multi_client import is_multi_client
from .named import is_named
from .transparent import is_transparent

__all__ = [
    "MECHANISMS",
    "Assessment",
    "Mechanism",
    "Observation",
    "ServerSide",
    "assess",
    "assess_all",
]


def assess_all() -> Iterator[Assessment]:
    """Try every mechanism of the chapter, and namedipc."""
    for mechanism in MECHANISMS:
        yield assess(mechanism)


def assess(mechanism: Mechanism) -> Assessment:
    """Try one mechanism, in a directory of its own which is gone afterwards."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="namedipc-")))
        server = stack.enter_context(mechanism.serve(directory))
        transparent = is_transparent(server, directory)
        named = is_named(mechanism, server)
        clients = [stack.enter_context(Participant(mechanism, server, inherits=True)) for _ in range(2)]
        for client in clients:
            client.wait_ready()
        channel_based = is_channel_based(server, clients)
        multi_client = is_multi_client(server, clients)
    return Assessment(mechanism.title, transparent, named, channel_based, multi_client)
