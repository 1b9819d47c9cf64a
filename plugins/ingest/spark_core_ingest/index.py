"""The index as runs work on it: one run at a time, on the record, for a limited time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from pydantic import BaseModel, Field

from spark_core import Progress
from spark_core.clock import Clock
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.records import RecordSource
from spark_core.contracts.vectors import VectorStore
from spark_core.errors import TimedOut
from spark_core.state import Leases

from .alone import alone
from .annotations.points import AnnotationIndex
from .drift import Drift, drift_of
from .indexing import Indexing, Tally
from .ledger import Ledger
from .runs import Runs
from .settings import IngestSettings
from .target import Target

__all__ = ["Index", "IndexReport", "open_index", "warnings", "without_id"]


class IndexReport(BaseModel, defer_build=True):
    """What a run did, in records unless it says otherwise."""

    collection: str
    records: dict[str, int] = Field(description="Read from the source, by kind.")
    indexed: int = Field(description="New or changed, and embedded.")
    unchanged: int
    removed: int = Field(description="In the index before, not in the source now.")
    empty: int = Field(description="Without any text; they cannot be found.")
    repeated_ids: int = Field(description="Rows whose id another row has; each is kept.")
    pieces: int = Field(description="Pieces of text that were embedded.")
    points: int = Field(description="Pieces of text in the index now.")
    without_id: dict[str, int] = Field(
        default={}, description="Rows that no id names, by kind; they are left out."
    )
    rebuilt: bool = Field(
        default=False,
        description="Whether a small index was then built anew, since texts had become much "
        "longer or shorter; its pieces are counted.",
    )
    warnings: list[str] = Field(default=[], description="What should not stay as it is.")
    seconds: float


@asynccontextmanager
async def open_index(
    settings: IngestSettings,
    source: RecordSource,
    embedder: Embedder,
    store: VectorStore,
    ledger: Ledger,
    leases: Leases,
    runs: Runs,
    clock: Clock,
    annotations: AnnotationIndex,
) -> AsyncIterator[Index]:
    """All that a run needs."""
    yield Index(settings, source, embedder, store, ledger, leases, runs, clock, annotations)


@dataclass
class Index:
    """What a run reads, what it writes, and what it is kept in order by."""

    settings: IngestSettings
    source: RecordSource
    embedder: Embedder
    store: VectorStore
    ledger: Ledger
    leases: Leases
    runs: Runs
    clock: Clock
    annotations: AnnotationIndex | None = None

    @property
    def name(self) -> str:
        """The collection that is searched."""
        return self.settings.collection

    @asynccontextmanager
    async def run(
        self, what: str, progress: Progress, minutes: float | None = None
    ) -> AsyncIterator[Work]:
        """One run: *what* it is, in words. After *minutes* it is stopped where it stands.

        :raises LeaseHeld: another run goes on; the message says whose it is.
        :raises TimedOut: its time is over; the message says what was done.
        """
        work = Work(self, progress)
        async with alone(self.leases, f"ingest:{self.name}", what, progress):
            begun = self.runs.noted(self.name, what, self.source)
            async with begun, _limited(work, what, minutes):
                yield work


@asynccontextmanager
async def _limited(work: Work, what: str, minutes: float | None) -> AsyncIterator[None]:
    limit = None if minutes is None else minutes * 60
    try:
        async with asyncio.timeout(limit) as timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise TimedOut(
            f"{what} was stopped after {minutes:g} minutes: {work}",
            hint="what is done stays done: run it again, and it goes on from there",
        ) from None


class Work:
    """What one run does to the index, and how much of it is done."""

    def __init__(self, index: Index, progress: Progress) -> None:
        self._index = index
        self._progress = progress
        self._started = time.perf_counter()
        self._tally = Tally()
        #: What was done before there was anything to count.
        self.done: list[str] = []

    def __str__(self) -> str:
        tally = self._tally
        read = (
            f"{sum(tally.seen.values())} records read, {tally.indexed} embedded, "
            f"{tally.unchanged} unchanged, {tally.removed} removed"
        )
        return ", ".join([*self.done, read])

    async def fill(self, *, recreate: bool = False, may_rebuild: bool = False) -> IndexReport:
        """Bring the index in line with the source, and let it be what is searched.

        With *recreate* searches are answered from the old index until the new one is whole.
        *may_rebuild* clears away a rebuild that was begun, and makes one of a small index
        where it is due.
        """
        index = self._index
        await index.source.counts()  # a source that cannot be read is told before anything is made
        await self._fill(recreate, forget=may_rebuild and not recreate)
        drift = await drift_of(await index.store.collection(index.name).describe(), index.ledger)
        rebuilt = may_rebuild and drift is not None and drift.is_cheap
        if rebuilt:
            await self._rebuild()
        return await self._report(rebuilt, None if rebuilt else drift)

    async def _rebuild(self) -> None:
        """Build a small index anew; of what is counted its pieces alone are news."""
        before, self._tally = self._tally, Tally()
        await self._fill(recreate=True, forget=False)
        self._tally = replace(before, pieces=before.pieces + self._tally.pieces)

    async def _fill(self, recreate: bool, *, forget: bool) -> None:
        index = self._index
        target = Target(
            index.settings, index.source, index.embedder, index.store, index.ledger, recreate
        )
        generation = ""
        if not await index.ledger.is_empty():
            generation = await target.begun()
            if forget:
                await target.forget_rebuild()
        await _ungrouped(self._indexing(target, generation))
        if index.annotations:
            await index.annotations.reconcile(index.store.collection(target.name))
        await target.finish()

    def _indexing(self, target: Target, generation: str) -> Indexing:
        index = self._index
        return Indexing(
            source=index.source,
            embedder=index.embedder,
            collection=index.store.collection(target.name),
            ledger=index.ledger,
            generation=generation,
            make=partial(target.made, self._progress),
            lengths=index.store.lengths,
            clock=index.clock,
            size=index.settings.chunk_characters,
            in_flight=index.settings.in_flight,
            progress=self._progress,
            tally=self._tally,
        )

    async def _report(self, rebuilt: bool, drift: Drift | None) -> IndexReport:
        index, tally = self._index, self._tally
        nameless = await without_id(index.source)
        return IndexReport(
            collection=index.name,
            records=dict(tally.seen),
            indexed=tally.indexed,
            unchanged=tally.unchanged,
            removed=tally.removed,
            empty=tally.empty,
            repeated_ids=tally.repeated_ids,
            pieces=tally.pieces,
            points=await index.store.collection(index.name).count(),
            without_id=nameless,
            rebuilt=rebuilt,
            warnings=warnings(nameless, drift),
            seconds=round(time.perf_counter() - self._started, 3),
        )


async def _ungrouped(run: Indexing) -> None:
    """Run; what fails is told as what it is, not as a group of what failed with it."""
    try:
        await run.run()
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def without_id(source: RecordSource) -> dict[str, int]:
    """How many rows of each kind cannot be indexed; kinds that have none are left out."""
    return {kind: count for kind, count in (await source.without_id()).items() if count}


def warnings(without_id: Mapping[str, int], drift: Drift | None) -> list[str]:
    """What whoever looks after the index should know."""
    nameless = [
        f"1 row of kind {kind} has no id, and is left out"
        if count == 1
        else f"{count} rows of kind {kind} have no id, and are left out"
        for kind, count in without_id.items()
    ]
    return [*nameless, *([str(drift)] if drift else [])]
