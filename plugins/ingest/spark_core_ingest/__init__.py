"""CRM ingest: a SQLite database, read through a mapping, into hybrid search."""

from __future__ import annotations

from collections.abc import Iterable

from spark_core import (
    Command,
    Effect,
    Operation,
    Provider,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)
from spark_core.contracts.records import RecordSource

from .backfill import backfill, status
from .ledger import Ledger, open_ledger
from .search import render_hits, search
from .settings import IngestSettings
from .sqlite import open_source


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.ingest]``"""
    return (SettingsSection("plugins.ingest", IngestSettings),)


@hookimpl
def spark_register_record_sources() -> Iterable[Provider[RecordSource]]:
    """The SQLite database that the mapping describes."""
    return (Provider("sqlite", open_source, embedded=True),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """What has been indexed."""
    return (StateSchema("ingest", "spark_core_ingest.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Ledger]]:
    """What has been indexed, as an object."""
    return (Resource(Ledger, open_ledger),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Searching and indexing."""
    return (
        Operation("search", search, Effect.READ, tool=True, render=render_hits),
        Operation("ingest.backfill", backfill, Effect.WRITE),
        Operation("ingest.status", status, Effect.READ, method="GET", tool=True),
    )


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """The demonstration."""
    summary = "Try everything on real data: your own Python environment"
    return (Command("demo", summary, "spark_core_ingest.demo.command:command"),)
