"""What core itself offers, through the hooks that plugins use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from .clock import Clock
from .declarations import Resource
from .hookspecs import hookimpl
from .operations import Effect, Empty, Operation
from .plugins import Plugins
from .settings import DataDirectory, StateSettings
from .state import AuditEntry, AuditLog, Leases, State


@hookimpl
def spark_register_resources() -> Iterable[Resource[object]]:
    """The state, and what is made of it."""
    return (
        Resource(State, open_state),
        Resource(Leases, open_leases),
        Resource(AuditLog, open_audit_log),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Looking at what runs here."""
    return (
        Operation("plugins", list_plugins, Effect.READ, method="GET", render=render_plugins),
        Operation("audit.list", list_audit, Effect.READ, method="GET", path="/api/audit"),
        Operation("background", list_background, Effect.READ, method="GET"),
    )


@asynccontextmanager
async def open_state(
    settings: StateSettings, data: DataDirectory, plugins: Plugins
) -> AsyncIterator[State]:
    """The database that ``[state] url`` names, else the embedded one."""
    url = settings.url.get_secret_value() if settings.url else data.path / "state.db"
    async with State.open(url, plugins.state_schemas(), plugins.distribution_of) as state:
        for schema, error in state.failures.items():
            plugins.blame(schema, error)
        yield state


@asynccontextmanager
async def open_leases(state: State, clock: Clock) -> AsyncIterator[Leases]:
    """Leases in the state."""
    yield Leases(state, clock)


@asynccontextmanager
async def open_audit_log(state: State, clock: Clock) -> AsyncIterator[AuditLog]:
    """The audit log in the state."""
    yield AuditLog(state, clock)


# ------------------------------------------------------------------------------- operations


class PluginStatus(BaseModel, defer_build=True):
    """One installed plugin."""

    name: str
    distribution: str
    version: str
    status: Literal["ok", "off", "broken"]
    error: str | None = None
    hooks: list[str]


class PluginList(BaseModel, defer_build=True):
    """Every installed plugin."""

    plugins: list[PluginStatus]


async def list_plugins(request: Empty, plugins: Plugins) -> PluginList:
    """List the installed plugins, the broken ones with what is wrong."""
    plugins.examine()
    fields = ("name", "distribution", "version", "status", "error", "hooks")
    return PluginList(
        plugins=[
            PluginStatus.model_validate({field: getattr(plugin, field) for field in fields})
            for plugin in plugins
        ]
    )


def render_plugins(result: PluginList) -> str:
    """A line per plugin, for a terminal."""
    return "\n".join(
        f"{p.name:<14} {p.status:<7} {p.distribution} {p.version}"
        + (f"\n{'':<14} {p.error}" if p.error else "")
        for p in result.plugins
    )


class AuditQuery(BaseModel, defer_build=True):
    """Which audit entries to list."""

    limit: int = Field(default=50, ge=1, le=1000)
    action: str | None = Field(default=None, description="Only this action.")
    before: int | None = Field(default=None, description="Only entries older than this one's id.")


class AuditPage(BaseModel, defer_build=True):
    """Audit entries, the newest first."""

    entries: list[AuditEntry]


async def list_audit(request: AuditQuery, audit: AuditLog) -> AuditPage:
    """List who did what, the newest first."""
    entries = await audit.entries(limit=request.limit, action=request.action, before=request.before)
    return AuditPage(entries=list(entries))


class BackgroundStatus(BaseModel, defer_build=True):
    """One background service, and who runs it now."""

    name: str
    holder: str | None = None
    fence: int | None = None
    until: datetime | None = None


class BackgroundList(BaseModel, defer_build=True):
    """Every background service."""

    services: list[BackgroundStatus]


async def list_background(request: Empty, plugins: Plugins, leases: Leases) -> BackgroundList:
    """List the background services and which process runs each."""
    services = []
    for service in plugins.background_services():
        status = BackgroundStatus(name=service.name)
        if lease := await leases.current(f"background:{service.name}"):
            status = BackgroundStatus(
                name=service.name, holder=lease.holder, fence=lease.fence, until=lease.expires_at
            )
        services.append(status)
    return BackgroundList(services=services)
