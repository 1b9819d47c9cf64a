"""The state database: opened, migrated, and used one short transaction at a time."""

from __future__ import annotations

import asyncio
import errno
import importlib.resources
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..containment import ENDINGS
from ..declarations import StateSchema
from ..errors import PluginError, SettingsError, SparkError, StorageFull, Unavailable

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import Connection, Engine

__all__ = ["State"]

T = TypeVar("T")

#: How long a writer waits for another one, or a connection for the server, in seconds.
BUSY_SECONDS = 20

#: What databases say of tables and columns that are not there.
_MISSING: Final = re.compile("no such (table|column)|has no column|does not exist")

log = logging.getLogger(__name__)


class State:
    """The state database. Open it with :meth:`open`.

    ``failures`` says of each schema that could not be brought up to date why. Its tables are
    missing or old: whoever looks for what is not there is told with a ``PluginError``.
    """

    def __init__(self, engine: Engine, failures: Mapping[StateSchema, str]) -> None:
        self._engine = engine
        self.failures = failures
        self._running: set[asyncio.Future[Any]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str | Path,
        schemas: Iterable[StateSchema] = (),
        owner: Callable[[StateSchema], str] = lambda schema: schema.migrations,
    ) -> AsyncIterator[State]:
        """Open the database at *url*, or the SQLite file, and bring every schema up to date.

        *owner* names whose a schema is, in errors. One that fails is left out: see above.

        :raises SettingsError: *url* cannot be understood, or its driver is not installed.
        :raises Unavailable: the database cannot be reached, or a newer version has written it.
        """
        engine = await asyncio.to_thread(_engine, url)
        migrating = asyncio.ensure_future(asyncio.to_thread(_migrate, engine, schemas, owner))
        running: set[asyncio.Future[Any]] = {migrating}
        try:
            state = cls(engine, await asyncio.shield(migrating))
            running = state._running
            yield state
        finally:
            # What nobody waits for still runs in its thread, with a connection of its own.
            await asyncio.gather(*running, return_exceptions=True)
            await asyncio.to_thread(engine.dispose)

    async def read(self, transaction: Callable[[Connection], T]) -> T:
        """Run *transaction*, which only reads, in a worker thread."""
        return await self._run(transaction, write=False)

    async def write(self, transaction: Callable[[Connection], T]) -> T:
        """Run *transaction* in a worker thread; it is committed, or on an error undone.

        Writers come one after another, on SQLite from the transaction's very start.
        """
        return await self._run(transaction, write=True)

    async def _run(self, transaction: Callable[[Connection], T], *, write: bool) -> T:
        def run() -> T:
            options = {"spark_write": write}
            with (
                self._engine.connect().execution_options(**options) as connection,
                connection.begin(),
            ):
                return transaction(connection)

        # Shielded: a transaction that has begun ends, whether its caller still waits or not.
        # Where nobody waits, nobody need be told that it failed.
        task = asyncio.ensure_future(asyncio.to_thread(_translated, run, self.failures))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


def _engine(url: str | Path) -> Engine:
    import sqlalchemy

    try:
        # A path is not put into a URL's text: there a question mark would begin options.
        file = sqlalchemy.URL.create("sqlite", database=str(url))
        parsed = file if isinstance(url, Path) else sqlalchemy.make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        engine = sqlalchemy.create_engine(
            parsed,
            pool_pre_ping=not sqlite,
            connect_args={"timeout" if sqlite else "connect_timeout": BUSY_SECONDS},
            hide_parameters=True,  # they are somebody's data, and errors are logged
        )
    except (sqlalchemy.exc.ArgumentError, ModuleNotFoundError, ValueError) as error:
        raise _unusable(type(error).__name__) from None
    if engine.dialect.name not in ("sqlite", "postgresql") or engine.dialect.is_async:
        raise _unusable("neither SQLite nor PostgreSQL with a synchronous driver")
    if sqlite:
        _make_file((parsed.database or ":memory:").removeprefix("file:"))
        _use_wal(engine)
    return engine


def _unusable(reason: str) -> SettingsError:
    # The URL may hold a password, so the message does not hold the URL.
    return SettingsError(
        f"[state] url cannot be used: {reason}",
        hint="sqlite:///file, or postgresql+psycopg://... with psycopg installed",
    )


def _make_file(database: str) -> None:
    """Make an empty database that is its owner's alone; SQLite's files beside it follow it."""
    if database == ":memory:":
        raise _unusable("a database in memory cannot be shared by processes")
    file = Path(database)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            file.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full() from error
        reason = f"{error.filename} cannot be made for the state: {error.strerror}"
        raise Unavailable(reason) from error


def _use_wal(engine: Engine) -> None:
    """SQLite as several processes need it: WAL, and writers that queue from the start.

    A deferred transaction that reads and then writes fails at once when another has written
    between; one that begins IMMEDIATE waits its turn.
    """
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None
        try:
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}").close()
        except BaseException:
            connection.close()  # nobody else would
            raise

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("spark_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _translated(action: Callable[[], T], failures: Mapping[StateSchema, str] | None = None) -> T:
    """Run *action*; what SQLAlchemy raises becomes an error of ours."""
    from sqlalchemy.exc import DBAPIError, TimeoutError

    try:
        return action()
    except (DBAPIError, TimeoutError) as error:
        raise _translate(error, failures or {}) from error


def _translate(error: Exception, failures: Mapping[StateSchema, str]) -> SparkError:
    text = _first_line(error)
    if "disk is full" in text or "No space left" in text:
        return _full()
    if failures and _MISSING.search(text):
        return PluginError("; ".join(failures.values()))
    return Unavailable(f"the state database cannot be used: {text}")


def _first_line(error: BaseException) -> str:
    """What *error* says; of one of SQLAlchemy's without the statement and its parameters."""
    return (str(getattr(error, "orig", error)).strip().splitlines() or [""])[0][:200]


def _full() -> StorageFull:
    return StorageFull("the state database cannot be written: the disk is full")


# ------------------------------------------------------------------------------- migrations

CORE_SCHEMA = StateSchema("core", "spark_core.state.migrations")


def _migrate(
    engine: Engine, schemas: Iterable[StateSchema], owner: Callable[[StateSchema], str]
) -> Mapping[StateSchema, str]:
    """Bring each schema to its newest revision; say of each that failed why."""
    _translated(lambda: _follow(engine, CORE_SCHEMA))
    failures: dict[StateSchema, str] = {}
    for schema in schemas:
        try:
            _follow(engine, schema)
        except (*ENDINGS, SparkError):
            raise
        except BaseException as error:
            if _is_the_databases(error):
                raise _translate(error, {}) from error  # type: ignore[arg-type]
            reason = f"{type(error).__name__}: {_first_line(error)}"
            failures[schema] = (
                f"the state's schema {schema.name} of {owner(schema)} "
                f"cannot be brought up to date: {reason}"
            )
            log.error("%s", failures[schema])
    return failures


def _is_the_databases(error: BaseException) -> bool:
    """Whether a schema failed for a reason that has nothing to do with it and may pass."""
    import sqlite3

    from sqlalchemy.exc import OperationalError, TimeoutError

    if isinstance(error, OperationalError):
        # SQLite also names wrong statements so, with this code.
        return getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR
    return isinstance(error, TimeoutError)


def _follow(engine: Engine, schema: StateSchema) -> None:
    """Bring *schema* to its newest revision; one process at a time, the others wait.

    Alembic is loaded only when a schema is behind: most starts find nothing to do.
    """
    import sqlalchemy

    reader = engine.connect().execution_options(spark_write=False)
    with reader as connection, connection.begin():
        if _is_up_to_date(_revision(connection, schema), schema):
            return
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(7363001)"))
        _upgrade(connection, schema)


def _is_up_to_date(revision: str | None, schema: StateSchema) -> bool:
    """Whether *revision* is the newest one of *schema*.

    :raises Unavailable: it is newer. Nothing may touch tables that it does not understand.
    """
    newest = _newest(schema)
    if revision is not None and revision > newest:
        raise Unavailable(
            f"the state's schema {schema.name} is at revision {revision}, "
            f"and {schema.migrations} knows none after {newest}",
            hint="it was written by a newer version",
        )
    return revision == newest


def _version_table(schema: StateSchema) -> str:
    return f"schema_version_{schema.name}"


def _revision(connection: Connection, schema: StateSchema) -> str | None:
    import sqlalchemy as sa

    table = sa.table(_version_table(schema), sa.column("version_num"))
    if not sa.inspect(connection).has_table(table.name):
        return None
    return connection.execute(table.select()).scalar()


def _newest(schema: StateSchema) -> str:
    """The newest revision: revisions are files named ``NNNN_subject.py``, in order."""
    versions = importlib.resources.files(schema.migrations) / "versions"
    names = (entry.name for entry in versions.iterdir())
    return max(name.partition("_")[0] for name in names if name[:4].isdigit())


def _upgrade(connection: Connection, schema: StateSchema) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    with importlib.resources.as_file(importlib.resources.files(schema.migrations)) as folder:
        scripts = ScriptDirectory(str(folder))
        environment = EnvironmentContext(
            Config(), scripts, fn=lambda revision, context: scripts._upgrade_revs("head", revision)
        )
        environment.configure(connection, version_table=_version_table(schema))
        environment.run_migrations()
