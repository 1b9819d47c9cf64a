"""Notes and tags as the state has them.

Each is about one record; whoever annotates an entity annotates its oldest record. So it stays
with the right person, whatever is merged or split later.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, Field

from spark_core.errors import Conflict
from spark_core.state import State
from spark_core.state.times import aware

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause
    from sqlalchemy.sql.elements import ColumnElement

__all__ = ["KINDS", "Annotation", "Annotations", "open_annotations", "tag_id"]

#: The kinds of annotations, and of their hits.
KINDS: Final = ("note", "tag")

NAMESPACE = uuid.UUID("a2a1a3a5-6d0b-5c53-8f0e-9a4f4d1b8c11")


class Annotation(BaseModel, defer_build=True):
    """A note, or a tag."""

    id: str
    kind: Literal["note", "tag"]
    about_kind: str = Field(description="The kind of the record that it is about.")
    about_id: str = Field(description="The id of that record.")
    title: str = Field(description="What that record was called then.")
    text: str
    author: str
    at: datetime

    @property
    def about(self) -> tuple[str, str]:
        """Names the record that it is about."""
        return self.about_kind, self.about_id


def tag_id(about: tuple[str, str], tag: str) -> str:
    """The id of a tag: a record has each of its tags once."""
    return uuid.uuid5(NAMESPACE, json.dumps([*about, tag])).hex


@asynccontextmanager
async def open_annotations(state: State) -> AsyncIterator[Annotations]:
    """The annotations in the state."""
    yield Annotations(state)


class Annotations:
    """Reads and writes annotations."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def exchange(self, gone: Sequence[Annotation], come: Sequence[Annotation]) -> None:
        """Put *come* in the place of *gone*, all or nothing.

        :raises Conflict: one of *gone* is not there, or one of *come* is.
        """
        import sqlalchemy as sa

        table = _table()

        def transaction(connection: Connection) -> None:
            for old in gone:
                if not connection.execute(table.delete().where(table.c.id == old.id)).rowcount:
                    raise Conflict(f"the {old.kind} {old.id} is not there any more")
            for new in come:
                known = sa.select(sa.exists(table.select().where(table.c.id == new.id)))
                if connection.execute(known).scalar():
                    raise Conflict(f"the {new.kind} {new.id} is there already")
                connection.execute(table.insert().values(new.model_dump()))

        await self._state.write(transaction)

    async def named(self, ids: Sequence[str]) -> list[Annotation]:
        """Those of the annotations *ids* that there are."""
        return await self._where(_table().c.id.in_(list(ids)))

    async def about(
        self, keys: Sequence[tuple[str, str]], kind: str | None = None
    ) -> list[Annotation]:
        """What is about the records *keys*, the newest first."""
        import sqlalchemy as sa

        table = _table()
        where = [sa.tuple_(table.c.about_kind, table.c.about_id).in_(list(keys))]
        return await self._where(*where, *([table.c.kind == kind] if kind else []))

    async def newest(self, kind: str, limit: int) -> list[Annotation]:
        """The newest annotations of *kind*."""
        return await self._where(_table().c.kind == kind, limit=limit)

    async def everything(self) -> AsyncIterator[Sequence[Annotation]]:
        """All of them, some at a time, in the order of their ids."""
        table = _table()
        after = ""
        while found := await self._where(table.c.id > after, limit=500, order=table.c.id):
            yield found
            after = found[-1].id

    async def _where(
        self,
        *conditions: ColumnElement[bool],
        limit: int | None = None,
        order: Any = None,
    ) -> list[Annotation]:
        table = _table()
        by = (table.c.at.desc(), table.c.id) if order is None else (order,)
        query = table.select().where(*conditions).order_by(*by).limit(limit)
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [Annotation.model_validate({**row, "at": aware(row["at"])}) for row in rows]


@cache
def _table() -> TableClause:
    import sqlalchemy as sa

    names = ("id", "kind", "about_kind", "about_id", "title", "text", "author")
    at = sa.column("at", sa.DateTime(timezone=True))
    return sa.table("annotations", *(sa.column(name) for name in names), at)
