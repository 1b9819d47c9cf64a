"""CRM ingest: a SQLite database, read through a mapping, into hybrid search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spark_core import (
    Command,
    Effect,
    Job,
    Operation,
    Provider,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)

if TYPE_CHECKING:
    from spark_core.contracts.records import RecordSource


#: Under both of its names; where it is called by its function, the last one counts.
_SYNC = "spark_core_ingest.backfill:sync"
_SYNC_SUMMARY = "Bring the index up to date: embed what has changed, remove what is gone."


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.ingest]``"""
    return (SettingsSection("plugins.ingest", "spark_core_ingest.settings:IngestSettings"),)


@hookimpl
def spark_register_record_sources() -> Iterable[Provider[RecordSource]]:
    """The SQLite database that the mapping describes."""
    return (Provider("sqlite", "spark_core_ingest.sqlite:open_source", embedded=True),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """What has been indexed."""
    return (StateSchema("ingest", "spark_core_ingest.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """What has been indexed, by which runs, and all that a run needs."""
    return (
        Resource("spark_core_ingest.ledger:Ledger", "spark_core_ingest.ledger:open_ledger"),
        Resource("spark_core_ingest.runs:Runs", "spark_core_ingest.runs:open_runs"),
        Resource("spark_core_ingest.index:Index", "spark_core_ingest.index:open_index"),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Searching and indexing."""
    return (
        Operation(
            "search",
            "spark_core_ingest.search:search",
            Effect.READ,
            tool=True,
            render="spark_core_ingest.search:render_hits",
            in_use="spark_core_ingest.search:is_in_use",
            summary="Search the firm's memory by meaning, by words, or by both.",
        ),
        Operation(
            "ingest.backfill",
            "spark_core_ingest.backfill:backfill",
            Effect.WRITE,
            summary="Index what is new or has changed in the CRM, and remove what is gone.",
        ),
        Operation(
            "ingest.build",
            "spark_core_ingest.backfill:build",
            Effect.WRITE,
            summary="Find out who is who, then build the index anew beside the old one, and "
            "switch.",
        ),
        Operation("ingest.refresh", _SYNC, Effect.WRITE, summary=_SYNC_SUMMARY),
        Operation("ingest.sync", _SYNC, Effect.WRITE, summary=_SYNC_SUMMARY),
        Operation(
            "ingest.schedule",
            "spark_core_ingest.schedule:schedule",
            Effect.WRITE,
            render="spark_core_ingest.schedule:render_event",
            summary="Sync now and at every interval, for ever: [plugins.ingest] sync_interval_min.",
        ),
        Operation(
            "ingest.status",
            "spark_core_ingest.status:status",
            Effect.READ,
            method="GET",
            tool=True,
            summary="Tell how the index stands: what it holds of each kind, and what the source "
            "has.",
        ),
    )


@hookimpl
def spark_register_jobs() -> Iterable[Job]:
    """Keeping the index up to date, for a scheduler."""
    return (Job("ingest.sync", "every 60m", "ingest.sync", timeout=1860.0),)


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """The demonstration."""
    summary = "Try everything on real data: your own Python environment"
    return (Command("demo", summary, "spark_core_ingest.demo.command:command"),)
