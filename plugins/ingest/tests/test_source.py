"""The SQLite source keeps the contract, whatever the shape of the tables."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import threading
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path

import pytest

from spark_core.contracts.records import RecordSource
from spark_core.testing.records import ROWS, RecordSourceConformance, read

TABLE = "CREATE TABLE {kind} (id {type}, text TEXT, title TEXT, city TEXT, year INTEGER)"


def fill(database, kind_of_id):
    for kind, rows in ROWS.items():
        database.run(TABLE.format(kind=kind, type=kind_of_id))
        values = [(r.id, r.text, r.title, *r.metadata.values(), None, None)[:5] for r in rows]
        database.fill(f"INSERT INTO {kind} VALUES (?, ?, ?, ?, ?)", values)
    return database


def mapping(kind, **source):
    return {
        **(source or {"table": kind}),
        "id": "id",
        "text": "text",
        "title": "title",
        "metadata": ["city", "year"] if kind == "note" else [],
    }


class TestTables(RecordSourceConformance):
    """Tables without a key, and with ids of different types."""

    @pytest.fixture(params=["TEXT", "", "TEXT COLLATE NOCASE", "NUMERIC"])
    def source(self, database, request) -> RecordSource:
        return fill(database, request.param).source(**{kind: mapping(kind) for kind in ROWS})


class TestQueries(RecordSourceConformance):
    """The same through queries."""

    @pytest.fixture
    def source(self, database) -> RecordSource:
        query = "SELECT * FROM {} ORDER BY random()"
        kinds = {kind: mapping(kind, query=query.format(kind)) for kind in ROWS}
        return fill(database, "TEXT").source(**kinds)


class TestKeys(RecordSourceConformance):
    """A primary key is read batch by batch; one kind here, where no id is repeated."""

    @pytest.fixture(params=["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY", "INT PRIMARY KEY"])
    def source(self, database, request) -> RecordSource:
        fill(database, "TEXT").run(
            TABLE.format(kind="keyed", type=request.param) + ";"
            "INSERT INTO keyed SELECT * FROM mail; DROP TABLE mail;"
            "ALTER TABLE keyed RENAME TO mail;"
        )
        return database.source(**{kind: mapping(kind) for kind in ROWS})


# ------------------------------------------------------------------------------------- files


def open_files(path: Path) -> int:
    """How often this process has *path* open."""
    gc.collect()
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(link) == str(path) for link in links if os.path.exists(link))


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted by /proc")
@pytest.mark.parametrize("type", ["TEXT", "INTEGER PRIMARY KEY"])
async def test_an_abandoned_reading_closes_the_file(database, type):
    """Whether a reading ends, is closed early or cancelled: the file is not kept open."""
    database.run(f"CREATE TABLE t (id {type}, text)")
    database.fill("INSERT INTO t VALUES (?, 'x')", [(n,) for n in range(50)])
    source = database.source(thing={"table": "t", "id": "id", "text": "text"})
    async with aclosing(source.records("thing", batch=5)) as batches:
        async for _ in batches:
            break
    assert open_files(database.path) == 0
    reading = asyncio.create_task(read(source, "thing", 1))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert open_files(database.path) == 0
    assert len(await read(source, "thing", 10)) == 5
    assert open_files(database.path) == 0


@pytest.mark.anyio
async def test_a_long_query_is_interrupted_when_it_is_given_up(database, monkeypatch):
    """Ctrl-C does not wait for a query that takes minutes."""
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n"
    source = database.run("CREATE TABLE t (id)").source(
        thing={"query": endless, "id": "id", "text": "id"}
    )
    running = asyncio.Event()
    announce = partial(asyncio.get_running_loop().call_soon_threadsafe, running.set)

    class Announced(threading.Event):
        """SQLite asks it again and again while a query runs."""

        def is_set(self):
            announce()
            return super().is_set()

    monkeypatch.setattr(threading, "Event", Announced)
    reading = asyncio.create_task(read(source, "thing"))
    await running.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(reading, 20)


@pytest.mark.anyio
@pytest.mark.parametrize("type", ["TEXT", "INTEGER PRIMARY KEY", "TEXT PRIMARY KEY"])
async def test_a_reading_does_not_keep_the_crm_from_writing(database, type):
    """Between batches a CRM in rollback-journal mode writes without waiting."""
    database.run(f"PRAGMA journal_mode = DELETE; CREATE TABLE t (id {type}, text)")
    database.fill("INSERT INTO t VALUES (?, 'x')", [(n,) for n in range(1000, 1040)])
    source = database.source(thing={"table": "t", "id": "id", "text": "text"})
    read_so_far = 0
    async with aclosing(source.records("thing", batch=10)) as batches:
        async for records in batches:
            read_so_far += len(records)
            with closing(sqlite3.connect(database.path, timeout=0)) as crm, crm:
                crm.execute("INSERT INTO t VALUES (?, 'new')", (read_so_far,))
    assert read_so_far >= 40
