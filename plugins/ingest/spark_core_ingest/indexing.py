"""Brings a collection in line with a record source: embeds what is new or has changed,
deletes what is gone, leaves the rest alone.

Reading, embedding and storing overlap: some requests are always with the embedder, so the
slowest of the three sets the pace. It need not even wait for a new collection to be made.
Memory is bounded by what is in flight.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import marshal
import uuid
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from spark_core import Progress
from spark_core.clock import Clock
from spark_core.contracts.embedding import Embedder, Vector
from spark_core.contracts.records import Record, RecordSource
from spark_core.contracts.vectors import Collection, Hit, Point, VectorStore
from spark_core.errors import BackendError, SparkError

from .annotations.points import MARK, is_annotation
from .chunking import chunks
from .following import Following
from .ledger import Entry, Key, Ledger

T = TypeVar("T")

__all__ = ["Indexing", "Tally", "average_length"]

#: Records that are read and compared together.
BATCH = 2000

#: Pieces that go to the embedder together.
GROUP = 64

#: Points after which what is done is written down for good.
CHECKPOINT = 2000

#: Seconds after which what is done is written down, however little that is: a run that is killed
#: again and again gets on all the same.
CHECKPOINT_SECONDS = 5.0

#: How many records of a kind have all of their pieces measured; behind them, one in STEP.
MEASURED, STEP = 4000, 7

NAMESPACE = uuid.UUID("6f1f4a1e-7f0e-5d0c-9d3b-0c8a1c2b7e55")


@dataclass
class Tally:
    """What a run did, counted in records (and pieces, where it says so)."""

    seen: Counter[str] = field(default_factory=Counter)
    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    empty: int = 0
    repeated_ids: int = 0
    pieces: int = 0


@dataclass(frozen=True)
class _Work:
    """A record to be indexed, and what is in the index of it."""

    record: Record
    hash: bytes
    pieces: list[str]
    tokens: int
    former: Entry | None

    @property
    def weight(self) -> int:
        """What it counts in a group: a record without text is not for nothing."""
        return max(1, len(self.pieces))


@dataclass
class Indexing:
    """One run into one collection. ``size`` is the length of a piece in characters.

    ``generation`` is the collection's; where it is empty ``make`` makes the collection and tells.
    ``lengths`` is the store's.
    """

    source: RecordSource
    embedder: Embedder
    collection: Collection
    ledger: Ledger
    generation: str
    make: Callable[[], Awaitable[str]]
    lengths: Callable[[Sequence[str]], Sequence[int]]
    clock: Clock
    size: int
    in_flight: int
    progress: Progress
    tally: Tally = field(default_factory=Tally)
    total: int = 0
    stored: int = 0
    unwritten: list[_Work] = field(default_factory=list)
    written_at: datetime = field(init=False)
    following: Following = field(init=False)

    def __post_init__(self) -> None:
        self.written_at = self.clock.now()
        self.following = Following(self.ledger, self.generation)

    async def run(self) -> Tally:
        """Read everything once. Can be stopped at any moment and run again."""
        totals = await self.source.counts()
        self.total = sum(totals.values())
        seen = bytearray(await self.ledger.last_row(self.generation) + 1)
        try:
            await self._index(totals, seen)
        except BaseException:
            with suppress(SparkError):  # what stopped the run is what its caller must know
                await self._checkpoint()
            raise
        await self._checkpoint()
        await self._remove_unseen(seen)
        await self._remove_strays()
        await self.collection.flush()
        return self.tally

    async def _index(self, totals: Mapping[str, int], seen: bytearray) -> None:
        """Embed and store what is new or has changed."""
        waiting: deque[asyncio.Task[list[tuple[_Work, Sequence[Vector]]]]] = deque()
        async with asyncio.TaskGroup() as tasks:
            made = tasks.create_task(self._made())
            async with aclosing(self._groups(totals, seen)) as groups:
                async for group in groups:
                    waiting.append(tasks.create_task(self._embed(group)))
                    if len(waiting) > self.in_flight:
                        await made
                        await self._store(await waiting.popleft())
            await made
            while waiting:
                await self._store(await waiting.popleft())

    async def _made(self) -> None:
        """Make the collection, unless it is there."""
        if not self.generation:
            self.generation = await self.make()

    # ------------------------------------------------------------------------- reading

    async def _groups(
        self, totals: Mapping[str, int], seen: bytearray
    ) -> AsyncGenerator[list[_Work], None]:
        """Work in groups of about :data:`GROUP` pieces, marking in *seen* what is still there."""
        group: list[_Work] = []
        weight = 0
        for kind in totals:
            batches = self.source.records(kind, batch=BATCH)
            async with aclosing(batches), aclosing(_ahead(batches)) as ahead:
                async for records in ahead:
                    for work in await self._changed(kind, records, seen):
                        group.append(work)
                        weight += work.weight
                        if weight >= GROUP:
                            yield group
                            group, weight = [], 0
        if group:
            yield group

    async def _changed(self, kind: str, records: Sequence[Record], seen: bytearray) -> list[_Work]:
        """Those of *records* that are new or differ from what is in the index."""
        keys = [(record.id, record.occurrence) for record in records]
        entries = await self.following.entries(kind, keys)
        self.tally.seen[kind] += len(records)
        self.tally.repeated_ids += sum(record.occurrence > 0 for record in records)
        changed = await asyncio.to_thread(self._compare, records, entries, seen)
        self._tell()
        return changed

    def _tell(self) -> None:
        if not self.generation:
            return  # it is still being made, which tells of itself
        done = self.tally.unchanged + self.stored
        self.progress.update("indexing", done=done, total=self.total, unit="records")

    def _compare(
        self,
        records: Sequence[Record],
        entries: Mapping[Key, Entry],
        seen: bytearray,
    ) -> list[_Work]:
        changed = []
        for record in records:
            entry = entries.get((record.id, record.occurrence))
            if entry and entry.row < len(seen):
                seen[entry.row] = 1
            hash = _hash(record, self.size)
            if entry and entry.hash == hash:
                self.tally.unchanged += 1
                self.tally.empty += not entry.chunks
            else:
                pieces = list(chunks(record.text, self.size))
                self.tally.empty += not pieces
                tokens = sum(self.lengths(pieces))
                changed.append(_Work(record, hash, pieces, tokens, entry))
        return changed

    # --------------------------------------------------------------- embedding, storing

    async def _embed(self, group: list[_Work]) -> list[tuple[_Work, Sequence[Vector]]]:
        texts = [_embedded_text(work.record, piece) for work in group for piece in work.pieces]
        vectors = iter(await self.embedder.embed(texts) if texts else ())
        return [(work, [next(vectors) for _ in work.pieces]) for work in group]

    async def _store(self, embedded: list[tuple[_Work, Sequence[Vector]]]) -> None:
        """Store a group, and now and then write down what is stored."""
        points = [point for work, vectors in embedded for point in _points(work, vectors)]
        await self.collection.upsert(points)
        surplus = [id for work, _ in embedded for id in _surplus(work)]
        await self.collection.delete(ids=surplus)
        self.stored += len(embedded)
        self._tell()
        self.unwritten += (work for work, _ in embedded)
        if self._is_due():
            await self._checkpoint()

    def _is_due(self) -> bool:
        """Whether to write down what is done; a clock that was set back makes it due, too."""
        since = abs((self.clock.now() - self.written_at).total_seconds())
        heavy = sum(work.weight for work in self.unwritten) >= CHECKPOINT
        return heavy or since >= CHECKPOINT_SECONDS

    async def _checkpoint(self) -> None:
        """Write down what is done: first make it durable."""
        done = self.unwritten
        if not done:
            return
        await self.collection.flush()
        entries = [(work.record, work.hash, len(work.pieces), work.tokens) for work in done]
        await self.ledger.put(self.generation, entries)
        self.unwritten = []
        self.written_at = self.clock.now()
        self.tally.indexed += sum(bool(work.pieces) for work in done)
        self.tally.pieces += sum(len(work.pieces) for work in done)

    async def _remove_unseen(self, seen: bytearray) -> None:
        """Delete the records that were in the index before this run and not in the source now."""
        async with aclosing(self.ledger.unseen(self.generation, seen)) as parts:
            async for gone in parts:
                ids = [
                    _point_id(entry.kind, *entry.key, piece)
                    for entry in gone
                    for piece in range(entry.chunks)
                ]
                await self.collection.delete(ids=ids)
                await self.collection.flush()
                await self.ledger.remove(gone)
                self.tally.removed += len(gone)

    async def _remove_strays(self) -> None:
        """Delete the points that the ledger knows nothing of.

        They are left where a run was killed, or the state was lost, and a record went or
        shrank before the next run.
        """
        expected = await self.ledger.pieces(self.generation)
        if await self._count() == expected:
            return
        after = None
        while hits := await self.collection.scroll(after=after, limit=500):
            after = hits[-1].id
            await self.collection.delete(ids=await self._strays(hits))
        if await self._count() < expected:
            await self.ledger.clear(self.generation)
            await self.ledger.claim(self.generation)
            raise BackendError(
                "the index has lost points that it had; was it restored from an older copy?",
                hint="run it again: everything will be indexed anew",
            )

    async def _count(self) -> int:
        """How many points there are, but for annotations, of which the ledger knows nothing."""
        return await self.collection.count() - await self.collection.count(MARK)

    async def _strays(self, hits: Sequence[Hit]) -> list[str]:
        by_kind: dict[str, list[Hit]] = {}
        for hit in hits:
            if is_annotation(hit):
                continue
            by_kind.setdefault(hit.payload.get("kind", ""), []).append(hit)
        strays: list[str] = []
        for kind, found in by_kind.items():
            entries = await self.ledger.entries(self.generation, kind, [_key(h) for h in found])
            strays += [hit.id for hit in found if not _is_known(hit, entries)]
        return strays


async def _ahead(batches: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """*batches*, of which the next one is read while one is worked on."""
    reading = asyncio.ensure_future(anext(batches, None))
    try:
        while (batch := await reading) is not None:
            reading = asyncio.ensure_future(anext(batches, None))
            yield batch
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def average_length(
    source: RecordSource, store: VectorStore, size: int, progress: Progress
) -> float:
    """The mean length of all pieces in the store's tokens: BM25 wants it before the first one.

    It is exact for :data:`MEASURED` records of each kind; of those behind them some are taken
    for all.
    """
    totals = await source.counts()
    done = tokens = pieces = 0
    for kind in totals:
        before = done
        async with aclosing(source.records(kind)) as batches:
            async for records in batches:
                step = 1 if done - before < MEASURED else STEP
                lengths = await asyncio.to_thread(_lengths, records[::step], store, size)
                tokens, pieces = tokens + step * sum(lengths), pieces + step * len(lengths)
                done += len(records)
                progress.update("measuring", done=done, total=sum(totals.values()), unit="records")
    return max(1.0, tokens / pieces) if pieces else 1.0


def _lengths(records: Sequence[Record], store: VectorStore, size: int) -> Sequence[int]:
    return store.lengths([piece for record in records for piece in chunks(record.text, size)])


def _hash(record: Record, size: int) -> bytes:
    """Of all that the index holds of *record*, and of how it is cut."""
    # Version 2 of the format is the last that writes equal values alike; it takes a fifth of the
    # time of JSON, and there are millions.
    content = marshal.dumps((size, record.title, record.text, sorted(record.metadata.items())), 2)
    return hashlib.blake2b(content, digest_size=16).digest()


def _embedded_text(record: Record, piece: str) -> str:
    """What the embedder sees: a later piece of a long text says what it belongs to."""
    if record.title and not piece.startswith(record.title):
        return f"{record.title}\n{piece}"
    return piece


def _point_id(kind: str, id: str, occurrence: int, piece: int) -> str:
    return str(uuid.uuid5(NAMESPACE, json.dumps([kind, id, occurrence, piece])))


def _points(work: _Work, vectors: Sequence[Vector]) -> list[Point]:
    record = work.record
    return [
        Point(
            id=_point_id(record.kind, record.id, record.occurrence, number),
            vector=vector,
            text=piece,
            payload={
                "kind": record.kind,
                "record_id": record.id,
                "record": json.dumps([record.kind, record.id]),
                "title": record.title,
                "occurrence": record.occurrence,
                "piece": number,
                "metadata": dict(record.metadata),
            },
        )
        for number, (piece, vector) in enumerate(zip(work.pieces, vectors, strict=True))
    ]


def _key(hit: Hit) -> Key:
    return hit.payload.get("record_id", ""), hit.payload.get("occurrence", 0)


def _is_known(hit: Hit, entries: Mapping[Key, Entry]) -> bool:
    entry = entries.get(_key(hit))
    return entry is not None and hit.payload.get("piece", 0) < entry.chunks


def _surplus(work: _Work) -> list[str]:
    """The points of pieces that the record no longer has."""
    record, former = work.record, work.former.chunks if work.former else 0
    return [
        _point_id(record.kind, record.id, record.occurrence, number)
        for number in range(len(work.pieces), former)
    ]
