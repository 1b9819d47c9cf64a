from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from spark_core_ingest.annotations.points import AnnotationIndex
from spark_core_ingest.backfill import BackfillRequest, SyncRequest
from spark_core_ingest.backfill import backfill as backfill_operation
from spark_core_ingest.backfill import sync as sync_operation
from spark_core_ingest.index import Index, IndexReport
from spark_core_ingest.labels import Entities
from spark_core_ingest.ledger import Ledger
from spark_core_ingest.runs import Runs
from spark_core_ingest.search import SearchRequest, SearchResponse
from spark_core_ingest.search import search as search_operation
from spark_core_ingest.settings import IngestSettings
from spark_core_ingest.sqlite import SqliteSource
from spark_core_ingest.status import IngestStatus
from spark_core_ingest.status import status as status_operation
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.store import QdrantStore

from spark_core import Caller, StateSchema
from spark_core.contracts.records import Record, RecordSource
from spark_core.contracts.reranking import Reranker
from spark_core.contracts.vectors import Hit, VectorStore
from spark_core.state import Leases, State
from spark_core.testing.clock import ManualClock
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.records import FakeRecordSource, Row, read
from spark_core.testing.vectors import FakeVectorStore


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Database:
    """A SQLite database in a test, and the source over a mapping of it."""

    path: Path

    def run(self, script: str) -> Database:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executescript(script)
        return self

    def fill(self, insert: str, rows: Sequence[Sequence[Any]]) -> Database:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(insert, rows)
        return self

    def source(self, **kinds: Mapping[str, Any]) -> SqliteSource:
        settings = IngestSettings.model_validate({"database": self.path, "kinds": kinds})
        return SqliteSource(self.path, settings.kinds)

    async def read(self, kind: Mapping[str, Any], batch: int = 500) -> list[Record]:
        """The records of one kind, by its mapping."""
        batches = await read(self.source(thing=kind), "thing", batch)
        return [record for records in batches for record in records]

    async def ids(self, kind: Mapping[str, Any], batch: int = 500) -> list[str]:
        return [record.id for record in await self.read(kind, batch)]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "crm.db")


class ProgressLog:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int | None]] = []

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        self.told.append((phase, done, total))


@dataclass
class Desk:
    """Everything a backfill needs, in one hand: fakes, and a real ledger and leases."""

    ledger: Ledger
    leases: Leases
    runs: Runs
    source: RecordSource
    settings: IngestSettings
    clock: ManualClock
    store: VectorStore = field(default_factory=FakeVectorStore)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    progress: ProgressLog = field(default_factory=ProgressLog)
    reranker: Reranker | None = None
    entities: Entities | None = None
    annotations: AnnotationIndex | None = None

    @property
    def rows(self) -> dict[str, list[Row]]:
        assert isinstance(self.source, FakeRecordSource)
        return self.source.rows

    def set(self, **settings: Any) -> None:
        self.settings = IngestSettings.model_validate({**self.settings.model_dump(), **settings})

    @property
    def index(self) -> Index:
        return Index(
            self.settings,
            self.source,
            self.embedder,
            self.store,
            self.ledger,
            self.leases,
            self.runs,
            self.clock,
            self.annotations,
        )

    async def backfill(self, recreate: bool = False, caller: str = "a test") -> IndexReport:
        request = BackfillRequest(recreate=recreate)
        return await backfill_operation(request, self.index, self.progress, Caller(caller))

    async def sync(self, minutes: float = 30.0) -> IndexReport:
        request = SyncRequest(timeout=minutes)
        return await sync_operation(request, self.index, self.progress, Caller("a test"))

    async def embedded(self, recreate: bool = False) -> int:
        """How many texts a backfill embeds."""
        before = self.embedder.texts_embedded
        await self.backfill(recreate)
        return self.embedder.texts_embedded - before

    async def status(self) -> IngestStatus:
        return await status_operation(
            self.settings, self.source, self.store, self.ledger, self.leases, self.runs
        )

    async def search(self, query: str, **more: Any) -> SearchResponse:
        request = SearchRequest.model_validate({"query": query, **more})
        return await search_operation(
            request,
            self.settings,
            self.store,
            self.embedder,
            self.reranker,
            self.entities,
            self.source,
            self.runs,
        )

    async def found(self, query: str, **more: Any) -> list[str]:
        """The ids of the records that are found by words, best first."""
        hits = (await self.search(query, **{"mode": "sparse", **more})).hits
        return [hit.record_id for hit in hits]

    async def points(self, name: str = "crm_chunks") -> list[Hit]:
        """All that is in the index, by id."""
        points: list[Hit] = []
        collection = self.store.collection(name)
        while page := await collection.scroll(after=points[-1].id if points else None, limit=500):
            points += page
        return points


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    schemas = [StateSchema("ingest", "spark_core_ingest.migrations")]
    async with State.open(tmp_path / "state.db", schemas) as state:
        yield state


@pytest.fixture
async def desk(state: State, spark_clock: ManualClock) -> Desk:
    """A desk over three notes and two mails in memory."""
    notes = [
        Row("1", "bearings wear out in the north pump", "Pump", {"city": "Brno", "year": 1999}),
        Row("2", "invoices are due within thirty days", "Invoice", {"city": "Graz", "year": 2001}),
        Row("3", "the harbour is closed in a storm", "Harbour", {"city": "Linz", "year": 2001}),
    ]
    mails = [Row("1", "Ada asks about the gearbox"), Row("2", "Grace answers about bearings")]
    kind = {"table": "unused", "id": "id", "text": "text", "metadata": ["city", "year"]}
    return Desk(
        ledger=Ledger(state),
        leases=Leases(state, spark_clock),
        runs=Runs(state, spark_clock),
        source=FakeRecordSource({"note": notes, "mail": mails}),
        settings=IngestSettings.model_validate({"kinds": {"note": kind, "mail": kind}}),
        clock=spark_clock,
    )


@pytest.fixture
async def embedded_store(tmp_path: Path) -> AsyncIterator[VectorStore]:
    """The real engine, in its owner process."""
    async with open_embedded(tmp_path / "index", idle=2.0) as engine:
        yield QdrantStore(engine)


@pytest.fixture
def fingerprint() -> Callable[[Path], str]:
    """A file's SHA-256."""
    return lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
