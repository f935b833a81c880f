"""For the tests of programs which use namedipc: a service without a name, one in the place of another, names elsewhere.

Nothing is faked: what is under test goes through the same protocol, limits and checks as between processes.

For those who build a channel of their own: whether it keeps what a channel promises.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ._conformance_blocking import (
    check_blocking_half_closeable_channel,
    check_blocking_one_way_channel,
    check_blocking_two_way_channel,
)
from ._relocated import relocated
from ._stand_in import local, substitute

if TYPE_CHECKING:
    from ._conformance_trio import check_half_closeable_channel, check_one_way_channel, check_two_way_channel

__all__ = [
    "check_blocking_half_closeable_channel",
    "check_blocking_one_way_channel",
    "check_blocking_two_way_channel",
    "check_half_closeable_channel",
    "check_one_way_channel",
    "check_two_way_channel",
    "local",
    "relocated",
    "substitute",
]

# What lives in a module that imports trio: loaded when it is first asked for.
_IN_TRIO = frozenset({"check_half_closeable_channel", "check_one_way_channel", "check_two_way_channel"})


if not TYPE_CHECKING:  # a checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        if name not in _IN_TRIO:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module("._conformance_trio", __name__), name)
        globals()[name] = value
        return value
