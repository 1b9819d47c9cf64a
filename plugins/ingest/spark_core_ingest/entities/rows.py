"""Which records say something else than before: a database that others write to tells nobody."""

from __future__ import annotations

import asyncio
import marshal
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..database import LATIN_1, Database
from ..settings import KindSettings
from ..statements import Statements
from .profiles import Key

__all__ = ["Rows"]

#: So many rows are read while the database is open: a reader may keep its writers waiting.
TOGETHER = 20_000


class Rows:
    """Remembers of each record a number that is made of all that is read of it."""

    def __init__(self, database: Path, kinds: Mapping[str, KindSettings]) -> None:
        self._database = Database(database)
        self._kinds = kinds
        self._seen: dict[str, dict[bytes, int]] = {}

    async def changed(self) -> set[Key]:
        """The records that are new, other or gone since this was last asked."""
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(self._look, given_up)
        finally:
            given_up.set()

    def _look(self, given_up: threading.Event) -> set[Key]:
        now = {name: self._numbers(name, given_up) for name in self._kinds}
        before, self._seen = self._seen, now
        return {
            (name, id.decode("utf-8", LATIN_1))
            for name, numbers in now.items()
            for id in _differing(before.get(name, {}), numbers)
        }

    def _numbers(self, name: str, given_up: threading.Event) -> dict[bytes, int]:
        numbers: dict[bytes, int] = {}
        for row in self._rows(name, given_up):
            number = hash(marshal.dumps(row, 2))  # 1 and 1.0 are equal, but not written so
            numbers[row[0]] = hash((numbers[row[0]], number)) if row[0] in numbers else number
        return numbers

    def _rows(self, name: str, given_up: threading.Event) -> Iterator[Any]:
        place: Any = None
        while True:

            def take(connection: sqlite3.Connection, last: Any = place) -> tuple[bool, list[Any]]:
                statements = Statements(connection, name, self._kinds[name])
                connection.text_factory = bytes
                if statements.pages:
                    rows = connection.execute(*statements.page(last)).fetchmany(TOGETHER)
                    return len(rows) == TOGETHER, rows
                return False, connection.execute(statements.everything).fetchall()

            with self._database.reading(take, given_up) as (_, (are_more, rows)):
                pass  # it is closed before anybody works on the rows
            yield from rows
            if not are_more:
                return
            place = rows[-1][1]


def _differing(before: Mapping[bytes, int], now: Mapping[bytes, int]) -> Iterator[bytes]:
    yield from (id for id, number in now.items() if before.get(id) != number)
    yield from before.keys() - now.keys()
