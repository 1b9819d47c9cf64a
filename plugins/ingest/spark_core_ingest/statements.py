"""The SQL that reads one kind of record, checked against the database it is for."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from spark_core.errors import SourceError
from spark_core.settings import nearest

from .names import folded, quoted, unquoted, without_schema
from .settings import KindSettings

__all__ = ["Statements"]


class Statements:
    """Reads one kind. Making it checks the mapping against *connection*'s database.

    The rows it reads are the record's id as text, its place among the others, and the
    columns of the mapping. A BLOB as an id is shown in hexadecimal.

    :raises SourceError: the mapping does not fit: what is missing, and the nearest name.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, kind: KindSettings) -> None:
        table = None if kind.table is None else _table(connection, name, kind.table)
        self._from = quoted(table) if table else _view(connection, name, kind)
        known = _columns(connection, name, kind, self._from)
        hidden = _row_ids(connection, table, known)
        named = [_real_name(name, kind, column, known, hidden) for column in kind.columns]
        for column in filter(None, (kind.updated, *kind.match_columns)):  # refused now, not later
            _real_name(name, kind, column, known, hidden)
        self._columns = ", ".join(f"r.{quoted(column)}" for column in named)
        self._id = f"r.{quoted(named[0])}"
        is_key = named[0] in hidden or _is_primary_key(connection, table, named[0])
        types = self._id_types(connection) if is_key else set()
        #: Whether batches can be read one by one, each from where the last one ended: ids of
        #: different types may look the same as text, and must then be read one after the other.
        self.pages = len(types) == 1
        self._text_id = types == {"text"}

    def _id_types(self, connection: sqlite3.Connection) -> set[str]:
        """What kinds of values there are among the ids; SQLite keeps each kind together."""
        ends = f"SELECT typeof(min({self._id})) FROM {self._from} AS r"
        query = f"{ends} UNION ALL {ends.replace('min', 'max', 1)}"
        found = {type for (type,) in connection.execute(query)}
        return {"number" if type in ("integer", "real") else type for type in found}

    @property
    def counting(self) -> str:
        """How many rows have an id, and how many there are."""
        return f"SELECT count({self._id}), count(*) FROM {self._from} AS r"

    def page(self, last: Any) -> tuple[str, tuple[Any, ...]]:
        """The rows behind the place *last*, ``None`` for all, in the order of their ids."""
        if not self._text_id:
            query = self._page(self._id, None if last is None else "?")
            return query, () if last is None else (last,)
        # By its bytes: a text that is no UTF-8 would come back as another one. And not as a
        # parameter, of which SQLite does not know the encoding.
        bound = None if last is None else f"CAST(X'{last.hex()}' AS TEXT)"
        return self._page(f"CAST({self._id} AS BLOB)", bound), ()

    def _page(self, place: str, bound: str | None) -> str:
        where = f"{self._id} IS NOT NULL" if bound is None else f"{self._id} > {bound}"
        return f"{self._select(place)} WHERE {where} ORDER BY {self._id}"

    @property
    def everything(self) -> str:
        """All rows, those of one id one after the other."""
        return f"{self._select('NULL')} WHERE {self._id} IS NOT NULL ORDER BY 1, {self._id}"

    def named(self, id: str) -> tuple[str, tuple[Any, ...]]:
        """The rows whose id may be shown as *id*, and perhaps others; those of one id together."""
        values = _shown_as(id)
        marks = ", ".join("?" * len(values))
        where = f"{self._id} IN ({marks})"
        return f"{self._select('NULL')} WHERE {where} ORDER BY 1, {self._id}", values

    def _select(self, place: str) -> str:
        text = f"CASE typeof({self._id}) WHEN 'blob' THEN lower(hex({self._id}))"
        return (
            f"SELECT {text} ELSE CAST({self._id} AS TEXT) END, {place}, {self._columns} "
            f"FROM {self._from} AS r"
        )


def _shown_as(id: str) -> tuple[Any, ...]:
    """What SQLite may hold that it shows as the text *id*."""
    values: list[Any] = [id]
    for kind in (int, float, bytes.fromhex):
        with suppress(ValueError):
            values.append(kind(id))
    return tuple(v for v in values if not isinstance(v, int) or -(2**63) <= v < 2**63)


def _view(connection: sqlite3.Connection, name: str, kind: KindSettings) -> str:
    """The kind's query as a view that only *connection* sees.

    SQLite itself then says whether it is one SELECT, whatever semicolons and comments it has.
    """
    view = f"temp.{quoted(f'spark_core {name}')}"
    try:
        connection.execute(f"CREATE TEMP VIEW {view.removeprefix('temp.')} AS {kind.query}")
    except sqlite3.Error as error:
        _raise_if_busy(error)
        detail = f"kind {name}: its query must be one SELECT: {error}"
        raise SourceError(detail) from error
    return view


def _table(connection: sqlite3.Connection, name: str, written: str) -> str:
    """The table or view that a mapping writes as *written*: as it is called, or as SQL has it."""
    tables = _tables(connection)
    if found := _match(written, tables) or _match(without_schema(written), tables):
        return found
    raise SourceError(f"kind {name}: there is no table {written!r}{nearest(written, tables)}")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """The names of the tables and views."""
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
    return [table for (table,) in connection.execute(query)]


def _match(written: str, names: Sequence[str]) -> str | None:
    """The one of *names* that SQLite takes *written* for."""
    if written in names:
        return written
    return next((name for name in names if folded(name) == folded(written)), None)


def _row_ids(connection: sqlite3.Connection, table: str | None, known: Sequence[str]) -> list[str]:
    """The names of the number that SQLite itself gives each row of *table*, where it does.

    A column of such a name hides it; views and tables WITHOUT ROWID have none.
    """
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if table is None or not connection.execute(query, (table,)).fetchone():
        return []
    free = [name for name in ("rowid", "_rowid_", "oid") if _match(name, known) is None]
    try:
        for name in free:
            connection.execute(f"SELECT r.{name} FROM {quoted(table)} AS r LIMIT 0")
    except sqlite3.OperationalError as error:
        _raise_if_busy(error)
        return []
    return free


def _columns(
    connection: sqlite3.Connection, name: str, kind: KindSettings, source: str
) -> list[str]:
    """The names of the columns of *source*."""
    try:
        cursor = connection.execute(f"SELECT * FROM {source} LIMIT 0")
    except sqlite3.OperationalError as error:
        _raise_if_busy(error)
        if kind.query and (unknown := _unknown(connection, kind.query, str(error))):
            raise SourceError(f"kind {name}: its query: there is no {unknown}") from error
        what = f"table {kind.table!r}" if kind.table else "its query"
        raise SourceError(f"kind {name}: {what} does not work: {error}") from error
    return [column for column, *_ in cursor.description]


_NO_SUCH = re.compile(r"no such (table|column): (.+)", re.DOTALL)


def _unknown(connection: sqlite3.Connection, query: str, message: str) -> str:
    """The table or column that SQLite misses in *query*, with the nearest name there is."""
    found = _NO_SUCH.fullmatch(message)
    if found is None:
        return ""
    tables = _tables(connection)
    if found[1] == "table":
        table = without_schema(found[2])
        return f"table {table!r}{nearest(table, tables)}"
    read = [table for table in tables if folded(table) in folded(query)]
    columns = [
        column
        for table in read
        for (column,) in connection.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))
    ]
    return f"column {found[2]!r}{nearest(found[2].rpartition('.')[2], columns)}"


def _raise_if_busy(error: sqlite3.Error) -> None:
    """Let an error pass that says nothing about the statement itself."""
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) != sqlite3.SQLITE_ERROR:
        raise error


def _real_name(
    name: str, kind: KindSettings, column: str, known: Sequence[str], hidden: Sequence[str]
) -> str:
    for names in (known, hidden):
        if found := _match(column, names) or _match(unquoted(column), names):
            return found
    where = f"table {kind.table!r}" if kind.table else "its query"
    close = nearest(column, known)
    raise SourceError(f"kind {name}: {where} has no column {column!r}{close}")


def _is_primary_key(connection: sqlite3.Connection, table: str | None, column: str) -> bool:
    query = "SELECT name FROM pragma_table_xinfo(?) WHERE pk"
    return bool(table) and connection.execute(query, (table,)).fetchall() == [(column,)]
