"""What was seen of each service, in the state: so every worker knows of a restart, once.

A restart that is over before anybody looks again is seen, too: a container that was started
anew has another StartedAt, one that was made anew another id, and a unit another InvocationID.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from spark_core.clock import Clock
from spark_core.state import State
from spark_core.state.times import aware

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["Sightings", "open_sightings"]


class Sightings:
    """Remembers how services were last seen."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def now(self) -> datetime:
        """The moment at which a look begins."""
        return self._clock.now()

    async def note(
        self, seen: Mapping[str, str], looked_at: datetime
    ) -> Mapping[str, tuple[int, datetime | None]]:
        """Note the identity of each service as it was *looked_at*.

        Returns for each how often it was restarted, other than by us, and when that was last
        seen. What was seen before something newer is nothing to go by.
        """
        rows = await self.rows()
        news = {
            name: identity
            for name, identity in seen.items()
            if name not in rows or rows[name]["identity"] != identity
        }
        if news:
            await self._state.write(lambda c: _note(c, news, looked_at))
            rows = await self.rows()
        return {
            name: (row["restarts"], aware(row["restarted_at"]) if row["restarted_at"] else None)
            for name, row in rows.items()
        }

    async def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """What is known of every service."""
        found = await self._state.read(lambda c: c.execute(_table().select()).mappings().all())
        return {row["name"]: dict(row) for row in found}

    async def expect(self, name: str, within_s: float) -> None:
        """Whatever starts of *name* in the next seconds is our own doing."""
        until = self._clock.now() + timedelta(seconds=within_s)
        await self._put(name, {"expected_until": until})

    async def settle(self, name: str, identity: str | None) -> None:
        """What we did is done, and *name* is seen as this from now on."""
        values: dict[str, Any] = {"expected_until": None}
        if identity is not None:
            values |= {"identity": identity, "seen_at": self._clock.now()}
        await self._put(name, values)

    async def patched(self, name: str) -> str | None:
        """Which patches *name* got last, and in which container."""
        row = (await self.rows()).get(name)
        return row["patched"] if row else None

    async def set_patched(self, name: str, patched: str | None) -> None:
        """Change what :meth:`patched` tells."""
        await self._put(name, {"patched": patched})

    async def _put(self, name: str, values: Mapping[str, Any]) -> None:
        def transaction(connection: Connection) -> None:
            _add(connection, [name], self._clock.now())
            table = _table()
            connection.execute(table.update().where(table.c.name == name).values(values))

        await self._state.write(transaction)


@asynccontextmanager
async def open_sightings(state: State, clock: Clock) -> AsyncIterator[Sightings]:
    """What was seen, in the state."""
    yield Sightings(state, clock)


def _note(connection: Connection, news: Mapping[str, str], looked_at: datetime) -> None:
    """Read again within the transaction: another worker may have noted it meanwhile."""
    table = _table()
    _add(connection, news, looked_at)
    rows = connection.execute(table.select().where(table.c.name.in_([*news]))).mappings().all()
    for row in rows:
        identity = news[row["name"]]
        first = row["identity"] == ""
        if row["identity"] == identity or (aware(row["seen_at"]) >= looked_at and not first):
            continue
        values: dict[str, Any] = {"identity": identity, "seen_at": looked_at}
        expected = row["expected_until"] and aware(row["expected_until"]) > looked_at
        if not first and not expected:
            values |= {"restarts": row["restarts"] + 1, "restarted_at": looked_at}
        connection.execute(table.update().where(table.c.name == row["name"]).values(values))


def _add(connection: Connection, names: Iterable[str], now: datetime) -> None:
    """Add rows of which nothing is known, where there are none."""
    import sqlalchemy as sa

    statement = sa.text(
        "INSERT INTO services_sightings (name, identity, seen_at, restarts) "
        "VALUES (:name, '', :now, 0) ON CONFLICT (name) DO NOTHING"
    ).bindparams(sa.bindparam("now", type_=sa.DateTime(timezone=True)))
    connection.execute(statement, [{"name": name, "now": now} for name in sorted(names)])


def _table() -> TableClause:
    import sqlalchemy as sa

    moments = ("seen_at", "restarted_at", "expected_until")
    names = ("name", "identity", "restarts", "patched")
    return sa.table(
        "services_sightings",
        *(sa.column(name) for name in names),
        *(sa.column(name, sa.DateTime(timezone=True)) for name in moments),
    )
