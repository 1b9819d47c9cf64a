"""What is wrong with a database or a record is told or borne, and loses nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from spark_core_ingest import indexing
from spark_core_ingest.indexing import BATCH, GROUP

from spark_core.contracts.records import Record
from spark_core.errors import BackendError, SourceError, StorageFull, Unavailable
from spark_core.testing.records import FakeRecordSource, Row, read
from spark_core.testing.vectors import FakeVectorStore

pytestmark = pytest.mark.anyio

KIND = {"table": "t", "id": "id", "text": "text"}


def filled(database, rows=2000):
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
    return database.fill("INSERT INTO t (text) VALUES (?)", [("word " * 50,)] * rows)


# --------------------------------------------------------------------------------- databases


def missing(path):
    path.unlink(missing_ok=True)


def directory(path):
    path.unlink()
    path.mkdir()


def text_file(path):
    path.write_text("name,email\nAda,ada@example.org\n" * 500)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-150_000])


def overwritten(path):
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 40] = b"\xa5" * (4096 * 37)
    path.write_bytes(content)


def broken_header(path):
    content = bytearray(path.read_bytes())
    content[100:400] = b"\xff" * 300
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, "there is no database"),
        (directory, "there is no database"),
        (text_file, "not a sound SQLite database"),
        (truncated, "not a sound SQLite database"),
        (overwritten, "not a sound SQLite database"),
        (broken_header, "not a sound SQLite database"),
        (empty, "there is no table 't'"),
    ],
)
async def test_a_database_that_cannot_be_read_is_told(database, damage, message):
    """The error names the file or the table, and what is wrong with it."""
    damage(filled(database).path)
    with pytest.raises(SourceError, match=message) as caught:
        await read(database.source(thing=KIND), "thing")
    assert str(database.path) in str(caught.value) or "table" in message


@pytest.mark.parametrize("damage", [missing, text_file, overwritten])
async def test_an_unreadable_source_leaves_the_index_as_it_was(desk, database, damage):
    """Nothing is removed because the source cannot be read, and nothing else is made."""
    desk.source = filled(database).source(note=KIND)
    await desk.backfill()
    before = await desk.points()
    damage(database.path)
    for recreate in (False, True):
        with pytest.raises(SourceError):
            await desk.backfill(recreate)
    assert await desk.points() == before
    assert (await desk.status()).problem


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
async def test_a_locked_database_is_unavailable_for_now(database, monkeypatch, journal):
    """After a bounded wait the error says that another program has it; then it goes on."""
    monkeypatch.setattr("spark_core_ingest.database.BUSY_SECONDS", 0.05)
    filled(database).run(f"PRAGMA journal_mode = {journal}")
    source = database.source(thing=KIND, query={**KIND, "table": None, "query": "SELECT * FROM t"})
    with closing(sqlite3.connect(database.path)) as crm:
        crm.execute("PRAGMA locking_mode = EXCLUSIVE")
        crm.executescript("CREATE TABLE u (id); BEGIN EXCLUSIVE")
        for reading in (source.counts(), read(source, "thing"), read(source, "query")):
            with pytest.raises(Unavailable, match=r"crm\.db is locked"):
                await reading
    assert sum((await source.counts()).values()) == 4000


async def test_a_lock_that_is_let_go_is_waited_for(database):
    """A CRM that is just writing does not make a reading fail."""
    import threading

    filled(database)
    begun, read_once = threading.Event(), threading.Event()

    def write():
        with closing(sqlite3.connect(database.path)) as crm:
            crm.execute("BEGIN EXCLUSIVE")
            begun.set()
            read_once.wait(0.3)
            crm.rollback()

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    assert dict(await database.source(thing=KIND).counts()) == {"thing": 2000}
    writer.join()


async def test_a_database_in_a_folder_of_odd_name_is_opened(database, tmp_path):
    """A path is a path, whatever a URL would make of its characters."""
    odd = tmp_path / "50% of #1? & ünï"
    odd.mkdir()
    filled(database, 3)
    database.path = database.path.rename(odd / "crm?mode=rwc.db")
    assert dict(await database.source(thing=KIND).counts()) == {"thing": 3}


# ----------------------------------------------------------------------------------- records


async def test_records_without_text_are_counted_and_not_found(desk):
    """They are no error, cost no embedding, and are counted again the next time."""
    desk.rows["note"] += [Row("4"), Row("5", " \n\t"), Row("6", "", "a title alone")]
    for unchanged in (0, 8):
        report = await desk.backfill()
        assert (report.empty, report.points, report.unchanged) == (3, 5, unchanged)
    assert desk.embedder.texts_embedded == 5
    assert (await desk.status()).kinds["note"].indexed == 6
    desk.rows["note"][3] = Row("4", "now there is a text about lighthouses")
    assert (await desk.backfill()).empty == 2
    assert await desk.found("lighthouses") == ["4"]


async def test_rows_without_an_id_are_counted_and_told(desk, database):
    """They cannot be indexed, and are not dropped without a word."""
    database.run("CREATE TABLE t (id, text)")
    database.fill("INSERT INTO t VALUES (?, 'x')", [(n if n % 3 else None,) for n in range(60)])
    desk.source = database.source(contact=KIND, good={**KIND, "id": "rowid"})
    report = await desk.backfill()
    assert report.without_id == {"contact": 20}
    assert report.warnings == ["20 rows of kind contact have no id, and are left out"]
    status = await desk.status()
    assert status.warnings == report.warnings
    assert {kind: found.without_id for kind, found in status.kinds.items()} == {
        "contact": 20,
        "good": 0,
    }
    database.run("DELETE FROM t WHERE id IS NULL AND rowid > 1")
    assert (await desk.backfill()).warnings == ["1 row of kind contact has no id, and is left out"]


async def test_very_many_records_without_text_are_not_kept_in_mind(desk, monkeypatch):
    """They are written down on the way, like any others."""
    groups = []
    checkpoint = indexing.Indexing._checkpoint

    async def noted(self):
        groups.append(len(self.unwritten))
        await checkpoint(self)

    monkeypatch.setattr(indexing.Indexing, "_checkpoint", noted)
    desk.rows["note"] = [Row(str(n)) for n in range(10_000)]
    assert (await desk.backfill()).empty == 10_000
    assert max(groups) < indexing.CHECKPOINT + GROUP


async def test_a_long_note_is_found_by_its_last_word(desk):
    """Five megabytes are indexed in pieces, each of a size that can be embedded."""
    words = "".join(f"word{n % 5000} " for n in range(600_000))
    desk.rows["note"].append(Row("long", f"{words}zanzibar", "Long"))
    report = await desk.backfill()
    assert report.pieces == report.points > 2500
    assert await desk.found("zanzibar") == ["long"]
    assert await desk.found("word7") == ["long"]
    assert {len(point.text) <= 2000 for point in await desk.points()} == {True}
    assert (await desk.backfill()).unchanged == 6


async def test_repeated_ids_are_all_kept(desk):
    """Every row of an id is indexed and found; the repetitions are counted."""
    desk.rows["note"] += [Row("1", "turbines hum"), Row("1", "kettles whistle")]
    report = await desk.backfill()
    assert (report.repeated_ids, report.points) == (2, 7)
    assert await desk.found("turbines") == await desk.found("kettles") == ["1"]
    assert (await desk.backfill()).unchanged == 7
    del desk.rows["note"][0]
    await desk.backfill()
    assert len(await desk.points()) == 6
    assert await desk.found("turbines") == await desk.found("kettles") == ["1"]
    assert await desk.found("pump") == []


async def test_one_id_for_very_many_rows_is_not_looked_up_again_and_again(desk, monkeypatch):
    """A column that is no id at all makes a second run no slower than a good one."""
    desk.rows["note"] = [Row("same", f"text {n}") for n in range(5000)]
    await desk.backfill()
    most = 0
    entries = type(desk.ledger).entries

    async def counted(self, generation, kind, keys):
        nonlocal most
        found = await entries(self, generation, kind, keys)
        most = max(most, len(found))
        return found

    monkeypatch.setattr(type(desk.ledger), "entries", counted)
    assert (await desk.backfill()).unchanged == 5002
    assert most <= BATCH


@pytest.mark.parametrize(
    "text",
    ["a\0b needle", "needle " + "x" * 500_000, "needle \u202e\ufeff\uffff", "needle 🙂" * 1000],
    ids=["nul", "one long word", "odd characters", "emoji"],
)
async def test_odd_text_is_stored_by_the_real_engine(desk, embedded_store, text):
    """It is indexed, found by a word, and not indexed again."""
    desk.store = embedded_store
    desk.rows["note"].append(Row("odd", text, text[:50], {"city": text[:50], "year": -(2**63)}))
    await desk.backfill()
    hit, *_ = (await desk.search("needle", mode="sparse")).hits
    assert (hit.record_id, hit.title, hit.metadata["city"]) == ("odd", text[:50], text[:50])
    assert (await desk.backfill()).unchanged == 6


async def test_metadata_of_every_type_comes_back(desk, embedded_store, database):
    """What SQLite holds is what hits show, numbers to the last digit."""
    database.run('CREATE TABLE t (id INTEGER PRIMARY KEY, text, "the [odd] field" , "Größe")')
    values = [None, 2**63 - 1, -(2**63), 1.5, 1e300, float("inf"), "", "text", b"bytes"]
    rows = [(f"needle{n}", value, value) for n, value in enumerate(values)]
    database.fill('INSERT INTO t (text, "the [odd] field", "Größe") VALUES (?, ?, ?)', rows)
    metadata = ["the [odd] field", "Größe"]
    desk.source = database.source(note={**KIND, "metadata": metadata})
    desk.set(kinds={"note": {**KIND, "metadata": metadata}})
    desk.store = embedded_store
    await desk.backfill()
    found = []
    for n in range(len(values)):
        (hit,) = (await desk.search(f"needle{n}", mode="sparse")).hits
        found.append(hit.metadata["the [odd] field"])
        assert list(hit.metadata.values()) == found[-1:] * 2
        hit.model_dump_json()
    assert found == [None, 2**63 - 1, -(2**63), 1.5, 1e300, None, "", "text", "bytes"]
    assert await desk.found("needle3 needle7", filter={"Größe": "text"}) == ["8"]
    assert await desk.found("needle3 needle7", filter={"the [odd] field": 1.5}) == ["4"]


# ------------------------------------------------------------------------------ during a run


class Changing(FakeRecordSource):
    """Calls ``meanwhile`` after each batch; batches are of two."""

    def __init__(self, rows, meanwhile):
        super().__init__(rows)
        self.meanwhile = meanwhile

    async def records(self, kind, *, batch=500):
        async for records in super().records(kind, batch=2):
            yield records
            self.meanwhile(self)


async def test_what_changes_during_a_run_is_right_after_the_next(desk):
    """Rows that come, change and go while a run reads others do not disturb it."""

    def change(source):
        source.rows["note"] = [Row("2", "changed to turbines"), Row("9", "new kettles")]

    rows = {"note": desk.rows["note"], "mail": desk.rows["mail"]}
    desk.source = Changing(rows, change)
    await desk.backfill()
    await desk.backfill()
    found = sorted((p.payload["kind"], p.payload["record_id"]) for p in await desk.points())
    assert found == [("mail", "1"), ("mail", "2"), ("note", "2"), ("note", "9")]
    assert await desk.found("turbines") == ["2"]


async def test_a_source_that_fails_on_the_way_removes_nothing(desk):
    """What was not read is not taken for gone."""
    await desk.backfill()

    def fail(source):
        raise SourceError("the disk is gone")

    desk.source = Changing(desk.rows, fail)
    with pytest.raises(SourceError):
        await desk.backfill()
    assert len(await desk.points()) == 5


class Full(FakeVectorStore):
    """Has room for a number of batches, then for none."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def collection(self, name):
        found = super().collection(name)
        store, upsert = self, found.upsert

        async def limited(points):
            store.room -= 1
            if store.room < 0:
                raise StorageFull("there is no room for the index")
            await upsert(points)

        found.upsert = limited
        return found


@pytest.mark.parametrize("recreate", [False, True])
async def test_a_full_disk_stops_a_run_and_the_next_goes_on(desk, recreate):
    """The error is the store's own; what was stored before need not be embedded again."""
    store = desk.store = Full(room=1000)
    desk.rows["note"] = [Row(f"{n:04}", f"text number {n}") for n in range(GROUP * 6)]
    await desk.backfill()
    for row in range(GROUP * 6):
        desk.rows["note"][row] = Row(f"{row:04}", f"changed number {row}")
    store.room = 4
    with pytest.raises(StorageFull, match="no room"):
        await desk.backfill(recreate)
    assert len(await desk.found("number", limit=100)) == 100
    store.room = 1000
    total = GROUP * 6 + (2 if recreate else 0)
    assert await desk.embedded(recreate) == total - 4 * GROUP
    assert len(await desk.points()) == GROUP * 6 + 2
    assert len(await desk.found("changed", limit=100)) == 100


async def test_an_embedder_that_breaks_its_promise_is_told_as_it_is(desk):
    """The error of the part that failed, not a group of errors."""
    desk.embedder.failure = BackendError("it answered with three vectors for five texts")
    with pytest.raises(BackendError, match="three vectors"):
        await desk.backfill()


async def test_errors_hold_no_text_of_a_record(desk):
    """What is somebody's stays out of messages."""
    desk.embedder.failure = Unavailable("the model is down")
    desk.rows["note"].append(Row("secret-id", "a secret text", "secret title", {"city": "secret"}))
    with pytest.raises(Unavailable) as caught:
        await desk.backfill()
    assert "secret" not in str(caught.value)


def test_a_record_is_small():
    """A source yields millions: a record has no dictionary of its own."""
    assert not hasattr(Record("note", "1", "text"), "__dict__")
