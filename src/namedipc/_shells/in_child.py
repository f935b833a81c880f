"""After a fork: the child lets go of what it shares with its parent.

The law: the child closes descriptors, and does nothing else with them. A lock, a queue of events or a name
belong to the parent as long as it lives; a child which wants its own opens the name itself.
"""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet


class Inherited(Protocol):
    """Something that holds descriptors which only the process that opened them may use."""

    def forget(self) -> None:
        """Close the descriptors, in the child; change nothing that the parent shares."""


_open: Final[WeakSet[Inherited]] = WeakSet()


def forget_in_child(thing: Inherited) -> None:
    """Have a child that is forked from now on call `thing.forget()` first of all, while `thing` is in use."""
    _open.add(thing)


def _forget_all() -> None:
    things = list(_open)
    _open.clear()
    for thing in things:
        thing.forget()


os.register_at_fork(after_in_child=_forget_all)
