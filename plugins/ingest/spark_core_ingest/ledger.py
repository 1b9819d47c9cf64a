"""What has been indexed: of every record its content's hash and how many pieces it has.

Written after the points are durable, never before: a run that is killed between the two does
some work again, and loses nothing. Rows belong to one build (generation) of a collection, so
an index that was deleted or rebuilt elsewhere is never taken for done.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_core.contracts.records import Record
from spark_core.state import State

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Select, TableClause

__all__ = ["Entry", "Key", "Ledger", "open_ledger"]

#: A record within one kind: its id, and which of the rows of that id it is.
Key = tuple[str, int]


#: How many rows are looked through at a time.
PAGE = 20_000

#: The columns of an :class:`Entry`.
_ENTRY = ("id", "kind", "record_id", "occurrence", "hash", "chunks")

#: The kind of the row that claims a build.
CLAIM = ""


class Entry(NamedTuple):
    """A record that has been indexed. It is a tuple, since a sync reads millions."""

    row: int
    kind: str
    record_id: str
    occurrence: int
    hash: bytes
    chunks: int

    @property
    def key(self) -> Key:
        """Names the record within its kind."""
        return self.record_id, self.occurrence


@asynccontextmanager
async def open_ledger(state: State) -> AsyncIterator[Ledger]:
    """The ledger in the state."""
    yield Ledger(state)


class Ledger:
    """Reads and writes what has been indexed."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def is_empty(self) -> bool:
        """Whether nothing was ever indexed, or begun to be."""
        import sqlalchemy as sa

        query = sa.select(sa.exists(_table().select()))
        return not await self._state.read(lambda c: c.execute(query).scalar())

    async def last_row(self, generation: str) -> int:
        """The newest row of *generation*; what is written later has higher ones."""
        import sqlalchemy as sa

        table = _table()
        query = sa.select(sa.func.max(table.c.id)).where(table.c.generation == generation)
        return await self._state.read(lambda c: c.execute(query).scalar()) or 0

    async def claim(self, generation: str, recipe: bytes = b"") -> None:
        """Note that this ledger keeps the books of *generation*, and what that is made by.

        The row has no kind, so that it is no record; it tells a build that another program
        made in the same store from one of ours that is still empty.
        """
        row = {"record_id": "", "occurrence": 0, "hash": recipe, "chunks": 0, "tokens": 0}
        values = {"generation": generation, "kind": CLAIM, **row}
        await self._state.write(lambda c: c.execute(_upsert(), values))

    async def recipe(self, generation: str) -> bytes | None:
        """What *generation* was claimed with, if it was."""
        import sqlalchemy as sa

        table = _table()
        query = sa.select(table.c.hash).where(
            table.c.generation == generation, table.c.kind == CLAIM
        )
        found = await self._state.read(lambda c: c.execute(query).scalar())
        return None if found is None else bytes(found)

    async def entries(self, generation: str, kind: str, keys: Sequence[Key]) -> dict[Key, Entry]:
        """Those of the records called *keys* that have been indexed, and perhaps others."""
        import sqlalchemy as sa

        table = _table()
        occurrences = [occurrence for _, occurrence in keys]
        query = sa.select(*(table.c[name] for name in _ENTRY)).where(
            table.c.generation == generation,
            table.c.kind == kind,
            table.c.record_id.in_({id for id, _ in keys}),
            table.c.occurrence.between(min(occurrences), max(occurrences)),
        )

        def transaction(connection: Connection) -> dict[Key, Entry]:
            found = map(Entry._make, connection.execute(query).all())
            return {(entry.record_id, entry.occurrence): entry for entry in found}

        return await self._state.read(transaction)

    async def behind(self, generation: str, kind: str, row: int, count: int) -> dict[Key, Entry]:
        """Of the next *count* rows behind *row*, whatever they are of, the entries of *kind*."""
        import sqlalchemy as sa

        table = _table()
        columns = (*(table.c[name] for name in _ENTRY), table.c.generation)
        # By the primary key alone: with more conditions another index may be taken, and sorted.
        query = sa.select(*columns).where(table.c.id > row).order_by(table.c.id).limit(count)

        def transaction(connection: Connection) -> dict[Key, Entry]:
            return {
                (found[2], found[3]): Entry._make(found[:6])
                for found in connection.execute(query).all()
                if found[6] == generation and found[1] == kind
            }

        return await self._state.read(transaction)

    async def unseen(self, generation: str, seen: bytearray) -> AsyncGenerator[list[Entry], None]:
        """The entries whose rows are not marked in *seen*, in parts; newer rows are left out."""
        import sqlalchemy as sa

        table = _table()
        of_it = sa.and_(table.c.generation == generation, table.c.kind != CLAIM)
        rows = sa.select(table.c.id).where(of_it).order_by(table.c.id).limit(PAGE)
        entries = sa.select(*(table.c[name] for name in _ENTRY))
        old = sa.select(sa.func.count()).select_from(table).where(of_it, table.c.id < len(seen))
        if seen.count(1) == await self._state.read(lambda c: c.execute(old).scalar()):
            return  # mostly so, and then there is nothing to look through
        after = 0
        while page := await self._rows(rows.where(table.c.id > after, table.c.id < len(seen))):
            after = page[-1]
            if gone := [row for row in page if not seen[row]]:
                query = entries.where(table.c.id.in_(gone))
                found = await self._state.read(partial(_read, query))
                yield [Entry._make(row) for row in found]

    async def _rows(self, query: Select[Any]) -> Sequence[int]:
        return await self._state.read(lambda c: c.execute(query).scalars().all())

    async def put(self, generation: str, done: Sequence[tuple[Record, bytes, int, int]]) -> None:
        """Note that records are indexed, each with its hash, number of pieces and of tokens."""
        rows = [
            {
                "generation": generation,
                "kind": record.kind,
                "record_id": record.id,
                "occurrence": record.occurrence,
                "hash": hash,
                "chunks": chunks,
                "tokens": tokens,
            }
            for record, hash, chunks, tokens in done
        ]
        if rows:
            await self._state.write(lambda c: c.execute(_upsert(), rows))

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Forget records."""
        table = _table()
        statement = table.delete().where(table.c.id.in_([entry.row for entry in entries]))
        await self._state.write(lambda c: c.execute(statement))

    async def clear(self, generation: str) -> None:
        """Forget a whole build."""
        table = _table()
        statement = table.delete().where(table.c.generation == generation)
        await self._state.write(lambda c: c.execute(statement))

    async def pieces(self, generation: str) -> int:
        """How many pieces of text have been indexed."""
        import sqlalchemy as sa

        table = _table()
        query = sa.select(sa.func.sum(table.c.chunks)).where(table.c.generation == generation)
        return int(await self._state.read(lambda c: c.execute(query).scalar()) or 0)

    async def lengths(self, generation: str) -> tuple[int, int]:
        """Of how many pieces of text the length is known, and how many tokens they have."""
        import sqlalchemy as sa

        table = _table()
        query = sa.select(sa.func.sum(table.c.chunks), sa.func.sum(table.c.tokens)).where(
            table.c.generation == generation, table.c.tokens.is_not(None)
        )
        pieces, tokens = await self._state.read(lambda c: c.execute(query).one())
        return int(pieces or 0), int(tokens or 0)

    async def counts(self, generation: str) -> Mapping[str, int]:
        """How many records of each kind have been indexed."""
        import sqlalchemy as sa

        table = _table()

        def transaction(connection: Connection) -> dict[str, int]:
            query = sa.select(table.c.kind, sa.func.count().label("records")).group_by(table.c.kind)
            rows = connection.execute(query.where(table.c.generation == generation))
            return {row.kind: row.records for row in rows if row.kind != CLAIM}

        return await self._state.read(transaction)


def _read(query: Select[Any], connection: Connection) -> Sequence[Row[Any]]:
    return connection.execute(query).all()


def _table() -> TableClause:
    import sqlalchemy as sa

    names = ("id", "generation", "kind", "record_id", "occurrence", "hash", "chunks", "tokens")
    return sa.table("ingest_records", *(sa.column(name) for name in names))


def _upsert() -> Any:
    import sqlalchemy as sa

    return sa.text(
        "INSERT INTO ingest_records "
        "(generation, kind, record_id, occurrence, hash, chunks, tokens) "
        "VALUES (:generation, :kind, :record_id, :occurrence, :hash, :chunks, :tokens) "
        "ON CONFLICT (generation, kind, record_id, occurrence) "
        "DO UPDATE SET hash = excluded.hash, chunks = excluded.chunks, tokens = excluded.tokens"
    )
