"""Every run over an index, on the record: from it follows how fresh the index is.

Runs are in the order of their numbers, not of their times: clocks are set back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from spark_core.clock import Clock
from spark_core.contracts.records import RecordSource
from spark_core.errors import SparkError
from spark_core.state import State
from spark_core.state.times import aware

if TYPE_CHECKING:
    from sqlalchemy import TableClause

__all__ = ["Freshness", "Run", "Runs", "freshness", "open_runs"]

#: How many runs are remembered.
REMEMBERED = 1000

#: The outcome of a run that went through.
OK = "ok"


@dataclass(frozen=True)
class Run:
    """One run. ``source`` is the version of the source that it found when it began.

    It has no ``outcome`` while it goes on, and if it was killed.
    """

    id: int
    what: str
    source: str | None
    started_at: datetime
    outcome: str | None
    problem: str | None


@asynccontextmanager
async def open_runs(state: State, clock: Clock) -> AsyncIterator[Runs]:
    """The runs in the state."""
    yield Runs(state, clock)


class Runs:
    """Writes down runs and finds them again, by the collection that they were over."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    @asynccontextmanager
    async def noted(self, collection: str, what: str, source: RecordSource) -> AsyncIterator[None]:
        """Note that a run over *source* begins, and how it ended."""
        version = None
        with suppress(SparkError):  # a source that cannot be read fails the run, not its record
            version = await source.version()
        id = await self._begin(collection, what, version)
        try:
            yield
        except SparkError as error:
            await self._end_badly(id, error.code, error.message)
            raise
        except BaseException as error:  # its text may quote a record
            await self._end_badly(id, "interrupted", type(error).__name__)
            raise
        await self._end(id, OK, None)

    async def _begin(self, collection: str, what: str, source: str | None) -> int:
        import sqlalchemy as sa

        table = _table()
        values = {"collection": collection, "what": what[:200], "source": source}
        insert = sa.insert(table).values(**values, started_at=self._clock.now())
        old = sa.select(sa.func.max(table.c.id) - REMEMBERED).scalar_subquery()
        newest = sa.select(sa.func.max(table.c.id))

        def transaction(connection: sa.Connection) -> int:
            connection.execute(insert)
            connection.execute(table.delete().where(table.c.id < old))
            return int(connection.execute(newest).scalar_one())

        return await self._state.write(transaction)

    async def _end_badly(self, id: int, outcome: str, problem: str) -> None:
        with suppress(SparkError):  # what ended the run is what its caller must know
            await self._end(id, outcome, problem)

    async def _end(self, id: int, outcome: str, problem: str | None) -> None:
        table = _table()
        values = {"ended_at": self._clock.now(), "outcome": outcome, "problem": problem}
        statement = table.update().where(table.c.id == id).values(**values)
        await self._state.write(lambda c: c.execute(statement))

    async def last(self, collection: str) -> Run | None:
        """The newest run that went through."""
        return await self._newest(collection, ok=True)

    async def last_failure(self, collection: str) -> Run | None:
        """The newest run that failed or was interrupted; one that was killed has no outcome."""
        return await self._newest(collection, ok=False)

    async def _newest(self, collection: str, *, ok: bool) -> Run | None:
        table = _table()
        ended_so = table.c.outcome == OK if ok else table.c.outcome != OK
        query = table.select().where(table.c.collection == collection, ended_so)
        query = query.order_by(table.c.id.desc()).limit(1)
        row = await self._state.read(lambda c: c.execute(query).first())
        if row is None:
            return None
        return Run(row.id, row.what, row.source, aware(row.started_at), row.outcome, row.problem)

    async def failures(self, collection: str) -> int:
        """How many runs have failed since the last one that went through."""
        import sqlalchemy as sa

        table = _table()
        of_it = table.c.collection == collection
        last = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))
        last = last.where(of_it, table.c.outcome == OK)
        failed = (of_it, table.c.outcome != OK, table.c.id > last.scalar_subquery())
        query = sa.select(sa.func.count()).select_from(table).where(*failed)
        return int(await self._state.read(lambda c: c.execute(query).scalar_one()))

    def age(self, run: Run) -> float:
        """Minutes since *run* began; never less than none, however the clock was set."""
        return max(0.0, (self._clock.now() - run.started_at).total_seconds() / 60)


class Freshness(BaseModel, defer_build=True):
    """How far an index is behind its source; all is unknown before the first whole run."""

    as_of: datetime | None = Field(
        default=None, description="What the source held then is in the index."
    )
    behind_minutes: float | None = Field(
        default=None,
        description="Minutes for which changes may be missing; 0 where the source has not changed.",
    )


async def freshness(runs: Runs, source: RecordSource | None, collection: str) -> Freshness:
    """How far *collection* is behind *source*. Cheap: nothing of the source is read."""
    last = await runs.last(collection)
    if last is None:
        return Freshness()
    behind = 0.0 if await _is_unchanged(source, last) else round(runs.age(last), 2)
    return Freshness(as_of=last.started_at, behind_minutes=behind)


async def _is_unchanged(source: RecordSource | None, since: Run) -> bool:
    with suppress(SparkError):
        return source is not None and since.source == (await source.version() or "")
    return False


def _table() -> TableClause:
    import sqlalchemy as sa

    names = ("id", "collection", "what", "source", "outcome", "problem")
    moments = (sa.column(n, sa.DateTime(timezone=True)) for n in ("started_at", "ended_at"))
    return sa.table("ingest_runs", *(sa.column(name) for name in names), *moments)
