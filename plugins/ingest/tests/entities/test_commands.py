"""``spark ingest resolve`` and what follows it, as they are typed: the database alone is needed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest
from spark_core_ingest.entities import matching

SETTINGS = """
[plugins.bge_m3]
url = "http://127.0.0.1:9"  # no embedder answers there

[plugins.ingest]
database = "crm.db"

[plugins.ingest.kinds.contact]
table = "people"
id = "id"
title = "name"
text = "name"
match = { name = "name", email = "mail" }
"""


def test_who_is_who_is_found_without_an_index_or_an_embedder(tmp_path, fingerprint):
    """One entity a line, as JSON; the database is left as it was."""
    database = tmp_path / "crm.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name, mail)")
        rows = [("Ada Lovelace", "ada@example.org"), ("Ada Lovelac", "ada@example.org")]
        connection.executemany("INSERT INTO people (name, mail) VALUES (?, ?)", rows)
    before = fingerprint(database)
    (tmp_path / "spark.toml").write_text(SETTINGS)

    def spark(*words: str) -> str:
        command = [sys.executable, "-m", "spark_core_cli", "--config", "spark.toml", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(spark("ingest", "resolve", "--json"))["entities"] == 1
    (line,) = spark("ingest", "entities", "--json").splitlines()
    entity = json.loads(line)
    assert list(entity) == ["entity", "kind", "name", "members", "score", "reasons"]
    assert entity["members"] == [{"kind": "contact", "id": "1"}, {"kind": "contact", "id": "2"}]
    assert "are one: they agree in enough" in spark("ingest", "explain", "contact:2", "contact:1")
    refused = json.loads(spark("entities", "refuse", "contact:1", "contact:2", "--json"))
    assert len(set(refused["entities"].values())) == 2
    assert fingerprint(database) == before


@pytest.mark.anyio
async def test_what_is_heavy_is_loaded_beside_the_event_loop(monkeypatch):
    """Else a lease could not be renewed, nor anybody be answered, for seconds."""
    threads = {}
    names = {"import_module": lambda name: threads.update({name: threading.current_thread()})}
    monkeypatch.setattr(matching, "importlib", SimpleNamespace(**names))
    await matching.load()
    assert list(threads) == ["duckdb", "pyarrow", "splink"]
    assert threading.main_thread() not in threads.values()


@pytest.mark.anyio
@pytest.mark.parametrize("phase", ["reading", "comparing", "joining", "writing entities"])
async def test_a_run_that_is_stopped_is_made_up_for_by_the_next(town, phase):
    """Wherever it stood; its lease is given back, and no id is lost."""
    people = [{"name": f"Ada Lovelace{n}", "email": f"a{n % 9}@example.org"} for n in range(20)]
    town.people(*people)
    await town.resolve()
    before = await town.ids()
    town.people(*people, {"name": "Grace Hopper"})
    run = asyncio.ensure_future(town.resolve())
    update = town.progress.update

    def stop(told: str, **more: object) -> None:
        update(told)
        if told == phase:
            run.cancel()

    town.progress.update = stop
    with pytest.raises(asyncio.CancelledError):
        await run
    town.progress.update = update
    report = await town.resolve()
    ids = await town.ids()
    assert {key: ids[key] for key in before} == before
    assert report.records == len(ids) == 21
