"""The book of runs: when each job ran last, what is running, and how each run ended.

It alone is the truth: a scheduler keeps nothing of it in memory that it would miss when killed.
Whoever runs jobs holds the scheduler's lease, and each of their entries checks it in the same
transaction: who was relieved meanwhile writes nothing more.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from spark_core.clock import Clock
from spark_core.errors import Conflict
from spark_core.state import Lease, Leases, State
from spark_core.state.times import aware

from .jobs import Planned

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["MOST_TRIES", "Book", "Ended", "Entry", "Fire", "Run", "RunState"]

#: How often a run is begun for one fire time, where each time the scheduler died of it.
MOST_TRIES: Final = 5


class RunState(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    SKIPPED = "skipped"  #: what it needs is not configured
    INTERRUPTED = "interrupted"  #: its scheduler was stopped first; it is run again
    LOST = "lost"  #: its scheduler is gone, and nobody knows; it is run again


@dataclass(frozen=True)
class Entry:
    """What the book says of a job.

    ``since`` is when it was first seen with this schedule, ``last_at`` the fire time of its last
    run that ended. ``pending_at`` is that of a run which was begun and has not ended.
    """

    name: str
    schedule: str
    since: datetime
    last_at: datetime | None = None
    pending_at: datetime | None = None
    pending_missed: int = 0
    tries: int = 0
    requested_at: datetime | None = None
    paused_at: datetime | None = None


@dataclass(frozen=True)
class Fire:
    """A fire time of a job that has come; *missed* others before it did not get their run."""

    job: str
    at: datetime
    missed: int = 0

    @property
    def key(self) -> str:
        """The same for every try at this fire time, and for nothing else."""
        return f"{quote(self.job, safe='')}/{self.at.isoformat()}"


@dataclass(frozen=True)
class Ended:
    """How a run ended: its state, and in a few words why. Never somebody's text.

    Names of files may be any bytes and stand in errors: the words are kept as every database
    and log takes them, without NUL and without halves of characters.
    """

    state: RunState
    outcome: str = ""

    def __post_init__(self) -> None:
        plain = self.outcome.replace("\x00", "").encode(errors="replace").decode()
        object.__setattr__(self, "outcome", plain[:500])


@dataclass(frozen=True)
class Run:
    """A run, as it is written down."""

    id: str
    job: str
    fire_at: datetime
    key: str
    state: RunState
    outcome: str
    missed: int
    fence: int
    holder: str
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float | None = None

    @property
    def fire(self) -> Fire:
        """The fire time that it is for."""
        return Fire(self.job, self.fire_at, self.missed)


class Book:
    """Reads and writes the book."""

    def __init__(self, state: State, leases: Leases, clock: Clock) -> None:
        self._state = state
        self._leases = leases
        self._clock = clock

    # ------------------------------------------------------------------------------ to be read

    async def entries(self) -> Mapping[str, Entry]:
        """What it says of each job."""
        query = _jobs().select()
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return {row["name"]: Entry(**_aware(row)) for row in rows}

    async def runs(
        self, job: str | None = None, *, limit: int = 50, fire_at: datetime | None = None
    ) -> Sequence[Run]:
        """The runs, the newest first; of *job* and *fire_at* alone, where these are given."""
        runs = _runs()
        query = runs.select().order_by(runs.c.started_at.desc(), runs.c.id).limit(limit)
        if job is not None:
            query = query.where(runs.c.job == job)
        if fire_at is not None:
            query = query.where(runs.c.fire_at == fire_at)
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [_run(row) for row in rows]

    async def last_runs(self, jobs: Iterable[str]) -> Mapping[str, Run]:
        """The newest run of each of *jobs* that has one."""
        runs = _runs()
        newest = runs.select().order_by(runs.c.started_at.desc(), runs.c.id).limit(1)

        def transaction(connection: Connection) -> list[Run]:
            # One look into an index for each: there may be millions of runs.
            found = (connection.execute(newest.where(runs.c.job == job)) for job in jobs)
            return [_run(row) for result in found for row in result.mappings()]

        return {run.job: run for run in await self._state.read(transaction)}

    # ------------------------------------------------------------- by whoever holds the lease

    async def take_over(self, lease: Lease, jobs: Iterable[Planned]) -> None:
        """Begin to run *jobs*, where another may have left off.

        What was running under an earlier lease is lost, and will be run again; but not what was
        lost too often, since it may be what the others died of.

        :raises LeaseLost: the lease is somebody else's.
        """
        now = self._clock.now()

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            _adopt(connection, jobs, now)
            _lose(connection, now)

        await self._state.write(transaction)

    async def forget(self, keep: timedelta) -> None:
        """Forget the runs that began longer ago than *keep*, but not the last of each job."""
        runs, newer = _runs(), _runs().alias()
        later = (newer.c.job == runs.c.job, newer.c.started_at > runs.c.started_at)
        old = runs.delete().where(
            runs.c.started_at < self._clock.now() - keep,
            newer.select().where(*later).correlate(runs).exists(),
        )
        await self._state.write(lambda c: c.execute(old))

    async def begin(self, lease: Lease, fires: Sequence[Fire]) -> Sequence[Run]:
        """Write down that a run of each of *fires* begins now.

        :raises LeaseLost: the lease is somebody else's: nothing may run.
        """
        now = self._clock.now()
        runs = [_begun(fire, lease, now) for fire in fires]

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            connection.execute(_runs().insert(), [_row(run) for run in runs])
            connection.execute(_to_pending(), [_pending(fire) for fire in fires])

        await self._state.write(transaction)
        return runs

    async def end(self, lease: Lease, run: Run, ended: Ended, seconds: float) -> None:
        """Write down how *run* ended after *seconds*. Unless it was interrupted, it is done.

        One that was interrupted is no try: its scheduler did not die of it.

        :raises LeaseLost: the lease is somebody else's, who runs it again.
        """
        runs, jobs, now = _runs(), _jobs(), self._clock.now()
        values = {
            "state": ended.state.value,
            "outcome": ended.outcome,
            "ended_at": now,
            "seconds": round(seconds, 3),
        }

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            connection.execute(runs.update().where(runs.c.id == run.id).values(values))
            mine = jobs.update().where(jobs.c.name == run.job)
            if ended.state is RunState.INTERRUPTED:
                connection.execute(mine.values(tries=jobs.c.tries - 1))
            else:
                connection.execute(mine.values({**_DONE, "last_at": run.fire_at}))

        await self._state.write(transaction)

    # ------------------------------------------------------------------------------ by anybody

    async def request(self, job: Planned) -> datetime:
        """Ask whoever runs jobs to run *job* now; gives the fire time of that run.

        :raises Conflict: it is running, or was asked for already.
        """
        now = self._clock.now()

        def transaction(connection: Connection) -> None:
            entry = _entry(connection, job, now)
            if entry.pending_at is not None or entry.requested_at is not None:
                raise Conflict(f"job {job.name} is running, or is about to", hint=_HINT)
            _set(connection, job.name, requested_at=now)

        await self._state.write(transaction)
        return now

    async def pause(self, job: Planned) -> None:
        """Let *job* rest; what is running goes on."""
        now = self._clock.now()

        def transaction(connection: Connection) -> None:
            if _entry(connection, job, now).paused_at is None:
                _set(connection, job.name, paused_at=now)

        await self._state.write(transaction)

    async def resume(self, job: Planned) -> None:
        """Let *job* run again from its next time on: what it rested through is not made up."""
        now = self._clock.now()

        def transaction(connection: Connection) -> None:
            entry = _entry(connection, job, now)
            if entry.paused_at is not None:
                last = max(now, entry.last_at or now)
                _set(connection, job.name, paused_at=None, last_at=last)

        await self._state.write(transaction)


_HINT: Final = "spark jobs history tells how it goes"

#: What becomes of a job's entry when its run has ended.
_DONE: Final[Mapping[str, Any]] = {"pending_at": None, "pending_missed": 0, "tries": 0}


# ---------------------------------------------------------------------------------------- rows


@cache  # so that a query that names a table twice names one table
def _jobs() -> TableClause:
    return _table(
        "jobs",
        ("name", "schedule", "pending_missed", "tries"),
        ("since", "last_at", "pending_at", "requested_at", "paused_at"),
    )


@cache
def _runs() -> TableClause:
    return _table(
        "runs",
        ("id", "job", "key", "state", "outcome", "missed", "fence", "holder", "seconds"),
        ("fire_at", "started_at", "ended_at"),
    )


def _table(name: str, columns: Iterable[str], moments: Iterable[str]) -> TableClause:
    import sqlalchemy as sa

    times = (sa.column(moment, sa.DateTime(timezone=True)) for moment in moments)
    return sa.table(f"scheduler_{name}", *map(sa.column, columns), *times)


def _aware(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {k: aware(v) if isinstance(v, datetime) else v for k, v in row.items()}


def _run(row: Mapping[Any, Any]) -> Run:
    return Run(**{**_aware(row), "state": RunState(row["state"])})


def _row(run: Run) -> dict[str, Any]:
    return {**vars(run), "state": run.state.value}


def _begun(fire: Fire, lease: Lease, now: datetime) -> Run:
    return Run(
        id=uuid.uuid4().hex,
        job=fire.job,
        fire_at=fire.at,
        key=fire.key,
        state=RunState.RUNNING,
        outcome="",
        missed=fire.missed,
        fence=lease.fence,
        holder=lease.holder,
        started_at=now,
    )


def _to_pending() -> Any:
    """The update of a job of which a run begins."""
    import sqlalchemy as sa

    jobs = _jobs()
    return (
        jobs.update()
        .where(jobs.c.name == sa.bindparam("job"))
        .values(
            pending_at=sa.bindparam("at", type_=sa.DateTime(timezone=True)),
            pending_missed=sa.bindparam("count"),
            tries=jobs.c.tries + 1,
            requested_at=None,
        )
    )


def _pending(fire: Fire) -> dict[str, Any]:
    return {"job": fire.job, "at": fire.at, "count": fire.missed}


def _set(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(_jobs().update().where(_jobs().c.name == name).values(values))


def _entry(connection: Connection, job: Planned, now: datetime) -> Entry:
    """The entry of *job*, which is there and locked from now on."""
    _add(connection, job, now)
    query = _jobs().select().where(_jobs().c.name == job.name).with_for_update()
    return Entry(**_aware(connection.execute(query).mappings().one()))


def _add(connection: Connection, job: Planned, now: datetime) -> None:
    """Add an entry for *job* unless there is one: two first comers must not clash."""
    import sqlalchemy as sa

    statement = sa.text(
        "INSERT INTO scheduler_jobs (name, schedule, since, pending_missed, tries) "
        "VALUES (:name, :when, :now, 0, 0) ON CONFLICT (name) DO NOTHING"
    ).bindparams(sa.bindparam("now", type_=sa.DateTime(timezone=True)))
    connection.execute(statement, {"name": job.name, "when": job.when, "now": now})


def _adopt(connection: Connection, jobs: Iterable[Planned], now: datetime) -> None:
    """See that each of *jobs* is in the book; one with another schedule begins anew."""
    found = {row.name: row.schedule for row in connection.execute(_jobs().select())}
    for job in jobs:
        if job.name not in found:
            _add(connection, job, now)
        elif found[job.name] != job.when:
            _set(connection, job.name, schedule=job.when, since=now)


def _lose(connection: Connection, now: datetime) -> None:
    """What was running is lost; what was lost too often is given up, and its last run says so."""
    import sqlalchemy as sa

    runs, jobs = _runs(), _jobs()
    often = (jobs.c.tries >= MOST_TRIES, jobs.c.pending_at.is_not(None))
    running = runs.update().where(runs.c.state == RunState.RUNNING.value)
    given_up = running.where(runs.c.job.in_(sa.select(jobs.c.name).where(*often)))
    connection.execute(given_up.values(outcome=f"given up after {MOST_TRIES} tries"))
    connection.execute(running.values(state=RunState.LOST.value, ended_at=now))
    connection.execute(jobs.update().where(*often).values({**_DONE, "last_at": jobs.c.pending_at}))
