"""The reservation lock: one holder, one token, and an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spark_core_coordination.locks import Locks, guard

from spark_core.declarations import StateSchema
from spark_core.errors import Conflict, Forbidden, Locked, NotFound
from spark_core.state import State
from spark_core.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


async def kinds(locks: Locks) -> list[str]:
    return [event.kind for event in await locks.events_after(0)]


async def test_item_2_a_second_holder_is_refused_and_told_who_has_it(locks: Locks) -> None:
    await locks.acquire("nightly", 600, reason="training")
    with pytest.raises(Conflict, match=r"nightly until 2030-01-01T00:10:00\+00:00 \(training\)"):
        await locks.acquire("other", 600)


async def test_item_2_the_right_token_frees_it(locks: Locks) -> None:
    _, token = await locks.acquire("nightly", 600)
    await locks.release(token)
    assert await locks.current() is None
    await locks.acquire("other", 600)


@pytest.mark.parametrize("token", [None, "", "wrong", "schlüssel", "\udcff", "\x00", "x" * 100_000])
async def test_item_2_a_missing_wrong_or_odd_token_is_forbidden(
    locks: Locks, token: str | None
) -> None:
    await locks.acquire("nightly", 600)
    with pytest.raises(Forbidden):
        await locks.release(token)
    with pytest.raises(Forbidden):
        await locks.renew(token, 600)
    assert await locks.current() is not None


async def test_item_2_nothing_to_release_or_renew_is_not_found(locks: Locks) -> None:
    for change in (locks.release("x"), locks.renew("x", 5), locks.force(), locks.check("x")):
        with pytest.raises(NotFound):
            await change


async def test_item_2_it_ends_at_its_time_and_not_before(
    locks: Locks, spark_clock: ManualClock
) -> None:
    _, token = await locks.acquire("nightly", 600)
    spark_clock.advance(599.999)
    assert await locks.current() is not None
    spark_clock.advance(0.001)
    assert await locks.current() is None
    with pytest.raises(NotFound):  # also not by its holder, who came too late
        await locks.renew(token, 600)


async def test_renewing_counts_from_now(locks: Locks, spark_clock: ManualClock) -> None:
    lock, token = await locks.acquire("nightly", 600)
    spark_clock.advance(500)
    renewed = await locks.renew(token, 600)
    assert (renewed.expires_at - lock.expires_at).total_seconds() == 500
    assert await locks.current() == renewed


async def test_the_token_of_an_earlier_reservation_opens_nothing(
    locks: Locks, spark_clock: ManualClock
) -> None:
    _, earlier = await locks.acquire("nightly", 600)
    spark_clock.advance(600)
    await locks.acquire("other", 600)
    with pytest.raises(Forbidden):
        await locks.release(earlier)


async def test_the_state_holds_no_token(locks: Locks, state: State) -> None:
    """Who reads the database cannot act for the holder."""
    _, token = await locks.acquire("nightly", 600)

    def everything(connection: sqlalchemy.Connection) -> str:
        tables = sqlalchemy.inspect(connection).get_table_names()
        rows = [connection.execute(sqlalchemy.text(f'SELECT * FROM "{t}"')).all() for t in tables]
        return repr(rows)

    found = await state.read(everything)
    assert "nightly" in found
    assert token not in found


async def test_each_ending_is_written_down_once(locks: Locks, spark_clock: ManualClock) -> None:
    _, token = await locks.acquire("a", 600)
    await locks.release(token)
    await locks.acquire("b", 600)
    await locks.force()
    await locks.acquire("c", 600)
    spark_clock.advance(1000)
    await locks.settle()
    await locks.settle()
    assert await kinds(locks) == [
        "acquired", "released", "acquired", "forced", "acquired", "expired",
    ]  # fmt: skip
    assert [e.lock.holder for e in await locks.events_after(4)] == ["c", "c"]


async def test_a_lock_that_expired_is_written_down_before_the_next(
    locks: Locks, spark_clock: ManualClock
) -> None:
    first, _ = await locks.acquire("a", 600)
    spark_clock.advance(1000)
    await locks.acquire("b", 600)
    assert await kinds(locks) == ["acquired", "expired", "acquired"]
    assert (await locks.events_after(1))[0].at == first.expires_at


# ------------------------------------------------------------------------------- many at once


async def test_of_many_who_reserve_at_once_one_has_it(
    state_url: str, spark_clock: ManualClock, locks: Locks
) -> None:
    """Several processes, as far as the database can tell: each has connections of its own."""
    schema = StateSchema("coordination", "spark_core_coordination.migrations")
    async with State.open(state_url, [schema]) as other:
        both = [locks, Locks(other, spark_clock)]
        tries = (both[n % 2].acquire(f"program {n}", 600) for n in range(12))
        results = await asyncio.gather(*tries, return_exceptions=True)
    taken = [result for result in results if not isinstance(result, BaseException)]
    assert len(taken) == 1
    assert {type(result) for result in results if isinstance(result, BaseException)} == {Conflict}


async def test_a_reservation_survives_a_restart(state_url: str, spark_clock: ManualClock) -> None:
    schema = StateSchema("coordination", "spark_core_coordination.migrations")
    async with State.open(state_url, [schema]) as state:
        _, token = await Locks(state, spark_clock).acquire("nightly", 600)
    async with State.open(state_url, [schema]) as state:
        again = Locks(state, spark_clock)
        with pytest.raises(Conflict):
            await again.acquire("other", 600)
        await again.release(token)


# ---------------------------------------------------------------------------------- the guard


@pytest.fixture
def swap(state: State, spark_clock: ManualClock) -> Callable[..., asyncio.Future[None]]:
    """Asks the guard as a swap does that is about to be admitted."""
    return lambda token=None: asyncio.ensure_future(
        state.write(lambda c: guard(c, token, spark_clock.now()))
    )


async def test_item_1_without_a_reservation_anybody_may_swap(swap) -> None:
    await swap()


async def test_item_1_while_it_is_reserved_a_swap_without_the_token_is_locked(
    locks: Locks, swap
) -> None:
    lock, _ = await locks.acquire("nightly", 600)
    with pytest.raises(Locked, match="nightly until 2030") as caught:
        await swap()
    assert (caught.value.holder, caught.value.expires_at) == ("nightly", lock.expires_at)


async def test_item_1_the_token_lets_a_swap_through(locks: Locks, swap) -> None:
    _, token = await locks.acquire("nightly", 600)
    await swap(token)


async def test_item_1_a_swap_with_a_wrong_token_is_forbidden(
    locks: Locks, swap, spark_clock: ManualClock
) -> None:
    _, earlier = await locks.acquire("nightly", 600)
    spark_clock.advance(600)
    await locks.acquire("other", 600)
    for token in ("wrong", "schlüssel", "", earlier):
        with pytest.raises(Forbidden):
            await swap(token)


async def test_a_program_whose_reservation_ended_cannot_swap_as_if_it_held(
    locks: Locks, swap, spark_clock: ManualClock
) -> None:
    _, token = await locks.acquire("nightly", 600)
    spark_clock.advance(600)
    with pytest.raises(Forbidden, match="has ended"):
        await swap(token)
    await swap()


async def test_a_lock_cannot_slip_in_while_a_swap_is_admitted(
    locks: Locks, state: State, spark_clock: ManualClock
) -> None:
    """The lock waits for the transaction in which the guard let the swap through."""
    order, asked, go_on = list[str](), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def admit(connection: sqlalchemy.Connection) -> None:
        guard(connection, None, spark_clock.now())
        loop.call_soon_threadsafe(asked.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
        order.append("swap")

    async def reserve() -> None:
        await locks.acquire("nightly", 600)
        order.append("lock")

    admitting = asyncio.ensure_future(state.write(admit))
    await asked.wait()
    reserving = asyncio.create_task(reserve())
    done, _ = await asyncio.wait([reserving], timeout=0.2)  # it cannot, however long it has
    assert not done
    go_on.set()
    await asyncio.gather(admitting, reserving)
    assert order == ["swap", "lock"]


# ---------------------------------------------------------------------------------- histories

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "renew", "release", "force", "swap", "wait"]),
        st.integers(0, 2),
    ),
    max_size=25,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=ACTS)
def test_whatever_three_programs_do_only_the_holder_acts(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    """The lock is that of a model of a few lines, after any history."""
    asyncio.run(_play(tmp_path_factory.mktemp("state"), acts))


async def _play(folder, acts: list[tuple[str, int]]) -> None:
    clock = ManualClock()
    schema = StateSchema("coordination", "spark_core_coordination.migrations")
    tokens: dict[int, str] = {}
    holder, until = None, clock.now()
    async with State.open(folder / "state.db", [schema]) as state:
        locks = Locks(state, clock)

        async def allowed(act: str, who: int) -> bool:
            try:
                if act == "acquire":
                    _, tokens[who] = await locks.acquire(str(who), 60)
                elif act == "renew":
                    await locks.renew(tokens.get(who), 60)
                elif act == "release":
                    await locks.release(tokens.get(who))
                elif act == "force":
                    await locks.force()
                elif act == "swap":
                    await state.write(lambda c: guard(c, tokens.get(who), clock.now()))
            except (Conflict, Forbidden, NotFound):
                return False
            return True

        for act, who in acts:
            if act == "wait":
                clock.advance(25)
                continue
            held = holder if until > clock.now() else None
            expected = {
                "acquire": held is None,
                "renew": held == who,
                "release": held == who,
                "force": held is not None,
                "swap": held == who or (held is None and who not in tokens),
            }[act]
            assert await allowed(act, who) is expected, (act, who)
            if expected and act in ("acquire", "renew"):
                holder, until = who, clock.now()
                until = (await locks.current()).expires_at
            elif expected and act in ("release", "force"):
                holder = None
