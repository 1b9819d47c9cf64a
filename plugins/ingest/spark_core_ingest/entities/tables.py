"""The tables of who is who, and the statements that more than one module needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .profiles import Key

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row, TableClause

__all__ = [
    "among",
    "decisions",
    "entities",
    "links",
    "lower",
    "members",
    "portions",
    "runs",
    "upsert",
]

#: The columns that name a pair of records.
PAIR = ("a_kind", "a_id", "b_kind", "b_id")

#: Databases take only so many parameters in a statement.
PORTION = 500


def _table(name: str, *columns: str, json: Sequence[str] = ()) -> TableClause:
    import sqlalchemy as sa

    moments = {"at", "decided_at"}
    return sa.table(
        name,
        *(
            sa.column(c, sa.DateTime(timezone=True)) if c in moments else sa.column(c)
            for c in columns
        ),
        *(sa.column(c, sa.JSON(none_as_null=True)) for c in json),
    )


def runs() -> TableClause:
    """Every run that found out who is who."""
    return _table("entity_runs", "id", "at", "records")


def entities() -> TableClause:
    """Canonical ids; ``kept_by`` is the one that an id was merged into."""
    return _table("entities", "id", "since", "kept_by")


def members() -> TableClause:
    """Which entity each record is of; ``since`` is the run that first saw it."""
    names = ("kind", "record_id", "entity", "since", "title", "changed")
    return _table("entity_members", *names, json=["facts"])


def links() -> TableClause:
    """Pairs that may be one; those without ``doubt`` are certain."""
    return _table("entity_links", *PAIR, "run", "score", "weight", "doubt", json=["reasons"])


def decisions() -> TableClause:
    """What people decided of pairs."""
    return _table("entity_decisions", *PAIR, "verdict", "decided_by", "decided_at")


def portions(values: Sequence[Any], size: int = PORTION) -> Iterator[Sequence[Any]]:
    """*values* in parts that a statement can take."""
    return (values[start : start + size] for start in range(0, len(values), size))


def among(keys: Sequence[Key], kind: Any, id: Any) -> ColumnElement[bool]:
    """Whether the columns *kind* and *id* name one of *keys*."""
    import sqlalchemy as sa

    by_kind: dict[str, list[str]] = {}
    for name, record in keys:
        by_kind.setdefault(name, []).append(record)
    return sa.or_(
        sa.false(), *(sa.and_(kind == name, id.in_(ids)) for name, ids in by_kind.items())
    )


def lower(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """*column* in lower case in any script; by themselves databases may know ASCII alone."""
    import sqlalchemy as sa

    if connection.dialect.name == "postgresql":
        return sa.func.lower(sa.collate(column, "und-x-icu"))
    raw: Any = connection.connection.driver_connection
    raw.create_function("lower", 1, str.lower, deterministic=True)
    return sa.func.lower(column)


def upsert(connection: Connection, table: TableClause, key: Sequence[str], rows: Any) -> None:
    """Write *rows* (dictionaries), in place of those with the same *key*."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    statement = insert(table)
    others = {name: statement.excluded[name] for name in rows[0] if name not in key}
    for part in portions(rows, 5000):
        connection.execute(
            statement.on_conflict_do_update(index_elements=list(key), set_=others), list(part)
        )


def member_rows(connection: Connection, keys: Sequence[Key]) -> dict[Key, Row[Any]]:
    """What is known of the records called *keys*."""
    table = members()
    found: dict[Key, Row[Any]] = {}
    for part in portions(keys):
        query = table.select().where(among(part, table.c.kind, table.c.record_id))
        for row in connection.execute(query):
            found[row.kind, row.record_id] = row
    return found
