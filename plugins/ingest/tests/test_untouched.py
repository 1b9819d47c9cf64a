"""A CRM is read without a trace, at rest or at work, and never torn."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from spark_core_ingest.database import Database

from spark_core.errors import SourceError
from spark_core.testing.records import read

pytestmark = pytest.mark.anyio

KINDS = {
    "table": {"table": "t", "id": "id", "text": "text"},
    "query": {"query": "SELECT * FROM t", "id": "id", "text": "text"},
}

SCHEMA = "PRAGMA journal_mode = {}; CREATE TABLE t (id INTEGER PRIMARY KEY, text)"


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


async def read_all(source) -> int:
    """Read everything in every way; how many records there were."""
    counts = await source.counts()
    for kind, count in counts.items():
        assert sum(map(len, await read(source, kind, 10))) == count
    return sum(counts.values())


@pytest.mark.parametrize("log", [None, b""], ids=["no log", "empty log"])
@pytest.mark.parametrize("journal", ["WAL", "DELETE", "PERSIST"])
async def test_a_database_at_rest_is_left_alone(database, journal, log):
    """No file of its folder is changed, and none comes."""
    database.run(SCHEMA.format(journal)).fill("INSERT INTO t (text) VALUES (?)", [("x",)] * 25)
    if log is not None:
        database.path.with_name("crm.db-wal").write_bytes(log)
    before = files(database.path.parent)
    assert await read_all(database.source(**KINDS)) == 50
    assert files(database.path.parent) == before


async def test_a_log_with_content_is_read_and_left_alone(database):
    """What a CRM that is open has not yet written to its file counts, and stays where it is."""
    database.run(SCHEMA.format("WAL"))
    with closing(sqlite3.connect(database.path)) as crm:
        crm.executescript("PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (1, 'x')")
        names = set(files(database.path.parent))
        log = database.path.with_name("crm.db-wal")
        before = [file.read_bytes() for file in (database.path, log)]
        assert await read_all(database.source(**KINDS)) == 2
        assert [file.read_bytes() for file in (database.path, log)] == before
        assert set(files(database.path.parent)) == names


@pytest.fixture
def foreign_folder():
    """A folder that others may write to, and we may not; tests may run as root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o755)


def forbid(folder: Path) -> None:
    """Let this process only read in *folder*, for the rest of the test."""
    for file in folder.iterdir():
        file.chmod(0o644)
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.fixture
def unprivileged(foreign_folder):
    user = os.geteuid()
    yield lambda: forbid(foreign_folder)
    os.seteuid(user)


async def test_a_database_at_rest_is_read_where_nothing_can_be_written(
    database, foreign_folder, unprivileged
):
    """Such as a backup, or a CRM of another user."""
    database.path = foreign_folder / "crm.db"
    database.run(SCHEMA.format("WAL")).fill("INSERT INTO t (text) VALUES (?)", [("x",)] * 25)
    unprivileged()
    assert await read_all(database.source(**KINDS)) == 50


async def test_a_log_that_cannot_be_read_is_told(database, foreign_folder, unprivileged):
    """Its content is part of the data: they are not read without it."""
    database.path = foreign_folder / "crm.db"
    database.run(SCHEMA.format("WAL"))
    with closing(sqlite3.connect(database.path)) as crm:
        crm.executescript("PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (1, 'x')")
        for suffix in ("", "-wal"):
            copied = foreign_folder / f"copy.db{suffix}"
            copied.write_bytes((foreign_folder / f"crm.db{suffix}").read_bytes())
    database.path = foreign_folder / "copy.db"
    unprivileged()
    with pytest.raises(SourceError, match=r"copy\.db cannot be read: .* -wal") as caught:
        await database.source(**KINDS).counts()
    assert "copy of both files" in (caught.value.hint or "")


def settled(database) -> Database:
    """As if its last change was long ago."""
    os.utime(database.path, (1, 1))
    return Database(database.path)


@pytest.mark.parametrize("torn", [True, False], ids=["torn", "whole"])
def test_what_changes_while_it_is_read_is_read_again(database, torn):
    """A CRM opened it, wrote and closed it again: what came of the first reading is not used."""
    database.run(SCHEMA.format("WAL"))
    found = []

    def take(connection):
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
        found.append(count)
        if count == 0:
            database.run("INSERT INTO t (text) VALUES ('new')")
            if torn:
                raise sqlite3.DatabaseError("database disk image is malformed")
        return count

    with settled(database).reading(take) as (_, count):
        assert count == 1
    assert found == [0, 1]


def test_a_log_that_comes_later_does_not_disturb_a_reading(database):
    """Until it reaches the file, what is read is the database as it was."""
    database.run(SCHEMA.format("WAL"))
    with closing(sqlite3.connect(database.path)) as crm:

        def take(connection):
            crm.executescript("INSERT INTO t (text) VALUES ('new')")
            return connection.execute("SELECT count(*) FROM t").fetchone()

        with settled(database).reading(take) as (_, (count,)):
            assert count == 0
        with Database(database.path).reading(take) as (_, (count,)):
            assert count == 2


def test_a_reading_keeps_the_locks_of_others(database, monkeypatch):
    """A process that closes a file loses all its locks on it: so nothing of ours may do that."""
    database.run(SCHEMA.format("DELETE")).fill("INSERT INTO t (text) VALUES (?)", [("x",)])
    monkeypatch.setattr("spark_core_ingest.database.BUSY_SECONDS", 0.05)
    write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0).execute('DELETE FROM t')"
    with closing(sqlite3.connect(database.path)) as reader:
        reader.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Exception, match="locked"), Database(database.path).reading(_count):
            pass
        assert _run(write, database.path) != 0


def _count(connection):
    return connection.execute("SELECT count(*) FROM t").fetchone()


def _run(code: str, *arguments: object) -> int:
    words = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return os.spawnv(os.P_WAIT, sys.executable, words)


#: Opens the database, moves an amount from one row to another far away, and closes it.
MOVER = """
import sqlite3, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    crm = sqlite3.connect(sys.argv[1], timeout=60)
    with crm:
        crm.execute("UPDATE t SET text = text - 1 WHERE id = 1")
        crm.execute("UPDATE t SET text = text + 1 WHERE id = 2000")
    crm.close()
    print("moved", flush=True)
    ended.wait(0.001)
"""


async def test_a_database_that_is_written_to_is_never_read_torn(database):
    """Whatever comes and goes between two looks, a reading is of one moment."""
    database.run(SCHEMA.format("WAL").replace("text)", "text INTEGER, padding)"))
    rows = [(100, "x" * 500)] * 2000
    database.fill("INSERT INTO t (text, padding) VALUES (?, ?)", rows)
    source = database.source(**KINDS)
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    mover = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MOVER, str(database.path), **pipes
    )
    try:
        for _ in range(10):
            assert await mover.stdout.readline() == b"moved\n"
            for kind in KINDS:
                (records,) = await read(source, kind, 2000)
                assert sum(int(record.text) for record in records) == 200_000
    finally:
        mover.stdin.close()
        await mover.stdout.read()
        await mover.wait()
