"""The history of runs: when each processor was last at work, and what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from spark_core.clock import Clock
from spark_core.state import State
from spark_core.state.times import aware

from .tables import table

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["Run", "Runs", "open_runs"]

#: How many runs are remembered, of all processors together.
REMEMBERED: Final = 2000

_COUNTS: Final = ("scanned", "processed", "skipped", "errors", "items_extracted", "remaining")


class Run(BaseModel, defer_build=True):
    """One run that went through."""

    started_at: datetime
    ended_at: datetime
    scanned: int
    processed: int
    skipped: int
    errors: int
    items_extracted: int
    remaining: int


class Runs:
    """Writes runs down and finds the last of each processor."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def note(self, started_at: datetime, processor: str, counts: Mapping[str, int]) -> None:
        """Write down a run of *processor* that just ended."""
        import sqlalchemy as sa

        runs = _runs()
        values = {"processor_name": processor, "started_at": started_at, **counts}
        oldest = sa.select(sa.func.max(runs.c.id) - REMEMBERED).scalar_subquery()

        def transaction(connection: Connection) -> None:
            connection.execute(runs.insert().values(**values, ended_at=self._clock.now()))
            connection.execute(runs.delete().where(runs.c.id < oldest))

        await self._state.write(transaction)

    async def last(self, processor: str) -> Run | None:
        """The last run of *processor* that went through."""
        runs = _runs()
        query = runs.select().where(runs.c.processor_name == processor)
        query = query.order_by(runs.c.id.desc()).limit(1)
        row = await self._state.read(lambda c: c.execute(query).first())
        if row is None:
            return None
        counts = {name: getattr(row, name) for name in _COUNTS}
        return Run(started_at=aware(row.started_at), ended_at=aware(row.ended_at), **counts)


@asynccontextmanager
async def open_runs(state: State, clock: Clock) -> AsyncIterator[Runs]:
    """The history of runs in the state."""
    yield Runs(state, clock)


def _runs() -> TableClause:
    moments = ("started_at", "ended_at")
    return table("session_processor_runs", "id", "processor_name", *_COUNTS, moments=moments)
