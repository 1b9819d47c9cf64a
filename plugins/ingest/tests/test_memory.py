"""Memory does not grow with the table."""

from __future__ import annotations

import tracemalloc

import pytest

from spark_core.contracts.vectors import Point
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.vectors import FakeCollection, FakeVectorStore

pytestmark = pytest.mark.anyio

KIND = {"id": "id", "text": "text", "title": "title", "metadata": ["city"]}


class Sink(FakeVectorStore):
    """Forgets its points, and remembers how many there are."""

    stored = 0

    def collection(self, name):
        return SinkCollection(self, name)


class SinkCollection(FakeCollection):
    def __init__(self, sink, name):
        super().__init__(sink._collections, name)
        self.sink = sink

    async def upsert(self, points: list[Point]) -> None:
        self.sink.stored += len(points)

    async def count(self, filter=None):
        return 0 if filter else self.sink.stored  # none is an annotation


async def peak(desk, database, rows, kind):
    """The most memory that a backfill of *rows* records takes, in bytes."""
    database.path.unlink(missing_ok=True)
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text, title, city)")
    many = ((f"{n} " + "word " * 150, f"title {n}", "Brno") for n in range(rows))
    database.fill("INSERT INTO t (text, title, city) VALUES (?, ?, ?)", many)
    desk.source = database.source(note=kind)
    desk.store, desk.embedder = Sink(), FakeEmbedder(8)
    desk.progress.told.clear()
    desk.progress.update = lambda *_, **__: None
    desk.embedder._vector = lambda text: [1.0] * 8
    tracemalloc.start()
    try:
        report = await desk.backfill()
        assert report.pieces == desk.store.stored == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("source", [{"table": "t"}, {"query": "SELECT * FROM t"}], ids=str)
async def test_ten_times_the_records_take_no_more_memory(desk, database, source):
    """Read through the key or through a query: what is kept is what is under way."""
    few = await peak(desk, database, 4_000, {**source, **KIND})
    many = await peak(desk, database, 40_000, {**source, **KIND})
    assert many < few * 1.5  # how much is under way varies; the texts alone are 30 MB


async def test_large_records_are_read_a_few_at_a_time(desk, database, monkeypatch):
    """Notes of a megabyte do not all lie in memory together."""
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
    database.fill("INSERT INTO t (text) VALUES (?)", (("word " * 200_000,) for _ in range(60)))
    source = database.source(note={"table": "t", "id": "id", "text": "text"})
    tracemalloc.start()
    try:
        async for records in source.records("note"):
            assert len(records) <= 9
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
