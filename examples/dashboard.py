"""A live dashboard: one process measures, any number of screens show the latest reading, and none holds it up.

A reading is the value of a SharedRegion. A screen needs permission to read only; it sleeps until there is a newer
reading, and then shows the latest: who is slow, or sleeps for a while, skips some, and never misses the last. One
that is switched on late shows at once how things are.

Prints what each screen has shown (the counts vary, but for those of the last two):

    hall has shown 71 of 300 readings, and ends with oven 230 °C, 119 orders
    kitchen has shown 78 of 300 readings, and ends with oven 230 °C, 119 orders
    office has shown 56 of 300 readings, and ends with oven 230 °C, 119 orders
    a slow one has shown 2 of 300 readings, and ends with oven 230 °C, 119 orders
    a late one has shown 1 of 300 readings, and ends with oven 230 °C, 119 orders
"""

from __future__ import annotations

from pathlib import Path

import attrs
from _company import run, say, stage

from namedipc import Fifo, SharedRegion

READINGS = 300


@attrs.frozen
class Reading:
    """What is shown."""

    number: int = 0
    oven: int = 20
    orders: int = 0

    def __str__(self) -> str:
        return f"oven {self.oven} °C, {self.orders} orders"

    @property
    def is_last(self) -> bool:
        return self.number == READINGS - 1


@attrs.frozen
class Screen:
    """From a screen: what it has shown so far."""

    name: str
    shown: int = 0
    last: str = ""


STATUS = SharedRegion("status", Reading)
REPORTS = Fifo("reports", Screen)


def measure(directory: Path) -> None:
    """The one writer: it waits for nobody."""
    with STATUS.at(directory / "status").open() as status:
        for number in range(1, READINGS):  # number 0 is there
            status.write(Reading(number, oven=min(230, 20 + 2 * number), orders=number * 2 // 5))


def watch(directory: Path, name: str) -> None:
    """A screen: says that it is on, and in the end how much it has shown."""
    with (
        STATUS.at(directory / "status").view(wait_seconds=10) as status,
        REPORTS.at(directory / "reports").writer(wait_seconds=10) as reports,
    ):
        for shown, reading in enumerate(status.watch(), 1):
            if shown == 1:
                reports.send(Screen(name))
            if reading.is_last:
                reports.send(Screen(name, shown, str(reading)))
                return


def main() -> None:
    with stage() as (directory, company), REPORTS.at(directory / "reports").reader() as reports:
        with STATUS.at(directory / "status").create(Reading()) as status:
            screens = [company.start(watch, directory, name) for name in ("hall", "kitchen", "office")]
            for _ in screens:
                reports.receive(timeout=10)
            slow = status.watch()
            next(slow)
            company.wait(company.start(measure, directory))
            results = sorted((reports.receive(timeout=10) for _ in screens), key=lambda screen: screen.name)
            results.append(Screen("a slow one", 2, str(next(slow))))
            results.append(Screen("a late one", 1, str(next(status.watch()))))
            company.wait(*screens)
        for screen in results:
            say(f"{screen.name} has shown {screen.shown} of {READINGS} readings, and ends with {screen.last}")


if __name__ == "__main__":
    run(main)
