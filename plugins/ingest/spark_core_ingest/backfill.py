"""The operations that bring the index in line with its source."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from spark_core import Caller, Progress, Spark

from .index import Index, IndexReport

__all__ = [
    "BackfillRequest",
    "BuildReport",
    "BuildRequest",
    "SyncRequest",
    "backfill",
    "build",
    "sync",
]

#: Finds out which records are of the same person or firm.
RESOLVE = "ingest.resolve"


class BackfillRequest(BaseModel, defer_build=True):
    """How to fill the index."""

    recreate: bool = Field(
        default=False,
        description="Build a new index beside the old one, and switch when it is whole.",
    )


async def backfill(
    request: BackfillRequest, index: Index, progress: Progress, caller: Caller
) -> IndexReport:
    """Index what is new or has changed in the CRM, and remove what is gone.

    Can be stopped at any moment: the next run goes on where this one was. With `recreate`
    searches are answered from the old index until the new one is whole; a small index is built
    anew by itself where texts have become much longer or shorter, and a large one says so.

    One run at a time: a second one is refused while the first lives. After one that was killed
    it waits up to ten seconds.
    """
    async with index.run(f"a backfill by {caller.name}", progress) as work:
        return await work.fill(recreate=request.recreate, may_rebuild=True)


class SyncRequest(BaseModel, defer_build=True):
    """How long it may take."""

    timeout: float = Field(
        default=30.0, gt=0, description="Minutes after which it is stopped and says what was done."
    )


async def sync(
    request: SyncRequest, index: Index, progress: Progress, caller: Caller
) -> IndexReport:
    """Bring the index up to date: embed what has changed, remove what is gone.

    It never builds the index anew, and where nothing has changed it embeds nothing. Can be
    stopped at any moment: the next run goes on where this one was. One run at a time, as with
    the backfill.
    """
    async with index.run(f"a sync by {caller.name}", progress, request.timeout) as work:
        return await work.fill()


class BuildRequest(SyncRequest, defer_build=True):
    """How long it may take."""


class BuildReport(BaseModel, defer_build=True):
    """What a build did."""

    resolved: dict[str, Any] | None = Field(
        description="What came of finding out who is who; none where nothing installed does."
    )
    backfill: IndexReport


async def build(
    request: BuildRequest, index: Index, spark: Spark, progress: Progress, caller: Caller
) -> BuildReport:
    """Find out who is who, then build the index anew beside the old one, and switch.

    The first step that fails ends it, and the old index goes on answering. Can be stopped at
    any moment: the next build goes on where this one was.
    """
    async with index.run(f"a build by {caller.name}", progress, request.timeout) as work:
        resolved = None
        if RESOLVE in spark.operations:
            answer = await spark.call(RESOLVE, caller=caller.name, progress=progress)
            resolved = answer.model_dump(mode="json")
            work.done.append("who is who was found out")
        return BuildReport(resolved=resolved, backfill=await work.fill(recreate=True))
