"""Multi-client: do two clients, with requests in flight at the same time, each get their own answer?"""

from __future__ import annotations

from collections.abc import Sequence

from ._conversation import Client
from ._observation import Observation
from ._sides import ServerSide

REQUESTS = ("ann", "bob")


def is_multi_client(server: ServerSide, clients: Sequence[Client]) -> Observation:
    """Let each client send its name; have all answered by their own request; see who got what."""
    for client, request in zip(clients, REQUESTS, strict=True):
        client.put(request)
    server.answer_all()
    answers = tuple(client.take() for client in clients)
    got = " and ".join(
        f"{request} got {answer or 'nothing'}" for request, answer in zip(REQUESTS, answers, strict=True)
    )
    return Observation(answers == REQUESTS, f"two requests in flight: {got}")
