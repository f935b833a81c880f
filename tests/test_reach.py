"""Routes: under the name, or to what stands in for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from namedipc import NameNotFound, Service
from namedipc._reach import Route, by_name, stand_in_for, standing_in
from namedipc._values import same_user

from .kitchen import Kitchen

KITCHEN = Service("kitchen", Kitchen)


def route_to(path: Path) -> Route:
    """The route to a name where nothing stands."""
    return by_name(path, KITCHEN._schema, wait_seconds=0, allow=same_user)


def test_the_route_of_a_name_connects_when_it_is_asked(tmp_path: Path) -> None:
    """Entering it opens nothing; each plan looks for the name anew."""
    with route_to(tmp_path / "kitchen") as connect:
        for _ in range(2):
            with pytest.raises(NameNotFound):
                next(connect())


def test_what_came_last_stands_in(tmp_path: Path) -> None:
    """For equal names only, and while its `with` lasts, whichever ends first."""
    first, second = route_to(tmp_path / "first"), route_to(tmp_path / "second")
    one, other = standing_in(KITCHEN, lambda: first), standing_in(Service("kitchen", Kitchen), lambda: second)
    assert stand_in_for(KITCHEN) is None
    with one:
        assert stand_in_for(KITCHEN) is first
        other.__enter__()
        assert stand_in_for(KITCHEN) is second
        assert stand_in_for(KITCHEN.at("elsewhere")) is None
    assert stand_in_for(KITCHEN) is second
    other.__exit__(None, None, None)
    assert stand_in_for(KITCHEN) is None
