"""``/api/jobs`` and ``spark jobs``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from spark_core.clock import Clock
from spark_core.errors import Unavailable
from spark_core.operations import Empty
from spark_core.state import Leases, State

from .book import Book, Entry, Run, RunState
from .dispatch import next_at
from .jobs import Jobs, Planned
from .leading import LEASE

__all__ = [
    "history",
    "list_jobs",
    "open_book",
    "pause",
    "resume",
    "run",
    "shown_jobs",
    "shown_run",
    "shown_runs",
]

#: Seconds between two looks at a run that is waited for.
LOOK = 0.5


@asynccontextmanager
async def open_book(state: State, leases: Leases, clock: Clock) -> AsyncIterator[Book]:
    """The book in the state."""
    yield Book(state, leases, clock)


class JobName(BaseModel, defer_build=True):
    """Which job."""

    name: str = Field(max_length=200, description="The job's name, as in the list.")


class RunRequest(JobName, defer_build=True):
    """Which job, and whether to wait."""

    wait: bool = Field(default=False, description="Answer when it has ended.")


class HistoryQuery(BaseModel, defer_build=True):
    """Which runs to list."""

    name: str | None = Field(default=None, max_length=200, description="Only this job's.")
    limit: int = Field(default=20, ge=1, le=1000, description="How many at most.")


class JobState(BaseModel, defer_build=True):
    """A job, when it runs, and how it ended last."""

    name: str
    schedule: str
    timezone: str
    timeout_s: float
    state: Literal["waiting", "running", "paused"]
    next_at: datetime | None = Field(description="When it runs next; None while it rests.")
    last_at: datetime | None = Field(description="The fire time of its last run.")
    last_outcome: str | None = Field(description="How that run ended, or that it has not.")
    last_seconds: float | None = Field(description="How long it took.")


class JobList(BaseModel, defer_build=True):
    """Every job, and which process runs them now."""

    scheduler: str | None = Field(description="Who runs jobs; None where nobody does.")
    jobs: list[JobState]


class RunStatus(BaseModel, defer_build=True):
    """A run of a job."""

    id: str | None = Field(default=None, description="None as long as it was not begun.")
    job: str
    fire_at: datetime = Field(description="When its time had come.")
    key: str | None = Field(default=None, description="The same for each try at this fire time.")
    state: RunState | Literal["requested"]
    outcome: str = ""
    missed: int = Field(default=0, description="How many fire times before it got no run.")
    started_at: datetime | None = None
    ended_at: datetime | None = None
    seconds: float | None = None
    holder: str | None = Field(default=None, description="The process that ran it.")


class RunList(BaseModel, defer_build=True):
    """Runs, the newest first."""

    runs: list[RunStatus]


async def list_jobs(
    request: Empty, jobs: Jobs, book: Book, leases: Leases, clock: Clock
) -> JobList:
    """List the jobs: when each runs next, and how its last run ended."""
    entries, last, leader = (
        await book.entries(),
        await book.last_runs(jobs),
        await leases.current(LEASE),
    )
    now = clock.now()
    return JobList(
        scheduler=leader and leader.holder,
        jobs=[
            _state(job, entries.get(name, Entry(name, job.when, now)), last.get(name), now)
            for name, job in jobs.items()
        ],
    )


def _state(job: Planned, entry: Entry, last: Run | None, now: datetime) -> JobState:
    running = last is not None and last.state is RunState.RUNNING
    return JobState(
        name=job.name,
        schedule=job.schedule,
        timezone=job.timezone,
        timeout_s=job.timeout,
        state="running" if running else "paused" if entry.paused_at else "waiting",
        next_at=next_at(job, entry, now),
        last_at=last and last.fire_at,
        last_outcome=last and _ended(last.state, last.outcome),
        last_seconds=last and last.seconds,
    )


async def history(request: HistoryQuery, book: Book) -> RunList:
    """List the runs of a job, or of all, the newest first."""
    runs = await book.runs(request.name, limit=request.limit)
    return RunList(runs=[_status(run) for run in runs])


def _status(run: Run) -> RunStatus:
    fields = {name: getattr(run, name) for name in RunStatus.model_fields}
    return RunStatus(**fields)


async def run(request: RunRequest, jobs: Jobs, book: Book, leases: Leases) -> RunStatus:
    """Let the scheduler run a job now, also one that rests.

    It runs once, where the scheduler is. Its schedule goes on, an interval from now.
    """
    job = jobs.named(request.name)
    await _see_leader(leases)
    at = await book.request(job)
    status = RunStatus(job=job.name, fire_at=at, state="requested")
    while request.wait:
        found = await book.runs(job.name, fire_at=at, limit=1)
        if found and found[0].ended_at is not None and found[0].state not in _AGAIN:
            return _status(found[0])
        await asyncio.sleep(LOOK)
    return status


#: Of runs that ended so, another one follows.
_AGAIN = (RunState.LOST, RunState.INTERRUPTED)


async def _see_leader(leases: Leases) -> None:
    if await leases.current(LEASE) is None:
        raise Unavailable(
            "no scheduler runs",
            hint="spark scheduler is one; [plugins.scheduler] in_host makes HTTP hosts some",
        )


async def pause(request: JobName, jobs: Jobs, book: Book) -> Empty:
    """Let a job rest until it is resumed; what is running goes on."""
    await book.pause(jobs.named(request.name))
    return Empty()


async def resume(request: JobName, jobs: Jobs, book: Book) -> Empty:
    """Let a job that rests run again, from its next time on."""
    await book.resume(jobs.named(request.name))
    return Empty()


# --------------------------------------------------------------------------- for a terminal


def shown_jobs(result: JobList) -> str:
    """A line per job."""
    leader = f"run by {result.scheduler}" if result.scheduler else "no scheduler runs"
    rows = [_cells(job) for job in result.jobs]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = (zip(row, widths, strict=True) for row in rows)
    lines = ("  ".join(cell.ljust(width) for cell, width in row).rstrip() for row in cells)
    return "\n".join((leader, *lines))


def _cells(job: JobState) -> tuple[str, ...]:
    zone = "" if job.timezone == "UTC" else f" {job.timezone}"
    coming = f"next {_moment(job.next_at)}" if job.next_at else "no next time"
    last = f"last {job.last_outcome or 'never'}"
    return (job.name, f"{job.schedule}{zone}", job.state, coming, last)


def shown_runs(result: RunList) -> str:
    """A line per run."""
    return "\n".join(map(shown_run, result.runs)) or "no runs"


def shown_run(run: RunStatus) -> str:
    """One line for a run."""
    took = "" if run.seconds is None else f" in {run.seconds:g} s"
    missed = f", {run.missed} before it missed" if run.missed else ""
    return f"{_moment(run.fire_at)} {run.job} {_ended(run.state, run.outcome)}{took}{missed}"


def _ended(state: str, outcome: str) -> str:
    return f"{state} ({outcome})" if outcome else str(state)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
