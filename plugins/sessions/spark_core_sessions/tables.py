"""The plugin's tables, as its queries name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["storable", "table", "upsert"]


@cache  # so that a query that names a table twice names one table
def table(name: str, *columns: str, moments: tuple[str, ...] = ()) -> TableClause:
    """The table *name* with *columns*, and others that hold *moments*."""
    import sqlalchemy as sa

    times = (sa.column(moment, sa.DateTime(timezone=True)) for moment in moments)
    return sa.table(name, *map(sa.column, columns), *times)


def upsert(
    connection: Connection, into: TableClause, keys: Sequence[str], values: Mapping[str, Any]
) -> None:
    """Put the row of *values* into a table, in place of one that has the same *keys*."""
    changed = {name: value for name, value in values.items() if name not in keys}
    where = [into.c[key] == values[key] for key in keys]
    if not connection.execute(into.update().where(*where).values(changed)).rowcount:
        connection.execute(into.insert().values(dict(values)))


def storable(text: str, most: int = 10_000) -> str:
    """*text* as every database takes it: without NUL, and without halves of characters."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:most]
