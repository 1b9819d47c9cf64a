"""The audit log: who did what, when, to what, and how it ended. It can only be added to.

What takes a while leaves an entry when it begins and another when it ends, so that it has left
a trace even if it is killed between. The second takes the first one's place in lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ..clock import Clock
from ..errors import NotFound
from .database import State
from .times import aware

if TYPE_CHECKING:
    from sqlalchemy import Select, TableClause

__all__ = ["AuditEntry", "AuditLog"]

#: The outcome of what has not ended: it still runs, or was killed.
_STARTED = "started"


class AuditEntry(BaseModel, defer_build=True):
    """One thing that was done; its ``outcome`` is ``started`` while nobody knows its end."""

    id: int
    at: datetime
    actor: str
    action: str
    resource: str
    outcome: str
    detail: dict[str, Any]


class AuditLog:
    """Writes and lists audit entries; there is no way to change or delete one."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def record(
        self,
        actor: str,
        action: str,
        *,
        resource: str = "",
        outcome: str = "ok",
        detail: Mapping[str, Any] | None = None,
        start: int | None = None,
    ) -> int:
        """Add an entry, and return its id.

        *detail* holds counts and names, never secrets; of private text only what our own state
        was given to keep, such as a note (see :class:`~spark_core.changes.Change`). *start* is
        what :meth:`start` returned when it began.
        """
        values = {
            "at": self._clock.now(),
            "actor": actor[:200],
            "action": action,
            "resource": resource,
            "outcome": outcome,
            "detail": dict(detail or {}),
            "start": start,
        }
        table = _table()
        insert = table.insert().values(values).returning(table.c.id)
        return int(await self._state.write(lambda c: c.execute(insert).scalar_one()))

    async def start(self, actor: str, action: str) -> int:
        """Add the entry of what is about to begin, and return its id for :meth:`record`."""
        return await self.record(actor, action, outcome=_STARTED)

    async def entries(
        self, *, limit: int = 50, action: str | None = None, before: int | None = None
    ) -> Sequence[AuditEntry]:
        """The newest entries first, those older than the entry *before* if it is given.

        Where something has ended, the entry of its start is left out.
        """
        table, end = _table(), _table().alias()
        ended = end.select().where(end.c.start == table.c.id).exists()
        query = table.select().where((table.c.outcome != _STARTED) | ~ended)
        query = query.order_by(table.c.id.desc()).limit(limit)
        if action is not None:
            query = query.where(table.c.action == action)
        if before is not None:
            query = query.where(table.c.id < before)
        return await self._read(query)

    async def entry(self, id: int) -> AuditEntry:
        """The entry *id*; where that is a start's, the entry of its end, if there is one.

        :raises NotFound: there is none.
        """
        table = _table()
        query = table.select().where((table.c.id == id) | (table.c.start == id))
        if found := await self._read(query.order_by(table.c.id.desc()).limit(1)):
            return found[0]
        raise NotFound(f"there is no audit entry {id}", hint="spark audit list")

    async def undoing(self, id: int) -> AuditEntry | None:
        """The entry of the undo that took *id* back, if one did."""
        table = _table()
        query = table.select().where(
            table.c.action == "audit.undo",
            table.c.outcome == "ok",
            table.c.detail["undoes"].as_integer() == id,
        )
        return next(iter(await self._read(query)), None)

    async def _read(self, query: Select[Any]) -> Sequence[AuditEntry]:
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [AuditEntry.model_validate({**row, "at": aware(row["at"])}) for row in rows]


def _table() -> TableClause:
    import sqlalchemy as sa

    names = ("id", "actor", "action", "resource", "outcome", "start")
    return sa.table(
        "audit",
        *(sa.column(name) for name in names),
        sa.column("at", sa.DateTime(timezone=True)),
        sa.column("detail", sa.JSON),
    )
