"""The state database: opened by many at once, migrated once, honest when it cannot go on."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from spark_core.declarations import StateSchema
from spark_core.errors import PluginError, SettingsError, StorageFull, Unavailable
from spark_core.state import State, database
from spark_core.testing.plugins import SparkOpener, plugin

pytestmark = pytest.mark.anyio

OPEN = """
import asyncio, sys
import sqlalchemy, alembic.script, alembic.runtime.environment
from spark_core.state import State

async def main():
    async with State.open(sys.argv[1]) as state:
        count = await state.read(
            lambda c: c.exec_driver_sql("SELECT count(*) FROM schema_version_core").scalar()
        )
        print(count)

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


@pytest.mark.parametrize("by_url", [True, False])
async def test_the_database_is_its_owners_alone(tmp_path: Path, by_url: bool) -> None:
    """Private text lies in it: neither it nor its files beside it nor its folder can be read."""
    file = tmp_path / "data" / "state.db"
    async with State.open(f"sqlite:///{file}" if by_url else file) as state:
        await state.write(lambda c: c.exec_driver_sql("CREATE TABLE fruit (name)"))
        found = [file.parent, *file.parent.iterdir()]
        assert len(found) == 4
        assert {
            path.name: path.stat().st_mode & 0o077 for path in found if path.stat().st_mode & 0o077
        } == {}


async def test_a_database_by_uri_is_its_owners_too(tmp_path: Path) -> None:
    """SQLite's own URIs name a file, too."""
    async with State.open(f"sqlite:///file:{tmp_path}/data/state.db?uri=true"):
        assert (tmp_path / "data" / "state.db").stat().st_mode & 0o077 == 0


async def test_the_rights_of_a_database_that_is_there_are_left(tmp_path: Path) -> None:
    """Whoever shares one with a group has their reasons."""
    file = tmp_path / "state.db"
    file.touch()
    file.chmod(0o660)
    async with State.open(file):
        assert file.stat().st_mode & 0o777 == 0o660


def test_many_processes_migrate_once(state_url: str) -> None:
    """Six processes that open an empty database at the same moment all find it migrated."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, state_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=60) for process in processes]
    assert ends == [("1\n", "")] * 6


async def test_opening_again_changes_nothing(state_url: str) -> None:
    """Migrations run safely twice, and what was written is still there."""
    async with State.open(state_url) as state:
        await state.write(lambda c: c.exec_driver_sql("CREATE TABLE kept (n int)"))
    async with State.open(state_url) as state:
        assert await state.read(lambda c: sa.inspect(c).has_table("kept"))


async def test_an_opened_database_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    """Where nothing is to be migrated, opening takes no write lock."""
    file = tmp_path / "state.db"
    async with State.open(file):
        pass
    with sqlite3.connect(file) as writer:
        writer.execute("BEGIN IMMEDIATE")
        async with State.open(file) as state:
            assert await state.read(lambda c: c.exec_driver_sql("SELECT 1").scalar()) == 1
        writer.rollback()
    writer.close()


# ------------------------------------------------------------------------ plugins' own tables


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin's package of migrations, with its first revision."""
    folder = tmp_path / "spark_fruit_migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    _add_revision(folder, "0001", None, 'op.create_table("fruit", sa.Column("name", sa.String(9)))')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    return folder


def _add_revision(folder: Path, revision: str, before: str | None, change: str) -> None:
    text = f"""
        import sqlalchemy as sa
        from alembic import op

        revision = {revision!r}
        down_revision = {before!r}


        def upgrade():
            {change}
    """
    (folder / "versions" / f"{revision}_fruit.py").write_text(textwrap.dedent(text))


@pytest.mark.parametrize("name", ["fruit", "Fruit-Bowl"])
async def test_a_plugin_brings_its_own_tables(state_url: str, package: Path, name: str) -> None:
    """A plugin's schema is made beside core's, and later follows its newer revisions."""
    schema = StateSchema(name, package.name)
    async with State.open(state_url, [schema]) as state:
        await state.write(lambda c: c.exec_driver_sql("INSERT INTO fruit VALUES ('pear')"))
    _add_revision(package, "0002", "0001", 'op.add_column("fruit", sa.Column("n", sa.Integer))')
    async with State.open(state_url, [schema]) as state:
        rows = await state.read(lambda c: c.exec_driver_sql("SELECT name, n FROM fruit").all())
    assert rows == [("pear", None)]


async def test_a_state_of_a_newer_version_is_named(state_url: str, package: Path) -> None:
    """An older program says which schema it cannot read, rather than touch it."""
    schema = StateSchema("fruit", package.name)
    async with State.open(state_url, [schema]) as state:
        await state.write(
            lambda c: c.exec_driver_sql("UPDATE schema_version_fruit SET version_num = '0009'")
        )
    with pytest.raises(Unavailable, match=r"schema fruit .*newer version"):
        async with State.open(state_url, [schema]):
            pass


async def test_a_failed_migration_leaves_nothing_behind(state_url: str, package: Path) -> None:
    """A revision is applied whole or not at all, so that it can be tried again."""
    bad = 'op.create_table("nut", sa.Column("n", sa.Integer)); op.execute("SELECT * FROM missing")'
    _add_revision(package, "0002", "0001", bad)
    schema = StateSchema("fruit", package.name)
    async with State.open(state_url, [schema]) as state:
        assert list(state.failures) == [schema]
        assert not await state.read(lambda c: sa.inspect(c).has_table("nut"))


@pytest.mark.parametrize(
    "change", ["1 / 0", "raise SystemExit(1)", 'op.execute("SELECT * FROM missing")']
)
async def test_a_schema_that_fails_is_its_plugins_failure(
    state_url: str, package: Path, change: str
) -> None:
    """The others are there; whoever wants its tables is told whose they are, and why not."""
    _add_revision(package, "0002", "0001", change)
    schemas = [
        StateSchema("fruit", package.name),
        StateSchema("gateway", "spark_core.gateway.migrations"),
    ]
    async with State.open(state_url, schemas, lambda schema: f"{schema.name}-tools") as state:
        names = await state.read(lambda c: sa.inspect(c).get_table_names())
        assert "leases" in names
        assert "schema_version_gateway" in names
        with pytest.raises(PluginError, match=r"schema fruit of fruit-tools cannot be brought up"):
            await state.write(lambda c: c.exec_driver_sql("INSERT INTO fruit VALUES ('pear')"))


async def test_a_schema_that_cannot_be_imported_names_its_plugin(
    spark_open: SparkOpener, package: Path
) -> None:
    """The plugin is listed as broken from then on."""
    (package / "__init__.py").write_text("raise ZeroDivisionError('on purpose')")
    schema = StateSchema("fruit", package.name)
    bad = plugin("bad", spark_register_state_schemas=lambda: [schema])
    async with spark_open(bad) as spark:
        await spark.call("audit.list")
        [found] = [p for p in (await spark.call("plugins")).plugins if p.name == "bad"]
    assert found.status == "broken"
    assert "fruit of in-test-bad cannot be brought up to date: ZeroDivisionError" in found.error


async def test_a_database_that_is_locked_is_no_plugins_failure(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be free the next time, so the state is not opened with half of its tables."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    file = tmp_path / "state.db"
    async with State.open(file):
        pass
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        async with State.open(file, [StateSchema("fruit", package.name)]):
            pass
    other.close()


# ------------------------------------------------------------------------------- transactions


async def test_an_error_undoes_the_transaction(state: State) -> None:
    """What raises leaves no trace, and the error arrives as it was."""

    def transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (n int)")
        raise LookupError("changed its mind")

    with pytest.raises(LookupError, match="changed its mind"):
        await state.write(transaction)
    assert not await state.read(lambda c: sa.inspect(c).has_table("half"))


async def test_a_cancelled_callers_transaction_completes(state: State) -> None:
    """A transaction that has begun is committed, whether its caller still waits or not."""
    begun, go_on, ended = threading.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def transaction(connection: sa.Connection) -> None:
        begun.set()
        go_on.wait()
        connection.exec_driver_sql("CREATE TABLE done (n int)")

    def observed(connection: sa.Connection) -> None:
        transaction(connection)
        sa.event.listen(
            connection.engine,
            "checkin",
            lambda *_: loop.call_soon_threadsafe(ended.set),
            once=True,
        )

    caller = asyncio.create_task(state.write(observed))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await ended.wait()
    assert await state.read(lambda c: sa.inspect(c).has_table("done"))


async def test_writers_wait_for_each_other(state: State) -> None:
    """Two transactions that read and then write both succeed, one after the other."""
    await state.write(lambda c: c.exec_driver_sql("CREATE TABLE total (n int)"))
    await state.write(lambda c: c.exec_driver_sql("INSERT INTO total VALUES (0)"))

    def add(connection: sa.Connection) -> None:
        lock = "" if connection.dialect.name == "sqlite" else " FOR UPDATE"
        n = connection.exec_driver_sql(f"SELECT n FROM total{lock}").scalar_one()
        connection.exec_driver_sql(f"UPDATE total SET n = {n + 1}")

    await asyncio.gather(*(state.write(add) for _ in range(20)))
    assert await state.read(lambda c: c.exec_driver_sql("SELECT n FROM total").scalar()) == 20


async def test_closing_waits_for_a_transaction_that_nobody_waits_for(tmp_path: Path) -> None:
    """Its connection would be left open otherwise."""
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def slowly(connection: sa.Connection) -> None:
        begun.set()
        go_on.wait(60)
        ended.append(connection.exec_driver_sql("SELECT 1").scalar())

    async with State.open(tmp_path / "state.db") as state:
        writing = asyncio.create_task(state.write(slowly))
        await asyncio.to_thread(begun.wait, 60)
        writing.cancel()
        await asyncio.wait([writing])
        asyncio.get_running_loop().call_soon(go_on.set)
    assert ended == [1]


async def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    """A writer waits until another process has ended its transaction."""
    file = tmp_path / "state.db"
    async with State.open(file) as state:
        other = sqlite3.connect(file)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(
            state.write(lambda c: c.exec_driver_sql("CREATE TABLE late (n int)"))
        )
        done, _ = await asyncio.wait([writing], timeout=0.1)
        assert not done
        other.rollback()
        other.close()
        await writing


async def test_a_database_locked_for_too_long_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that a writer waits, the error says that the database is locked."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    async with State.open(tmp_path / "state.db") as state:
        other = sqlite3.connect(tmp_path / "state.db")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await state.write(lambda c: c.exec_driver_sql("CREATE TABLE late (n int)"))
        other.close()


async def test_a_full_disk_is_storage_full(tmp_path: Path) -> None:
    """Where there is no room, nothing is written and the error says so."""
    async with State.open(tmp_path / "state.db") as state:

        def fill(connection: sa.Connection) -> None:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            connection.exec_driver_sql("CREATE TABLE big AS SELECT zeroblob(100000) AS b")

        with pytest.raises(StorageFull, match="disk is full"):
            await state.write(fill)
        assert not await state.read(lambda c: sa.inspect(c).has_table("big"))


async def test_errors_hold_no_content(state: State) -> None:
    """Neither the error nor what it was raised from shows what was to be written."""
    statement = sa.text("INSERT INTO missing VALUES (:value)")
    with pytest.raises(Unavailable) as caught:
        await state.write(lambda c: c.execute(statement, {"value": "a private note"}))
    assert "private" not in f"{caught.value} {caught.value.__cause__}"


# -------------------------------------------------------------------------- what it is opened by


@pytest.mark.parametrize(
    "url",
    [
        "nonsense sesame",
        "",
        "oracle://ada:sesame@localhost/db",
        "unheard://ada:sesame@localhost/db",
        "postgresql+unheard://ada:sesame@localhost/db",
        "postgresql://ada:ses:ame@h:sesame/x@localhost/db",
        "sqlite+aiosqlite:///sesame.db",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
async def test_a_bad_url_is_a_settings_error_without_its_password(url: str) -> None:
    """What cannot be used is refused by the setting's name; the URL may hold a password."""
    with pytest.raises(SettingsError, match=r"\[state\] url") as caught:
        async with State.open(url):
            pass
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_server_that_is_down_is_unavailable(tmp_path: Path) -> None:
    """A database that cannot be reached is unavailable, and the password stays unsaid."""
    pytest.importorskip("psycopg")
    url = f"postgresql+psycopg://ada:sesame@/db?host={tmp_path}"
    with pytest.raises(Unavailable) as caught:
        async with State.open(url):
            pass
    assert "sesame" not in str(caught.value)


async def test_a_file_in_the_way_is_unavailable(tmp_path: Path) -> None:
    """Where the folder cannot be made, the error names it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="file/data cannot be made"):
        async with State.open(tmp_path / "file" / "data" / "state.db"):
            pass


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """What is no database is left as it is."""
    file = tmp_path / "state.db"
    file.write_text("a letter to Ada\n" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        async with State.open(file):
            pass
    assert file.read_text() == "a letter to Ada\n" * 100


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """A question mark or a percent sign in a path is only a character."""
    folder = tmp_path / "what? 100%41 & more #1"
    asyncio.run(_open_once(folder / "state.db"))
    assert (folder / "state.db").is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]


async def _open_once(file: Path) -> None:
    async with State.open(file):
        pass
