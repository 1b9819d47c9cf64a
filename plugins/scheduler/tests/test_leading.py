"""Who leads, and what becomes of runs when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from spark_core_scheduler.book import Book, RunState
from spark_core_scheduler.current import current
from spark_core_scheduler.leading import LEASE, Pulse, Term, schedule

from spark_core import Effect, Operation, Spark
from spark_core.background import running
from spark_core.clock import SystemClock
from spark_core.declarations import Job
from spark_core.errors import LeaseHeld
from spark_core.operations import Empty
from spark_core.state import AuditLog, Lease, Leases, State
from spark_core.testing.plugins import plugin

from .conftest import Opener

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


class House:
    """A plugin with a job that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.go = asyncio.Event()
        offers: dict[str, Callable[[], Any]] = {
            "spark_register_operations": lambda: [Operation("sweep", self.sweep, Effect.WRITE)],
            "spark_register_jobs": lambda: [Job("sweeping", "every 1h", "sweep")],
        }
        self.plugin = plugin("house", **offers)

    async def sweep(self, request: Empty, leases: Leases, state: State) -> Empty:
        """Sweep."""
        now = current.get()
        assert now is not None
        await state.write(lambda connection: leases.check(connection, now.lease))
        self.begun.put_nowait(now.run.key)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise
        self.ended.put_nowait("done")
        return Empty()


@asynccontextmanager
async def taking_part(spark: Spark) -> AsyncIterator[tuple[asyncio.Event, Pulse]]:
    stop, pulse = asyncio.Event(), Pulse()
    task = asyncio.create_task(schedule(spark, stop, pulse))
    try:
        yield stop, pulse
    finally:
        stop.set()
        await task


QUICK = "[plugins.scheduler]\nlease_s = 2\n"


async def test_two_schedulers_run_each_job_once(open_spark: Opener) -> None:
    """Whichever leads; the other waits, and leads when the first one is stopped."""
    house = House()
    house.go.set()
    async with (
        open_spark(house.plugin, toml=QUICK, clock=SystemClock()) as one,
        open_spark(house.plugin, toml=QUICK, clock=SystemClock()) as two,
        taking_part(one) as (stop, first),
    ):
        await house.ended.get()
        async with taking_part(two) as (_, second):
            leases = await two.resolver.get(Leases)
            with pytest.raises(LeaseHeld):
                await leases.acquire(LEASE, 1)
            await second.settled.wait()
            assert (first.role, second.role) == ("leader", "standby")
            stop.set()
            await _led(second)
        [run] = await (await two.resolver.get(Book)).runs()
        assert run.state is RunState.OK


async def _led(pulse: Pulse) -> None:
    while pulse.role != "leader":  # noqa: ASYNC110 - it has no event for that
        await asyncio.sleep(0.02)


async def _stop(spark: Spark) -> None:
    """Take the lease away, as if the other one was gone."""
    leases = await spark.resolver.get(Leases)
    held = await leases.current(LEASE)
    assert held is not None
    await leases.release(held)


async def test_a_run_is_cancelled_when_the_lease_is_lost(open_spark: Opener) -> None:
    """And whoever leads next runs it again, with the same key."""
    house = House()
    async with open_spark(house.plugin, toml=QUICK, clock=SystemClock()) as spark:
        async with taking_part(spark):
            key = await house.begun.get()
            await _stop(spark)
            assert await house.ended.get() == "cancelled"
            assert await house.begun.get() == key
            house.go.set()
            assert await house.ended.get() == "done"
        book = await spark.resolver.get(Book)
        again, lost = await book.runs()
        assert (again.state, lost.state) == (RunState.OK, RunState.LOST)


async def test_an_operation_that_the_scheduler_runs_is_audited_as_its_doing(
    open_spark: Opener,
) -> None:
    house = House()
    house.go.set()
    async with open_spark(house.plugin, toml=QUICK, clock=SystemClock()) as spark:
        async with taking_part(spark):
            await house.ended.get()
        audit = await spark.resolver.get(AuditLog)
        assert {entry.actor for entry in await audit.entries(action="sweep")} == {
            "scheduler@system.local"
        }


async def test_without_a_token_the_application_is_told_of_once(
    open_spark: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; and no header, as the calls' own tests see."""
    toml = '[plugins.scheduler.application]\nactive = true\nurl = "http://127.0.0.1:1"'
    async with (
        open_spark(toml=toml, clock=SystemClock()) as spark,
        taking_part(spark) as (_, pulse),
    ):
        await _led(pulse)
    assert caplog.text.count("SCHEDULER_API_TOKEN") == 1


async def test_a_host_runs_jobs_where_settings_say_so(open_spark: Opener) -> None:
    """As a background service; when the host stops, what is running is waited for."""
    house = House()
    toml = "[plugins.scheduler]\nin_host = true\nlease_s = 2"
    async with open_spark(house.plugin, toml=toml, clock=SystemClock()) as spark:
        leases = await spark.resolver.get(Leases)
        services = spark.plugins.background_services()
        async with running(services, spark.resolver, leases):
            await house.begun.get()
            asyncio.get_running_loop().call_later(0.2, house.go.set)
        assert await house.ended.get() == "done"
        [run] = await (await spark.resolver.get(Book)).runs()
        assert run.state is RunState.OK


async def test_a_host_runs_no_jobs_by_default(open_spark: Opener) -> None:
    house = House()
    async with open_spark(house.plugin, clock=SystemClock()) as spark:
        leases = await spark.resolver.get(Leases)
        async with running(spark.plugins.background_services(), spark.resolver, leases):
            await asyncio.sleep(0.1)
            assert await leases.current(LEASE) is None
    assert house.begun.empty()


async def test_a_term_ends_when_it_was_not_renewed() -> None:
    term = Term()
    assert not term.lasts()
    loop = asyncio.get_running_loop()
    term.extend(loop.time() + 60)
    assert term.lasts()
    term.extend(loop.time())
    assert not term.lasts()


async def test_whoever_holds_a_lease_is_told_until_when(open_spark: Opener) -> None:
    """With the first word before the block begins, and another with each renewal."""
    told: asyncio.Queue[float] = asyncio.Queue()
    async with open_spark(clock=SystemClock()) as spark:
        leases = await spark.resolver.get(Leases)
        loop = asyncio.get_running_loop()
        async with leases.hold("mine", 0.8, until=told.put_nowait) as lease:
            assert isinstance(lease, Lease)
            first = told.get_nowait()
            assert first <= loop.time() + 0.8
            assert await told.get() > first
