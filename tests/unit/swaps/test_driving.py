"""Swaps are admitted one at a time, worked on by whoever is there, and followed by anybody."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from spark_core.errors import Conflict, Forbidden, Locked, NotConfigured, NotFound
from spark_core.swaps.driving import Swaps
from spark_core.swaps.guards import SwapGuard
from spark_core.swaps.history import SwapRuns
from spark_core.swaps.models import Outcome

from .swap_world import World

pytestmark = pytest.mark.anyio


class Reserved:
    """A guard: who shows ``sesam`` may."""

    def __init__(self) -> None:
        self.held = False

    def check(self, connection: Any, token: str | None, now: datetime) -> None:
        if self.held and token is None:
            raise Locked("it is reserved by ada")
        if token not in (None, "sesam"):
            raise Forbidden("this token is wrong")


@pytest.fixture
def guard() -> Reserved:
    return Reserved()


@pytest.fixture
def swaps(world: World, guard: Reserved) -> Swaps:
    guards = [SwapGuard("reservation", guard.check)]
    return make(world, guards)


def make(world: World, guards: list[SwapGuard] = [], **more: Any) -> Swaps:  # noqa: B006
    parts = more.get("parts", world.parts)
    return Swaps(
        world.history, world.catalog, parts, guards, world.state, world.leases, world.clock
    )


async def test_item_1_a_valid_swap_is_accepted_and_exactly_one_runs(
    world: World, swaps: Swaps
) -> None:
    begun = await swaps.begin("small", caller="ada")
    with pytest.raises(SwapRuns, match="a swap to small is running"):
        await swaps.begin("large", caller="bob")
    await swaps.work()
    assert (await world.history.find(begun.id)).outcome is Outcome.READY


async def test_item_1_an_unknown_model_is_not_found(swaps: Swaps) -> None:
    with pytest.raises(NotFound, match="did you mean 'small'"):
        await swaps.begin("smal", caller="ada")


async def test_item_1_a_reserved_gpu_is_not_swapped_without_the_token(
    swaps: Swaps, guard: Reserved
) -> None:
    """Whatever else is wrong with the request."""
    guard.held = True
    with pytest.raises(Locked, match="reserved by ada"):
        await swaps.begin("no such model", caller="bob")
    with pytest.raises(Forbidden):
        await swaps.begin("small", caller="bob", token="wrong")
    assert (await swaps.begin("small", caller="ada", token="sesam")).model == "small"


async def test_of_many_at_once_exactly_one_is_admitted(swaps: Swaps) -> None:
    begun = await asyncio.gather(
        *(swaps.begin("small", caller=str(n)) for n in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(each, BaseException) for each in begun) == 1
    assert all(isinstance(e, Conflict) for e in begun if isinstance(e, BaseException))


async def test_item_3_a_swap_goes_on_when_the_lock_expires(
    world: World, swaps: Swaps, guard: Reserved
) -> None:
    guard.held = True
    begun = await swaps.begin("small", caller="ada", token="sesam")
    guard.held = False  # it expired
    await swaps.work()
    assert (await world.history.find(begun.id)).outcome is Outcome.READY


async def test_two_who_work_on_a_swap_do_it_once(world: World, swaps: Swaps) -> None:
    await swaps.begin("small", caller="ada")
    await asyncio.gather(swaps.work(), swaps.work(), make(world).work())
    assert len(world.host.launches) == 1


async def test_who_follows_sees_every_phase_and_the_end(world: World, swaps: Swaps) -> None:
    begun = await swaps.begin("small", caller="ada")
    working = asyncio.create_task(swaps.work())
    seen = [(event.kind, event.text) async for event in swaps.follow(begun.id)]
    await working
    assert seen[0] == ("phase", "admitted")
    assert seen[-2:] == [("phase", "ready"), ("end", "ready")]


async def test_who_comes_back_goes_on_where_they_were(world: World, swaps: Swaps) -> None:
    begun = await swaps.begin("small", caller="ada")
    await swaps.work()
    everything = [event async for event in swaps.follow(begun.id)]
    rest = [event async for event in swaps.follow(begun.id, after=everything[2].id)]
    assert rest == everything[3:]


async def test_who_waits_works_on_it_where_no_host_does(world: World, swaps: Swaps) -> None:
    begun = await swaps.begin("small", caller="ada")
    assert (await swaps.ended(begun.id)).outcome is Outcome.READY


async def test_without_a_host_models_are_unknown_or_cannot_be_swapped(world: World) -> None:
    swaps = make(world, parts=None)
    with pytest.raises(NotFound):
        await swaps.begin("nope", caller="ada")
    with pytest.raises(NotConfigured):
        await swaps.begin("small", caller="ada")


async def test_the_expected_time_is_that_of_the_last_swaps(world: World, swaps: Swaps) -> None:
    for _ in range(2):
        await swaps.begin("small", caller="ada")
        await swaps.work()
        await swaps.begin("large", caller="ada")
        await swaps.work()
    begun = await swaps.begin("small", caller="ada")
    assert begun.expected_s is not None
    assert begun.expected_s == pytest.approx(3, abs=1)
