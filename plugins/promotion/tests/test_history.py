"""Promotions in the state, on each engine: at most one runs, and whoever lost it writes nothing."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_promotion.history import History, guard
from spark_core_promotion.models import Outcome, Phase, Promotion
from spark_core_promotion.settings import Plan

from spark_core.declarations import StateSchema
from spark_core.errors import Conflict, LeaseLost, Locked
from spark_core.state import Leases, State
from spark_core.testing.databases import postgresql_server, postgresql_url, state_url

__all__ = ["postgresql_server", "postgresql_url", "state_url"]

pytestmark = pytest.mark.anyio

SCHEMAS = (
    StateSchema("swaps", "spark_core.swaps.migrations"),
    StateSchema("promotion", "spark_core_promotion.migrations"),
)


@pytest.fixture
async def state(state_url):
    async with State.open(state_url, SCHEMAS) as state:
        yield state


@pytest.fixture
def leases(state, spark_clock):
    return Leases(state, spark_clock)


@pytest.fixture
def history(state, leases, spark_clock):
    return History(state, leases, spark_clock, ())


@pytest.fixture
def make(spark_clock):
    def promotion(number: int) -> Promotion:
        plan = Plan.model_validate({"binary": "/engine"})
        return Promotion(
            id=f"p{number}", plan="engine", declared=plan, created_at=spark_clock.now()
        )

    return promotion


async def test_of_many_at_once_one_is_admitted(history, make):
    admitted = await asyncio.gather(
        *(history.admit(make(n), None) for n in range(8)), return_exceptions=True
    )
    assert [each for each in admitted if each is None] == [None]
    assert all(isinstance(each, Conflict) for each in admitted if each is not None)


async def test_a_swap_is_refused_meanwhile_and_then_not(state, history, leases, make, spark_clock):
    promotion = make(1)
    await history.admit(promotion, None)
    with pytest.raises(Locked, match="being promoted"):
        await state.read(lambda c: guard(c, None, spark_clock.now()))
    async with leases.hold("promotion") as lease:
        await history.end(promotion, Outcome.READY, lease)
    await state.read(lambda c: guard(c, None, spark_clock.now()))


async def test_whoever_lost_the_lease_writes_nothing(history, leases, make):
    promotion = make(1)
    await history.admit(promotion, None)
    async with leases.hold("promotion") as old:
        pass
    async with leases.hold("promotion") as new:
        for write in (
            history.reach(promotion, Phase.CHECKED, old),
            history.save(promotion, old),
            history.end(promotion, Outcome.READY, old),
        ):
            with pytest.raises(LeaseLost):
                await write
        found = await history.find("p1")
        assert (found.phase, found.outcome) == (Phase.ADMITTED, None)
        await history.reach(found, Phase.CHECKED, new)
    assert (await history.newest("engine")).phase is Phase.CHECKED


async def test_what_was_declared_then_holds_for_whoever_goes_on(history, make):
    """The plan is kept with it, and is not shown to anybody."""
    await history.admit(make(1), None)
    found = await history.find("p1")
    assert found.declared == make(1).declared
    assert "declared" not in found.model_dump()


async def test_what_somebody_went_on_with_is_not_taken_for_what_it_was(history, leases, make):
    """Who looked before that is sent away, and changes nothing of the record."""
    promotion = make(1)
    await history.admit(promotion, None)
    async with leases.hold("promotion") as lease:
        await history.end(promotion, Outcome.HALTED, lease)
        seen = await history.newest("engine")
        again = await history.admit_again(seen, None, "goes on", back=False)
        await history.end(again, Outcome.READY, lease)
    ended = await history.newest("engine")
    with pytest.raises(Conflict, match="meanwhile"):
        await history.admit_again(seen, None, "goes on", back=True)
    assert await history.newest("engine") == ended
