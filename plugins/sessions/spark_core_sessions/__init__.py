"""Session files, processed by plugins that cannot hurt each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spark_core import (
    Effect,
    Job,
    Operation,
    Panel,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)
from spark_core.contracts.sessions import SessionProcessor

_HERE = "spark_core_sessions"
_OPERATIONS = f"{_HERE}.operations"


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.sessions]``"""
    return (SettingsSection("plugins.sessions", f"{_HERE}.settings:SessionsSettings"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """How far each processor is, and what was found."""
    return (StateSchema("sessions", f"{_HERE}.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """What is known of files, and the history of runs."""
    return (
        Resource(f"{_HERE}.states:SessionStates", f"{_HERE}.states:open_states"),
        Resource(f"{_HERE}.runs:Runs", f"{_HERE}.runs:open_runs"),
    )


@hookimpl
def spark_register_session_processors() -> Iterable[SessionProcessor]:
    """What sessions taught, and what they used."""
    return (
        SessionProcessor(
            "verification",
            "every 15m",
            f"{_HERE}.verification:verify",
            timeout=900.0,
            available=f"{_HERE}.verification:can_be_asked",
            cadence=f"{_HERE}.settings:verification_schedule",
        ),
        SessionProcessor(
            "usage",
            "every 10m",
            f"{_HERE}.usage:count_usage",
            timeout=300.0,
            cadence=f"{_HERE}.settings:usage_schedule",
        ),
    )


@hookimpl
def spark_register_jobs() -> Iterable[Job]:
    """The collector; core makes a job of each processor."""
    return (
        Job(
            "session-collector",
            "every 10m",
            "sessions.collect",
            timeout=300.0,
            cadence=f"{_HERE}.settings:collector_schedule",
        ),
    )


@hookimpl
def spark_register_panels() -> Iterable[Panel]:
    """How far each processor is."""
    fields = ("name", "schedule", "running", "files", "items_extracted", "last_processed_at")
    return (Panel("session-processors", "Session processors", "table", "sessions.status", fields),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Collecting, processing, and looking at both."""
    return (
        Operation(
            "sessions.run",
            f"{_OPERATIONS}:run_processor",
            Effect.WRITE,
            path="/api/admin/run-session-processor",
            render=f"{_OPERATIONS}:shown_run",
            summary="Run a session processor over the files that are new to it.",
        ),
        Operation(
            "sessions.collect",
            f"{_OPERATIONS}:collect_sessions",
            Effect.WRITE,
            path="/api/admin/run-session-collector",
            render=f"{_OPERATIONS}:shown_collection",
            summary="Copy session files out of people's homes, where they are new or have changed.",
        ),
        Operation(
            "sessions.status",
            f"{_OPERATIONS}:session_status",
            Effect.READ,
            method="GET",
            path="/api/admin/session-processors",
            render=f"{_OPERATIONS}:shown_status",
            summary="Say of each session processor how far it is, and with which files it failed.",
        ),
        Operation(
            "sessions.retry",
            f"{_OPERATIONS}:retry_file",
            Effect.WRITE,
            path="/api/admin/retry-session-file",
            summary="Let a processor have a file again that it failed with, at its next run.",
        ),
        Operation(
            "health.detailed",
            f"{_OPERATIONS}:detailed_health",
            Effect.READ,
            method="GET",
            path="/api/health/detailed",
            summary="Say how each backend is, and whether session files are processed as they "
            "come.",
        ),
    )
