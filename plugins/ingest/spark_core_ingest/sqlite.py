"""The record source over a SQLite database and a mapping."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spark_core.contracts.records import Record, RecordSource, Scalar
from spark_core.errors import NotConfigured, NotFound, SourceError, SparkError, Unavailable
from spark_core.settings import nearest

from .settings import IngestSettings, KindSettings

__all__ = ["SqliteSource", "open_source"]

#: How long to wait for a writer that has locked the database, in seconds.
BUSY_SECONDS = 5.0

#: A batch ends early when it has read this many characters: notes can be large.
BATCH_CHARACTERS = 8_000_000


@asynccontextmanager
async def open_source(settings: IngestSettings) -> AsyncIterator[RecordSource]:
    """The source that the settings describe. The database is opened anew for every reading."""
    if settings.database is None:
        raise NotConfigured(
            "nothing says which database to read",
            hint="set [plugins.ingest] database, or CRM_DB_PATH",
        )
    if not settings.kinds:
        raise NotConfigured(
            "nothing says what to read from the database",
            hint="describe a table in [plugins.ingest.kinds.<kind>]",
        )
    yield SqliteSource(settings.database, settings.kinds)


class SqliteSource:
    """Reads records. The database is opened read-only and left as it was, to the byte."""

    def __init__(self, database: Path, kinds: Mapping[str, KindSettings]) -> None:
        self._database = database
        self._kinds = kinds

    async def counts(self) -> Mapping[str, int]:
        """See :meth:`spark_core.contracts.records.RecordSource.counts`."""
        return await asyncio.to_thread(self._counts)

    def _counts(self) -> dict[str, int]:
        counts = {}
        with self._connected() as connection:
            for name, kind in self._kinds.items():
                select = _Select(connection, name, kind)
                (counts[name],) = connection.execute(select.counting).fetchone()
        return counts

    async def records(self, kind: str, *, batch: int = 500) -> AsyncIterator[Sequence[Record]]:
        """See :meth:`spark_core.contracts.records.RecordSource.records`."""
        if kind not in self._kinds:
            raise NotFound(f"there is no kind {kind!r}{nearest(kind, self._kinds)}")
        reading = self._batches(kind, batch)
        step = partial(next, reading, None)
        try:
            while (records := await asyncio.to_thread(step)) is not None:
                yield records
        finally:
            await asyncio.to_thread(reading.close)

    def _batches(self, name: str, batch: int) -> Generator[list[Record], None, None]:
        """Record batches. Where the id is the primary key, every batch is a reading of its own:
        a reader that stayed would keep a CRM that uses no WAL from writing."""
        kind = self._kinds[name]
        make = _RecordMaker(name, kind)
        last: Any = None
        while True:
            with self._connected() as connection:
                select = _Select(connection, name, kind)
                rows = connection.execute(*select.reading(last))
                while records := _take(rows, make, batch):
                    last = make.last_id
                    if select.pages:
                        break
                    yield records
            if not records:
                return
            yield records

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if not self._database.is_file():
            raise SourceError(
                f"there is no database {self._database}",
                hint="see [plugins.ingest] database, or CRM_DB_PATH",
            )
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(self._database))}?mode=ro",
                uri=True,
                timeout=BUSY_SECONDS,
                check_same_thread=False,  # one reading may go from thread to thread
            )
        except sqlite3.Error as error:
            raise _translate(error, self._database) from error
        # A CRM may hold bytes that are no UTF-8: they are read as well as they can be.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            yield connection
        except sqlite3.Error as error:
            raise _translate(error, self._database) from error
        finally:
            connection.close()


def _take(rows: sqlite3.Cursor, make: _RecordMaker, batch: int) -> list[Record]:
    """The next records, fewer where they are large."""
    records: list[Record] = []
    characters = 0
    while len(records) < batch and characters < BATCH_CHARACTERS:
        row = rows.fetchone()
        if row is None:
            break
        records.append(make(row))
        characters += len(records[-1].text)
    return records


def _translate(error: sqlite3.Error, database: Path) -> SparkError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return Unavailable(f"the database {database} is locked by another program")
    if "not a database" in text or "malformed" in text:
        return SourceError(f"{database} is not a sound SQLite database: {text}")
    return SourceError(f"the database {database} cannot be read: {text}")


class _Select:
    """The SQL that reads one kind. Making it checks the mapping against the database."""

    def __init__(self, connection: sqlite3.Connection, name: str, kind: KindSettings) -> None:
        self._name = name
        self._kind = kind
        self._from = _quoted(kind.table) if kind.table else f"({_one_select(name, kind)})"
        known = self._known_columns(connection)
        for column in kind.columns:
            if column.lower() not in (other.lower() for other in known):
                raise SourceError(
                    f"kind {name}: {kind.table or 'the query'} has no column {column!r}"
                    f"{nearest(column, known)}"
                )
        #: Whether batches can be read one by one, each from where the last one ended.
        self.pages = bool(kind.table) and _is_primary_key(connection, kind.table, kind.id)

    def _known_columns(self, connection: sqlite3.Connection) -> list[str]:
        if table := self._kind.table:
            rows = connection.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))
            if columns := [name for (name,) in rows]:
                return columns
            tables = connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            )
            close = nearest(table, [name for (name,) in tables])
            raise SourceError(f"kind {self._name}: there is no table {table!r}{close}")
        try:
            cursor = connection.execute(f"SELECT * FROM {self._from} LIMIT 0")
        except sqlite3.OperationalError as error:
            raise SourceError(f"kind {self._name}: its query does not work: {error}") from error
        return [column[0] for column in cursor.description]

    @property
    def counting(self) -> str:
        return f"SELECT count(*) FROM {self._from} WHERE {_quoted(self._kind.id)} IS NOT NULL"

    def reading(self, last: Any) -> tuple[str, tuple[Any, ...]]:
        """Every row behind the one whose id is *last*, equal ids one after the other."""
        id = _quoted(self._kind.id)
        columns = ", ".join(map(_quoted, self._kind.columns))
        behind = last is not None and self.pages
        where = f"{id} > ?" if behind else f"{id} IS NOT NULL"
        query = f"SELECT {columns} FROM {self._from} WHERE {where} ORDER BY {id}"
        return query, (last,) if behind else ()


def _quoted(name: str | None) -> str:
    return '"' + (name or "").replace('"', '""') + '"'


def _one_select(name: str, kind: KindSettings) -> str:
    query = (kind.query or "").strip().rstrip(";")
    if not query.lower().startswith(("select", "with", "values")):
        raise SourceError(f"kind {name}: its query must be a SELECT")
    return query


def _is_primary_key(connection: sqlite3.Connection, table: str | None, column: str) -> bool:
    rows = connection.execute("SELECT lower(name) FROM pragma_table_xinfo(?) WHERE pk", (table,))
    return rows.fetchall() == [(column.lower(),)]


class _RecordMaker:
    """Makes records of rows, telling those of one id apart."""

    def __init__(self, name: str, kind: KindSettings) -> None:
        place = {column: index for index, column in enumerate(kind.columns)}
        self._name = name
        self._title = place[kind.title] if kind.title else None
        self._text = [place[column] for column in kind.text]
        self._metadata = {column: place[column] for column in kind.metadata}
        self.last_id: Any = None
        self._occurrence = 0

    def __call__(self, row: Sequence[Any]) -> Record:
        self._occurrence = self._occurrence + 1 if row[0] == self.last_id else 0
        self.last_id = row[0]
        parts = (_as_text(row[index]) for index in self._text)
        return Record(
            kind=self._name,
            id=_as_text(row[0]),
            text="\n".join(part for part in parts if part),
            title="" if self._title is None else _as_text(row[self._title]),
            metadata={name: _as_scalar(row[index]) for name, index in self._metadata.items()},
            occurrence=self._occurrence,
        )


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return "" if value is None else str(value).strip()


def _as_scalar(value: Any) -> Scalar:
    return _as_text(value) if isinstance(value, bytes) else value
