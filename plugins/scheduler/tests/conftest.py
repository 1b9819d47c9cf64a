"""A book and schedulers over it that tests can look into, on each engine."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import spark_core_scheduler
from spark_core_scheduler.book import Book, Ended, Run, RunState
from spark_core_scheduler.dispatch import Dispatcher
from spark_core_scheduler.jobs import Invocation, Planned
from spark_core_scheduler.leading import LEASE
from spark_core_scheduler.settings import SchedulerSettings

from spark_core import Spark
from spark_core.declarations import StateSchema
from spark_core.plugins import Plugin
from spark_core.settings import Source
from spark_core.spark import compose
from spark_core.state import Lease, Leases, State
from spark_core.testing.clock import ManualClock
from spark_core.testing.databases import postgresql_server, postgresql_url, state_url
from spark_core.testing.plugins import installed

__all__ = ["Desk", "postgresql_server", "postgresql_url", "state_url"]

OK = Ended(RunState.OK)
SCHEDULER = Plugin("scheduler", "spark-core-scheduler", "0", module=spark_core_scheduler)


#: What is a rule of the book's statements is shown on each engine every time; what follows from
#: its rows on PostgreSQL only where long tests are run.
OF_THE_BOOK = {
    "test_each_run_is_a_row",
    "test_a_run_that_was_lost_is_run_again_with_the_same_key",
    "test_what_was_given_up_says_so",
    "test_stops_are_no_reason_to_give_a_run_up",
    "test_whatever_an_error_says_its_run_has_ended",
    "test_nothing_is_begun_under_a_lost_fence",
    "test_a_job_with_another_schedule_makes_nothing_up",
    "test_a_job_rests_while_it_is_paused",
    "test_a_job_that_is_asked_for_runs_at_once_and_once",
    "test_old_runs_are_forgotten",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name, _, engine = item.name.partition("[")
        is_of_rows = item.path.name == "test_dispatch.py" and name not in OF_THE_BOOK
        if is_of_rows and engine.startswith("postgresql"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def deadline() -> AsyncIterator[None]:
    """What never happens fails the test instead of hanging it."""
    task = asyncio.current_task()
    assert task is not None
    handle = asyncio.get_running_loop().call_later(60, task.cancel)
    yield
    handle.cancel()


def planned(name: str = "job", schedule: str = "every 15m", **given: Any) -> Planned:
    """A job that no operation is behind."""
    return Planned(name, schedule, Invocation("nothing"), **given)


@dataclass
class Desk:
    """Where one leads with a clock that stands still: what was done, and what is held up."""

    state: State
    clock: ManualClock
    leases: Leases
    book: Book
    done: list[Run] = field(default_factory=list)
    ends: dict[str, Ended] = field(default_factory=dict)
    held: dict[str, asyncio.Event] = field(default_factory=dict)

    async def lead(self, *jobs: Planned, **settings: Any) -> Dispatcher:
        """A dispatcher that has just taken over, under a lease of its own."""
        lease = await self.leases.acquire(LEASE, 3600)
        return await self.under(lease, *jobs, **settings)

    async def under(self, lease: Lease, *jobs: Planned, **settings: Any) -> Dispatcher:
        by_name: Mapping[str, Planned] = {job.name: job for job in jobs}
        await self.book.take_over(lease, jobs)
        given = SchedulerSettings(**settings)
        return Dispatcher(by_name, self.book, lease, self.clock, self._do, given)

    async def die(self, dispatcher: Dispatcher) -> None:
        """As if its process was killed: nothing more is written, and its lease runs out."""
        dispatcher._book = None  # type: ignore[assignment]
        for task in list(dispatcher.running.values()):
            task.cancel()
        await asyncio.gather(*dispatcher.running.values(), return_exceptions=True)
        self.clock.advance(3601)

    def hold_up(self, job: str) -> asyncio.Event:
        """Let runs of *job* take until the event is set."""
        return self.held.setdefault(job, asyncio.Event())

    async def _do(self, job: Planned, run: Run) -> Ended:
        if job.name in self.held:
            await self.held[job.name].wait()
        self.done.append(run)
        ended = self.ends.get(job.name, OK)
        if ended.outcome == "raise":
            raise RuntimeError("broken")
        if ended.outcome == "cancelled":
            raise asyncio.CancelledError
        return ended

    async def look(self, dispatcher: Dispatcher) -> list[str]:
        """Look once, and wait for all that is not held up; gives the fire times that were run."""
        before = len(self.done)
        await dispatcher.look()
        held = {name for name, event in self.held.items() if not event.is_set()}
        free = [task for name, task in dispatcher.running.items() if name not in held]
        await asyncio.gather(*free, return_exceptions=True)
        await asyncio.sleep(0)
        return [f"{run.fire_at:%d %H:%M}" for run in self.done[before:]]


@pytest.fixture
async def desk(state_url: str, spark_clock: ManualClock, deadline: None) -> AsyncIterator[Desk]:
    async with State.open(
        state_url, [StateSchema("scheduler", "spark_core_scheduler.migrations")]
    ) as state:
        leases = Leases(state, spark_clock)
        desk = Desk(state, spark_clock, leases, Book(state, leases, spark_clock))
        yield desk


Opener = Callable[..., AbstractAsyncContextManager[Spark]]


@pytest.fixture
def open_spark(tmp_path: Path, spark_clock: ManualClock) -> Opener:
    """Opens a Spark out of core, the scheduler and other plugins, with settings as TOML."""

    @asynccontextmanager
    async def opened(*plugins: Plugin, toml: str = "", clock: Any = None) -> AsyncIterator[Spark]:
        source = Source(None, tmp_path, tomllib.loads(toml), {}, {})
        there = installed(SCHEDULER, *plugins)
        spark = compose(source, clock=clock or spark_clock, plugins=there)
        try:
            yield spark
        finally:
            await spark.resolver.aclose()

    return opened
