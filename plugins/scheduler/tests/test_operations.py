"""`spark jobs` and `/api/jobs`: what they answer, and what they leave in the book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from spark_core_scheduler.book import Book, Ended, Fire, RunState
from spark_core_scheduler.jobs import Jobs
from spark_core_scheduler.leading import LEASE
from spark_core_scheduler.operations import shown_jobs, shown_run, shown_runs

from spark_core import Spark
from spark_core.errors import Conflict, NotFound, Unavailable
from spark_core.state import AuditLog, Leases
from spark_core.testing.clock import ManualClock

from .conftest import Opener

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

TOML = """
[plugins.scheduler.jobs.look]
schedule = "daily 07:00"
timezone = "Europe/Prague"
operation = "plugins"
"""


@pytest.fixture
async def spark(open_spark: Opener) -> AsyncIterator[Spark]:
    async with open_spark(toml=TOML) as spark:
        yield spark


async def run_once(spark: Spark, ended: Ended) -> None:
    """As if a scheduler had led, and run the job."""
    leases, book = await spark.resolver.get(Leases), await spark.resolver.get(Book)
    jobs = await spark.resolver.get(Jobs)
    lease = await leases.acquire(LEASE, 60)
    await book.take_over(lease, jobs.values())
    now: ManualClock = leases._clock  # type: ignore[assignment]
    [run] = await book.begin(lease, [Fire("look", now.now())])
    await book.end(lease, run, ended, 1.5)


async def test_a_job_that_never_ran_is_listed_with_its_next_time(spark: Spark) -> None:
    """07:00 in Prague in January is 06:00 in UTC."""
    listed: Any = await spark.call("jobs.list")
    [job] = listed.jobs
    assert listed.scheduler is None
    assert (job.name, job.state, job.last_outcome) == ("look", "waiting", None)
    assert job.next_at.isoformat() == "2030-01-01T06:00:00+00:00"
    assert shown_jobs(listed).splitlines()[0] == "no scheduler runs"


async def test_the_list_and_the_history_tell_how_it_ended(spark: Spark) -> None:
    await run_once(spark, Ended(RunState.FAILED, "status 503"))
    listed: Any = await spark.call("jobs.list")
    assert listed.jobs[0].last_outcome == "failed (status 503)"
    assert listed.scheduler is not None
    history: Any = await spark.call("jobs.history", {"name": "look"})
    [run] = history.runs
    assert (run.state, run.seconds, run.missed) == ("failed", 1.5, 0)
    assert run.key == "look/2030-01-01T00:00:00+00:00"
    assert shown_runs(history) == "2030-01-01T00:00:00Z look failed (status 503) in 1.5 s"
    nothing: Any = await spark.call("jobs.history", {"name": "other"})
    assert shown_runs(nothing) == "no runs"


async def test_a_job_is_asked_for_where_a_scheduler_runs(spark: Spark) -> None:
    """Where none does, that is said; and it is asked for once."""
    with pytest.raises(Unavailable, match="no scheduler runs"):
        await spark.call("jobs.run", {"name": "look"})
    await run_once(spark, Ended(RunState.OK))
    asked: Any = await spark.call("jobs.run", {"name": "look"})
    assert asked.state == "requested"
    assert "requested" in shown_run(asked)
    with pytest.raises(Conflict):
        await spark.call("jobs.run", {"name": "look"})


async def test_who_waits_is_told_how_it_ended(spark: Spark) -> None:
    await run_once(spark, Ended(RunState.OK))
    leases, book = await spark.resolver.get(Leases), await spark.resolver.get(Book)
    leases._clock.advance(5)  # type: ignore[attr-defined]
    waiting = asyncio.create_task(spark.call("jobs.run", {"name": "look", "wait": True}))
    while (at := (await book.entries())["look"].requested_at) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    lease = await leases.current(LEASE)
    assert lease is not None
    [run] = await book.begin(lease, [Fire("look", at)])
    await book.end(lease, run, Ended(RunState.OK), 0.1)
    assert (await waiting).state == "ok"


async def test_pausing_and_resuming_is_audited_and_shown(spark: Spark) -> None:
    await spark.call("jobs.pause", {"name": "look"}, caller="cli somebody")
    listed: Any = await spark.call("jobs.list")
    assert (listed.jobs[0].state, listed.jobs[0].next_at) == ("paused", None)
    await spark.call("jobs.resume", {"name": "look"}, caller="cli somebody")
    listed = await spark.call("jobs.list")
    assert listed.jobs[0].state == "waiting"
    audit = await spark.resolver.get(AuditLog)
    done = [(entry.actor, entry.action) for entry in await audit.entries()]
    assert done == [("cli somebody", "jobs.resume"), ("cli somebody", "jobs.pause")]


@pytest.mark.parametrize("operation", ["jobs.run", "jobs.pause", "jobs.resume"])
async def test_an_unknown_job_is_not_found(spark: Spark, operation: str) -> None:
    with pytest.raises(NotFound, match="did you mean 'look'"):
        await spark.call(operation, {"name": "lokk"})
