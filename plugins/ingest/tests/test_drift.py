"""BM25's average length holds for a whole build: where texts have changed too much, it is told."""

from __future__ import annotations

import pytest
from spark_core_ingest import drift

from spark_core.testing.records import Row
from spark_core.testing.vectors import FakeVectorStore

pytestmark = pytest.mark.anyio

STRONG = Row("strong", "pump " * 8 + "word " * 32)
WEAK = [Row(f"{n:03}", "pump " + "word " * 39) for n in range(20)]
LONG = [Row(f"long {n:03}", "word " * 40) for n in range(180)]


@pytest.fixture
async def grown(desk):
    """An index of one short text, whose source has two hundred long ones by now."""
    desk.rows.update(note=[Row("0", "pump")], mail=[])
    await desk.backfill()
    desk.rows["note"] = [STRONG, *WEAK, *LONG]
    return desk


async def true_average(desk):
    texts = [point.text for point in await desk.points()]
    return sum(desk.store.lengths(texts)) / len(texts)


async def test_a_small_index_is_rebuilt_by_itself(grown):
    """Beside the old one; a plain backfill gives what an index built at once would."""
    former = (await grown.status()).generation
    report = await grown.backfill()
    assert (report.rebuilt, report.warnings) == (True, [])
    assert (report.indexed, report.removed, report.points) == (201, 1, 201)
    status = await grown.status()
    assert status.generation != former
    assert status.average_length == pytest.approx(await true_average(grown), abs=0.01)
    scores = [hit.score for hit in (await grown.search("pump", mode="sparse")).hits]
    grown.store = FakeVectorStore()
    await grown.backfill()
    assert [h.score for h in (await grown.search("pump", mode="sparse")).hits] == scores
    assert [hit.name for hit in await grown.store.collections()] == ["crm_chunks"]


async def test_a_large_index_says_that_it_should_be_rebuilt(grown, monkeypatch):
    """In the report and in the status, until somebody does."""
    monkeypatch.setattr(drift, "SMALL", 100)
    report = await grown.backfill()
    assert not report.rebuilt
    (warning,) = report.warnings
    assert "1.0 to 40.0" in warning
    assert "spark ingest backfill --recreate" in warning
    assert (await grown.status()).warnings == [warning]
    assert (await grown.backfill()).warnings == [warning]
    assert (await grown.backfill(recreate=True)).warnings == []
    assert (await grown.status()).warnings == []


async def test_texts_that_became_shorter_are_told_too(grown, monkeypatch):
    """The factor counts either way."""
    await grown.backfill()
    monkeypatch.setattr(drift, "SMALL", 0)
    grown.rows["note"] = [Row(row.id, "pump") for row in grown.rows["note"]]
    assert len((await grown.backfill()).warnings) == 1


async def test_a_moderate_change_is_borne(grown):
    """Nothing is embedded twice for it."""
    await grown.backfill()
    grown.rows["note"] = [Row(row.id, row.text + " word" * 15) for row in grown.rows["note"]]
    assert await grown.embedded() == 201
    assert (await grown.status()).warnings == []


async def test_a_rebuild_counts_what_it_embedded(grown):
    """As pieces: it is what a run costs."""
    before = grown.embedder.texts_embedded
    report = await grown.backfill()
    assert report.pieces == grown.embedder.texts_embedded - before == 402


async def test_texts_of_unknown_length_are_no_drift(grown, state, monkeypatch):
    """Those that were indexed before lengths were written down."""
    monkeypatch.setattr(drift, "SMALL", 0)
    await grown.backfill()
    await state.write(lambda c: c.exec_driver_sql("UPDATE ingest_records SET tokens = NULL"))
    assert (await grown.status()).warnings == []
