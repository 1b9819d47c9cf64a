"""A sync costs what has changed, can be stopped anywhere, and tells how fresh the index is."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest
from spark_core_ingest.indexing import BATCH, GROUP

from spark_core.errors import Conflict, InvalidRequest, LeaseHeld, TimedOut, Unavailable
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.records import Row
from spark_core.testing.vectors import FakeCollection

pytestmark = pytest.mark.anyio

NOTE = {"table": "notes", "id": "id", "text": "body", "updated": "changed_at"}


@pytest.fixture
def crm(desk, database):
    """Three notes with the time of their last change."""
    database.run("CREATE TABLE notes (id INTEGER PRIMARY KEY, body, changed_at)")
    rows = [("pumps leak", "2026-01-01"), ("invoices are due", "2026-01-02"), ("storm", None)]
    database.fill("INSERT INTO notes (body, changed_at) VALUES (?, ?)", rows)
    desk.source = database.source(note=NOTE)
    return database


def when_asked(embedder):
    """What is set when *embedder* is first asked for vectors."""
    asked, embed = asyncio.Event(), embedder.embed

    async def noted(texts, **more):
        asked.set()
        return await embed(texts, **more)

    embedder.embed = noted
    return asked


# ----------------------------------------------------------------------------- what it costs


async def test_nothing_changed_is_no_call(desk):
    """Not even one with no texts."""
    await desk.sync()
    calls = desk.embedder.calls
    report = await desk.sync()
    assert (report.indexed, report.unchanged, report.removed) == (0, 5, 0)
    assert desk.embedder.calls == calls


@pytest.mark.parametrize(
    ("change", "embedded", "removed"),
    [
        ("UPDATE notes SET changed_at = '2027-01-01'", 0, 0),
        ("UPDATE notes SET body = 'dry' WHERE id = 1", 1, 0),
        ("UPDATE notes SET body = 'dry', changed_at = '2020-01-01' WHERE id = 2", 1, 0),
        ("INSERT INTO notes (body) VALUES ('new')", 1, 0),
        ("DELETE FROM notes WHERE id = 2", 0, 1),
    ],
    ids=["touched", "not told", "told with an older time", "new", "gone"],
)
async def test_the_content_decides(desk, crm, change, embedded, removed):
    """Whatever the column says that tells of the last change."""
    await desk.sync()
    before = desk.embedder.texts_embedded
    crm.run(change)
    report = await desk.sync()
    assert (report.indexed, report.removed) == (embedded, removed)
    assert desk.embedder.texts_embedded - before == embedded


async def test_it_leaves_a_rebuild_that_was_begun(desk):
    """A killed rebuild can be gone on with, though a sync came between."""
    await desk.sync()
    desk.rows["note"] += [Row(f"n{n}", f"text {n}") for n in range(GROUP * 20)]
    desk.embedder.failure, embed = None, desk.embedder.embed

    async def fails_late(texts, **more):
        if desk.embedder.texts_embedded >= GROUP * 15:  # the first are written by then
            raise Unavailable("the model is down")
        return await embed(texts, **more)

    desk.embedder.texts_embedded, desk.embedder.embed = 0, fails_late
    with pytest.raises(Unavailable):
        await desk.backfill(recreate=True)
    desk.embedder.embed = embed
    await desk.sync()
    names = [info.name for info in await desk.store.collections()]
    assert names == ["crm_chunks", "crm_chunks__building"]


async def test_texts_that_have_become_longer_are_told_not_rebuilt(desk):
    """A sync never drops what is there."""
    await desk.sync()
    generation = (await desk.status()).generation
    desk.rows["note"] = [Row(str(n), "many more words than there were " * 5) for n in range(9)]
    report = await desk.sync()
    assert not report.rebuilt
    assert any("--recreate" in warning for warning in report.warnings)
    assert (await desk.status()).generation == generation


# ------------------------------------------------------------------------------- stopped


async def test_its_time_is_limited(desk):
    """It says what was done, and the next run does the rest alone."""
    desk.rows["note"] = [Row(str(n), f"text {n}") for n in range(GROUP * 6)]
    desk.set(in_flight=1)
    embed = desk.embedder.embed

    async def stalls(texts, **more):
        if desk.embedder.texts_embedded >= GROUP * 3:
            await asyncio.Event().wait()
        return await embed(texts, **more)

    desk.embedder.embed = stalls
    with pytest.raises(TimedOut, match=r"a sync by a test was stopped after 0.03 .* embedded"):
        await desk.sync(0.03)
    first = desk.embedder.texts_embedded
    assert (await desk.status()).last_failure.code == "timed-out"
    desk.embedder.embed = embed
    await desk.sync()
    assert desk.embedder.texts_embedded == GROUP * 6 + 2
    assert 0 < first < GROUP * 6


async def test_a_second_run_is_told_whose_the_first_is(desk, monkeypatch):
    """Any two runs, here a sync beside a backfill."""
    monkeypatch.setattr("spark_core_ingest.alone.LOOK", 0.0001)
    asked, desk.embedder.gate = when_asked(desk.embedder), asyncio.Event()
    first = asyncio.create_task(desk.backfill(caller="cli ada"))
    await asked.wait()
    held = await desk.leases.current("ingest:crm_chunks")
    current = desk.leases.current

    async def renewed(name):
        desk.clock.advance(1)
        await desk.leases.renew(held, 10)
        return await current(name)

    desk.leases.current = renewed
    with pytest.raises(LeaseHeld, match="a backfill by cli ada"):
        await desk.sync()
    desk.embedder.gate.set()
    await first


async def test_a_store_that_goes_away_is_gone_on_with(desk, monkeypatch):
    """What it had taken is not embedded again."""
    desk.rows["note"] = [Row(str(n), f"text {n}") for n in range(GROUP * 6)]
    desk.set(in_flight=1)
    upsert, taken = FakeCollection.upsert, 0

    async def goes_away(self, points):
        nonlocal taken
        taken += 1
        if taken > 3:
            raise Unavailable("Qdrant cannot be reached")
        await upsert(self, points)

    monkeypatch.setattr(FakeCollection, "upsert", goes_away)
    with pytest.raises(Unavailable, match="Qdrant"):
        await desk.sync()
    monkeypatch.setattr(FakeCollection, "upsert", upsert)
    before = desk.embedder.texts_embedded
    report = await desk.sync()
    assert report.unchanged == GROUP * 3
    assert desk.embedder.texts_embedded - before == GROUP * 3 + 2
    assert report.points == GROUP * 6 + 2


async def test_a_row_that_is_deleted_during_a_run_is_gone_after_the_next(desk, database):
    """It may have been read or not; no run stumbles over it."""
    database.run("CREATE TABLE notes (id INTEGER PRIMARY KEY, body, changed_at)")
    bodies = [(f"note {n}",) for n in range(BATCH * 3)]
    database.fill("INSERT INTO notes (body) VALUES (?)", bodies)
    desk.source = database.source(note=NOTE)
    asked, desk.embedder.gate = when_asked(desk.embedder), asyncio.Event()
    run = asyncio.create_task(desk.sync())
    await asked.wait()
    database.run(f"DELETE FROM notes WHERE id IN (1, 2, {BATCH * 3})")
    desk.embedder.gate.set()
    await run
    report = await desk.sync()
    assert report.points == BATCH * 3 - 3
    assert (await desk.status()).agrees


# ----------------------------------------------------------------- refused before it is written


async def test_another_dimension_is_refused_before_anything_is_written(desk):
    """Of a model of the same name, which only its own word tells."""
    await desk.sync()
    before = await desk.points()
    desk.rows["note"].append(Row("new", "new"))
    desk.embedder = FakeEmbedder(8)
    with pytest.raises(Conflict, match=r"64 numbers.*\(8\)"):
        await desk.sync()
    assert desk.embedder.calls == 0
    assert await desk.points() == before


async def test_vectors_of_another_dimension_than_told_are_refused(desk):
    """No vector of such an answer is stored."""
    await desk.sync()
    before = await desk.points()
    desk.rows["note"] += [Row("new", "new"), Row("newer", "newer")]
    desk.embedder._vector = lambda text: [1.0] * (64 if text == "new" else 8)
    with pytest.raises(InvalidRequest):
        await desk.sync()
    assert await desk.points() == before


# ------------------------------------------------------------------------------- how fresh


async def test_the_status_tells_how_far_behind_the_index_is(desk):
    """Not at all while the source stays as it is, else since the last whole run began."""
    assert (await desk.status()).behind_minutes is None
    await desk.sync()
    began = desk.clock.now()
    desk.clock.advance(600)
    status = await desk.status()
    assert (status.as_of, status.behind_minutes, status.agrees) == (began, 0, True)
    desk.rows["mail"].append(Row("9", "new"))
    status = await desk.status()
    assert (status.as_of, status.behind_minutes, status.agrees) == (began, 10, False)
    assert {k: v.agrees for k, v in status.kinds.items()} == {"note": True, "mail": False}
    assert (await desk.search("pump")).behind_minutes == 10


async def test_a_clock_that_jumps_back_makes_nothing_negative(desk):
    """Neither during a run nor after it; the newest run counts, whatever its time."""
    await desk.sync()
    embed = desk.embedder.embed

    async def jumps(texts, **more):
        desk.clock.advance(-3600)
        return await embed(texts, **more)

    desk.rows["note"].append(Row("new", "new"))
    desk.embedder.embed = jumps
    assert (await desk.sync()).indexed == 1
    desk.rows["note"].append(Row("newer", "newer"))
    assert (await desk.status()).behind_minutes == 0
    assert (await desk.sync()).indexed == 1
    assert (await desk.status()).as_of < desk.clock.now().replace(year=2031)


async def test_failures_are_counted_and_told(desk):
    """Until a run goes through; the last one stays to be read."""
    await desk.sync()
    desk.source.failure = Unavailable("the database is locked")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await desk.sync()
    desk.source.failure = None
    status = await desk.status()
    assert (status.failures, status.last_failure.code) == (2, "unavailable")
    assert status.last_failure.run == "a sync by a test"
    assert status.last_failure.problem == "the database is locked"
    await desk.sync()
    status = await desk.status()
    assert (status.failures, status.last_failure.code) == (0, "unavailable")


async def test_what_a_database_holds_has_a_version(crm, desk):
    """Another one after each commit, also one that lies in the log."""
    versions = [await desk.source.version()]
    with closing(sqlite3.connect(crm.path)) as connection:
        for script in ("PRAGMA journal_mode = WAL", "DELETE FROM notes WHERE id = 1", "VACUUM"):
            connection.execute(script)
            connection.commit()
            versions.append(await desk.source.version())
    assert len(set(versions)) == 4
