"""The scheduler: jobs run when they should, once, wherever one of several schedulers is left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spark_core import (
    BackgroundService,
    Command,
    Effect,
    Operation,
    Panel,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)

_HERE = "spark_core_scheduler"


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.scheduler]`` and ``[plugins.scheduler.application]``"""
    return (
        SettingsSection("plugins.scheduler", f"{_HERE}.settings:SchedulerSettings"),
        SettingsSection(
            "plugins.scheduler.application", f"{_HERE}.application:ApplicationSettings"
        ),
    )


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """When each job ran last, and its runs."""
    return (StateSchema("scheduler", f"{_HERE}.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """The book of runs, and the jobs that there are."""
    return (
        Resource(f"{_HERE}.book:Book", f"{_HERE}.operations:open_book"),
        Resource(f"{_HERE}.jobs:Jobs", f"{_HERE}.jobs:open_jobs"),
    )


@hookimpl
def spark_register_background_services() -> Iterable[BackgroundService]:
    """The scheduler inside a host, where settings say so."""
    return (BackgroundService("scheduler", f"{_HERE}.leading:in_host", everywhere=True),)


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """``spark scheduler``."""
    summary = "Run jobs when their time comes, until a signal says to stop"
    return (Command("scheduler", summary, f"{_HERE}.command:command"),)


@hookimpl
def spark_register_panels() -> Iterable[Panel]:
    """What runs when, and how it ended last."""
    fields = ("name", "schedule", "timezone", "state", "next_at", "last_at", "last_outcome")
    return (Panel("jobs", "Jobs", "table", "jobs.list", fields),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Looking at jobs, running one now, and letting one rest."""
    return (
        Operation(
            "jobs.list",
            f"{_HERE}.operations:list_jobs",
            Effect.READ,
            method="GET",
            path="/api/jobs",
            render=f"{_HERE}.operations:shown_jobs",
            summary="List the jobs: when each runs next, and how its last run ended.",
        ),
        Operation(
            "jobs.history",
            f"{_HERE}.operations:history",
            Effect.READ,
            method="GET",
            path="/api/jobs/history",
            render=f"{_HERE}.operations:shown_runs",
            summary="List the runs of a job, or of all, the newest first.",
        ),
        Operation(
            "jobs.run",
            f"{_HERE}.operations:run",
            Effect.OPERATE,
            path="/api/jobs/{name}/run",
            status=202,
            render=f"{_HERE}.operations:shown_run",
            summary="Let the scheduler run a job now, also one that rests.",
        ),
        Operation(
            "jobs.pause",
            f"{_HERE}.operations:pause",
            Effect.WRITE,
            path="/api/jobs/{name}/pause",
            status=204,
            summary="Let a job rest until it is resumed; what is running goes on.",
        ),
        Operation(
            "jobs.resume",
            f"{_HERE}.operations:resume",
            Effect.WRITE,
            path="/api/jobs/{name}/resume",
            status=204,
            summary="Let a job that rests run again, from its next time on.",
        ),
    )
