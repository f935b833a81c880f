"""SharedRegion: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc import SharedRegion

from .names import TARIFF, Tariff

SharedRegion("x", Tariff())  # type: ignore[arg-type]
SharedRegion("x")  # type: ignore[call-arg]
TARIFF.create()  # type: ignore[call-arg]
TARIFF.create("stamps")  # type: ignore[arg-type]
TARIFF.create(Tariff(), if_exists="ignore")  # type: ignore[arg-type]


async def in_trio() -> None:
    """A value has its type, an update returns it, and a view does not write."""
    async with TARIFF.open() as region:
        await region.write(3)  # type: ignore[arg-type]
        await region.update(lambda tariff: tariff.cents)  # type: ignore[return-value, arg-type]
        async with region.editing() as draft:
            draft.value = 4  # type: ignore[assignment]
    async with TARIFF.view() as view:
        await view.write(Tariff())  # type: ignore[attr-defined]
    TARIFF.open().read()  # type: ignore[attr-defined]


def in_blocking_code() -> None:
    """The same in blocking code."""
    with TARIFF.open() as region:
        region.write(3)  # type: ignore[arg-type]
    with TARIFF.view() as view:
        view.update(lambda tariff: tariff)  # type: ignore[attr-defined]
