"""The operation that tells how the index stands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, Field

from spark_core.contracts.records import RecordSource
from spark_core.contracts.vectors import VectorStore
from spark_core.errors import SparkError
from spark_core.state import Leases

from .drift import drift_of
from .index import warnings, without_id
from .ledger import Ledger
from .runs import Freshness, Run, Runs, freshness
from .settings import IngestSettings
from .target import find

__all__ = ["Failure", "IngestStatus", "KindStatus", "status"]


class KindStatus(BaseModel, defer_build=True):
    """How one kind of record stands."""

    source: int | None = Field(description="Rows in the source; unknown if it cannot be read.")
    indexed: int = Field(description="Records in the index, those without text included.")
    agrees: bool | None = Field(description="Whether both are as many; unknown as above.")
    without_id: int = Field(default=0, description="Rows that no id names; they are left out.")


class Failure(BaseModel, defer_build=True):
    """A run that failed."""

    at: datetime = Field(description="When it began.")
    run: str = Field(description="What it was, and who asked for it.")
    code: str
    problem: str


class IngestStatus(Freshness, defer_build=True):
    """How the index stands against its source."""

    collection: str
    points: int = 0
    built_at: datetime | None = None
    generation: str | None = None
    embedder: str | None = None
    average_length: float | None = None
    kinds: dict[str, KindStatus] = {}
    agrees: bool | None = Field(
        default=None, description="Whether all kinds do; unknown if the source cannot be read."
    )
    running: str | None = Field(default=None, description="Who is indexing right now.")
    failures: int = Field(
        default=0, description="Runs that have failed since the last one that went through."
    )
    last_failure: Failure | None = None
    problem: str | None = Field(default=None, description="Why the source cannot be compared.")
    warnings: list[str] = Field(default=[], description="What should not stay as it is.")


async def status(
    settings: IngestSettings,
    source: RecordSource | None,
    store: VectorStore,
    ledger: Ledger,
    leases: Leases,
    runs: Runs,
) -> IngestStatus:
    """Tell how the index stands: what it holds of each kind, and what the source has."""
    name = settings.collection
    info, (counts, nameless, problem) = await asyncio.gather(find(store, name), _counted(source))
    running = await leases.current(f"ingest:{name}")
    drift = await drift_of(info, ledger) if info else None
    kinds = _kinds(counts, await ledger.counts(info.generation) if info else {}, nameless)
    fresh = await freshness(runs, source, name) if info else Freshness()
    return IngestStatus(
        **dict(fresh),
        collection=name,
        points=info.points if info else 0,
        built_at=info.created_at if info else None,
        generation=info.generation if info else None,
        embedder=info.spec.embedder if info else None,
        average_length=round(info.spec.average_length, 2) if info else None,
        kinds=kinds,
        agrees=None if problem else all(kind.agrees for kind in kinds.values()),
        running=running.holder if running else None,
        failures=await runs.failures(name),
        last_failure=_failure(await runs.last_failure(name)),
        problem=problem,
        warnings=warnings(nameless, drift),
    )


def _kinds(
    counts: Mapping[str, int], indexed: Mapping[str, int], nameless: Mapping[str, int]
) -> dict[str, KindStatus]:
    return {
        kind: KindStatus(
            source=counts.get(kind),
            indexed=indexed.get(kind, 0),
            agrees=counts.get(kind, 0) == indexed.get(kind, 0) if counts else None,
            without_id=nameless.get(kind, 0),
        )
        for kind in sorted({*counts, *indexed})
    }


def _failure(run: Run | None) -> Failure | None:
    if run is None:
        return None
    return Failure(
        at=run.started_at, run=run.what, code=run.outcome or "", problem=run.problem or ""
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
        return await source.counts(), await without_id(source), None
    except SparkError as error:
        return {}, {}, str(error)
