"""Named: does a process that is told a path, and has inherited nothing, find the mechanism?"""

from __future__ import annotations

from ._conversation import Failed, Participant
from ._observation import Observation
from ._sides import Mechanism, ServerSide

MESSAGE = "halp!"


def is_named(mechanism: Mechanism, server: ServerSide) -> Observation:
    """Start a process which has only the handle, let it send a message, and see whether that arrives."""
    with Participant(mechanism, server, inherits=False) as stranger:
        try:
            stranger.wait_ready()
            stranger.put(MESSAGE)
        except Failed as reason:
            return Observation(False, f"a process that was only told {server.handle!r} failed: {reason}")
        heard = server.take().decode()
    if heard != MESSAGE:
        return Observation(False, f"{MESSAGE!r} was sent by a process that was only told the path; {heard!r} arrived")
    return Observation(True, "a process that was only told the path has sent a message, and it arrived")
