"""namedipc.testing: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc import Client
from namedipc.testing import local, relocated, substitute

from .names import POST, Clerk, Post


class Idle:
    """Has no method of the interface."""


client: Client[Post] = local(Post, Idle())  # type: ignore[arg-type]
substitute(POST, Idle())  # type: ignore[misc]
substitute("post", Clerk())  # type: ignore[arg-type]
relocated(b"names")  # type: ignore[arg-type]
