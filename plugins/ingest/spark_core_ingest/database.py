"""Opens the CRM's database so that neither it nor its folder is changed.

SQLite reads a database in WAL mode through two files beside it, ``-wal`` and ``-shm``. It makes
them where they are missing, and a program that only reads cannot take them away again. So a
database that is at rest, with all of its content in the one file, is opened as one that cannot
change (``immutable``), and what was read counts if it then did not. While a CRM has written to
its ``-wal`` both files are there, and SQLite's own ways are used (``docs/decisions/0012``).
"""

from __future__ import annotations

import codecs
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from spark_core.errors import SourceError, SparkError, StorageFull, Unavailable

__all__ = ["LATIN_1", "Database"]

T = TypeVar("T")

#: How long to wait for a writer that has locked the database, in seconds.
BUSY_SECONDS = 5.0

#: How often a database is tried to be read as one at rest, before SQLite's own ways are used
#: whatever they leave behind.
ATTEMPTS = 4

#: Two changes to a file that are closer than this, in seconds, may bear the same time.
CLOCK_GRAIN = 0.05


class AtRest(NamedTuple):
    """A file that holds all of its database, as it was at one moment."""

    device: int
    inode: int
    size: int
    modified: int

    @property
    def is_settled(self) -> bool:
        """Whether its next change will bear another time."""
        return time.time() - self.modified / 1e9 > CLOCK_GRAIN


class _Changed(Exception):
    """The file is not what it was before it was read."""


class Database:
    """The file at *path*. It is opened anew for every reading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(
        self, take: Callable[[sqlite3.Connection], T], given_up: threading.Event | None = None
    ) -> Iterator[tuple[sqlite3.Connection, T]]:
        """What *take* read, and the connection, on which temporary tables remain to be read.

        *take* is called again where the file changed under it. ``given_up`` interrupts it.

        :raises SourceError: the database cannot be read.
        :raises Unavailable: another program has locked it.
        """
        try:
            connection, taken = self._read(take, given_up)
            with closing(connection):
                yield connection, taken
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from error

    def version(self) -> str:
        """Another text once anything was written, there or into its log.

        :raises SourceError: there is no such file.
        """
        log = self._beside("-wal")
        seen = (*self._seen(), *((log.st_size, log.st_mtime_ns) if log and log.st_size else ()))
        return "-".join(map(str, seen))

    def _read(
        self, take: Callable[[sqlite3.Connection], T], given_up: threading.Event | None
    ) -> tuple[sqlite3.Connection, T]:
        for _ in range(ATTEMPTS):
            before = self._at_rest()
            if before is None:
                break
            if not before.is_settled:
                time.sleep(CLOCK_GRAIN)
                continue
            with suppress(_Changed):
                return self._take("immutable=1", take, given_up, before)
        return self._take("mode=ro", take, given_up)

    def _take(
        self,
        how: str,
        take: Callable[[sqlite3.Connection], T],
        given_up: threading.Event | None,
        before: AtRest | None = None,
    ) -> tuple[sqlite3.Connection, T]:
        connection = self._connect(how, given_up)
        try:
            taken = take(connection)
            self._check(before)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error | SparkError):  # of what was torn, perhaps
                self._check(before)
            raise
        return connection, taken

    def _check(self, before: AtRest | None) -> None:
        if before and self._seen() != before:
            raise _Changed

    def _connect(self, how: str, given_up: threading.Event | None = None) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{how}",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,  # one reading may go from thread to thread
        )
        # A CRM may hold bytes that are no UTF-8: they are read as well as they can be.
        connection.text_factory = partial(str, encoding="utf-8", errors=LATIN_1)
        if given_up:
            connection.set_progress_handler(given_up.is_set, 100_000)
        return connection

    def _at_rest(self) -> AtRest | None:
        """The file, if nothing but it is needed to read it; else ``None``.

        The file comes first: once the log is then found empty, whatever else reaches the file
        reaches it later, and shows.
        """
        seen = self._seen()
        busy = self._has_content("-wal") or self._has_content("-journal")
        return None if busy or not self._is_in_wal_mode() else seen

    def _seen(self) -> AtRest:
        if not self.path.is_file():
            raise SourceError(
                f"there is no database {self.path}",
                hint="see [plugins.ingest] database, or CRM_DB_PATH",
            )
        stat = self.path.stat()
        return AtRest(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def _has_content(self, suffix: str) -> bool:
        stat = self._beside(suffix)
        return stat is not None and stat.st_size > 0

    def _beside(self, suffix: str) -> os.stat_result | None:
        file = self.path.resolve()
        try:
            return file.with_name(file.name + suffix).stat()
        except FileNotFoundError:
            return None

    def _is_in_wal_mode(self) -> bool:
        """Ask SQLite: without locks it reads a database in any other mode.

        To look into the file would be a grave mistake: when a process closes a file, all of
        its locks on it are gone, those of its other connections too.
        """
        with closing(self._connect("mode=ro&nolock=1")) as connection:
            try:
                connection.execute("PRAGMA schema_version")
            except sqlite3.Error as error:
                return error.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN
        return False

    def _translated(self, error: sqlite3.Error | OSError) -> SparkError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return Unavailable(f"the database {self.path} is locked by another program")
        if "disk is full" in text:
            return StorageFull(f"there is no room for temporary files while reading {self.path}")
        if "not a database" in text or "malformed" in text:
            return SourceError(f"{self.path} is not a sound SQLite database: {text}")
        if "unable to open" in text and self._has_content("-wal"):
            return SourceError(
                f"{self.path} cannot be read: its latest changes are in the -wal beside it, "
                "which needs a -shm, and none can be made in that folder",
                hint="let the CRM open and close the database once, or index a copy of both files",
            )
        return SourceError(f"the database {self.path} cannot be read: {text}")


#: Reads a byte that is no UTF-8 as what it most likely was; others stay as they are.
LATIN_1 = "spark_core_ingest.latin_1"


def _read_as_latin_1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(LATIN_1, _read_as_latin_1)
