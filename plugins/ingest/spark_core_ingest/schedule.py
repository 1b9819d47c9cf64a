"""The operation that keeps the index up to date: a sync now, and one at every interval."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from spark_core import Caller, Progress, Spark
from spark_core.clock import Clock
from spark_core.errors import LeaseHeld, SparkError
from spark_core.settings import Settings

from .settings import IngestSettings

__all__ = ["Happening", "ScheduleEvent", "ScheduleRequest", "render_event", "schedule"]

log = logging.getLogger(__name__)

#: Variables that, set to nothing, say that there is no cluster to index with.
ADDRESSES = ("SPARK_CONTROL_URL", "QDRANT_URL")


class ScheduleRequest(BaseModel, defer_build=True):
    """How long to go on."""

    once: bool = Field(
        default=False, description="Sync once, and end as it ended: for tests and cron."
    )


class Happening(StrEnum):
    """What the schedule tells of."""

    STARTED = "STARTED"
    SKIPPED = "SKIPPED"
    SYNCED = "SYNCED"
    FAILED = "FAILED"


class ScheduleEvent(BaseModel, defer_build=True):
    """What happened, and when."""

    at: datetime
    event: Happening
    detail: str


async def schedule(
    request: ScheduleRequest,
    settings: IngestSettings,
    all_settings: Settings,
    spark: Spark,
    caller: Caller,
    progress: Progress,
    clock: Clock,
) -> AsyncIterator[ScheduleEvent]:
    """Sync now and at every interval, for ever: [plugins.ingest] sync_interval_min.

    A sync that fails is told and counted, and the next one comes all the same; one that meets
    another run is left out. Without a database, or where SPARK_CONTROL_URL or QDRANT_URL is
    set to nothing, there is nothing to do, and it says so.
    """

    def event(what: Happening, detail: str) -> ScheduleEvent:
        return ScheduleEvent(at=clock.now(), event=what, detail=detail)

    if why := _why_not(settings, all_settings):
        yield event(Happening.SKIPPED, why)
        return
    yield event(Happening.STARTED, f"a sync every {settings.sync_interval_min:g} minutes")
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()  # which no clock that is set back disturbs
        try:
            report = await spark.call("ingest.sync", caller=caller.name, progress=progress)
            yield event(Happening.SYNCED, _told(report))
        except LeaseHeld as error:
            yield event(Happening.SKIPPED, error.message)
        except SparkError as error:
            if request.once:
                raise
            log.warning("a sync failed, the next one follows: %s", error)
            yield event(Happening.FAILED, str(error))
        if request.once:
            return
        await asyncio.sleep(max(0.0, begun + settings.sync_interval_min * 60 - loop.time()))


def _why_not(settings: IngestSettings, all_settings: Settings) -> str:
    """Why there is nothing to sync; empty where there is."""
    if settings.database is None:
        return "no database configured"
    set_to = {k: v for layer, _ in all_settings.source.layers() for k, v in layer.items()}
    if any(not set_to.get(name, "set").strip() for name in ADDRESSES):
        return "Spark/Qdrant not configured"
    return ""


def _told(report: BaseModel) -> str:
    counts = report.model_dump(include={"indexed", "unchanged", "removed", "seconds"})
    return "{indexed} indexed, {unchanged} unchanged, {removed} removed in {seconds} s".format(
        **counts
    )


def render_event(event: ScheduleEvent) -> str:
    """One line for a log."""
    return f"{event.at:%Y-%m-%dT%H:%M:%SZ} {event.event} ({event.detail})"
