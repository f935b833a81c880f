"""SharedRegion: what both checkers accept, with the exact type."""

from __future__ import annotations

from typing import assert_type

import attrs

from namedipc import BlockingRegion, BlockingRegionView, Region, RegionView, SharedRegion

from .names import TARIFF, Tariff

assert_type(TARIFF, SharedRegion[Tariff])
assert_type(TARIFF.at("elsewhere"), SharedRegion[Tariff])


async def in_trio() -> None:
    """Snapshots, changes, and being woken."""
    async with TARIFF.create(Tariff(), capacity_bytes=4096, if_exists="keep", persist=True, spin=False) as region:
        assert_type(region, Region[Tariff])
        assert_type(region.read(), Tariff)
        assert_type(region.version, int)
        assert_type(region.is_current, bool)
        assert_type(await region.write(Tariff(90)), int)
        assert_type(await region.update(lambda tariff: attrs.evolve(tariff, cents=95)), Tariff)
        assert_type(await region.wait_newer(region.version), Tariff)
        async for tariff in region.watch():
            assert_type(tariff, Tariff)
        async with region.editing() as draft:
            assert_type(draft.value, Tariff)
            draft.value = Tariff(100)
    async with TARIFF.open(wait_seconds=1) as region:
        assert_type(region, Region[Tariff])
    async with TARIFF.view(spin=False) as view:
        assert_type(view, RegionView[Tariff])
        wider: RegionView[Tariff | None] = view
        await wider.aclose()


def in_blocking_code() -> None:
    """The same in blocking code."""
    with TARIFF.create(Tariff()) as region:
        assert_type(region, BlockingRegion[Tariff])
        assert_type(region.write(Tariff(90), timeout=1), int)
        assert_type(region.update(lambda tariff: attrs.evolve(tariff, cents=95)), Tariff)
        with region.editing(timeout=1) as draft:
            draft.value = Tariff(100)
    with TARIFF.view(spin=False) as view:
        assert_type(view, BlockingRegionView[Tariff])
        assert_type(view.read(), Tariff)
        assert_type(view.is_current, bool)
        assert_type(view.wait_newer(3, timeout=1), Tariff)
        for tariff in view.watch():
            assert_type(tariff, Tariff)
