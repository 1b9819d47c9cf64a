"""What the CRM knows people and firms by is told to whoever looks for them in texts."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from spark_core_ingest.entities.known import open_known
from spark_core_ingest.settings import IngestSettings

from spark_core.contracts.detection import FollowedEntities, KnownEntity
from spark_core.errors import NotConfigured

from .conftest import Town

pytestmark = pytest.mark.anyio


@pytest.fixture
async def known(town: Town) -> AsyncIterator[FollowedEntities]:
    town.people({"name": "Ada Example", "email": "ada@example.com", "organization": "ACME"})
    async with open_known(town.settings, town.entities) as known:
        yield known


async def told(known: FollowedEntities) -> dict[str, KnownEntity]:
    return {entity.id: entity async for batch in known.entities() for entity in batch}


async def test_everything_is_told_as_it_is_written(town: Town) -> None:
    """All columns of the match table; several addresses in one column are several."""
    row = {
        "name": "Example, Ada",
        "given_name": "Ada",
        "family_name": "Example",
        "email": "ada@example.com; a@example.org",
        "phone": "+43 664 1234567",
        "address": "Dlouhá 12, Praha",
        "birth_date": "1985-03-12",
        "ids": "K-1",
    }
    town.people(row)
    async with open_known(town.settings, town.entities) as known:
        (entity,) = (await told(known)).values()
    assert entity == KnownEntity(
        "person:1",
        "PERSON",
        ("Example, Ada",),
        "Ada",
        "Example",
        ("ada@example.com", "a@example.org"),
        ("+43 664 1234567",),
        ("Dlouhá 12, Praha",),
        ("1985-03-12",),
        ("K-1",),
        "person:1",
    )


async def test_employers_are_firms(known: FollowedEntities) -> None:
    """Each of them once, however many work there."""
    entities = await told(known)
    assert entities["organization:acme"].kind == "ORGANIZATION"


async def test_records_of_one_person_are_one_entity(town: Town) -> None:
    """As soon as it is known who is who; the version tells that something is new."""
    town.people(
        {"name": "Ada Example", "email": "ada@example.com", "phone": "+43 664 1234567"},
        {"name": "A. Example", "email": "ada@example.com", "phone": "+43 664 1234567"},
    )
    async with open_known(town.settings, town.entities) as known:
        before = await known.version()
        assert set(await told(known)) == {"person:1", "person:2"}
        await town.resolve()
        assert await known.version() != before
        assert set(await told(known)) == set((await town.ids()).values())
        assert len(await told(known)) == 1


async def test_a_decision_is_another_version(town: Town) -> None:
    """Whoever is found to be another is told as another."""
    town.people({"name": "Ada Example", "email": "ada@example.com"}, {"name": "Ada Exampel"})
    async with open_known(town.settings, town.entities) as known:
        await town.resolve()
        assert len(await told(known)) == 2
        before = await known.version()
        await town.entities.decide(("person", "1"), ("person", "2"), "confirm", "a test")
        assert await known.version() != before
        assert len(await told(known)) == 1


async def test_a_change_in_the_crm_is_another_version(town: Town, known: FollowedEntities) -> None:
    """Without any run of ours."""
    before = await known.version()
    assert await known.version() == before
    town.people({"name": "Ben Sample"})
    assert await known.version() != before
    assert [entity.names for entity in (await told(known)).values()] == [("Ben Sample",)]


async def changed(known: FollowedEntities, since: str) -> dict[str, list[str]]:
    changes = await known.changes(since)
    assert changes is not None
    assert changes.version == await known.version()
    return {
        record: [name for e in all_ for name in e.names] for record, all_ in changes.records.items()
    }


async def test_of_a_change_in_the_crm_only_what_changed_is_told(
    town: Town, known: FollowedEntities
) -> None:
    """Rows that are new, other or gone, without any run of ours, one change after the other."""
    town.people(*({"name": name} for name in ("Ada Example", "Ben Sample", "Cy Other")))
    since = await known.version()
    await told(known)
    with closing(sqlite3.connect(town.path)) as crm, crm:
        crm.execute("UPDATE person SET name = 'Ada Renamed', organization = 'ACME' WHERE id = 1")
        crm.execute("DELETE FROM person WHERE id = 2")
        crm.execute("INSERT INTO person (id, name) VALUES (9, 'Dee New')")
    assert await changed(known, since) == {
        "person:1": ["Ada Renamed", "ACME"],
        "person:2": [],
        "person:9": ["Dee New"],
    }
    since = await known.version()
    with closing(sqlite3.connect(town.path)) as crm, crm:
        crm.execute("UPDATE person SET ids = '7' WHERE id = 9")
    assert await changed(known, since) == {"person:9": ["Dee New"]}


async def test_of_a_decision_only_its_records_are_told(town: Town) -> None:
    """As those of the entity that they are now."""
    town.people(*({"name": name} for name in ("Ada Example", "Ada Exampel", "Cy Other")))
    async with open_known(town.settings, town.entities) as known:
        await town.resolve()
        since = await known.version()
        await told(known)
        await town.entities.decide(("person", "1"), ("person", "2"), "confirm", "a test")
        changes = await known.changes(since)
        assert changes is not None
        ids = await town.ids()
        assert {r: e.id for r, (e,) in changes.records.items()}.items() <= ids.items()
        assert "person:3" not in changes.records


async def test_what_changed_since_another_version_is_not_known(
    town: Town, known: FollowedEntities
) -> None:
    """Then all must be read: nothing is left out that somebody does not know of."""
    await told(known)
    assert await known.changes("another") is None
    town.people({"name": "Ben Sample"})
    since = await known.version()
    assert await known.changes(since) is None


async def test_without_a_match_table_nobody_is_known(town: Town) -> None:
    """It is not configured, which is no error for who can do without."""
    settings = IngestSettings.model_validate({"database": town.path})
    with pytest.raises(NotConfigured):
        async with open_known(settings, town.entities):
            pass
