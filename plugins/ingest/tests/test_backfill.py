"""A run brings the index in line with its source, at the price of what has changed."""

from __future__ import annotations

import asyncio
import sys

import pytest
from spark_core_ingest.indexing import GROUP

from spark_core.contracts.vectors import Point
from spark_core.errors import BackendError, Conflict, LeaseHeld, NotFound, Unavailable
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.records import Row
from spark_core.testing.vectors import FakeVectorStore, point_id

pytestmark = pytest.mark.anyio


def contents(points):
    """All of an index that a run decides."""
    return {point.id: (point.text, point.payload) for point in points}


async def undisturbed(desk):
    """What the index would be if it had been built at once."""
    store, desk.store = desk.store, FakeVectorStore()
    await desk.backfill()
    expected = contents(await desk.points())
    desk.store = store
    return expected


def hold(embedder):
    """Keep *embedder* from answering until its gate is opened; the event says it was asked."""
    called, embed = asyncio.Event(), embedder.embed
    embedder.gate = asyncio.Event()

    async def noted(texts, **more):
        called.set()
        return await embed(texts, **more)

    embedder.embed = noted
    return called


# ------------------------------------------------------------------------------- idempotence


async def test_a_first_run_indexes_everything(desk):
    """The report says what was read and what is there now."""
    report = await desk.backfill()
    assert report.records == {"note": 3, "mail": 2}
    assert (report.indexed, report.unchanged, report.removed) == (5, 0, 0)
    assert (report.pieces, report.points, report.empty, report.repeated_ids) == (5, 5, 0, 0)
    assert report.collection == "crm_chunks"
    hit = next(p for p in await desk.points() if p.payload["title"] == "Pump")
    assert hit.text == "bearings wear out in the north pump"
    assert hit.payload["kind"] == "note"
    assert hit.payload["record_id"] == "1"
    assert hit.payload["metadata"] == {"city": "Brno", "year": 1999}


async def test_a_second_run_embeds_nothing(desk):
    """Points and counts stay as they are."""
    await desk.backfill()
    before, embedded = await desk.points(), desk.embedder.texts_embedded
    report = await desk.backfill()
    assert (report.indexed, report.unchanged, report.pieces, report.points) == (0, 5, 0, 5)
    assert desk.embedder.texts_embedded == embedded
    assert await desk.points() == before


@pytest.mark.parametrize(
    "changed",
    [
        Row("2", "invoices are due tomorrow", "Invoice", {"city": "Graz", "year": 2001}),
        Row("2", "invoices are due within thirty days", "Bill", {"city": "Graz", "year": 2001}),
        Row("2", "invoices are due within thirty days", "Invoice", {"city": "X", "year": 2001}),
        Row("2", "invoices are due within thirty days", "Invoice", {"city": "Graz", "year": None}),
    ],
    ids=["text", "title", "metadata", "null"],
)
async def test_a_changed_record_is_embedded_alone(desk, changed):
    """Whatever of it has changed: text, title or metadata."""
    await desk.backfill()
    desk.rows["note"][1] = changed
    assert await desk.embedded() == 1
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_a_record_that_shrinks_leaves_no_pieces(desk):
    """Its surplus pieces go; when it grows again they come back."""
    for length in (5000, 300, 9000, 0, 2500):
        desk.rows["note"][0] = Row("1", "word " * (length // 5))
        await desk.backfill()
        assert contents(await desk.points()) == await undisturbed(desk)


async def test_a_deleted_record_is_removed(desk):
    """It is not found any more, and its id can be used again."""
    await desk.backfill()
    gone = desk.rows["note"].pop(0)
    report = await desk.backfill()
    assert (report.removed, report.points) == (1, 4)
    assert await desk.found("pump") == []
    desk.rows["note"].append(gone)
    assert await desk.embedded() == 1
    assert await desk.found("pump") == ["1"]


async def test_a_kind_that_is_no_longer_mapped_is_removed(desk):
    """The mapping says all that is in the index."""
    await desk.backfill()
    del desk.rows["mail"]
    assert (await desk.backfill()).removed == 2
    assert set((await desk.status()).kinds) == {"note"}
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_an_emptied_source_empties_the_index(desk):
    """And is filled again like the first time."""
    await desk.backfill()
    rows, desk.rows["note"], desk.rows["mail"] = dict(desk.rows), [], []
    report = await desk.backfill()
    assert (report.removed, report.points) == (5, 0)
    desk.rows.update(rows)
    assert (await desk.backfill()).points == 5


async def test_a_changed_mapping_changes_the_records_it_concerns(desk):
    """Other kinds are not embedded again."""
    await desk.backfill()
    desk.rows["note"] = [Row(r.id, r.text, r.title, {"city": "all"}) for r in desk.rows["note"]]
    assert await desk.embedded() == 3
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_a_changed_size_cuts_everything_anew(desk):
    """Smaller pieces, and back to larger ones, without leftovers."""
    desk.rows["note"].append(Row("long", "word " * 900))
    await desk.backfill()
    for size in (200, 2000):
        desk.set(chunk_characters=size)
        await desk.backfill()
        assert max(len(point.text) for point in await desk.points()) <= size
        assert contents(await desk.points()) == await undisturbed(desk)


async def test_a_later_piece_is_embedded_with_its_title(desk):
    """The embedder sees what a piece belongs to; what is stored is the piece alone."""
    seen = []
    embed = desk.embedder.embed

    async def noted(texts, **more):
        seen.extend(texts)
        return await embed(texts, **more)

    desk.embedder.embed = noted
    desk.rows["note"] = [Row("1", "Pump\n" + "word " * 500, "Pump")]
    desk.rows["mail"] = []
    await desk.backfill()
    assert [text.partition("\n")[0] for text in seen] == ["Pump", "Pump"]
    assert [point.text.count("Pump") for point in await desk.points()].count(0) == 1


# ------------------------------------------------------------------------------- after a stop


@pytest.mark.parametrize("recreate", [False, True])
@pytest.mark.parametrize("after", [0, 1, 3, 6])
async def test_a_failed_run_is_gone_on_with(desk, recreate, after):
    """What was stored before the embedder failed is not embedded again."""
    if recreate:
        await desk.backfill()
    desk.rows["note"] = [Row(f"{n:04}", f"text {n}") for n in range(GROUP * 8)]
    desk.set(in_flight=1)
    embed, calls = desk.embedder.embed, 0

    async def failing(texts, **more):
        nonlocal calls
        calls += 1
        if calls > after:
            raise Unavailable("the model is gone")
        return await embed(texts, **more)

    desk.embedder.embed = failing
    before = desk.embedder.texts_embedded
    with pytest.raises(Unavailable, match="the model is gone"):
        await desk.backfill(recreate)
    done = desk.embedder.texts_embedded - before
    if recreate:  # the old index serves
        assert await desk.found("pump") == ["1"]
    desk.embedder.embed = embed
    total = GROUP * 8 + 2
    assert total - done <= await desk.embedded(recreate) <= total - done + 2 * GROUP
    assert contents(await desk.points()) == await undisturbed(desk)
    if after >= 3:
        assert done


@pytest.mark.parametrize("recreate", [False, True])
async def test_a_cancelled_run_is_gone_on_with(desk, recreate):
    """Ctrl-C ends a run at once, gives up the lease and keeps what is stored."""
    if recreate:
        await desk.backfill()
    desk.rows["note"] = [Row(f"{n:04}", f"text {n}") for n in range(GROUP * 8)]
    desk.set(in_flight=1)
    embed, reached = desk.embedder.embed, asyncio.Event()
    stored = 0

    async def hanging(texts, **more):
        nonlocal stored
        if stored >= 4:
            reached.set()
            await asyncio.Event().wait()
        stored += 1
        return await embed(texts, **more)

    desk.embedder.embed = hanging
    run = asyncio.create_task(desk.backfill(recreate))
    await reached.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    desk.embedder.embed = embed
    assert (await desk.status()).running is None
    assert await desk.embedded(recreate) < GROUP * 8
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_pieces_that_a_killed_run_left_of_a_deleted_record_go(desk):
    """Stored but not written down, then deleted from the CRM: it must not be found for ever."""
    await desk.backfill()
    collection = desk.store.collection("crm_chunks")
    payload = {"kind": "note", "record_id": "7", "occurrence": 0, "piece": 0}
    vector = [1.0] * await desk.embedder.dimension()
    await collection.upsert([Point(point_id("x"), vector, "forgotten zanzibar", payload)])
    await collection.upsert([Point(point_id("y"), vector, "foreign zanzibar", {})])
    assert await desk.embedded() == 0
    assert await desk.found("zanzibar") == []
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_pieces_that_a_killed_run_left_of_a_shrunk_record_go(desk):
    """The run before wrote five pieces and died; the record has one now."""
    await desk.backfill()
    desk.rows["note"][0] = Row("1", "zanzibar " * 1000)

    async def die(*_):
        raise SystemError("killed")

    desk.ledger.put, put = die, desk.ledger.put
    with pytest.raises(SystemError):
        await desk.backfill()
    desk.ledger.put = put
    assert len(await desk.points()) > 5
    desk.rows["note"][0] = Row("1", "kettles")
    await desk.backfill()
    assert await desk.found("zanzibar") == []
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_an_index_that_others_filled_is_left_alone(desk):
    """Without books of its own nothing is taken for stray: a rebuild must be asked for."""
    await desk.backfill()
    before = await desk.points()
    await desk.ledger.clear((await desk.status()).generation)
    desk.rows["note"].pop()
    with pytest.raises(Conflict, match="filled by somebody else"):
        await desk.backfill()
    assert await desk.points() == before
    assert await desk.embedded(True) == 4
    assert contents(await desk.points()) == await undisturbed(desk)


@pytest.mark.parametrize("recreate", [False, True])
async def test_a_lost_index_is_built_anew(desk, recreate):
    """The state of an index that is gone is not taken for an index."""
    await desk.backfill()
    desk.store = FakeVectorStore()
    assert await desk.embedded(recreate) == 5
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_an_index_that_lost_points_is_noticed(desk):
    """It says so, and the run after it indexes all of it."""
    await desk.backfill()
    ids = [point.id for point in await desk.points()][:2]
    await desk.store.collection("crm_chunks").delete(ids=ids)
    with pytest.raises(BackendError, match="lost points"):
        await desk.backfill()
    assert await desk.embedded() == 5
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_a_first_run_asks_the_embedder_before_the_store(desk):
    """Where nothing was ever indexed there is nothing to compare: the store may still start."""
    called = hold(desk.embedder)
    collection = desk.store.collection

    def starting(name):
        found = collection(name)
        describe = found.describe

        async def late():
            await called.wait()
            desk.embedder.gate.set()
            return await describe()

        found.describe = late
        return found

    desk.store.collection = starting
    assert (await asyncio.wait_for(desk.backfill(), 20)).points == 5


async def test_a_new_collection_is_made_while_the_first_texts_are_embedded(desk):
    """The embedder need not wait for the store, nor for the texts to be measured."""
    called = hold(desk.embedder)
    create, created = desk.store.create, asyncio.Event()

    async def late(name, spec):
        await called.wait()
        desk.embedder.gate.set()
        created.set()
        return await create(name, spec)

    desk.store.create = late
    assert (await asyncio.wait_for(desk.backfill(), 20)).points == 5
    assert created.is_set()
    assert contents(await desk.points()) == await undisturbed(desk)


# -------------------------------------------------------------------------------- recreating


async def test_searches_are_answered_while_an_index_is_rebuilt(desk):
    """From the old index until the new one is whole."""
    await desk.backfill()
    old = (await desk.status()).generation
    desk.rows["note"][0] = Row("1", "turbines hum")
    called = hold(desk.embedder)
    run = asyncio.create_task(desk.backfill(recreate=True))
    await called.wait()
    assert await desk.found("pump") == ["1"]
    assert await desk.found("turbines") == []
    assert (await desk.status()).running == "a backfill by a test"
    desk.embedder.gate.set()
    await run
    assert await desk.found("turbines") == ["1"]
    assert (await desk.status()).generation != old
    assert [info.name for info in await desk.store.collections()] == ["crm_chunks"]
    assert await desk.ledger.counts(old) == {}


async def test_recreating_what_was_never_built_builds_it(desk):
    """There need not be an old index."""
    assert (await desk.backfill(recreate=True)).points == 5


async def test_another_embedder_needs_a_rebuild(desk):
    """Vectors of two models are never mixed: a plain run is refused and says what to do."""
    await desk.backfill()
    before = await desk.points()
    for other in (FakeEmbedder(model="another"), FakeEmbedder(32)):
        desk.embedder = other
        with pytest.raises(Conflict, match=r"built with .* \(64 numbers\)") as caught:
            await desk.backfill()
        assert "--recreate" in (caught.value.hint or "")
        assert other.texts_embedded == 0
    assert await desk.points() == before
    assert await desk.found("pump") == ["1"]
    await desk.backfill(recreate=True)
    assert (await desk.search("pump")).hits[0].record_id == "1"
    assert await desk.embedded() == 0


async def test_an_unfinished_rebuild_for_another_embedder_is_thrown_away(desk):
    """It is gone on with for the same embedder alone."""
    await desk.backfill()
    desk.rows["note"] = [Row(f"{n:04}", f"text {n}") for n in range(GROUP * 8)]
    desk.set(in_flight=1)
    embed, calls = desk.embedder.embed, 0

    async def failing(texts, **more):
        nonlocal calls
        calls += 1
        if calls > 7:
            raise Unavailable("the model is gone")
        return await embed(texts, **more)

    desk.embedder.embed = failing
    with pytest.raises(Unavailable):
        await desk.backfill(recreate=True)
    assert await desk.store.collection("crm_chunks__building").count()
    desk.embedder = FakeEmbedder(model="another")
    assert await desk.embedded(recreate=True) == GROUP * 8 + 2
    assert contents(await desk.points()) == await undisturbed(desk)


async def test_nothing_is_made_when_the_embedder_is_down(desk):
    """A first run that cannot begin leaves no empty index that looks like one."""
    desk.embedder.failure = Unavailable("the model is down")

    async def down():
        raise Unavailable("the model is down")

    desk.embedder.dimension = down
    with pytest.raises(Unavailable):
        await desk.backfill()
    with pytest.raises(NotFound):
        await desk.search("pump", mode="sparse")


# ------------------------------------------------------------------------------- one at a time


@pytest.fixture
def module(monkeypatch):
    """The module, looking at leases as often as it can."""
    module = sys.modules["spark_core_ingest.alone"]
    monkeypatch.setattr(module, "LOOK", 0.0001)
    return module


async def test_a_second_run_is_refused_while_the_first_lives(desk, spark_clock, module):
    """It says who is indexing, and touches nothing."""
    called = hold(desk.embedder)
    first = asyncio.create_task(desk.backfill(caller="cli ada"))
    await called.wait()
    held = await desk.leases.current("ingest:crm_chunks")
    current, looks = desk.leases.current, 0

    async def renewed(name):  # its holder renews it while the second run looks
        nonlocal looks
        looks += 1
        if looks == 3:
            spark_clock.advance(1)
            await desk.leases.renew(held, module.LEASE)
        return await current(name)

    desk.leases.current = renewed
    with pytest.raises(LeaseHeld, match="a backfill by cli ada"):
        await desk.backfill(caller="cli grace")
    assert looks == 3
    assert await desk.points() == []
    desk.embedder.gate.set()
    assert (await first).points == 5


async def test_a_run_that_was_killed_is_waited_for(desk, spark_clock, module):
    """Its lease is not renewed; when it has run out the next run begins, and says so before."""
    await desk.leases.acquire("ingest:crm_chunks", module.LEASE, holder="a backfill by cli ada")
    current = desk.leases.current

    async def later(name):
        spark_clock.advance(1)
        return await current(name)

    desk.leases.current = later
    assert (await desk.backfill()).points == 5
    assert desk.progress.told[0][0].startswith("waiting for a backfill by cli ada")


async def test_a_lease_that_nobody_renews_is_taken_whatever_the_clock_says(
    desk, module, monkeypatch
):
    """As where a clock was set back since, so that it would last for days."""
    await desk.leases.acquire("ingest:crm_chunks", 1e6, holder="a backfill by cli ada")
    monkeypatch.setattr(module, "LEASE", 1.0)
    monkeypatch.setattr(module, "LOOK", 0.25)
    assert (await desk.backfill()).points == 5


async def test_progress_counts_every_record(desk):
    """It ends where all is done, and never goes back within a phase."""
    await desk.backfill()
    for phase in ("measuring", "indexing"):
        told = [(done, total) for name, done, total in desk.progress.told if name == phase]
        assert told == sorted(told)
        assert told[-1] == (5, 5)
