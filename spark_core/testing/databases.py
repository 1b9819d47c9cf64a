"""Both databases that the state may lie in, for whoever has tables there.

A ``conftest.py`` that wants them imports the fixtures by their names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["postgresql_server", "postgresql_url", "state_url"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A private PostgreSQL server on a socket of its own; its URL, without a database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        pytest.skip("psycopg is not installed (spark-core[postgresql])")
    # Not below pytest's folder: a socket's path must be short, and another user must get there.
    folder = Path(tempfile.mkdtemp(prefix="spark-pg-", dir="/tmp"))
    server = _Server(binaries[-1], folder)
    try:
        server.start()
        yield f"postgresql+psycopg://postgres@/{{}}?host={folder}"
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class _Server:
    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        self._user = None
        if os.getuid() == 0:  # PostgreSQL refuses to be run by root
            self._user = "nobody"
            shutil.chown(folder, self._user)

    def start(self) -> None:
        self._run("initdb", "-U", "postgres", "--auth=trust", "--locale=C", "-E", "UTF8", "-N")
        self._run("pg_ctl", "start", "-w", "-o", self._options)

    def stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-m", "immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "-D", str(self._data), *arguments]
        log = self._data.parent / "log"
        with log.open("ab") as out:
            done = subprocess.run(command, user=self._user, cwd="/", stdout=out, stderr=out)
        assert done.returncode == 0, log.read_text()


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """An empty database of its own on the private server."""
    import sqlalchemy

    name = f"t{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(
        postgresql_server.format("postgres"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgresql_server.format(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty state database, on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url
