"""The log of outages, in the state: when each backend took no connections, and who saw it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from ..clock import Clock
from ..state import State
from ..state.times import aware

if TYPE_CHECKING:
    from sqlalchemy import TableClause

__all__ = ["Outage", "OutageLog", "open_outage_log"]


class Outage(BaseModel, defer_build=True):
    """A time in which a backend took no connections; one that goes on has no ``end``."""

    id: int
    backend: str
    start: datetime
    end: datetime | None
    duration_s: float = Field(description="Until its end, or until now.")
    seen_by: str = Field(description="`probe` or `request`: what noticed it first.")


@asynccontextmanager
async def open_outage_log(state: State, clock: Clock) -> AsyncIterator[OutageLog]:
    """The log of outages in the state."""
    yield OutageLog(state, clock)


class OutageLog:
    """Writes and lists outages."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def begin(self, backend: str, start: datetime, seen_by: str) -> None:
        """*backend* takes no connections since *start*; one that goes on is not begun again."""
        import sqlalchemy as sa

        table = _table()
        going_on = sa.select(table.c.id).where(table.c.backend == backend, table.c.end.is_(None))
        values = {"backend": backend, "start": start, "seen_by": seen_by}

        def write(connection: sa.Connection) -> None:
            if connection.execute(going_on).first() is None:
                connection.execute(table.insert().values(values))

        await self._state.write(write)

    async def end(self, backend: str, end: datetime) -> None:
        """*backend* takes connections again."""
        table = _table()
        update = table.update().where(table.c.backend == backend, table.c.end.is_(None))
        await self._state.write(lambda c: c.execute(update.values(end=end)))

    async def going_on(self) -> dict[str, datetime]:
        """The backends that are down, and since when."""
        table = _table()
        query = table.select().where(table.c.end.is_(None))
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return {row["backend"]: aware(row["start"]) for row in rows}

    async def newest(
        self,
        *,
        limit: int = 100,
        backend: str | None = None,
        since: datetime | None = None,
        without: Sequence[str] = (),
    ) -> Sequence[Outage]:
        """The newest outages first, *without* those of some backends."""
        import sqlalchemy as sa

        table = _table()
        query = table.select().order_by(table.c.start.desc(), table.c.id.desc()).limit(limit)
        query = query.where(table.c.backend.not_in(without))
        if backend is not None:
            query = query.where(table.c.backend == backend)
        if since is not None:
            query = query.where(sa.or_(table.c.end.is_(None), table.c.end >= since))
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [self._outage(dict(row)) for row in rows]

    def _outage(self, row: dict[str, object]) -> Outage:
        start, end = row["start"], row["end"]
        assert isinstance(start, datetime)
        start = aware(start)
        end = aware(end) if isinstance(end, datetime) else None
        duration = (end or self._clock.now()) - start
        return Outage.model_validate(
            {**row, "start": start, "end": end, "duration_s": max(duration.total_seconds(), 0.0)}
        )


def _table() -> TableClause:
    import sqlalchemy as sa

    moments = (sa.column(name, sa.DateTime(timezone=True)) for name in ("start", "end"))
    return sa.table(
        "gateway_outages", sa.column("id"), sa.column("backend"), sa.column("seen_by"), *moments
    )
