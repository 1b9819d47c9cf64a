"""The plugin's tables, as its queries name them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import TableClause

__all__ = ["forms", "gate", "handles", "scopes"]


@cache  # so that a query that names a table twice names one table
def _table(name: str, *columns: str, moments: tuple[str, ...] = ()) -> TableClause:
    import sqlalchemy as sa

    times = (sa.column(moment, sa.DateTime(timezone=True)) for moment in moments)
    return sa.table(f"redaction_{name}", *map(sa.column, columns), *times)


def scopes() -> TableClause:
    """Scopes, each with its sealed secret."""
    return _table("scopes", "id", "name", "key", "sealed", moments=("ends_at", "expires_at"))


def handles() -> TableClause:
    """What opens a scope, and which of its forms."""
    return _table("handles", "digest", "scope", "forms")


def forms() -> TableClause:
    """What was replaced, as it was written."""
    columns = ("id", "scope", "kind", "number", "part", "variant", "entity", "written", "sealed")
    return _table("forms", *columns)


def gate() -> TableClause:
    """One row: who has locked it makes scopes, or seals them anew."""
    return _table("gate", "id")
