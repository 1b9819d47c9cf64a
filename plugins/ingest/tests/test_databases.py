"""The ingest's state in each database that it may lie in: SQLite, and PostgreSQL."""

from __future__ import annotations

import pytest
from spark_core_ingest.annotations.store import Annotation, Annotations
from spark_core_ingest.entities.registry import Entities

from spark_core import StateSchema
from spark_core.errors import Conflict
from spark_core.state import Leases, State
from spark_core.testing.databases import postgresql_server, postgresql_url, state_url
from spark_core.testing.records import Row

from .entities.conftest import Town

__all__ = ["postgresql_server", "postgresql_url", "state_url"]

pytestmark = pytest.mark.anyio

SCHEMAS = [
    StateSchema("ingest", "spark_core_ingest.migrations"),
    StateSchema("annotations", "spark_core_ingest.annotations.migrations"),
]

ADA = {"name": "Ada Lovelace", "email": "ada@example.org"}


@pytest.fixture
async def state(state_url):
    async with State.open(state_url, SCHEMAS) as state:
        yield state


async def test_an_index_is_followed(desk):
    """Filled, synced after a change, built anew; counts and freshness are told."""
    assert (await desk.backfill()).points == 5
    assert (await desk.sync()).unchanged == 5
    desk.rows["note"][0] = Row("1", "quite another text")
    del desk.rows["note"][1]
    report = await desk.sync()
    assert (report.indexed, report.removed, report.points) == (1, 1, 4)
    assert (await desk.backfill(recreate=True)).points == 4
    status = await desk.status()
    assert (status.agrees, status.failures, status.behind_minutes) == (True, 0, 0)


async def test_who_is_who_is_kept(tmp_path, state, spark_clock):
    """Ids, merges, decisions and names are as in the other database."""
    town = Town(tmp_path / "crm.db", Entities(state, spark_clock), Leases(state, spark_clock))
    town.people(ADA, {"name": "Émile Zola", "email": "e@example.org"})
    await town.resolve()
    before = await town.ids()
    town.people(ADA, {"name": "Émile Zola", "email": "e@example.org"}, ADA | {"phone": "+43155501"})
    report = await town.resolve()
    assert (report.entities, report.merged, report.changed) == (2, 2, 2)
    ids = await town.ids()
    assert ids == before | {"person:3": before["person:1"]}
    await town.entities.decide(("person", "1"), ("person", "3"), "refuse", "Ada")
    report = await town.resolve()
    assert (await town.together(), report.changed) == ([], 0)
    await town.entities.decide(("person", "2"), ("person", "3"), "confirm", "Ada")
    parted = (await town.ids())["person:3"]
    assert parted == before["person:2"]
    assert [found.name for found in await town.entities.page(name="émile")] == ["Émile Zola"]
    town.people(ADA)
    assert (await town.resolve()).gone == 2


async def test_notes_are_kept(state, spark_clock):
    """Added, found by what they are about, exchanged and removed, each once."""
    annotations = Annotations(state)
    values = {"kind": "note", "about_kind": "person", "about_id": "1", "title": "Ada"}
    values |= {"text": "prefers tea", "author": "cli", "at": spark_clock.now()}
    note = Annotation.model_validate({"id": "a", **values})
    await annotations.exchange([], [note])
    assert await annotations.about([("person", "1")]) == [note]
    with pytest.raises(Conflict):
        await annotations.exchange([], [note])
    await annotations.exchange([note], [])
    assert await annotations.newest("note", 5) == []
