"""Values: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc import Fd, Limits, Peer, runtime_path, users

Limits(3)  # type: ignore[call-arg]
Limits(client=3)  # type: ignore[call-arg]
Limits(clients="3")  # type: ignore[arg-type]
Limits().clients = 4  # type: ignore[misc]
users(None)  # type: ignore[arg-type]
runtime_path(3)  # type: ignore[arg-type]
Fd("name")  # type: ignore[arg-type]
Fd(0).read(3)  # type: ignore[attr-defined]


def change(peer: Peer) -> None:
    """A peer is a fact."""
    peer.uid = 0  # type: ignore[misc]
    peer.pidfd() + 1  # type: ignore[operator]
