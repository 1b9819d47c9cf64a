"""What a swap does where estimates are wrong, the catalog changes, or somebody else was there."""

from __future__ import annotations

import pytest

from spark_core.swaps.memory import GIB

from .swap_world import CATALOG, World

pytestmark = pytest.mark.anyio

# ------------------------------------------------------------------------ what is only estimated


async def test_an_estimate_that_was_too_high_halts_nothing(world: World) -> None:
    """The entry says 60 GiB, and it takes 50: what comes back is what was measured."""
    world.host.head.model_memory = 50 * GIB
    await world.swap("small")
    assert (await world.swap("large")).outcome == "ready"


async def test_what_a_model_takes_is_known_although_it_was_asked_for_while_it_ran(
    world: World,
) -> None:
    """A swap that changes nothing measures nothing, and makes no load seem quick."""
    await world.swap("small")
    known = await world.history.measured("small"), await world.history.expected_s("small")
    assert (await world.swap("small")).outcome == "ready"
    assert (await world.history.measured("small"), await world.history.expected_s("small")) == known
    assert all(known)


async def test_a_pair_that_is_half_dead_can_be_swapped_away(world: World) -> None:
    await world.swap("pair")
    world.host.nodes["spark2"].end()
    assert (await world.swap("small")).outcome == "ready"


async def test_a_model_of_unknown_size_is_loaded_by_force_alone_until_it_was_measured(
    world: World,
) -> None:
    world.settings.catalog.write_text(CATALOG + "  unknown: {repo: lab/unknown}\n")
    assert (await world.swap("unknown")).failure.code == "memory-unknown"
    assert (await world.swap("unknown", force=True)).outcome == "ready"
    await world.swap("small")
    assert (await world.swap("unknown")).outcome == "ready"


# ------------------------------------------------------------------- the catalog, while it changes


@pytest.mark.parametrize("gone", ["small", "large"])
async def test_a_catalog_that_changes_meanwhile_is_not_heeded(world: World, gone: str) -> None:
    """What the swap began with is what it goes on with, and back to."""
    await world.swap("small")

    def change() -> None:
        lines = [line for line in CATALOG.splitlines() if not line.startswith(f"  {gone}:")]
        world.settings.catalog.write_text("\n".join(lines))

    world.when_paused = [change]
    world.loads = lambda launch, count: (
        world.host.finish_loading() if launch.name == "small" else world.host.crash()
    )
    swap = await world.swap("large")
    assert (swap.outcome, swap.failure_back) == ("rolled_back", None)
    assert world.host.serving.name == "small"


async def test_an_entry_that_was_edited_is_loaded_anew(world: World) -> None:
    await world.swap("small")
    edited = CATALOG.replace("repo: lab/small", "repo: lab/edited")
    world.settings.catalog.write_text(edited)
    swap = await world.swap("small")
    assert (swap.outcome, world.host.serving.model) == ("ready", "lab/edited")


async def test_the_model_that_died_by_itself_is_the_last_good_one(world: World) -> None:
    await world.swap("small")
    world.host.crash()
    world.loads = lambda launch, count: (
        world.host.finish_loading() if launch.name == "small" else world.host.crash()
    )
    assert (await world.swap("large")).serving == "small"


async def test_what_was_taken_off_on_purpose_is_not_brought_back(world: World) -> None:
    await world.swap("small")
    await world.swap(None)
    world.loads = lambda launch, count: world.host.crash()
    assert (await world.swap("large")).outcome == "failed"


# ------------------------------------------------------------------------------ who may, and when


async def test_machines_that_obey_a_newer_state_say_so(world: World) -> None:
    """A state that was lost begins to count anew; the machines do not."""
    await world.host.observe(fence=1000)
    swap = await world.swap("small")
    assert (swap.outcome, swap.failure.code) == ("refused", "fenced")
    assert "fence.*" in swap.failure.message


async def test_a_swap_is_called_off_while_requests_end(world: World) -> None:
    await world.swap("small")
    world.door.in_flight, world.door.takes = 1, 1000
    swap = await world.admitted("large", drain_s=500)
    await world.history.call_off(swap.id)
    began = world.clock.now()
    assert (await world.drive(swap)).outcome == "cancelled"
    assert (world.clock.now() - began).total_seconds() < 5


async def test_who_is_cut_off_is_counted_once(world: World) -> None:
    await world.swap("small")
    world.door.in_flight, world.door.takes = 3, 1000

    def cut() -> None:
        world.door.total.lost += world.door.in_flight
        world.door.in_flight = 0

    world.when_paused = [cut]
    swap = await world.swap("large", drain_s=5, force=True)
    assert (swap.outcome, swap.counts.lost, swap.counts.drained) == ("ready", 3, 0)
