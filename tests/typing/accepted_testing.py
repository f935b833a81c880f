"""namedipc.testing: what both checkers accept, with the exact type."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import assert_type

from namedipc import BlockingClient, Client
from namedipc.testing import local, relocated, substitute

from .names import POST, Clerk, Letter, Post


async def in_trio() -> None:
    """A local client is the interface, whatever the implementation's class."""
    client: Client[Post] = local(Post, Clerk())
    async with client as post:
        assert_type(post, Post)
    async with local(Post, Clerk()) as post:
        assert_type(await post.weigh(Letter("ann")), int)
    with substitute(POST, Clerk()):
        async with POST.connect() as post:
            assert_type(post, Post)


def blocking() -> None:
    """The same in blocking code."""
    with local(Post, Clerk()) as post:
        assert_type(post, BlockingClient[Post])
        assert_type(post.call(Post.weigh, Letter("ann")), int)
    assert_type(substitute(POST, Clerk()), AbstractContextManager[None])
    for directory in ("names", Path("names")):
        assert_type(relocated(directory), AbstractContextManager[None])
