"""The plugin's tables, as its queries name them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import TableClause

__all__ = ["table"]


@cache  # so that a query that names a table twice names one table
def table(name: str, *columns: str, moments: tuple[str, ...] = ()) -> TableClause:
    """The table ``coordination_<name>`` with *columns*, and others that hold *moments*."""
    import sqlalchemy as sa

    times = (sa.column(moment, sa.DateTime(timezone=True)) for moment in moments)
    return sa.table(f"coordination_{name}", *map(sa.column, columns), *times)
