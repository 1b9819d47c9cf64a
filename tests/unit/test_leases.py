"""Leases: at most one holder, over all processes, and each holder knows its number."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_core.clock import SystemClock
from spark_core.errors import LeaseHeld, LeaseLost, Unavailable
from spark_core.state import Lease, Leases, State
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def leases(state: State, spark_clock: ManualClock) -> Leases:
    return Leases(state, spark_clock)


async def test_a_lease_has_one_holder(leases: Leases) -> None:
    """Who comes second is told who has it, whoever they are."""
    await leases.acquire("swap", 30, holder="ada")
    for who in ("bob", "ada"):
        with pytest.raises(LeaseHeld, match="swap is held by ada until 2030-01-01T00:00:30"):
            await leases.acquire("swap", 30, holder=who)


async def test_leases_of_different_names_do_not_meet(leases: Leases) -> None:
    """Each name is a lease of its own."""
    await leases.acquire("swap", 30)
    await leases.acquire("swap:2", 30)


async def test_an_expired_lease_is_free(leases: Leases, spark_clock: ManualClock) -> None:
    """From the moment its time to live has passed another may take it, with a higher fence."""
    first = await leases.acquire("swap", 30, holder="ada")
    spark_clock.advance(29.999)
    with pytest.raises(LeaseHeld):
        await leases.acquire("swap", 30, holder="bob")
    spark_clock.advance(0.001)
    second = await leases.acquire("swap", 30, holder="bob")
    assert second.fence > first.fence


async def test_the_holder_is_shown(leases: Leases, spark_clock: ManualClock) -> None:
    """`current` tells who holds a lease now, and nothing when nobody does."""
    assert await leases.current("swap") is None
    lease = await leases.acquire("swap", 30, holder="ada")
    assert await leases.current("swap") == lease
    spark_clock.advance(30)
    assert await leases.current("swap") is None


async def test_renewing_counts_from_now(leases: Leases, spark_clock: ManualClock) -> None:
    """A renewed lease lives for its time from the renewal on, with the same fence."""
    lease = await leases.acquire("swap", 30)
    spark_clock.advance(20)
    renewed = await leases.renew(lease, 30)
    assert renewed.fence == lease.fence
    spark_clock.advance(29)
    assert await leases.current("swap") == renewed


async def test_who_overslept_may_go_on_if_nobody_came(
    leases: Leases, spark_clock: ManualClock
) -> None:
    """An expired lease can still be renewed as long as nobody else took it."""
    lease = await leases.acquire("swap", 30)
    spark_clock.advance(100)
    assert (await leases.renew(lease, 30)).fence == lease.fence


async def test_who_was_followed_has_lost(leases: Leases, spark_clock: ManualClock) -> None:
    """A lease that somebody else took can be neither renewed nor given back."""
    lost = await leases.acquire("swap", 30, holder="ada")
    spark_clock.advance(30)
    held = await leases.acquire("swap", 30, holder="bob")
    with pytest.raises(LeaseLost, match="now held by bob"):
        await leases.renew(lost, 30)
    await leases.release(lost)
    assert await leases.current("swap") == held


async def test_a_released_lease_is_free_at_once(leases: Leases) -> None:
    """Nobody waits for the end of a lease that was given back."""
    first = await leases.acquire("swap", 30)
    await leases.release(first)
    await leases.release(first)
    assert await leases.current("swap") is None
    assert (await leases.acquire("swap", 30)).fence > first.fence


async def test_a_late_renewal_does_not_take_a_released_lease_back(leases: Leases) -> None:
    """A renewal that was still under way when the lease was given back comes too late."""
    lease = await leases.acquire("swap", 30)
    await leases.release(lease)
    with pytest.raises(LeaseLost):
        await leases.renew(lease, 30)
    assert await leases.current("swap") is None


async def test_checking_within_a_transaction_keeps_the_late_out(
    leases: Leases, state: State, spark_clock: ManualClock
) -> None:
    """Who checks its lease in the transaction that writes never overwrites a later holder."""
    await state.write(lambda c: c.exec_driver_sql("CREATE TABLE written (fence int)"))

    def write(lease: Lease) -> Callable[..., None]:
        def transaction(connection) -> None:  # type: ignore[no-untyped-def]
            connection.exec_driver_sql(f"INSERT INTO written VALUES ({lease.fence})")
            leases.check(connection, lease)

        return transaction

    late = await leases.acquire("swap", 30)
    await state.write(write(late))
    spark_clock.advance(30)
    newer = await leases.acquire("swap", 30)
    with pytest.raises(LeaseLost):
        await state.write(write(late))
    await state.write(write(newer))
    rows = await state.read(lambda c: c.exec_driver_sql("SELECT fence FROM written").all())
    assert [fence for (fence,) in rows] == [late.fence, newer.fence]


async def test_first_comers_do_not_clash(leases: Leases) -> None:
    """Of many that try a new lease at the same moment exactly one has it."""
    results = await asyncio.gather(
        *(leases.acquire("new", 30) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(r, Lease) for r in results) == 1
    assert sum(isinstance(r, LeaseHeld) for r in results) == 7


# ------------------------------------------------------------------------------------- holding


async def test_a_block_holds_its_lease_and_gives_it_back(leases: Leases) -> None:
    """While the block runs the lease is held; after it, also after an error, it is free."""

    async def fail() -> None:
        async with leases.hold("swap") as lease:
            assert await leases.current("swap") == lease
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await leases.current("swap") is None


async def test_holding_what_is_held_is_refused(leases: Leases) -> None:
    """A second block does not begin."""
    async with leases.hold("swap"):
        with pytest.raises(LeaseHeld):
            async with leases.hold("swap"):
                pytest.fail("it began")


async def test_a_block_outlives_its_first_time_to_live(state: State) -> None:
    """A block that goes on for longer than its lease lives renews it on the way."""
    leases = Leases(state, SystemClock())
    async with leases.hold("swap", ttl=2.0) as lease:
        while True:
            current = await leases.current("swap")
            assert current is not None, "it ran out"
            if current.expires_at > lease.expires_at:
                break
            await asyncio.sleep(0.01)
        assert current.fence == lease.fence


async def test_a_block_ends_when_its_lease_is_lost(
    leases: Leases, spark_clock: ManualClock
) -> None:
    """Who overslept is cancelled where it stands, and does not disturb who has it now."""
    cancelled = asyncio.Event()

    async def oversleep() -> None:
        async with leases.hold("swap", ttl=1.0):
            spark_clock.advance(1)
            await leases.acquire("swap", 30, holder="bob")
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    with pytest.raises(LeaseLost):
        await oversleep()
    assert cancelled.is_set()
    current = await leases.current("swap")
    assert current is not None
    assert current.holder == "bob"


async def test_a_block_ends_when_renewing_hangs(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not answer must not let the block outlive its lease."""

    async def hang(*_: object) -> Lease:
        return await asyncio.Future()

    monkeypatch.setattr(leases, "renew", hang)
    with pytest.raises(LeaseLost, match="could not be renewed in time"):
        async with leases.hold("swap", ttl=0.2):
            await asyncio.Event().wait()


async def test_a_block_outlives_one_failed_renewal(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away for a moment does not end the block."""
    renew, tries, renewed = leases.renew, 0, asyncio.Event()

    async def fail_once(lease: Lease, ttl: float) -> Lease:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("the database is away")
        result = await renew(lease, ttl)
        renewed.set()
        return result

    monkeypatch.setattr(leases, "renew", fail_once)
    async with leases.hold("swap", ttl=2.0):
        await renewed.wait()


async def test_a_blocks_own_timeout_stays_its_own(leases: Leases) -> None:
    """A TimeoutError of the block's is not mistaken for a lost lease."""
    with pytest.raises(TimeoutError, match="mine"):
        async with leases.hold("swap"):
            raise TimeoutError("mine")


async def test_cancelling_a_block_gives_its_lease_back(leases: Leases) -> None:
    """A cancelled holder stays cancelled, and leaves no lease behind."""
    holding = asyncio.Event()

    async def hold() -> None:
        async with leases.hold("swap"):
            holding.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await holding.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await leases.current("swap") is None


# ---------------------------------------------------------------------------------- properties

Step = st.tuples(
    st.sampled_from(["acquire", "renew", "release", "wait"]),
    st.integers(0, 2),  # which of three processes
    st.integers(1, 6),  # seconds
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(Step, max_size=25))
def test_no_schedule_gives_two_holders(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever three processes try and whenever: one holder at a time, and fences only grow."""
    asyncio.run(_play(tmp_path_factory.mktemp("leases") / "state.db", steps))


async def _play(file: Path, steps: list[tuple[str, int, int]]) -> None:
    clock = ManualClock()
    mine: dict[int, Lease] = {}
    fences = [0]
    async with State.open(file) as state:
        leases = Leases(state, clock)
        for action, who, seconds in steps:
            try:
                if action == "acquire":
                    mine[who] = await leases.acquire("swap", seconds, holder=str(who))
                    fences.append(mine[who].fence)
                elif action == "renew" and who in mine:
                    mine[who] = await leases.renew(mine[who], seconds)
                elif action == "release" and who in mine:
                    await leases.release(mine.pop(who))
                elif action == "wait":
                    clock.advance(seconds)
            except LeaseHeld:
                assert any(lease.expires_at > clock.now() for lease in mine.values())
            except LeaseLost:
                assert mine.pop(who).fence < fences[-1]
            holders = [lease for lease in mine.values() if lease.expires_at > clock.now()]
            assert len(holders) <= 1
            assert await leases.current("swap") == (holders[0] if holders else None)
    assert fences == sorted(set(fences))


# ----------------------------------------------------------------------------------- processes

CONTEND = """
import asyncio, sys
from pathlib import Path
from spark_core.clock import SystemClock
from spark_core.errors import LeaseHeld
from spark_core.state import Leases, State

async def main(url, alone, fences, turns):
    async with State.open(url) as state:
        leases = Leases(state, SystemClock())
        while turns:
            try:
                async with leases.hold("swap", 30) as lease:
                    alone.mkdir()  # fails where another holder is inside
                    with fences.open("a") as file:
                        file.write(f"{lease.fence}\\n")
                    alone.rmdir()
                    turns -= 1
            except LeaseHeld:
                await asyncio.sleep(0.001)

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), 5))
"""


def test_processes_hold_it_one_at_a_time(state_url: str, tmp_path: Path) -> None:
    """Four processes take turns: never two inside, and each turn has a higher fence."""
    alone, fences = tmp_path / "alone", tmp_path / "fences"
    command = [sys.executable, "-c", CONTEND, state_url, str(alone), str(fences)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ends = [process.communicate(timeout=60)[1] for process in processes]
    assert ends == [""] * 4
    numbers = [int(line) for line in fences.read_text().split()]
    assert len(numbers) == 20
    assert numbers == sorted(set(numbers))
