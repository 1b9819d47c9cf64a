"""The behaviours of the CRM ingest, one test for each, called after its number.

That of item 11 lies with the MCP host, in ``hosts/mcp/tests/test_memory.py``.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import spark_core_ingest
from pydantic import BaseModel
from spark_core_bge_m3.providers import open_embedder
from spark_core_bge_m3.settings import BgeM3Settings
from spark_core_ingest.backfill import BuildRequest, SyncRequest
from spark_core_ingest.settings import IngestSettings

from spark_core import Effect, Operation, SettingsSection
from spark_core.errors import BackendError, Conflict, LeaseHeld, TimedOut, Unavailable
from spark_core.settings import Settings, Source
from spark_core.state import Leases
from spark_core.testing.embedding import FakeEmbedder
from spark_core.testing.plugins import plugin

from .test_killed import make, spark
from .test_schedule import SETTINGS, execute, offering

pytestmark = pytest.mark.anyio


class Resolved(BaseModel):
    """What a stand-in for entity resolution says."""

    entities: int


class Resolution:
    """Finds out who is who, or fails."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.calls = 0

    async def resolve(self) -> Resolved:
        """Resolve."""
        self.calls += 1
        if self.failure:
            raise self.failure
        return Resolved(entities=3)


@pytest.fixture
def crm(spark_home: Path) -> Path:
    execute(spark_home, "CREATE TABLE notes (note_id INTEGER PRIMARY KEY, body)")
    execute(spark_home, "INSERT INTO notes (body) VALUES ('bearings'), ('gears'), ('storms')")
    return spark_home


class World:
    """The ingest as it is installed, over a CRM, with a resolution of the test's own."""

    def __init__(self, opener: Any, store: Any) -> None:
        self._opener = opener
        self.toml, self.resolves = SETTINGS, False
        self.store, self.embedder, self.resolution = store, FakeEmbedder(), Resolution()

    @asynccontextmanager
    async def open(self):
        hooks = {n: h for n, h in vars(spark_core_ingest).items() if n.startswith("spark_reg")}
        if not self.resolves:
            hooks["spark_register_operations"] = lambda: self._operations()
        ingest = plugin("ingest", **hooks)
        store = plugin("store", spark_register_vector_stores=offering(self.store))
        embedder = plugin("embedder", spark_register_embedders=offering(self.embedder))
        async with self._opener(ingest, store, embedder, toml=self.toml) as spark:
            yield spark

    def _operations(self):
        offered = spark_core_ingest.spark_register_operations()
        own = Operation("ingest.resolve", self.resolution.resolve, Effect.WRITE)
        return [own, *(one for one in offered if one.name != own.name)]

    async def points(self):
        points, collection = [], self.store.collection("crm_chunks")
        while page := await collection.scroll(after=points[-1].id if points else None):
            points += page
        return {point.id: (point.text, point.payload) for point in points}


@pytest.fixture
def world(crm, spark_open, embedded_store) -> World:
    return World(spark_open, embedded_store)


async def test_item_1_a_build_resolves_then_recreates_and_stops_at_the_first_failure(world):
    """What comes after the failure does not happen, and the old index goes on answering."""
    async with world.open() as spark:
        report = await spark.call("ingest.build")
        assert report.resolved == {"entities": 3}
        assert report.backfill.indexed == 3
        generation = (await spark.call("ingest.status")).generation
        world.resolution.failure = BackendError("no way to tell")
        with pytest.raises(BackendError):
            await spark.call("ingest.build")
        status = await spark.call("ingest.status")
        assert (status.generation, status.failures) == (generation, 1)
        world.resolution.failure = None
        await spark.call("ingest.build")
        assert (await spark.call("ingest.status")).generation != generation


async def test_item_2_both_can_be_repeated_and_leave_the_source_alone(world, crm, fingerprint):
    """The same ids, counts and points; the database has the same bytes. Nothing is a stand-in."""
    execute(crm, "INSERT INTO notes (body) VALUES ('Ada Example'), ('Ada Example')")
    world.toml, world.resolves = f'{SETTINGS}match = {{ name = "body", ids = "body" }}', True

    async def entities() -> list[BaseModel]:
        return [line async for line in spark.stream("ingest.entities")]

    async with world.open() as spark:
        before = fingerprint(crm / "crm.db")
        resolved = (await spark.call("ingest.build")).resolved
        assert (resolved["records"], resolved["entities"], resolved["merged"]) == (5, 4, 2)
        known, points = await entities(), await world.points()
        assert len(points) == 5
        for operation in ("build", "resolve", "sync", "refresh", "backfill", "status", "schedule"):
            request = {"once": True} if operation == "schedule" else {}
            await spark.call(f"ingest.{operation}", request)
            assert (await world.points(), await entities()) == (points, known)
        await spark.call("search", {"query": "gears"})
        assert fingerprint(crm / "crm.db") == before
        assert sorted(path.name for path in crm.glob("crm.db*")) == ["crm.db"]


async def test_item_3_a_rebuild_that_fails_leaves_the_old_index_serving(world):
    """It is built beside; only a whole one takes its place. A sync never drops what is there."""
    async with world.open() as spark:
        await spark.call("ingest.build")
        world.embedder.failure = Unavailable("the model is down")
        with pytest.raises(Unavailable):
            await spark.call("ingest.build")
        found = await spark.call("search", {"query": "gears", "mode": "sparse"})
        assert [hit.text for hit in found.hits] == ["gears"]
        world.embedder.failure = None
        before = (await spark.call("ingest.status")).generation
        await spark.call("ingest.sync")
        assert (await spark.call("ingest.status")).generation == before
        await spark.call("ingest.backfill", {"recreate": True})
        assert (await spark.call("ingest.status")).generation != before


async def test_item_4_a_sync_embeds_what_changed_and_removes_what_is_gone(world, crm):
    """Without a change there is no embedding call."""
    async with world.open() as spark:
        await spark.call("ingest.sync")
        calls, texts = world.embedder.calls, world.embedder.texts_embedded
        await spark.call("ingest.sync")
        assert world.embedder.calls == calls
        execute(crm, "UPDATE notes SET body = 'cogs' WHERE note_id = 2")
        execute(crm, "DELETE FROM notes WHERE note_id = 3")
        report = await spark.call("ingest.sync")
        assert (report.indexed, report.removed, report.points) == (1, 1, 2)
        assert world.embedder.texts_embedded == texts + 1


def test_item_5_once_ends_as_its_sync_ended_and_a_bad_interval_is_an_hour(tmp_path):
    """By its exit code; in a loop a failing cycle is logged and the next one comes."""
    home = make(tmp_path / "home")
    done = spark(home, "ingest", "schedule", "--once", CRM_INGEST_SYNC_INTERVAL_MIN="often")
    assert done.returncode == 0, done.stderr
    assert "a sync every 60 minutes" in done.stdout
    assert "'often' is no interval" in done.stderr
    (home / "crm.db").unlink()
    failed = spark(home, "ingest", "schedule", "--once")
    assert failed.returncode == 1
    assert "there is no database" in failed.stderr


def test_item_6_it_starts_only_where_there_is_something_to_do(tmp_path):
    """And says which of the two."""
    home = make(tmp_path / "home")
    assert " STARTED (" in spark(home, "ingest", "schedule", "--once").stdout
    for name in ("QDRANT_URL", "SPARK_CONTROL_URL"):
        done = spark(home, "ingest", "schedule", **{name: ""})
        assert done.stdout.endswith(" SKIPPED (Spark/Qdrant not configured)\n")
        assert done.returncode == 0


async def test_item_7_points_have_both_vectors_stable_ids_and_one_dimension(world, crm):
    """Another dimension is a clear failure that stores nothing."""
    async with world.open() as spark:
        await spark.call("ingest.build")
        before = await world.points()
        for mode in ("dense", "sparse"):
            (best, *_) = (await spark.call("search", {"query": "gears", "mode": mode})).hits
            assert best.text == "gears"
        await spark.call("ingest.build")
        assert await world.points() == before
        world.embedder._dimension = 8
        execute(crm, "INSERT INTO notes (body) VALUES ('new')")
        with pytest.raises(Conflict, match="64 numbers"):
            await spark.call("ingest.sync")
        assert await world.points() == before


class Busy(BaseHTTPRequestHandler):
    """An embedder that is overloaded, then starting, and then answers."""

    asked: list[str] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(self.path)
        status = {1: 429, 2: 503}.get(len(self.asked), 200)
        data = [{"index": n, "embedding": [0.5] * 4} for n in range(len(body["input"]))]
        answer = json.dumps({"data": data, "model": body["model"]}).encode()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("value", "verified"), [("false", False), ("true", True)])
async def test_item_8_certificates_are_checked_if_wanted_and_busy_servers_asked_again(
    tmp_path, value, verified
):
    """The variable decides; 429 and 503 are no failures."""
    source = Source(None, tmp_path, {}, {}, {"SPARK_CONTROL_VERIFY_TLS": value})
    section = SettingsSection("plugins.bge_m3", BgeM3Settings)
    settings = Settings.check(source, [section]).section(BgeM3Settings)
    assert settings.control_verify_tls is verified
    Busy.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            there = settings.model_copy(update={"url": url})
            async with open_embedder(there) as embedder:
                assert await embedder.embed(["gears"]) == [[0.5] * 4]
        finally:
            await asyncio.to_thread(server.shutdown)
    assert len(Busy.asked) >= 3


def test_item_9_the_environment_beats_dotenv(tmp_path):
    """Where it sets nothing, .env counts."""
    (tmp_path / "spark.toml").touch()
    (tmp_path / ".env").write_text("CRM_DB_PATH=/from/dotenv\nCRM_INGEST_SYNC_INTERVAL_MIN=7\n")
    source = Source.read(tmp_path / "spark.toml", {"CRM_DB_PATH": "/from/environment"})
    section = SettingsSection("plugins.ingest", IngestSettings)
    settings = Settings.check(source, [section]).section(IngestSettings)
    assert (str(settings.database), settings.sync_interval_min) == ("/from/environment", 7)


async def test_item_10_it_works_while_the_crm_writes_and_runs_exclude_each_other(
    world, crm, spark_clock, monkeypatch
):
    """A transaction of the CRM is open meanwhile; the second run is told of the first."""
    execute(crm, "PRAGMA journal_mode = WAL")
    async with world.open() as spark:
        with closing(sqlite3.connect(crm / "crm.db")) as writer:
            writer.execute("INSERT INTO notes (body) VALUES ('half written')")
            assert (await spark.call("ingest.sync")).indexed == 3
            writer.commit()
            assert (await spark.call("ingest.sync")).indexed == 1
        leases = await spark.resolver.get(Leases)
        held = await leases.acquire("ingest:crm_chunks", 10, holder="a build by ada")
        current = leases.current

        async def renewed(name):
            spark_clock.advance(1)
            await leases.renew(held, 10)
            return await current(name)

        monkeypatch.setattr(leases, "current", renewed)
        for operation in ("ingest.sync", "ingest.build", "ingest.backfill"):
            with pytest.raises(LeaseHeld, match="a build by ada"):
                await spark.call(operation)


async def test_item_12_a_build_that_takes_too_long_says_what_was_done(world, crm):
    """The next one goes on from there. By itself it takes half an hour at most."""
    assert BuildRequest().timeout == SyncRequest().timeout == 30
    async with world.open() as spark:
        world.embedder.gate = asyncio.Event()
        with pytest.raises(TimedOut, match="who is who was found out, 3 records read"):
            await spark.call("ingest.build", {"timeout": 0.05})
        world.embedder.gate.set()
        assert (await spark.call("ingest.build")).backfill.points == 3
