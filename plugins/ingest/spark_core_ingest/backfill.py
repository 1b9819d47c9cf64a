"""The operations that fill the index and tell how it stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

from pydantic import BaseModel, Field

from spark_core import Caller, Progress
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.records import RecordSource
from spark_core.contracts.vectors import VectorStore
from spark_core.errors import SparkError
from spark_core.state import Leases

from .indexing import Indexing, Tally
from .ledger import Ledger
from .settings import IngestSettings
from .target import Target, find

__all__ = ["BackfillReport", "BackfillRequest", "IngestStatus", "backfill", "status"]

#: How long a run that was killed keeps the next one waiting at most, in seconds.
LEASE = 10.0

#: Time between two looks at the lease of another run, in seconds.
LOOK = 0.25


class BackfillRequest(BaseModel):
    """How to fill the index."""

    recreate: bool = Field(
        default=False,
        description="Build a new index beside the old one, and switch when it is whole.",
    )


class BackfillReport(BaseModel):
    """What a backfill did, in records unless it says otherwise."""

    collection: str
    records: dict[str, int] = Field(description="Read from the source, by kind.")
    indexed: int = Field(description="New or changed, and embedded.")
    unchanged: int
    removed: int = Field(description="In the index before, not in the source now.")
    empty: int = Field(description="Without any text; they cannot be found.")
    repeated_ids: int = Field(description="Rows whose id another row has; each is kept.")
    pieces: int = Field(description="Pieces of text that were embedded.")
    points: int = Field(description="Pieces of text in the index now.")
    seconds: float


async def backfill(
    request: BackfillRequest,
    settings: IngestSettings,
    source: RecordSource,
    embedder: Embedder,
    store: VectorStore,
    ledger: Ledger,
    leases: Leases,
    progress: Progress,
    caller: Caller,
) -> BackfillReport:
    """Index what is new or has changed in the CRM, and remove what is gone.

    Can be stopped at any moment: the next run goes on where this one was. With `recreate`
    searches are answered from the old index until the new one is whole.

    One run at a time: a second one is refused while the first lives. After one that was killed
    it waits up to ten seconds.
    """
    started = time.perf_counter()
    name = settings.collection
    async with _alone(leases, f"ingest:{name}", f"a backfill by {caller.name}", progress):
        await source.counts()  # a source that cannot be read is told before anything is made
        target = Target(settings, source, embedder, store, ledger, request.recreate)
        run = Indexing(
            source=source,
            embedder=embedder,
            collection=store.collection(target.name),
            ledger=ledger,
            generation="" if await ledger.is_empty() else await target.begun(),
            make=partial(target.made, progress),
            size=settings.chunk_characters,
            in_flight=settings.in_flight,
            progress=progress,
        )
        tally = await _run(run)
        await target.finish()
        points = await store.collection(name).count()
    return _report(name, tally, points, time.perf_counter() - started)


@asynccontextmanager
async def _alone(
    leases: Leases, lease: str, holder: str, progress: Progress
) -> AsyncIterator[None]:
    """Hold the lease; wait for that of a run that was killed, which nobody renews any more.

    :raises LeaseHeld: its holder lives.
    """
    found = await leases.current(lease)
    for _ in range(round(LEASE / LOOK)):
        if found is None or await leases.current(lease) != found:
            break
        progress.update(f"waiting for {found.holder}, which may have been killed")
        await asyncio.sleep(LOOK)
    async with leases.hold(lease, LEASE, holder=holder):
        yield


async def _run(run: Indexing) -> Tally:
    """Run; what fails is told as what it is, not as a group of what failed with it."""
    try:
        return await run.run()
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def _report(name: str, tally: Tally, points: int, seconds: float) -> BackfillReport:
    return BackfillReport(
        collection=name,
        records=dict(tally.seen),
        indexed=tally.indexed,
        unchanged=tally.unchanged,
        removed=tally.removed,
        empty=tally.empty,
        repeated_ids=tally.repeated_ids,
        pieces=tally.pieces,
        points=points,
        seconds=round(seconds, 3),
    )


class KindStatus(BaseModel):
    """How one kind of record stands."""

    source: int | None = Field(description="Rows in the source; unknown if it cannot be read.")
    indexed: int = Field(description="Records in the index, those without text included.")


class IngestStatus(BaseModel):
    """How the index stands against its source."""

    collection: str
    points: int = 0
    built_at: datetime | None = None
    generation: str | None = None
    embedder: str | None = None
    average_length: float | None = None
    kinds: dict[str, KindStatus] = {}
    running: str | None = Field(default=None, description="Who is indexing right now.")
    problem: str | None = Field(default=None, description="Why the source cannot be compared.")


async def status(
    settings: IngestSettings,
    source: RecordSource | None,
    store: VectorStore,
    ledger: Ledger,
    leases: Leases,
) -> IngestStatus:
    """Tell how the index stands: what it holds of each kind, and what the source has."""
    name = settings.collection
    info, (counts, problem) = await asyncio.gather(find(store, name), _counted(source))
    running = await leases.current(f"ingest:{name}")
    indexed = await ledger.counts(info.generation) if info else {}
    return IngestStatus(
        collection=name,
        points=info.points if info else 0,
        built_at=info.created_at if info else None,
        generation=info.generation if info else None,
        embedder=info.spec.embedder if info else None,
        average_length=round(info.spec.average_length, 2) if info else None,
        kinds={
            kind: KindStatus(source=counts.get(kind), indexed=indexed.get(kind, 0))
            for kind in sorted({*counts, *indexed})
        },
        running=running.holder if running else None,
        problem=problem,
    )


async def _counted(source: RecordSource | None) -> tuple[dict[str, int], str | None]:
    if source is None:
        return (
            {},
            "nothing says what to read: set [plugins.ingest] database, and describe its kinds",
        )
    try:
        return dict(await source.counts()), None
    except SparkError as error:
        return {}, str(error)
