"""The GPU goes to who reserved it, and comes back, whatever happens between."""

from __future__ import annotations

import pytest
from spark_core_coordination.loans import Loan, seen_by
from spark_core_coordination.locks import Locks, OnLoan

from spark_core.errors import Conflict, LeaseLost
from spark_core.state import Leases, State
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The process ends here."""


class Gpu:
    """Has a model on it, or not; ``fails`` is raised at the given end of what it does next."""

    def __init__(self) -> None:
        self.model = True
        self.reasons: list[str] = []
        self.restored = 0
        self.fails: tuple[str, BaseException] | None = None

    async def release(self, reason: str) -> str:
        self.reasons.append(reason)
        self._set(False)
        return "swap-1"

    async def restore(self) -> str | None:
        self.restored += 1
        self._set(True)
        return "swap-2"

    async def is_free(self) -> bool:
        return not self.model

    def _set(self, model: bool) -> None:
        when, error = self.fails or ("", None)
        self.fails = None
        if error is not None and when == "before":
            raise error
        self.model = model
        if error is not None:
            raise error


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def leases(state: State, spark_clock: ManualClock) -> Leases:
    return Leases(state, spark_clock)


@pytest.fixture
async def loan(
    locks: Locks, state: State, leases: Leases, gpu: Gpu, spark_clock: ManualClock
) -> Loan:
    return Loan(locks, state, leases, await leases.acquire("gpu", 1e6), gpu, spark_clock)


async def test_the_model_is_off_while_it_is_reserved_and_back_after_the_release(
    locks: Locks, loan: Loan, gpu: Gpu
) -> None:
    _, token = await locks.acquire("render", 600, reason="film", release_gpu=True)
    await loan.look()
    assert (gpu.model, (await locks.loan()).gpu) == (False, "away")
    assert "render" in gpu.reasons[0]
    await locks.release(token)
    await loan.look()
    assert (gpu.model, (await locks.loan()).gpu) == (True, "home")


@pytest.mark.parametrize("ending", ["expiry", "force"])
async def test_the_model_is_back_after_the_expiry_and_after_force(
    locks: Locks, loan: Loan, gpu: Gpu, spark_clock: ManualClock, ending: str
) -> None:
    await locks.acquire("render", 600, release_gpu=True)
    await loan.look()
    if ending == "force":
        await locks.force()
    spark_clock.advance(600)
    await loan.look()
    assert gpu.model


async def test_a_reservation_that_does_not_ask_for_it_leaves_the_model_alone(
    locks: Locks, loan: Loan, gpu: Gpu
) -> None:
    await locks.acquire("nightly", 600)
    await loan.look()
    assert (gpu.model, gpu.reasons) == (True, [])


async def test_what_is_where_it_should_be_is_not_moved_again(
    locks: Locks, loan: Loan, gpu: Gpu
) -> None:
    await locks.acquire("render", 600, release_gpu=True)
    for _ in range(3):
        await loan.look()
    assert len(gpu.reasons) == 1


async def test_a_gpu_that_is_away_belongs_to_one_reservation(
    locks: Locks, loan: Loan, gpu: Gpu
) -> None:
    """The one before it may have loaded a model of its own, so the next takes it off again."""
    _, token = await locks.acquire("render", 600, release_gpu=True)
    await loan.look()
    gpu.model = True
    await locks.release(token)
    lock, _ = await locks.acquire("render again", 600, release_gpu=True)
    assert seen_by(lock, await locks.loan(), is_free=True) == "leaving"
    await loan.look()
    assert gpu.model is False
    assert seen_by(lock, await locks.loan(), is_free=True) == "away"


async def test_the_next_reservation_has_no_model_loaded_between(
    locks: Locks, loan: Loan, gpu: Gpu
) -> None:
    _, token = await locks.acquire("render", 600, release_gpu=True)
    await loan.look()
    await locks.release(token)
    await locks.acquire("render again", 600, release_gpu=True)
    await loan.look()
    assert (gpu.model, gpu.restored) == (False, 0)


async def test_it_is_not_away_while_the_holder_has_a_model_of_its_own(
    locks: Locks, loan: Loan
) -> None:
    lock, token = await locks.acquire("render", 600, release_gpu=True)
    await loan.look()
    away = await locks.loan()
    assert seen_by(lock, away, is_free=False) == "home"
    await locks.release(token)
    assert seen_by(None, away, is_free=True) == "returning"


async def test_what_fails_is_tried_again_after_pauses_that_grow(
    locks: Locks, loan: Loan, gpu: Gpu, spark_clock: ManualClock
) -> None:
    """And the reservation says why, until it is done."""
    await locks.acquire("render", 1e6, release_gpu=True)
    for pause in (30, 60, 120, 240, 480, 960, 1920, 3600, 3600):
        gpu.fails = ("before", Conflict("something else is there"))
        with pytest.raises(Conflict):
            await loan.look()
        assert (await locks.loan()).error == "something else is there"
        tried = len(gpu.reasons)
        spark_clock.advance(pause - 1)
        await loan.look()
        assert len(gpu.reasons) == tried
        spark_clock.advance(1)
    await loan.look()
    assert (gpu.model, await locks.loan()) == (False, OnLoan("away", 1))


async def test_another_reservation_does_not_wait_for_the_failures_of_the_last(
    locks: Locks, loan: Loan, gpu: Gpu
) -> None:
    await locks.acquire("render", 600, release_gpu=True)
    gpu.fails = ("before", Conflict("something else is there"))
    with pytest.raises(Conflict):
        await loan.look()
    await locks.force()
    await locks.acquire("render again", 600, release_gpu=True)
    await loan.look()
    assert gpu.model is False


async def test_a_model_that_somebody_loads_ends_a_return_that_fails(
    locks: Locks, loan: Loan, gpu: Gpu
) -> None:
    await locks.acquire("render", 600, release_gpu=True)
    await loan.look()
    await locks.force()
    gpu.fails = ("before", Conflict("it crashes"))
    with pytest.raises(Conflict):
        await loan.look()
    await loan.look()
    assert (await locks.loan()).gpu == "returning"
    gpu.model = True
    await loan.look()
    assert (await locks.loan()).gpu == "home"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [Killed(), Conflict("another swap runs")])
async def test_a_failure_or_a_death_on_the_way_there_is_made_good(
    locks: Locks,
    loan: Loan,
    gpu: Gpu,
    spark_clock: ManualClock,
    when: str,
    error: BaseException,
) -> None:
    await locks.acquire("render", 600, release_gpu=True)
    gpu.fails = (when, error)
    with pytest.raises(type(error)):
        await loan.look()
    assert (await locks.loan()).gpu == "leaving"
    spark_clock.advance(30)
    await loan.look()
    assert (gpu.model, (await locks.loan()).gpu) == (False, "away")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_on_the_way_there_does_not_leave_the_gpu_empty_for_ever(
    locks: Locks, loan: Loan, gpu: Gpu, spark_clock: ManualClock, when: str
) -> None:
    """The reservation ends before anybody finishes what was begun."""
    await locks.acquire("render", 600, release_gpu=True)
    gpu.fails = (when, Killed())
    with pytest.raises(Killed):
        await loan.look()
    spark_clock.advance(600)
    await loan.look()
    assert (gpu.model, (await locks.loan()).gpu) == (True, "home")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_on_the_way_back_is_made_good(
    locks: Locks, loan: Loan, gpu: Gpu, when: str
) -> None:
    _, token = await locks.acquire("render", 600, release_gpu=True)
    await loan.look()
    await locks.release(token)
    gpu.fails = (when, Killed())
    with pytest.raises(Killed):
        await loan.look()
    await loan.look()
    assert (gpu.model, (await locks.loan()).gpu) == (True, "home")


async def test_who_lost_the_lease_moves_nothing(
    locks: Locks, loan: Loan, leases: Leases, gpu: Gpu, spark_clock: ManualClock
) -> None:
    spark_clock.advance(2e6)
    await leases.acquire("gpu", 60)
    await locks.acquire("render", 600, release_gpu=True)
    with pytest.raises(LeaseLost):
        await loan.look()
    assert gpu.model
