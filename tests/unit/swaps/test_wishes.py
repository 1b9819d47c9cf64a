"""Requests for a model that is not loaded wait for it, are told when to come, or that it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from spark_core.errors import NotFound, Unavailable
from spark_core.gateway.admission import Busy
from spark_core.gateway.demand import OnDemand
from spark_core.swaps import wishes as module
from spark_core.swaps.driving import Swaps
from spark_core.swaps.wishes import KEPT, Demand, WishList

from .swap_world import World

pytestmark = pytest.mark.anyio

CATALOG = """
models:
  small: {repo: lab/small, memory_gib: 60, on_demand: wait}
  large: {repo: lab/large, memory_gib: 60, on_demand: wait, aliases: [big]}
  later: {repo: lab/later, memory_gib: 60, on_demand: reject}
  never: {repo: lab/never, memory_gib: 60, on_demand: never}
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)


@pytest.fixture
def swaps(world: World) -> Swaps:
    world.settings.catalog.write_text(CATALOG)
    return Swaps(
        world.history, world.catalog, world.parts, [], world.state, world.leases, world.clock
    )


@pytest.fixture
def wishes(world: World) -> WishList:
    return WishList(world.state, world.clock)


@pytest.fixture
async def demand(world: World, swaps: Swaps, wishes: WishList) -> AsyncIterator[Demand]:
    demand = Demand(swaps, wishes, world.clock)
    yield demand
    await demand.aclose()


async def wished(wishes: WishList) -> None:
    """Somebody wishes for something."""
    while not await wishes.oldest():  # noqa: ASYNC110 (it is in a database)
        await asyncio.sleep(0.01)


async def test_it_is_what_the_gateway_asks_for(demand: Demand) -> None:
    assert isinstance(demand, OnDemand)


async def test_a_model_that_is_there_is_not_waited_for(
    swaps: Swaps, demand: Demand, wishes: WishList
) -> None:
    await swaps.begin("small", caller="ada")
    await swaps.work()
    await demand.wanted("small", wait_s=0)
    assert await wishes.oldest() == {}


async def test_a_model_is_waited_for_until_it_is_there(
    swaps: Swaps, demand: Demand, wishes: WishList
) -> None:
    """By any of its names; however many wait, it is one wish."""
    waiting = [asyncio.create_task(demand.wanted(n, wait_s=60)) for n in ("large", "big")]
    await wished(wishes)
    assert [*await wishes.oldest()] == ["large"]
    await swaps.begin("large", caller="spark")
    await swaps.work()
    await asyncio.gather(*waiting)
    assert await wishes.oldest() == {}


async def test_a_model_that_is_rejected_is_wished_for_all_the_same(
    demand: Demand, wishes: WishList
) -> None:
    """So it will be there when they come again."""
    with pytest.raises(Busy, match="position 1"):
        await demand.wanted("later", wait_s=60)
    assert [*await wishes.oldest()] == ["later"]


@pytest.mark.parametrize("model", ["never", "unknown"])
async def test_a_model_that_cannot_be_had_is_not_found(demand: Demand, model: str) -> None:
    with pytest.raises(NotFound):
        await demand.wanted(model, wait_s=60)


async def test_who_was_told_to_come_again_keeps_the_place(
    world: World, demand: Demand, wishes: WishList
) -> None:
    with pytest.raises(Busy):
        await demand.wanted("large", wait_s=0.05)
    since = (await wishes.oldest())["large"]
    world.clock.advance(KEPT - 1)
    with pytest.raises(Busy):
        await demand.wanted("large", wait_s=0.05)
    assert (await wishes.oldest())["large"] == since


async def test_a_wish_that_nobody_comes_back_for_is_forgotten(
    world: World, demand: Demand, wishes: WishList
) -> None:
    with pytest.raises(Busy):
        await demand.wanted("large", wait_s=0.05)
    world.clock.advance(KEPT)
    assert await wishes.oldest() == {}


async def test_who_leaves_gives_the_wish_up(demand: Demand, wishes: WishList) -> None:
    waiting = asyncio.create_task(demand.wanted("large", wait_s=60))
    await wished(wishes)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await wishes.oldest() == {}


async def test_who_waits_is_told_when_it_cannot_be_loaded(
    world: World, swaps: Swaps, demand: Demand, wishes: WishList
) -> None:
    waiting = asyncio.create_task(demand.wanted("large", wait_s=60))
    await wished(wishes)
    world.loads = lambda launch, count: world.host.crash("CUDA out of memory")
    await swaps.begin("large", caller="spark")
    await swaps.work()
    with pytest.raises(Unavailable, match="could not be loaded"):
        await waiting


async def test_the_models_that_can_be_had_are_known(demand: Demand) -> None:
    assert [*await demand.models()] == ["small", "large", "big", "later"]
