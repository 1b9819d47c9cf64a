"""The schedule: a sync at every interval, whatever becomes of the one before."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import spark_core_ingest
from spark_core_ingest.schedule import Happening, ScheduleEvent, render_event
from spark_core_ingest.settings import IngestSettings

from spark_core import Provider
from spark_core.errors import SourceError
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.plugins import plugin
from spark_core.testing.vectors import FakeVectorStore

pytestmark = pytest.mark.anyio

#: The interval is a fifth of a second.
SETTINGS = """
[plugins.ingest]
database = "crm.db"
sync_interval_min = 0.0033
[plugins.ingest.kinds.note]
table = "notes"
id = "note_id"
text = "body"
"""


def offering(value: Any) -> Any:
    @asynccontextmanager
    async def open():
        yield value

    return lambda: [Provider("fake", open, embedded=True)]


def plugins():
    hooks = vars(spark_core_ingest).items()
    return (
        plugin("ingest", **{name: hook for name, hook in hooks if name.startswith("spark_reg")}),
        plugin("store", spark_register_vector_stores=offering(FakeVectorStore())),
        plugin("embedder", spark_register_embedders=offering(FakeEmbedder())),
    )


def execute(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "crm.db")) as crm, crm:
        crm.execute(statement)


@pytest.fixture
def crm(spark_home: Path) -> Path:
    execute(spark_home, "CREATE TABLE notes (note_id INTEGER PRIMARY KEY, body)")
    execute(spark_home, "INSERT INTO notes (body) VALUES ('bearings wear out')")
    return spark_home


@asynccontextmanager
async def scheduled(spark_open, **request: Any):
    """A Spark over the CRM, and what its schedule tells."""
    async with (
        spark_open(*plugins(), toml=SETTINGS) as spark,
        aclosing(spark.stream("ingest.schedule", request)) as events,
    ):
        yield spark, events


async def told(events: AsyncGenerator[Any, None], *wanted: Happening) -> ScheduleEvent:
    """The next event that is one of *wanted*."""
    async for event in events:
        if event.event in wanted:
            return event
    raise AssertionError("the schedule has ended")


async def test_what_changes_in_the_crm_is_seen_within_one_interval(crm, spark_open):
    """A row that comes, changes and goes is found, found anew and not found any more."""

    async def found(word):
        hits = await spark.call("search", {"query": word, "mode": "sparse"})
        return [hit.record_id for hit in hits.hits]

    async with scheduled(spark_open) as (spark, events):
        assert (await anext(events)).event == "STARTED"
        await told(events, Happening.SYNCED)
        execute(crm, "INSERT INTO notes (body) VALUES ('a gearbox')")
        await told(events, Happening.SYNCED)
        assert await found("gearbox") == ["2"]
        execute(crm, "UPDATE notes SET body = 'a coupling' WHERE note_id = 2")
        await told(events, Happening.SYNCED)
        assert (await found("gearbox"), await found("coupling")) == ([], ["2"])
        execute(crm, "DELETE FROM notes WHERE note_id = 2")
        assert "1 removed" in (await told(events, Happening.SYNCED)).detail
        assert await found("coupling") == []


async def test_a_sync_that_fails_does_not_stop_the_next(crm, spark_open, caplog):
    """It is told, logged and counted; the status shows it until one goes through."""
    async with scheduled(spark_open) as (spark, events):
        await told(events, Happening.SYNCED)
        (crm / "crm.db").rename(crm / "elsewhere")
        with caplog.at_level(logging.WARNING):
            failed = await told(events, Happening.FAILED)
        assert "there is no database" in failed.detail
        assert "a sync failed" in caplog.text
        status = await spark.call("ingest.status")
        assert status.failures >= 1
        assert status.last_failure.code == "source-error"
        (crm / "elsewhere").rename(crm / "crm.db")
        await told(events, Happening.SYNCED)
        assert (await spark.call("ingest.status")).failures == 0


async def test_another_run_is_left_to_itself(crm, spark_open, monkeypatch):
    """The cycle is skipped, and says whose run it met."""
    monkeypatch.setattr("spark_core_ingest.index.alone", refusing)
    async with scheduled(spark_open, once=True) as (_, events):
        skipped = await told(events, Happening.SKIPPED)
        assert skipped.detail == "ingest:crm_chunks is held by cli ada"


@asynccontextmanager
async def refusing(leases, lease, holder, progress):
    from spark_core.errors import LeaseHeld

    raise LeaseHeld(f"{lease} is held by cli ada")
    yield


async def test_once_is_one_sync(crm, spark_open):
    """It ends as the sync ended."""
    async with spark_open(*plugins(), toml=SETTINGS) as spark:
        events = [event.event async for event in spark.stream("ingest.schedule", {"once": True})]
        assert events == ["STARTED", "SYNCED"]
        (crm / "crm.db").unlink()
        with pytest.raises(SourceError):
            await spark.call("ingest.schedule", {"once": True})


NO_CLUSTER = "Spark/Qdrant not configured"


@pytest.mark.parametrize(
    ("toml", "environ", "why"),
    [
        ("", {}, "no database configured"),
        (SETTINGS, {"QDRANT_URL": ""}, NO_CLUSTER),
        (SETTINGS, {"SPARK_CONTROL_URL": " "}, NO_CLUSTER),
    ],
)
async def test_with_nothing_to_do_it_says_so_and_ends(crm, spark_open, toml, environ, why):
    """Neither store nor embedder is opened for it."""
    async with spark_open(plugins()[0], toml=toml, environ=environ) as spark:
        (event,) = [event async for event in spark.stream("ingest.schedule")]
        assert (event.event, event.detail) == ("SKIPPED", why)
        assert render_event(event).endswith(f"SKIPPED ({why})")


async def test_the_environment_comes_before_dotenv(crm, spark_open):
    """An address that .env leaves empty may be set there."""
    (crm / ".env").write_text("QDRANT_URL=\n")
    async with spark_open(*plugins(), toml=SETTINGS, environ={"QDRANT_URL": "http://q"}) as spark:
        events = [event.event async for event in spark.stream("ingest.schedule", {"once": True})]
        assert events == ["STARTED", "SYNCED"]


@pytest.mark.parametrize("bad", ["soon", "0", "-5", "nan", "inf"])
def test_a_bad_interval_is_an_hour(bad, caplog):
    """With a warning that shows it."""
    assert IngestSettings.model_validate({"sync_interval_min": bad}).sync_interval_min == 60
    assert bad in caplog.text


async def test_the_interval_is_read_from_its_variable(crm, spark_open):
    """A blank one leaves it as it is."""
    for value, minutes in (("15", 15), ("", 0.0033)):
        environ = {"CRM_INGEST_SYNC_INTERVAL_MIN": value}
        async with spark_open(*plugins(), toml=SETTINGS, environ=environ) as spark:
            assert spark.settings.section(IngestSettings).sync_interval_min == minutes


def test_a_sync_is_declared_as_a_job():
    """For a scheduler that runs all jobs."""
    (job,) = spark_core_ingest.spark_register_jobs()
    assert (job.operation, job.schedule) == ("ingest.sync", "every 60m")
