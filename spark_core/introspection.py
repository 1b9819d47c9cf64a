"""Looking at what runs here: the plugins, who did what, and the background services."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from .operations import Empty
from .plugins import Plugins
from .state import AuditEntry, AuditLog, Leases

__all__ = ["list_audit", "list_background", "list_plugins", "render_plugins"]


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
    everywhere: bool = Field(default=False, description="It runs in every process.")
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
        status = BackgroundStatus(name=service.name, everywhere=service.everywhere)
        if lease := await leases.current(f"background:{service.name}"):
            status = BackgroundStatus(
                name=service.name, holder=lease.holder, fence=lease.fence, until=lease.expires_at
            )
        services.append(status)
    return BackgroundList(services=services)
