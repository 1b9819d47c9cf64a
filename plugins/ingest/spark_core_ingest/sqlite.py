"""The record source over a SQLite database and a mapping."""

from __future__ import annotations

import asyncio
import codecs
import math
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spark_core.contracts.records import Record, RecordSource, Scalar
from spark_core.errors import (
    NotConfigured,
    NotFound,
    SourceError,
    SparkError,
    StorageFull,
    Unavailable,
)
from spark_core.settings import nearest

from .settings import IngestSettings, KindSettings
from .statements import Statements

__all__ = ["SqliteSource", "open_source"]

#: How long to wait for a writer that has locked the database, in seconds.
BUSY_SECONDS = 5.0

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
    """Reads records. The database is opened read-only and left as it was, to the byte.

    Of a database in WAL mode that nobody else has open, SQLite leaves an empty ``-wal`` and a
    ``-shm`` behind; the next program that writes to it takes them away.
    """

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
                statements = Statements(connection, name, kind)
                (counts[name],) = connection.execute(statements.counting).fetchone()
        return counts

    async def records(
        self, kind: str, *, batch: int = 500
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See :meth:`spark_core.contracts.records.RecordSource.records`."""
        if kind not in self._kinds:
            raise NotFound(f"there is no kind {kind!r}{nearest(kind, self._kinds)}")
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
        with self._connected(given_up) as connection:
            statements = Statements(connection, name, kind)
            if not statements.pages:
                connection.execute(f"CREATE TEMP TABLE spark_core AS {statements.everything}")
                rows = connection.execute("SELECT * FROM temp.spark_core ORDER BY rowid")
                while records := _take(rows, make, batch):
                    yield records
                return
        while True:
            with self._connected(given_up) as connection:
                records = _take(connection.execute(*statements.page(make.place)), make, batch)
            if not records:
                return
            yield records

    @contextmanager
    def _connected(self, given_up: threading.Event | None = None) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connect()
        except (sqlite3.Error, OSError) as error:
            raise _translate(error, self._database) from error
        # A CRM may hold bytes that are no UTF-8: they are read as well as they can be.
        connection.text_factory = partial(str, encoding="utf-8", errors=_LATIN_1)
        if given_up:
            connection.set_progress_handler(given_up.is_set, 100_000)
        try:
            yield connection
        except sqlite3.Error as error:
            raise _translate(error, self._database) from error
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        if not self._database.is_file():
            raise SourceError(
                f"there is no database {self._database}",
                hint="see [plugins.ingest] database, or CRM_DB_PATH",
            )
        return sqlite3.connect(
            f"file:{quote(str(self._database))}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,  # one reading may go from thread to thread
        )


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


def _translate(error: sqlite3.Error | OSError, database: Path) -> SparkError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return Unavailable(f"the database {database} is locked by another program")
    if "disk is full" in text:
        return StorageFull(f"there is no room for temporary files while reading {database}")
    if "not a database" in text or "malformed" in text:
        return SourceError(f"{database} is not a sound SQLite database: {text}")
    return SourceError(f"the database {database} cannot be read: {text}")


# ---------------------------------------------------------------------------- rows to records


class _RecordMaker:
    """Makes records of rows, telling those of one id apart."""

    def __init__(self, name: str, kind: KindSettings) -> None:
        column = {column: index for index, column in enumerate(kind.columns, start=2)}
        self._name = name
        self._title = column[kind.title] if kind.title else None
        self._text = [column[name] for name in kind.text]
        self._metadata = {name: column[name] for name in kind.metadata}
        self._id: str | None = None
        self._occurrence = 0
        #: Where the last row stands among the others.
        self.place: Any = None

    def __call__(self, row: Sequence[Any]) -> Record:
        id, self.place, *_ = row
        self._occurrence = self._occurrence + 1 if id == self._id else 0
        self._id = id
        parts = (_as_text(row[index]).strip() for index in self._text)
        title = "" if self._title is None else _as_text(row[self._title]).strip()
        return Record(
            kind=self._name,
            id=id,
            text="\n".join(part for part in parts if part),
            title=title[:CARRIED_CHARACTERS],
            metadata={name: _as_scalar(row[index]) for name, index in self._metadata.items()},
            occurrence=self._occurrence,
        )


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", _LATIN_1)
    return "" if value is None else str(value)


def _as_scalar(value: Any) -> Scalar:
    if isinstance(value, bytes | str):
        return _as_text(value).strip()[:CARRIED_CHARACTERS]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity
    return value  # type: ignore[no-any-return]


#: Reads a byte that is no UTF-8 as what it most likely was; others stay as they are.
_LATIN_1 = "spark_core_ingest.latin_1"


def _read_as_latin_1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_LATIN_1, _read_as_latin_1)
