"""The status answers whatever is missing: it is what one looks at when something is."""

from __future__ import annotations

import asyncio

import pytest
import spark_core_ingest
from spark_core_ingest.settings import IngestSettings

from spark_core import Provider
from spark_core.errors import SourceError
from spark_core.testing.plugins import plugin
from spark_core.testing.records import Row
from spark_core.testing.vectors import FakeVectorStore

pytestmark = pytest.mark.anyio


async def test_before_anything_is_indexed(desk):
    """There is no index, and the source is counted."""
    status = await desk.status()
    assert (status.collection, status.points, status.built_at) == ("crm_chunks", 0, None)
    assert (status.generation, status.embedder, status.running) == (None, None, None)
    assert {k: (v.source, v.indexed) for k, v in status.kinds.items()} == {
        "note": (3, 0),
        "mail": (2, 0),
    }


async def test_after_a_run_both_sides_agree(desk):
    """And it tells which build this is, and what it was made with."""
    await desk.backfill()
    desk.rows["note"].append(Row("9", "new"))
    status = await desk.status()
    assert (status.points, status.embedder, status.problem) == (5, "fake-embedder", None)
    assert status.built_at is not None
    assert {k: (v.source, v.indexed) for k, v in status.kinds.items()} == {
        "note": (4, 3),
        "mail": (2, 2),
    }


async def test_while_a_run_is_under_way(desk):
    """It says who is indexing."""
    desk.embedder.gate = asyncio.Event()
    run = asyncio.create_task(desk.backfill(caller="cli ada"))
    status = await desk.status()
    while status.running is None:
        status = await desk.status()
    assert status.running == "a backfill by cli ada"
    desk.embedder.gate.set()
    await run
    assert (await desk.status()).running is None


async def test_a_source_that_cannot_be_read_is_a_problem_not_an_error(desk):
    """What is in the index is told all the same."""
    await desk.backfill()
    desk.source.failure = SourceError("there is no database crm.db")
    status = await desk.status()
    assert status.problem == "there is no database crm.db"
    assert {k: (v.source, v.indexed) for k, v in status.kinds.items()} == {
        "note": (None, 3),
        "mail": (None, 2),
    }


@pytest.mark.parametrize("toml", ["", "[plugins.ingest]\ndatabase = 'crm.db'"])
async def test_with_nothing_configured_it_says_what_to_set(spark_open, toml):
    """Through a Spark, as the hosts call it; the backfill refuses with the same words."""

    def stores():
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def open():
            yield FakeVectorStore()

        return [Provider("fake", open, embedded=True)]

    ingest = plugin("ingest", **vars_of(spark_core_ingest))
    store = plugin("store", spark_register_vector_stores=stores)
    async with spark_open(ingest, store, toml=toml) as spark:
        status = await spark.call("ingest.status")
        assert status.kinds == {}
        assert "[plugins.ingest] database" in status.problem


def vars_of(module):
    return {name: hook for name, hook in vars(module).items() if name.startswith("spark_register")}


def test_the_settings_are_all_optional():
    """Nothing needs to be set for the program to start."""
    settings = IngestSettings()
    assert (settings.collection, settings.database, settings.kinds) == ("crm_chunks", None, {})
