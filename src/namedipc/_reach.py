"""How a client reaches its service: under its name, or in this process where a test has put something in its place.

The law: a route is asked for when the client is entered, and is open for as long as the client is; it connects as often
as it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, Protocol, TypeAlias

from ._card import check_card
from ._name import Name
from ._opening import Opening
from ._schema import Schema
from ._shells.connecting import Plan, connecting
from ._values import Allow, StrPath


class Connect(Protocol):
    """Makes a plan for one connection; `wait_seconds` in the place of what the client was told, if that is given."""

    def __call__(self, wait_seconds: float | None = None, /) -> Plan: ...


Route: TypeAlias = "Opening[Connect, Connect] | nullcontext[Connect]"
"""Entered by `async with` or by `with`; what it gives makes a plan for one connection."""

_stand_ins: Final[list[tuple[Name, Callable[[], Route]]]] = []


def by_name(path: StrPath, schema: Schema[Any], *, wait_seconds: float, allow: Allow) -> Route:
    """The route to whoever serves a name."""

    def difference(theirs: bytes) -> str | None:
        found = schema.bindings(theirs)
        return found if isinstance(found, str) else None

    def connect(seconds: float | None = None, /) -> Plan:
        check_card(path, "service", schema.fingerprint, difference)
        return connecting(path, wait_seconds=wait_seconds if seconds is None else seconds, allow=allow)

    return nullcontext(connect)


def stand_in_for(name: Name) -> Route | None:
    """The route to what stands in for a name; of several what came last; None where nothing does."""
    # A copy: other threads may begin and end theirs meanwhile.
    return next((route() for other, route in reversed(list(_stand_ins)) if other == name), None)


@contextmanager
def standing_in(name: Name, route: Callable[[], Route]) -> Iterator[None]:
    """Inside, clients of the name take this route, in every task and thread of the process."""
    entry = (name, route)
    _stand_ins.append(entry)
    try:
        yield
    finally:
        _stand_ins.remove(entry)
