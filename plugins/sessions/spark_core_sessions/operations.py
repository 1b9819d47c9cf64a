"""``/api/admin/run-session-processor`` and its like, and ``spark sessions``."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from spark_core import Change, Spark
from spark_core.clock import Clock
from spark_core.errors import Conflict, LeaseHeld
from spark_core.gateway.gateway import Gateway
from spark_core.gateway.operations import Health, health
from spark_core.state import Leases

from .choosing import available, chosen
from .collector import collect
from .pipeline_health import PipelineHealth, pipeline_health
from .runner import TTL, Runner, Statistics
from .runs import Run, Runs
from .settings import SessionsSettings
from .states import SessionStates
from .tables import storable

__all__ = [
    "collect_sessions",
    "detailed_health",
    "retry_file",
    "run_processor",
    "session_status",
    "shown_collection",
    "shown_run",
    "shown_status",
]


class RunRequest(BaseModel, defer_build=True):
    """Which processor to run."""

    processor: str = Field(description="Its name.")


class RunAnswer(BaseModel, defer_build=True):
    """What a run did; it is ``ok`` where no file failed."""

    ok: bool
    details: Statistics


async def run_processor(
    request: RunRequest,
    spark: Spark,
    states: SessionStates,
    runs: Runs,
    leases: Leases,
    clock: Clock,
    settings: SessionsSettings,
    change: Change,
) -> RunAnswer:
    """Run a session processor over the files that are new to it."""
    name = storable(request.processor, 60)
    action, resource = f"run_session_processor:{name}", f"job:session-processor:{name}"
    change.note(action, resource, {})
    processor = chosen(request.processor, await available(spark))
    runner = Runner(spark, states, runs, leases, clock, settings)
    try:
        statistics = await runner.run(processor)
    except Exception as error:
        change.note(action, resource, {"unhandled_error": _told(error)})
        raise
    change.note(action, resource, statistics.counts)
    return RunAnswer(ok=statistics.errors == 0, details=statistics)


def shown_run(answer: RunAnswer) -> str:
    """What a run did, for a terminal; each file that failed has a line of its own."""
    did = answer.details
    head = (
        f"{did.processor}: {did.processed} processed, {did.skipped} skipped, {did.errors} failed, "
        f"{did.remaining} left; {did.items_extracted} items"
    )
    failed = (f"  {bad.session_file}: {bad.error}" for bad in did.errors_detail)
    return "\n".join((head, *failed))


def _told(error: Exception) -> str:
    """What went wrong in the runner itself: what a processor says does not come here."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


# ------------------------------------------------------------------------------- the collector


class CollectRequest(BaseModel, defer_build=True):
    """How to collect."""

    dry_run: bool = Field(default=False, description="Only count what would be copied.")


class Collection(BaseModel, defer_build=True):
    """What was collected."""

    users_processed: int = 0
    files_copied: int = 0
    files_skipped: int = 0
    errors: list[str] = []
    skipped: bool = Field(default=False, description="Settings say that nothing is collected.")
    dry_run: bool = False


class CollectAnswer(BaseModel, defer_build=True):
    """What was collected; it is ``ok`` where every file could be copied."""

    ok: bool
    details: Collection


async def collect_sessions(
    request: CollectRequest, leases: Leases, settings: SessionsSettings, change: Change
) -> CollectAnswer:
    """Copy session files out of people's homes, where they are new or have changed."""
    action, resource = "run_session_collector", "job:session-collector"
    change.note(action, resource, {})
    if settings.skip_legacy_collector:
        change.note(action, resource, {"skipped": True})
        return CollectAnswer(ok=True, details=Collection(skipped=True))
    try:
        async with leases.hold("session-collector", TTL):
            done = await asyncio.to_thread(collect, settings, dry_run=request.dry_run)
    except LeaseHeld as error:
        raise Conflict(f"the collector is already running: {error.message}") from None
    except Exception as error:
        change.note(action, resource, {"unhandled_error": _told(error)})
        raise
    details = Collection(
        users_processed=done.users_processed,
        files_copied=done.files_copied,
        files_skipped=done.files_skipped,
        errors=done.errors,
        dry_run=request.dry_run,
    )
    counts = details.model_dump(exclude={"errors", "skipped"})
    change.note(action, resource, {**counts, "errors": len(done.errors)})
    return CollectAnswer(ok=not done.errors, details=details)


def shown_collection(answer: CollectAnswer) -> str:
    """What was collected, for a terminal."""
    did = answer.details
    if did.skipped:
        return "nothing is collected here"
    verb = "would be copied" if did.dry_run else "copied"
    head = f"{did.users_processed} users: {did.files_copied} {verb}, {did.files_skipped} skipped"
    return "\n".join((head, *(f"  {error}" for error in did.errors)))


# ---------------------------------------------------------------------------------- statistics


class Quarantined(BaseModel, defer_build=True):
    """A file that failed, and waits to be tried again."""

    session_file: str
    error: str
    failures: int
    next_try_at: datetime


class ProcessorStatus(BaseModel, defer_build=True):
    """A processor, and how far it is."""

    name: str
    schedule: str
    available: bool = Field(description="Whether it can do anything just now.")
    running: bool
    files: int = Field(description="Files that it has done.")
    items_extracted: int
    last_processed_at: datetime | None
    last_run: Run | None
    quarantined: list[Quarantined]


class SessionsStatus(BaseModel, defer_build=True):
    """Every processor."""

    processors: list[ProcessorStatus]


async def session_status(
    spark: Spark, states: SessionStates, runs: Runs, leases: Leases
) -> SessionsStatus:
    """Say of each session processor how far it is, and with which files it failed."""
    usable = await available(spark)
    found = []
    for processor in spark.plugins.session_processors():
        known = (await states.of(processor.name)).values()
        failures = (await states.failures(processor.name)).items()
        found.append(
            ProcessorStatus(
                name=processor.name,
                schedule=processor.job.schedule_by(spark.settings),
                available=processor in usable,
                running=await leases.current(f"session-processor:{processor.name}") is not None,
                files=len(known),
                items_extracted=sum(state.items for state in known),
                last_processed_at=max((s.processed_at for s in known), default=None),
                last_run=await runs.last(processor.name),
                quarantined=[
                    Quarantined(
                        session_file=key,
                        error=failure.error,
                        failures=failure.failures,
                        next_try_at=failure.next_try_at,
                    )
                    for key, failure in failures
                ],
            )
        )
    return SessionsStatus(processors=found)


def shown_status(status: SessionsStatus) -> str:
    """A line for each, for a terminal."""
    return "\n".join(line for processor in status.processors for line in _lines(processor))


def _lines(processor: ProcessorStatus) -> list[str]:
    state = "running" if processor.running else "" if processor.available else "not available"
    done = f"{processor.files} files, {processor.items_extracted} items"
    head = f"{processor.name:<16} {processor.schedule:<12} {done}  {state}".rstrip()
    failed = (
        f"  {bad.session_file}: {bad.error} ({bad.failures} times, again "
        f"{bad.next_try_at.isoformat(timespec='seconds')})"
        for bad in processor.quarantined
    )
    return [head, *failed]


class RetryRequest(BaseModel, defer_build=True):
    """A file that a processor failed with."""

    processor: str = Field(description="The processor's name.")
    session_file: str = Field(description="The file's name, as the statistics have it.")


async def retry_file(request: RetryRequest, states: SessionStates) -> RetryRequest:
    """Let a processor have a file again that it failed with, at its next run."""
    await states.retry(storable(request.processor), storable(request.session_file))
    return request


# -------------------------------------------------------------------------------------- health


class Checks(BaseModel, defer_build=True):
    """What was looked at."""

    session_pipeline: PipelineHealth
    backends: Health | None


class DetailedHealth(BaseModel, defer_build=True):
    """How everything is: ``degraded`` where somebody should look."""

    status: Literal["ok", "degraded"]
    checks: Checks


async def detailed_health(
    spark: Spark,
    settings: SessionsSettings,
    states: SessionStates,
    runs: Runs,
    clock: Clock,
    gateway: Gateway | None,
) -> DetailedHealth:
    """Say how each backend is, and whether session files are processed as they come."""
    # What cannot work just now, for want of a model, is behind through no fault of its own.
    names = {processor.name for processor in await available(spark)}
    looked_at = "verification" if "verification" in names else "usage"
    pipeline = await pipeline_health(looked_at, settings, states, runs, clock)
    backends = None if gateway is None else await health(gateway)
    is_down = backends is not None and backends.status == "down"
    return DetailedHealth(
        status="degraded" if is_down or pipeline.status == "warning" else "ok",
        checks=Checks(session_pipeline=pipeline, backends=backends),
    )
