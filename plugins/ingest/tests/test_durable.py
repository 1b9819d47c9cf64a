"""The ledger says that something is indexed only after it is durable (decision 0006)."""

from __future__ import annotations

import pytest
from spark_core_ingest import indexing

from spark_core.contracts.vectors import Point
from spark_core.errors import Unavailable
from spark_core.testing.records import Row
from spark_core.testing.vectors import FakeVectorStore, point_id

pytestmark = pytest.mark.anyio


class Forgetful(FakeVectorStore):
    """Knows what a loss of power would take from it now: the changes since the last flush."""

    def __init__(self):
        super().__init__()
        self.changed: set[str] = set()

    def collection(self, name):
        found = super().collection(name)
        upsert, delete, flush = found.upsert, found.delete, found.flush

        async def storing(points):
            await upsert(points)
            self.changed |= {point.id for point in points}

        async def deleting(*, ids=(), filter=None):
            await delete(ids=ids, filter=filter)
            self.changed |= set(ids)

        async def flushing():
            await flush()
            self.changed.clear()

        found.upsert, found.delete, found.flush = storing, deleting, flushing
        return found


@pytest.fixture
def books(desk, monkeypatch):
    """How often the ledger was written to; each time, nothing may wait for a flush."""
    desk.store = Forgetful()
    monkeypatch.setattr(indexing, "CHECKPOINT", 100)
    written = {"put": 0, "remove": 0}

    def watch(name):
        method = getattr(desk.ledger, name)

        async def watched(*arguments):
            assert not desk.store.changed, f"{name} before what it tells of is durable"
            written[name] += 1
            await method(*arguments)

        monkeypatch.setattr(desk.ledger, name, watched)

    for name in written:
        watch(name)
    return written


async def test_records_are_written_down_after_a_flush(desk, books):
    """At every checkpoint, and when records are replaced."""
    for text in ("a text", "another text"):
        desk.rows["note"] = [Row(f"{n:04}", f"{text} {n}") for n in range(500)]
        await desk.backfill()
    assert books["put"] >= 8


async def test_removed_records_are_struck_out_after_a_flush(desk, books):
    """Their points would otherwise be back after a loss of power, and belong to nobody."""
    await desk.backfill()
    del desk.rows["mail"]
    await desk.backfill()
    assert books["remove"] == 1


async def test_a_run_that_fails_writes_down_what_it_has_flushed(desk, books):
    """Its last checkpoint is one like the others."""
    desk.set(in_flight=1)
    desk.rows["note"] = [Row(f"{n:04}", f"text {n}") for n in range(500)]
    embed, calls = desk.embedder.embed, 0

    async def failing(texts, **more):
        nonlocal calls
        calls += 1
        if calls > 6:
            raise Unavailable("the model is gone")
        return await embed(texts, **more)

    desk.embedder.embed = failing
    with pytest.raises(Unavailable):
        await desk.backfill()
    assert books["put"]


async def test_when_a_run_is_over_all_of_it_is_durable(desk, books):
    """Also that points which belonged to no record are gone."""
    await desk.backfill()
    await desk.store.collection("crm_chunks").upsert(
        [Point(point_id("stray"), [1.0] * await desk.embedder.dimension(), "a stray")]
    )
    await desk.backfill()
    assert len(await desk.points()) == 5
    assert not desk.store.changed


@pytest.mark.parametrize(("seconds", "least"), [(6.0, 8), (0.0, 1)])
async def test_a_slow_run_writes_down_its_work_every_few_seconds(desk, spark_clock, seconds, least):
    """However few pieces that are: a run that is killed again and again advances."""
    desk.rows["note"] = [Row(f"{n:04}", f"text {n}") for n in range(indexing.GROUP * 8)]
    put, written = desk.ledger.put, []

    async def putting(generation, entries):
        written.append(len(entries))
        await put(generation, entries)

    def storing(name):
        found = FakeVectorStore.collection(desk.store, name)
        upsert = found.upsert

        async def slowly(points):
            spark_clock.advance(seconds)
            await upsert(points)

        found.upsert = slowly
        return found

    desk.store.collection = storing
    desk.ledger.put = putting
    await desk.backfill()
    assert sum(written) == indexing.GROUP * 8 + 2
    assert len(written) >= least
    assert seconds or len(written) == 1
