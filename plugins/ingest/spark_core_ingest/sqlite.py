"""The record source over a SQLite database and a mapping."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

from spark_core.contracts.records import Record, RecordSource, Scalar
from spark_core.errors import NotConfigured, NotFound
from spark_core.settings import nearest

from .database import LATIN_1, Database
from .settings import IngestSettings, KindSettings
from .statements import Statements

__all__ = ["SqliteSource", "open_source"]

#: A batch ends early when it has read this many characters: notes can be large.
BATCH_CHARACTERS = 8_000_000

#: A title and a value of metadata are cut at so many characters: every piece carries them.
CARRIED_CHARACTERS = 1000


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
    """Reads records. The database and its folder are left as they were: see :mod:`.database`."""

    def __init__(self, database: Path, kinds: Mapping[str, KindSettings]) -> None:
        self._database = Database(database)
        self._kinds = kinds

    async def counts(self) -> Mapping[str, int]:
        """See :meth:`spark_core.contracts.records.RecordSource.counts`."""
        return {kind: named for kind, (named, _) in (await self._counted()).items()}

    async def without_id(self) -> Mapping[str, int]:
        """See :meth:`spark_core.contracts.records.RecordSource.without_id`."""
        return {kind: rows - named for kind, (named, rows) in (await self._counted()).items()}

    async def version(self) -> str | None:
        """See :meth:`spark_core.contracts.records.RecordSource.version`."""
        return await asyncio.to_thread(self._database.version)

    async def _counted(self) -> dict[str, tuple[int, int]]:
        return await asyncio.to_thread(self._count)

    def _count(self) -> dict[str, tuple[int, int]]:
        with self._database.reading(self._count_each) as (_, counts):
            return counts

    def _count_each(self, connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
        """Of each kind the rows that have an id, and all of them."""
        counts = {}
        for name, kind in self._kinds.items():
            statements = Statements(connection, name, kind)
            counts[name] = connection.execute(statements.counting).fetchone()
        return counts

    async def find(self, kind: str, id: str) -> Sequence[Record]:
        """See :meth:`spark_core.contracts.records.RecordSource.find`."""
        mapping = self._mapping(kind)
        return await asyncio.to_thread(self._find, kind, mapping, id)

    def _find(self, name: str, kind: KindSettings, id: str) -> list[Record]:
        def take(connection: sqlite3.Connection) -> list[Record]:
            rows = connection.execute(*Statements(connection, name, kind).named(id))
            return [record for record in map(_RecordMaker(name, kind), rows) if record.id == id]

        with self._database.reading(take) as (_, records):
            return records

    def _mapping(self, kind: str) -> KindSettings:
        if kind not in self._kinds:
            raise NotFound(f"there is no kind {kind!r}{nearest(kind, self._kinds)}")
        return self._kinds[kind]

    async def records(
        self, kind: str, *, batch: int = 500
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See :meth:`spark_core.contracts.records.RecordSource.records`."""
        self._mapping(kind)
        given_up = threading.Event()
        reading = self._batches(kind, batch, given_up)
        stepping = threading.Lock()  # a step whose caller was cancelled goes on for a while

        def step() -> list[Record] | None:
            with stepping:
                return next(reading, None)

        def close() -> None:
            with stepping:
                reading.close()

        try:
            while (records := await asyncio.to_thread(step)) is not None:
                yield records
        finally:
            given_up.set()
            await asyncio.to_thread(close)

    def _batches(
        self, name: str, batch: int, given_up: threading.Event
    ) -> Generator[list[Record], None, None]:
        """Batches of records, without keeping the database locked between them.

        A reader that stayed would keep a CRM without WAL from writing. So where the id is the
        primary key, every batch is a reading of its own; else the rows are put aside first.
        """
        kind = self._kinds[name]
        make = _RecordMaker(name, kind)

        def begin(connection: sqlite3.Connection) -> Statements:
            statements = Statements(connection, name, kind)
            if not statements.pages:
                connection.execute(f"CREATE TEMP TABLE spark_core AS {statements.everything}")
            return statements

        def take(connection: sqlite3.Connection) -> tuple[list[Record], _RecordMaker]:
            going_on = copy(make)  # what is read in vain leaves no trace
            rows = connection.execute(*statements.page(make.place))
            return _take(rows, going_on, batch), going_on

        with self._database.reading(begin, given_up) as (connection, statements):
            if not statements.pages:
                rows = connection.execute("SELECT * FROM temp.spark_core ORDER BY rowid")
                while records := _take(rows, make, batch):
                    yield records
                return
        while True:
            with self._database.reading(take, given_up) as (_, (records, make)):
                pass  # it is closed before anybody works on the records
            if not records:
                return
            yield records


def _take(rows: sqlite3.Cursor, make: _RecordMaker, batch: int) -> list[Record]:
    """The next records, fewer where they are large."""
    records: list[Record] = []
    characters = 0
    for record in map(make, islice(rows, batch)):
        records.append(record)
        characters += len(record.text)
        if characters >= BATCH_CHARACTERS:
            break
    return records


# ---------------------------------------------------------------------------- rows to records


class _RecordMaker:
    """Makes records of rows, telling those of one id apart."""

    def __init__(self, name: str, kind: KindSettings) -> None:
        column = {column: index for index, column in enumerate(kind.columns, start=2)}
        self._name = name
        self._title = column[kind.title] if kind.title else None
        self._text = [column[name] for name in kind.text]
        self._metadata = [(name, column[name]) for name in kind.metadata]
        self._id: str | None = None
        self._occurrence = 0
        #: Where the last row stands among the others.
        self.place: Any = None

    def __call__(self, row: Sequence[Any]) -> Record:
        id, self.place = row[0], row[1]
        self._occurrence = self._occurrence + 1 if id == self._id else 0
        self._id = id
        parts = [part for index in self._text if (part := _as_text(row[index]).strip())]
        title = "" if self._title is None else _as_text(row[self._title]).strip()
        return Record(
            self._name,
            id,
            "\n".join(parts),
            title[:CARRIED_CHARACTERS],
            {name: _as_scalar(row[index]) for name, index in self._metadata},
            self._occurrence,
        )


def _as_text(value: Any) -> str:
    if type(value) is str:  # most are, and there are millions
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", LATIN_1)
    return "" if value is None else str(value)


def _as_scalar(value: Any) -> Scalar:
    if isinstance(value, bytes | str):
        return _as_text(value).strip()[:CARRIED_CHARACTERS]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity
    return value  # type: ignore[no-any-return]
