"""The GPU on loan: the model goes, and what was there comes back, whatever happens between."""

from __future__ import annotations

import pytest

from spark_core.errors import BackendError
from spark_core.swaps.driving import Swaps
from spark_core.swaps.lending import Loan
from spark_core.swaps.models import Outcome

from .swap_world import World

pytestmark = pytest.mark.anyio


@pytest.fixture
def swaps(world: World) -> Swaps:
    return Swaps(
        world.history, world.catalog, world.parts, (), world.state, world.leases, world.clock
    )


async def load(swaps: Swaps, model: str | None) -> Outcome | None:
    """A swap that somebody asks for."""
    begun = await swaps.begin(model, caller="bob")
    await swaps.work()
    return (await swaps.history.find(begun.id)).outcome


async def test_the_gpu_is_lent_and_the_model_brought_back(world: World, swaps: Swaps) -> None:
    await swaps.begin("small", caller="ada")
    await swaps.work()
    loan = Loan(swaps)
    first = await loan.release("reserved by bob")
    assert world.host.head.container is None
    assert await loan.release("reserved by bob") == first  # done already
    await loan.restore()
    assert (await world.history.newest())[0].serving == "small"
    launches = len(world.host.launches)
    await loan.restore()
    assert len(world.host.launches) == launches


async def test_a_model_that_was_loaded_since_stays(world: World, swaps: Swaps) -> None:
    await swaps.begin("small", caller="ada")
    await swaps.work()
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    await swaps.begin("large", caller="bob")
    await swaps.work()
    assert await loan.restore() is None
    assert (await world.history.newest())[0].serving == "large"


async def test_where_nothing_ran_nothing_is_brought_back(world: World, swaps: Swaps) -> None:
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    assert await loan.restore() is None
    assert world.host.launches == []


async def test_a_gpu_that_does_not_come_free_is_no_success(world: World, swaps: Swaps) -> None:
    await swaps.begin("small", caller="ada")
    await swaps.work()
    world.host.head.container_stays = True
    loan = Loan(swaps)
    with pytest.raises(BackendError, match="container-stays"):
        await loan.release("reserved by bob")
    world.host.head.container_stays = False
    assert await loan.release("reserved by bob")


async def test_a_holders_swap_that_was_refused_does_not_keep_the_model_away(
    world: World, swaps: Swaps
) -> None:
    await load(swaps, "small")
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    assert await load(swaps, "huge") is Outcome.REFUSED
    await loan.restore()
    assert (await world.history.newest())[0].serving == "small"


async def test_a_holders_swap_that_failed_does_not_keep_the_model_away(
    world: World, swaps: Swaps
) -> None:
    await load(swaps, "small")
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    ready, world.loads = world.loads, world.load_in(None)
    assert await load(swaps, "large") is Outcome.FAILED
    world.loads = ready
    await loan.restore()
    assert (await world.history.newest())[0].serving == "small"


async def test_a_holder_who_unloads_what_they_loaded_gets_the_model_back(
    world: World, swaps: Swaps
) -> None:
    await load(swaps, "small")
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    await load(swaps, "large")
    await load(swaps, None)
    await loan.restore()
    assert (await world.history.newest())[0].serving == "small"


async def test_the_next_loan_takes_off_what_the_holder_before_it_loaded(
    world: World, swaps: Swaps
) -> None:
    await load(swaps, "small")
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    assert await loan.is_free()
    await load(swaps, "large")
    assert not await loan.is_free()
    await loan.release("reserved by ada")
    assert world.host.head.container is None
    assert await loan.is_free()


async def test_what_somebody_unloaded_before_the_loan_is_not_brought_back(
    world: World, swaps: Swaps
) -> None:
    await load(swaps, "small")
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    await load(swaps, "large")
    await load(swaps, None)
    await loan.release("reserved by ada")
    assert await loan.restore() is None


async def test_a_loan_waits_for_the_swap_that_runs(world: World, swaps: Swaps) -> None:
    await swaps.begin("small", caller="bob")
    await Loan(swaps).release("reserved by ada")
    assert world.host.head.container is None
    await Loan(swaps).restore()
    assert (await world.history.newest())[0].serving == "small"


async def test_a_model_that_does_not_come_back_is_tried_again(world: World, swaps: Swaps) -> None:
    await load(swaps, "small")
    loan = Loan(swaps)
    await loan.release("reserved by bob")
    ready, world.loads = world.loads, world.load_in(None)
    with pytest.raises(BackendError):
        await loan.restore()
    world.loads = ready
    await loan.restore()
    assert (await world.history.newest())[0].serving == "small"
