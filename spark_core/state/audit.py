"""The audit log: who did what, when, to what, and how it ended. It can only be added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ..clock import Clock
from .database import State
from .times import aware

if TYPE_CHECKING:
    from sqlalchemy import TableClause

__all__ = ["AuditEntry", "AuditLog"]


class AuditEntry(BaseModel):
    """One thing that was done."""

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
    ) -> None:
        """Add an entry. *detail* holds counts and names, never private text or secrets."""
        values = {
            "at": self._clock.now(),
            "actor": actor[:200],
            "action": action,
            "resource": resource,
            "outcome": outcome,
            "detail": dict(detail or {}),
        }
        await self._state.write(lambda c: c.execute(_table().insert().values(values)))

    async def entries(
        self, *, limit: int = 50, action: str | None = None, before: int | None = None
    ) -> Sequence[AuditEntry]:
        """The newest entries first, those older than the entry *before* if it is given."""
        table = _table()
        query = table.select().order_by(table.c.id.desc()).limit(limit)
        if action is not None:
            query = query.where(table.c.action == action)
        if before is not None:
            query = query.where(table.c.id < before)
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [AuditEntry.model_validate({**row, "at": aware(row["at"])}) for row in rows]


def _table() -> TableClause:
    import sqlalchemy as sa

    names = ("id", "actor", "action", "resource", "outcome")
    return sa.table(
        "audit",
        *(sa.column(name) for name in names),
        sa.column("at", sa.DateTime(timezone=True)),
        sa.column("detail", sa.JSON),
    )
