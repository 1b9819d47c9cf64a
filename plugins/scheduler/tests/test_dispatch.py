"""When runs begin: injected clock, real book."""

from __future__ import annotations

import asyncio

import pytest
from spark_core_scheduler.book import MOST_TRIES, Ended, RunState
from spark_core_scheduler.leading import LEASE

from spark_core.errors import Conflict, LeaseLost

from .conftest import Desk, planned

pytestmark = pytest.mark.anyio

MINUTE, HOUR = 60.0, 3600.0
# The clock stands at 2030-01-01 00:00 at first.


async def test_an_interval_begins_at_once_and_keeps_its_pace(desk: Desk) -> None:
    leader = await desk.lead(planned())
    assert await desk.look(leader) == ["01 00:00"]
    desk.clock.advance(14 * MINUTE)
    assert await desk.look(leader) == []
    desk.clock.advance(3 * MINUTE)
    assert await desk.look(leader) == ["01 00:15"]
    desk.clock.advance(13 * MINUTE)
    assert await desk.look(leader) == ["01 00:30"]


async def test_e11_first_boot_runs_no_daily_job_at_once(desk: Desk) -> None:
    desk.clock.advance(12 * HOUR)
    leader = await desk.lead(planned(schedule="daily 07:00,13:00"))
    assert await desk.look(leader) == []
    desk.clock.advance(HOUR)
    assert await desk.look(leader) == ["01 13:00"]


async def test_e11_a_restart_fires_nothing_that_was_done(desk: Desk) -> None:
    jobs = (planned("a"), planned("b", "daily 00:00"), planned("c", "cron 0 0 * * *"))
    await desk.look(await desk.lead(*jobs))
    before = len(desk.done)
    desk.clock.advance(MINUTE)
    await desk.leases.release((await desk.leases.current(LEASE)) or pytest.fail("no lease"))
    assert await desk.look(await desk.lead(*jobs)) == []
    assert len(desk.done) == before


async def test_e11_what_was_missed_across_midnight_runs_once(desk: Desk) -> None:
    """`daily 23:30`, down from 23:00 to 00:10: it runs then, and once."""
    job = planned(schedule="daily 23:30")
    leader = await desk.lead(job)
    desk.clock.advance(23 * HOUR)
    await desk.look(leader)
    await desk.die(leader)
    desk.clock.advance(10 * MINUTE)
    leader = await desk.lead(job)
    assert await desk.look(leader) == ["01 23:30"]
    assert await desk.look(leader) == []


async def test_of_many_missed_times_the_newest_runs_and_the_others_are_counted(desk: Desk) -> None:
    leader = await desk.lead(job := planned(schedule="daily 07:00"))
    await desk.die(leader)
    desk.clock.advance(5 * 24 * HOUR)
    assert await desk.look(await desk.lead(job)) == ["05 07:00"]
    assert desk.done[-1].missed == 4


async def test_in_flight_skip_prevents_duplicate_launches(desk: Desk) -> None:
    go = desk.hold_up("job")
    leader = await desk.lead(planned())
    await desk.look(leader)
    desk.clock.advance(50 * MINUTE)
    assert await desk.look(leader) == []
    assert len(await desk.book.runs()) == 1
    go.set()
    await asyncio.gather(*leader.running.values())
    await asyncio.sleep(0)
    assert await desk.look(leader) == ["01 00:45"]
    assert [f"{run.fire_at:%H:%M}" for run in desk.done] == ["00:00", "00:45"]


async def test_a_run_that_ends_during_a_look_is_not_begun_again_by_it(desk: Desk) -> None:
    """What was read before the end was written knows nothing of it."""
    go = desk.hold_up("job")
    leader = await desk.lead(planned())
    await desk.look(leader)
    entries = desk.book.entries

    async def slowly() -> object:
        found = await entries()
        go.set()
        await asyncio.gather(*leader.running.values())
        return found

    desk.book.entries = slowly  # type: ignore[method-assign,assignment]
    await leader.look()
    assert len(await desk.book.runs()) == 1


async def test_a_slow_job_does_not_delay_others(desk: Desk) -> None:
    """It is in flight for 15 minutes, and everything else comes when it is due."""
    desk.hold_up("slow")
    others = [planned(f"job{number}", "every 1m") for number in range(20)]
    leader = await desk.lead(planned("slow"), *others)
    for minute in range(15):
        assert await desk.look(leader) == [f"01 00:{minute:02}"] * 20
        desk.clock.advance(MINUTE)
    assert list(leader.running) == ["slow"]
    leader.running["slow"].cancel()
    await asyncio.wait(leader.running.values())


async def last_at(desk: Desk) -> str:
    entry = (await desk.book.entries())["job"]
    return "never" if entry.last_at is None else f"{entry.last_at:%H:%M}"


async def test_advances_last_run_on_success(desk: Desk) -> None:
    await desk.look(await desk.lead(planned()))
    assert await last_at(desk) == "00:00"


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.TIMED_OUT])
async def test_advances_last_run_on_failure(desk: Desk, state: RunState) -> None:
    """What fails for ever is tried at its pace, not at each look."""
    desk.ends["job"] = Ended(state, "status 500")
    leader = await desk.lead(planned())
    assert await desk.look(leader) == ["01 00:00"]
    assert await last_at(desk) == "00:00"
    assert await desk.look(leader) == []
    desk.clock.advance(15 * MINUTE)
    assert await desk.look(leader) == ["01 00:15"]


async def test_advances_last_run_when_call_raises(desk: Desk) -> None:
    """Also where the work says that it was cancelled, which nobody did."""
    desk.ends["job"] = Ended(RunState.OK, "cancelled")
    leader = await desk.lead(planned())
    assert await desk.look(leader) == ["01 00:00"]
    assert await last_at(desk) == "00:00"
    assert await desk.look(leader) == []
    [run] = await desk.book.runs()
    assert (run.state, run.outcome) == ("failed", "failed: CancelledError")


@pytest.mark.parametrize("text", ["a\x00b", "a\udcffb"], ids=["nul", "half"])
async def test_whatever_an_error_says_its_run_has_ended(desk: Desk, text: str) -> None:
    """Names of files may be any bytes, and stand in errors; databases do not take all of them."""
    desk.ends["job"] = Ended(RunState.FAILED, text)
    leader = await desk.lead(planned())
    await leader.look()
    await asyncio.wait(leader.running.values(), timeout=5)
    assert await last_at(desk) == "00:00"
    [run] = await desk.book.runs()
    assert run.state is RunState.FAILED


async def test_each_run_is_a_row(desk: Desk) -> None:
    desk.ends["job"] = Ended(RunState.FAILED, "status 503")
    await desk.look(await desk.lead(planned()))
    [run] = await desk.book.runs("job")
    assert (run.state, run.outcome, run.fire_at) == ("failed", "status 503", desk.clock.now())
    assert run.seconds is not None
    assert run.key == "job/2030-01-01T00:00:00+00:00"
    assert run.ended_at is not None


async def test_a_run_that_was_lost_is_run_again_with_the_same_key(desk: Desk) -> None:
    """At least once: whoever takes over cannot know how far it came."""
    desk.hold_up("job")
    leader = await desk.lead(planned())
    await desk.look(leader)
    await desk.die(leader)
    desk.held.clear()
    leader = await desk.lead(planned())
    assert await desk.look(leader) == ["01 00:00"]
    again, lost = await desk.book.runs("job")
    assert (again.state, lost.state) == ("ok", "lost")
    assert again.key == lost.key
    assert again.fence > lost.fence
    assert await desk.look(leader) == ["01 01:00"]  # and then what came meanwhile, once


async def test_what_kills_each_scheduler_is_given_up(desk: Desk) -> None:
    """Else no scheduler would live for longer than it takes to begin that job."""
    job = planned(schedule="every 9999h")
    for _ in range(MOST_TRIES):
        desk.hold_up("job")
        leader = await desk.lead(job)
        await desk.look(leader)
        assert "job" in leader.running
        await desk.die(leader)
    desk.held.clear()
    assert await desk.look(await desk.lead(job)) == []
    assert len(await desk.book.runs()) == MOST_TRIES


async def test_what_was_given_up_says_so(desk: Desk) -> None:
    """Nothing vanishes: the last of its runs tells that no other one follows."""
    job = planned(schedule="every 9999h")
    for _ in range(MOST_TRIES):
        desk.hold_up("job")
        leader = await desk.lead(job)
        await desk.look(leader)
        await desk.die(leader)
    await desk.lead(job)
    last, *others = await desk.book.runs("job")
    assert last.outcome == f"given up after {MOST_TRIES} tries"
    assert {run.outcome for run in others} == {""}


async def test_stops_are_no_reason_to_give_a_run_up(desk: Desk) -> None:
    """However often its scheduler was stopped in good order, it killed none of them."""
    job = planned(schedule="every 9999h")
    for _ in range(MOST_TRIES + 1):
        desk.hold_up("job")
        leader = await desk.lead(job, drain_s=0)
        await desk.look(leader)
        stop = asyncio.Event()
        stop.set()
        await leader.run(stop)
        desk.clock.advance(HOUR + 1)
    desk.held.clear()
    assert await desk.look(await desk.lead(job)) == ["01 00:00"]


async def test_nothing_is_begun_under_a_lost_fence(desk: Desk) -> None:
    old = await desk.lead(planned())
    desk.clock.advance(HOUR + 1)
    await desk.lead(planned())
    with pytest.raises(LeaseLost):
        await old.look()
    assert await desk.book.runs() == []


async def test_an_end_under_a_lost_fence_is_not_written(desk: Desk) -> None:
    """The run is the new leader's, who has it as lost, and runs it again."""
    go = desk.hold_up("job")
    old = await desk.lead(planned())
    await desk.look(old)
    desk.clock.advance(HOUR + 1)
    await desk.lead(planned())
    go.set()
    await asyncio.gather(*old.running.values())
    [run] = await desk.book.runs()
    assert run.state is RunState.LOST
    assert await last_at(desk) == "never"


async def test_a_job_with_another_schedule_makes_nothing_up(desk: Desk) -> None:
    leader = await desk.lead(planned(schedule="daily 07:00"))
    desk.clock.advance(10 * HOUR)
    assert await desk.look(leader) == ["01 07:00"]
    await desk.die(leader)
    leader = await desk.lead(planned(schedule="daily 09:00"))
    assert await desk.look(leader) == []
    desk.clock.advance(24 * HOUR)
    assert await desk.look(leader) == ["02 09:00"]


async def test_a_zone_of_its_own(desk: Desk) -> None:
    """07:00 in Prague in January is 06:00 in UTC."""
    leader = await desk.lead(planned(schedule="daily 07:00", timezone="Europe/Prague"))
    desk.clock.advance(24 * HOUR)
    assert await desk.look(leader) == ["01 06:00"]


async def test_a_job_rests_while_it_is_paused(desk: Desk) -> None:
    """And what it rested through is not made up."""
    job = planned()
    leader = await desk.lead(job)
    await desk.look(leader)
    await desk.book.pause(job)
    desk.clock.advance(HOUR)
    assert await desk.look(leader) == []
    await desk.book.resume(job)
    assert await desk.look(leader) == []
    desk.clock.advance(15 * MINUTE)
    assert await desk.look(leader) == ["01 01:15"]


async def test_what_was_lost_is_run_again_also_while_the_job_rests(desk: Desk) -> None:
    """Pausing lets go on what is running, and it was."""
    job = planned()
    desk.hold_up("job")
    leader = await desk.lead(job)
    await desk.look(leader)
    await desk.book.pause(job)
    await desk.die(leader)
    desk.held.clear()
    leader = await desk.lead(job)
    assert await desk.look(leader) == ["01 00:00"]
    assert await desk.look(leader) == []


async def test_a_job_that_is_asked_for_runs_at_once_and_once(desk: Desk) -> None:
    """Also while it rests."""
    job = planned(schedule="daily 07:00")
    leader = await desk.lead(job)
    await desk.book.pause(job)
    await desk.book.request(job)
    with pytest.raises(Conflict):
        await desk.book.request(job)
    assert await desk.look(leader) == ["01 00:00"]
    assert await desk.look(leader) == []


async def test_what_was_asked_for_is_run_again_when_it_was_lost(desk: Desk) -> None:
    job = planned(schedule="daily 07:00")
    desk.hold_up("job")
    leader = await desk.lead(job)
    await desk.book.request(job)
    await desk.look(leader)
    await desk.die(leader)
    desk.held.clear()
    assert await desk.look(await desk.lead(job)) == ["01 00:00"]


async def test_every_0m_runs_with_each_second(desk: Desk) -> None:
    leader = await desk.lead(planned(schedule="every 0m"))
    for _ in range(3):
        assert await desk.look(leader) == ["01 00:00"]
        assert await desk.look(leader) == []
        desk.clock.advance(1)


async def test_old_runs_are_forgotten(desk: Desk) -> None:
    """Also by a scheduler that leads for months; but the last of each job is told for ever."""
    job = planned(schedule="every 9999h")
    leader = await desk.lead(job, keep_days=1)
    await desk.look(leader)
    await leader._look_again()
    assert len(await desk.book.runs()) == 1
    desk.clock.advance(1)
    await desk.book.request(job)
    await desk.look(leader)
    assert len(await desk.book.runs()) == 2
    desk.clock.advance(25 * HOUR)
    await leader._look_again()
    assert len(await desk.book.runs()) == 1


async def test_a_look_says_when_the_next_one_is(desk: Desk) -> None:
    leader = await desk.lead(planned(schedule="every 1m"))
    await desk.look(leader)
    assert await leader.look() == 1.0
    desk.clock.advance(59.75)
    assert await leader.look() == 0.25


# ------------------------------------------------------------------------------------ stopping


async def test_e19_a_stop_begins_nothing_more_and_waits_for_what_runs(desk: Desk) -> None:
    go = desk.hold_up("job")
    leader = await desk.lead(planned())
    stop = asyncio.Event()
    beaten = asyncio.Event()
    running = asyncio.create_task(leader.run(stop, beaten.set))
    await beaten.wait()
    stop.set()
    desk.clock.advance(HOUR)
    await asyncio.sleep(0)
    assert not running.done()
    go.set()
    await running
    [run] = await desk.book.runs()
    assert run.state is RunState.OK


async def test_e19_a_stop_during_a_look_begins_nothing(desk: Desk) -> None:
    leader = await desk.lead(planned())
    stop, entries = asyncio.Event(), desk.book.entries

    async def slowly() -> object:
        found = await entries()
        stop.set()
        return found

    desk.book.entries = slowly  # type: ignore[method-assign,assignment]
    await leader.run(stop)
    assert await desk.book.runs() == []


async def test_e19_a_stop_waits_no_longer_than_it_may(desk: Desk) -> None:
    """What still runs is cancelled, and run again by whoever leads next."""
    desk.hold_up("job")
    leader = await desk.lead(planned(), drain_s=0)
    stop = asyncio.Event()
    await leader.run(stop, stop.set)
    [run] = await desk.book.runs()
    assert run.state is RunState.INTERRUPTED
    assert (await desk.book.entries())["job"].pending_at == run.fire_at


async def test_what_runs_is_cancelled_when_the_lease_is_lost(desk: Desk) -> None:
    desk.hold_up("job")
    leader = await desk.lead(planned())
    looked = asyncio.Event()
    running = asyncio.create_task(leader.run(asyncio.Event(), looked.set))
    await looked.wait()
    desk.clock.advance(HOUR + 1)
    await desk.leases.acquire(LEASE, 10)
    running.cancel()  # as the lease does it to the task that holds it
    with pytest.raises(asyncio.CancelledError):
        await running
    assert desk.done == []
    [run] = await desk.book.runs()
    assert run.state is RunState.RUNNING  # until the new leader takes it over


async def test_a_run_takes_no_step_when_the_lease_is_over(desk: Desk) -> None:
    """A process that slept finds its work ready to go on, before anything cancels it."""
    go = desk.hold_up("job")
    leader = await desk.lead(planned())
    lasts = [True]
    leader._may = lambda: lasts[0]
    await desk.look(leader)
    lasts[0] = False
    go.set()
    await asyncio.gather(*leader.running.values(), return_exceptions=True)
    assert desk.done == []
    [run] = await desk.book.runs()
    assert run.state is RunState.INTERRUPTED


async def test_where_the_state_is_away_nothing_is_lost(desk: Desk) -> None:
    """The next look finds what this one could not."""
    from spark_core.errors import Unavailable

    leader = await desk.lead(planned())
    entries, fails = desk.book.entries, [True]

    async def away() -> object:
        if fails and fails.pop():
            raise Unavailable("the state is away")
        return await entries()

    desk.book.entries = away  # type: ignore[method-assign,assignment]
    stop = asyncio.Event()
    running = asyncio.create_task(leader.run(stop))
    while not desk.done:  # noqa: ASYNC110 - it looks once a second
        await asyncio.sleep(0.05)
    stop.set()
    await running
    assert desk.done[0].fire_at == desk.clock.now()
