"""A service that is replaced three times while it is used: each new version takes the name over from the last.

The version that is replaced says goodbye to its clients, finishes what it has begun, and ends; whoever connects is
served by the one or the other. The client's calls which the old version has not run go to the new one by themselves.
Every version numbers its tickets from 1, so the client sees whether one was lost.

Prints what each version has sold and what the client has bought; how many varies:

    version 1 has sold 57 tickets and ends
    version 2 has sold 61 tickets and ends
    version 3 has sold 54 tickets and ends
    The client has bought 223 tickets of 4 versions: 0 lost, 0 sold twice.
    version 4 has sold 51 tickets and ends
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Protocol

import attrs
import trio
from _company import run, say, stage

from namedipc import Service

VERSIONS = 4
TICKETS = 50
"""How many each version sells at least."""


@attrs.frozen
class Ticket:
    """Which version has sold it, and its number there."""

    version: int
    number: int


class Shop(Protocol):
    """What can be asked of the service."""

    async def buy(self) -> Ticket: ...
    async def wait_until_sold(self, tickets: int) -> None: ...


class Seller:
    """One version."""

    def __init__(self, version: int) -> None:
        self._version = version
        self.sold = 0
        self._one_more = trio.Event()

    async def buy(self) -> Ticket:
        await trio.sleep(0.001)
        self.sold += 1
        self._one_more.set()
        self._one_more = trio.Event()
        return Ticket(self._version, self.sold)

    async def wait_until_sold(self, tickets: int) -> None:
        while self.sold < tickets:
            await self._one_more.wait()


SHOP = Service("shop", Shop)


def serve(path: Path, version: int) -> None:
    """Be the service, until SIGTERM or until the next version takes over."""
    seller = Seller(version)
    SHOP.at(path).run(seller, takeover=True)
    say(f"version {version} has sold {seller.sold} tickets and ends")


def buy(path: Path) -> None:
    """Buy tickets without a pause, until the last version has sold enough: one client, whoever serves it."""
    numbers: dict[int, list[int]] = defaultdict(list)
    with SHOP.at(path).connect(wait_seconds=10, timeout=10) as shop:
        while len(numbers[VERSIONS]) < TICKETS:
            ticket = shop.call(Shop.buy)
            numbers[ticket.version].append(ticket.number)
    lost = sum(max(sold) - len(set(sold)) for sold in numbers.values())
    twice = sum(len(sold) - len(set(sold)) for sold in numbers.values())
    total = sum(map(len, numbers.values()))
    say(f"The client has bought {total} tickets of {len(numbers)} versions: {lost} lost, {twice} sold twice.")


def main() -> None:
    with stage() as (directory, company):
        path = directory / "shop"
        server = company.start(serve, path, 1)
        client = company.start(buy, path)
        for version in range(2, VERSIONS + 1):
            with SHOP.at(path).connect(wait_seconds=10, timeout=10) as shop:
                shop.call(Shop.wait_until_sold, TICKETS)
            replaced, server = server, company.start(serve, path, version)
            company.wait(replaced)
        company.wait(client)
        company.stop(server)


if __name__ == "__main__":
    run(main)
