"""A browser's manager and its tabs, with a Channel for what happens and a SharedRegion for each tab's bitmap.

As in `chapter/browser.py` a click goes to a tab, the tab draws into shared memory and says so, the manager shows the
bitmap. Nothing is inherited: a tab is told a directory, and could as well have been started by anybody else; the
manager knows each tab by its own connection, and reads whole bitmaps only.

Prints for each tab that it has opened, and its bitmap:

    tab 1 is process 8151
    tab 1 has drawn:
    ................
    ...#............
    ................
    ................
"""

from __future__ import annotations

from pathlib import Path

import attrs
from _company import run, say, stage

from namedipc import BlockingConnection, Channel, SharedRegion

TABS = 2
WIDTH, HEIGHT = 16, 4


@attrs.frozen
class Opened:
    """From a tab: it is there."""

    tab: int


@attrs.frozen
class Click:
    """To a tab."""

    column: int
    row: int


@attrs.frozen
class Drawn:
    """From a tab: its bitmap shows the last click."""


MANAGER = Channel("manager", Opened | Click | Drawn)
BITMAP = SharedRegion("bitmap", list[str])


def bitmap_of(directory: Path, tab: int) -> SharedRegion[list[str]]:
    """The name of a tab's bitmap."""
    return BITMAP.at(directory / f"bitmap-{tab}")


def tab(directory: Path, number: int) -> None:
    """Draw at every click until the manager closes."""
    empty = ["." * WIDTH] * HEIGHT
    with (
        bitmap_of(directory, number).create(empty) as bitmap,
        MANAGER.at(directory / "manager").connect(wait_seconds=5) as manager,
    ):
        manager.send(Opened(number))
        for message in manager:
            if isinstance(message, Click):
                drawn = empty.copy()
                drawn[message.row] = "#".rjust(message.column + 1, ".").ljust(WIDTH, ".")
                bitmap.write(drawn)
                manager.send(Drawn())


def show(connection: BlockingConnection[Opened | Click | Drawn], directory: Path) -> None:
    """Click into a tab, wait until it has drawn, and show what it drew."""
    opened = connection.receive(timeout=10)
    assert isinstance(opened, Opened)
    say(f"tab {opened.tab} is process {connection.peer.pid}")
    connection.send(Click(3 * opened.tab, opened.tab))
    assert isinstance(connection.receive(timeout=10), Drawn)
    with bitmap_of(directory, opened.tab).view() as bitmap:
        say("\n".join([f"tab {opened.tab} has drawn:", *bitmap.read()]))


def manage(directory: Path, tabs: int) -> None:
    """Be the browser's manager until each tab has been shown."""
    with MANAGER.at(directory / "manager").listen() as listener:
        for _ in range(tabs):
            with listener.accept(timeout=10) as connection:
                show(connection, directory)


def main() -> None:
    with stage() as (directory, company):
        manager = company.start(manage, directory, TABS)
        tabs = [company.start(tab, directory, number) for number in range(1, TABS + 1)]
        company.wait(manager, *tabs)


if __name__ == "__main__":
    run(main)
