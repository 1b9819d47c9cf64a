"""A rebuild that was interrupted is gone on with, unless it would be begun otherwise now."""

from __future__ import annotations

import pytest
from spark_core_ingest.indexing import GROUP
from spark_core_qdrant.embedded import open_embedded
from spark_core_qdrant.store import QdrantStore

from spark_core.errors import NotFound, Unavailable
from spark_core.testing.records import Row

pytestmark = pytest.mark.anyio

KIND = {"table": "unused", "id": "id", "text": "text", "metadata": ["city", "year"]}


async def interrupt_rebuild(desk):
    """Leave a half-built index behind."""
    desk.rows["note"] = [Row(f"{n:04}", f"the text {n}") for n in range(GROUP * 8)]
    desk.set(in_flight=1)
    embed, calls = desk.embedder.embed, 0

    async def failing(texts, **more):
        nonlocal calls
        calls += 1
        if calls > 5:
            raise Unavailable("the model is gone")
        return await embed(texts, **more)

    desk.embedder.embed = failing
    with pytest.raises(Unavailable):
        await desk.backfill(recreate=True)
    desk.embedder.embed = embed
    assert (await half_built(desk)).points


async def half_built(desk):
    return await desk.store.collection("crm_chunks__building").describe()


@pytest.mark.parametrize(
    "settings",
    [
        {"chunk_characters": 300},
        {"kinds": {"note": {**KIND, "metadata": ["city"]}, "mail": KIND}},
        {"kinds": {"note": {**KIND, "title": "title"}, "mail": KIND}},
        {"kinds": {"note": KIND}},
    ],
    ids=["piece size", "indexed fields", "mapping", "kinds"],
)
async def test_other_settings_begin_anew(desk, settings):
    """What was made by the old ones is not mixed with what is made by the new ones."""
    await interrupt_rebuild(desk)
    generation = (await half_built(desk)).generation
    desk.set(**settings)
    assert await desk.embedded(recreate=True) == GROUP * 8 + 2
    assert (await desk.status()).generation != generation
    metadata = {f"metadata.{name}" for k in desk.settings.kinds.values() for name in k.metadata}
    indexed = (await desk.store.collection("crm_chunks").describe()).spec.indexed
    assert set(indexed) == {"kind", "record_id", "record", "origin", *metadata}


async def test_equal_settings_go_on(desk):
    """Nothing is embedded twice."""
    await interrupt_rebuild(desk)
    generation = (await half_built(desk)).generation
    desk.set(in_flight=2)  # of no consequence to what is made
    assert await desk.embedded(recreate=True) < GROUP * 8
    assert (await desk.status()).generation == generation


@pytest.mark.parametrize("language", ["english", "german"])
async def test_another_language_begins_anew(desk, tmp_path, language):
    """Words are brought to their stems by the language that is set now."""
    async with open_embedded(tmp_path / "index", idle=2.0) as engine:
        desk.store = QdrantStore(engine, "english")
        await interrupt_rebuild(desk)
        generation = (await half_built(desk)).generation
        desk.store = QdrantStore(engine, language)
        await desk.backfill(recreate=True)
        same = (await desk.status()).generation == generation
        assert same is (language == "english")
        assert not (await desk.store.collection("crm_chunks").describe()).outdated


async def test_a_plain_run_clears_away_what_is_not_gone_on_with(desk):
    """Half an index is of no use, and would stay for ever."""
    await desk.backfill()
    await interrupt_rebuild(desk)
    generation = (await half_built(desk)).generation
    await desk.backfill()
    with pytest.raises(NotFound):
        await half_built(desk)
    assert await desk.ledger.recipe(generation) is None
    assert await desk.ledger.counts(generation) == {}


async def test_a_plain_run_leaves_the_rebuild_of_another_program(desk):
    """Two programs may share a store, each with a state of its own."""
    await desk.backfill()
    spec = (await desk.store.collection("crm_chunks").describe()).spec
    await desk.store.create("crm_chunks__building", spec)
    await desk.backfill()
    assert await half_built(desk)
