"""A CRM that is written to by another process while it is indexed."""

from __future__ import annotations

import asyncio
import sys

import pytest

from spark_core.testing.vectors import FakeVectorStore

pytestmark = pytest.mark.anyio

#: Commits and says so, until its input ends; a lock that it waits too long for ends it.
WRITER = """
import sqlite3, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
crm = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
n = 0
while not ended.is_set():
    n += 1
    crm.execute("BEGIN IMMEDIATE")
    crm.execute("INSERT INTO t (text) VALUES (?)", (f"written {n}",))
    crm.execute("UPDATE t SET text = text || ' again' WHERE id = ?", (n * 7 % 2000 + 1,))
    crm.execute("DELETE FROM t WHERE id = ?", (n * 3,))
    crm.execute("COMMIT")
    print(n, flush=True)
    ended.wait(0.02)
"""


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
@pytest.mark.parametrize("source", [{"table": "t"}, {"query": "SELECT * FROM t"}], ids=str)
async def test_writers_are_not_kept_waiting(desk, database, journal, source, monkeypatch):
    """While a backfill waits for its embedder the CRM goes on writing; the end is right."""
    monkeypatch.setattr("spark_core_ingest.database.BUSY_SECONDS", 60.0)  # slow disks commit slowly
    database.run(f"PRAGMA journal_mode = {journal}; CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
    database.fill("INSERT INTO t (text) VALUES (?)", [(f"record {n}",) for n in range(2000)])
    desk.source = database.source(note={**source, "id": "id", "text": "text"})
    desk.set(in_flight=1)
    desk.embedder.gate = asyncio.Event()
    called, embed = asyncio.Event(), desk.embedder.embed

    async def noted(texts, **more):
        called.set()
        return await embed(texts, **more)

    desk.embedder.embed = noted
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER,
        str(database.path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert await writer.stdout.readline()
    run = asyncio.create_task(desk.backfill())
    await called.wait()
    for _ in range(20):  # the backfill stands still in the middle, and the CRM does not
        assert await writer.stdout.readline()
    desk.embedder.gate.set()
    reading = asyncio.create_task(writer.stdout.read())
    report = await run
    assert report.records["note"] >= 1900
    writer.stdin.close()
    await reading
    assert await writer.wait() == 0
    await desk.backfill()
    found = {(p.payload["record_id"], p.text) for p in await desk.points()}
    desk.store = FakeVectorStore()
    await desk.backfill()
    assert found == {(p.payload["record_id"], p.text) for p in await desk.points()}
