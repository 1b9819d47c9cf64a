"""The operations that fill the index and tell how it stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial

from pydantic import BaseModel, Field

from spark_core import Caller, Progress
from spark_core.clock import Clock
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.records import RecordSource
from spark_core.contracts.vectors import VectorStore
from spark_core.errors import SparkError
from spark_core.state import Leases

from .drift import Drift, drift_of
from .indexing import Indexing, Tally
from .ledger import Ledger
from .settings import IngestSettings
from .target import Target, find

__all__ = ["BackfillReport", "BackfillRequest", "IngestStatus", "backfill", "status"]

#: How long a run that was killed keeps the next one waiting at most, in seconds.
LEASE = 10.0

#: Time between two looks at the lease of another run, in seconds.
LOOK = 0.25


class BackfillRequest(BaseModel, defer_build=True):
    """How to fill the index."""

    recreate: bool = Field(
        default=False,
        description="Build a new index beside the old one, and switch when it is whole.",
    )


class BackfillReport(BaseModel, defer_build=True):
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
    clock: Clock,
) -> BackfillReport:
    """Index what is new or has changed in the CRM, and remove what is gone.

    Can be stopped at any moment: the next run goes on where this one was. With `recreate`
    searches are answered from the old index until the new one is whole; a small index is built
    anew by itself where texts have become much longer or shorter, and a large one says so.

    One run at a time: a second one is refused while the first lives. After one that was killed
    it waits up to ten seconds.
    """
    started = time.perf_counter()
    name = settings.collection
    async with _alone(leases, f"ingest:{name}", f"a backfill by {caller.name}", progress):
        await source.counts()  # a source that cannot be read is told before anything is made
        target = Target(settings, source, embedder, store, ledger, request.recreate)
        tally = await _fill(target, progress, clock)
        drift = await drift_of(await store.collection(name).describe(), ledger)
        if rebuilt := drift is not None and drift.is_cheap:
            tally.pieces += (await _fill(replace(target, recreate=True), progress, clock)).pieces
        without_id = await _without_id(source)
        return BackfillReport(
            collection=name,
            records=dict(tally.seen),
            indexed=tally.indexed,
            unchanged=tally.unchanged,
            removed=tally.removed,
            empty=tally.empty,
            repeated_ids=tally.repeated_ids,
            pieces=tally.pieces,
            points=await store.collection(name).count(),
            without_id=without_id,
            rebuilt=rebuilt,
            warnings=_warnings(without_id, None if rebuilt else drift),
            seconds=round(time.perf_counter() - started, 3),
        )


async def _fill(target: Target, progress: Progress, clock: Clock) -> Tally:
    """Bring one collection in line with the source, and let it be what is searched."""
    generation = ""
    if not await target.ledger.is_empty():
        generation = await target.begun()
        if not target.recreate:
            await target.forget_rebuild()
    run = Indexing(
        source=target.source,
        embedder=target.embedder,
        collection=target.store.collection(target.name),
        ledger=target.ledger,
        generation=generation,
        make=partial(target.made, progress),
        lengths=target.store.lengths,
        clock=clock,
        size=target.settings.chunk_characters,
        in_flight=target.settings.in_flight,
        progress=progress,
    )
    tally = await _run(run)
    await target.finish()
    return tally


async def _without_id(source: RecordSource) -> dict[str, int]:
    """How many rows of each kind cannot be indexed; kinds that have none are left out."""
    return {kind: count for kind, count in (await source.without_id()).items() if count}


def _warnings(without_id: Mapping[str, int], drift: Drift | None) -> list[str]:
    """What whoever looks after the index should know."""
    nameless = [
        f"1 row of kind {kind} has no id, and is left out"
        if count == 1
        else f"{count} rows of kind {kind} have no id, and are left out"
        for kind, count in without_id.items()
    ]
    return [*nameless, *([str(drift)] if drift else [])]


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


class KindStatus(BaseModel, defer_build=True):
    """How one kind of record stands."""

    source: int | None = Field(description="Rows in the source; unknown if it cannot be read.")
    indexed: int = Field(description="Records in the index, those without text included.")
    without_id: int = Field(default=0, description="Rows that no id names; they are left out.")


class IngestStatus(BaseModel, defer_build=True):
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
    warnings: list[str] = Field(default=[], description="What should not stay as it is.")


async def status(
    settings: IngestSettings,
    source: RecordSource | None,
    store: VectorStore,
    ledger: Ledger,
    leases: Leases,
) -> IngestStatus:
    """Tell how the index stands: what it holds of each kind, and what the source has."""
    name = settings.collection
    info, (counts, without_id, problem) = await asyncio.gather(find(store, name), _counted(source))
    running = await leases.current(f"ingest:{name}")
    indexed = await ledger.counts(info.generation) if info else {}
    drift = await drift_of(info, ledger) if info else None
    return IngestStatus(
        collection=name,
        points=info.points if info else 0,
        built_at=info.created_at if info else None,
        generation=info.generation if info else None,
        embedder=info.spec.embedder if info else None,
        average_length=round(info.spec.average_length, 2) if info else None,
        kinds={
            kind: KindStatus(
                source=counts.get(kind),
                indexed=indexed.get(kind, 0),
                without_id=without_id.get(kind, 0),
            )
            for kind in sorted({*counts, *indexed})
        },
        running=running.holder if running else None,
        problem=problem,
        warnings=_warnings(without_id, drift),
    )


async def _counted(
    source: RecordSource | None,
) -> tuple[Mapping[str, int], Mapping[str, int], str | None]:
    """Rows with an id and without, by kind; or why they cannot be counted."""
    if source is None:
        return (
            {},
            {},
            "nothing says what to read: set [plugins.ingest] database, and describe its kinds",
        )
    try:
        return await source.counts(), await _without_id(source), None
    except SparkError as error:
        return {}, {}, str(error)
