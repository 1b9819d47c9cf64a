"""What the chooser takes for loaded, and what it begins."""

from __future__ import annotations

import pytest

from spark_core.swaps.choosing import Chooser
from spark_core.swaps.driving import Swaps
from spark_core.swaps.settings import SwapSettings
from spark_core.swaps.wishes import WishList

from .swap_world import World

pytestmark = pytest.mark.anyio


class Backends:
    """As much of a gateway as the chooser looks at: one backend, which does nothing."""

    def __init__(self, name: str) -> None:
        self.admission = self
        self.name = name
        self.in_flight = self.waiting = 0
        self.worked = 0.0

    def states(self):
        return [self]

    def sightings(self, name: str):
        return self


@pytest.fixture
def swaps(world: World) -> Swaps:
    return Swaps(
        world.history, world.catalog, world.parts, [], world.state, world.leases, world.clock
    )


@pytest.fixture
def chooser(world: World, swaps: Swaps):
    """With what settings are said: ``chooser(default="small")``."""

    def make(**settings) -> Chooser:
        given = SwapSettings(catalog=world.settings.catalog, **settings)
        world.catalog._settings = given
        wishes = WishList(world.state, world.clock)
        gateway = Backends(world.host.backend)
        return Chooser(swaps, wishes, world.catalog, gateway, given, world.clock)

    return make


async def begun(world: World) -> list[str | None]:
    return [swap.model for swap in await world.history.newest() if swap.outcome is None]


async def test_a_server_that_does_not_answer_for_a_moment_keeps_its_model(world, chooser) -> None:
    await world.swap("large")
    world.clock.advance(700)
    world.host.serving = None  # its container runs, but it lists nothing
    await chooser(default="small", idle_s=1000, min_residency_s=600).look()
    assert await begun(world) == []


async def test_a_model_that_died_is_not_loaded_any_more(world, chooser) -> None:
    await world.swap("large")
    world.host.crash()
    await chooser(default="small", idle_s=1000).look()
    assert await begun(world) == ["small"]


async def test_a_server_with_a_key_is_asked_with_it(world, chooser, monkeypatch) -> None:
    """Else it would look empty, and the default would be loaded again and again."""
    catalog = world.settings.catalog
    catalog.write_text(catalog.read_text() + "  keyed: {repo: lab/keyed, memory_gib: 60,"
                       " env: {VLLM_API_KEY: open-sesame}}\n")  # fmt: skip
    listed = world.models.listed

    async def guarded(key: str | None = None) -> tuple[str, ...]:
        return await listed() if key == "open-sesame" else ()

    await world.swap("keyed")
    monkeypatch.setattr(world.models, "listed", guarded)
    await chooser(default="keyed", idle_s=1).look()
    assert await begun(world) == []


async def test_a_swap_that_was_refused_does_not_begin_a_residency(world, chooser) -> None:
    await world.swap("small")
    world.clock.advance(100)
    await world.swap("huge")
    await chooser(default="large", idle_s=50, min_residency_s=90).look()
    assert await begun(world) == ["large"]


async def test_a_wish_is_over_when_its_model_is_there(world, swaps, chooser) -> None:
    wishes = WishList(world.state, world.clock)
    await wishes.keep("small")
    await world.swap("small")
    await chooser().look()
    assert await wishes.oldest() == {}


async def test_nobody_is_cut_off_for_a_swap_that_nobody_asked_for_by_hand(world, chooser) -> None:
    await world.swap("large")
    world.clock.advance(5000)
    await chooser(default="small", idle_s=10).look()
    assert (await world.history.newest())[0].drain_s == 3600
