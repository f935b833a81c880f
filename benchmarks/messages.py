"""What all contenders send: a record of four fields, and the interface it is a call of."""

from __future__ import annotations

from typing import Final, Protocol

import attrs


@attrs.frozen
class Order:
    """The record that goes there and back."""

    table: int
    dish: str
    price: float
    paid: bool


class Kitchen(Protocol):
    """The interface."""

    async def cook(self, order: Order) -> Order:
        """Return the order as it came."""
        ...


class Chef:
    """Its implementation."""

    async def cook(self, order: Order) -> Order:
        """Return it."""
        return order


ORDER: Final = Order(4, "soup", 7.5, paid=False)
LAST: Final = Order(4, "soup", 7.5, paid=True)
"""The last record of a burst: its reader says that it has come."""
RECORD: Final = bytes(64)
"""For peers which carry bytes."""
LAST_RECORD: Final = b"\x01" * 64
IN_FLIGHT: Final = 64
"""How many calls of one connection are on their way at once, and how many records are sent together."""
