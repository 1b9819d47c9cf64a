"""What core itself offers, through the hooks that plugins use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .declarations import Resource
from .hookspecs import hookimpl
from .operations import Effect, Operation


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """The state, and what is made of it."""
    return (
        Resource("spark_core.state.database:State", "spark_core.state.resources:open_state"),
        Resource("spark_core.state.leases:Leases", "spark_core.state.resources:open_leases"),
        Resource("spark_core.state.audit:AuditLog", "spark_core.state.resources:open_audit_log"),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Looking at what runs here."""
    return (
        Operation(
            "plugins",
            "spark_core.introspection:list_plugins",
            Effect.READ,
            method="GET",
            render="spark_core.introspection:render_plugins",
            summary="List the installed plugins, the broken ones with what is wrong.",
        ),
        Operation(
            "audit.list",
            "spark_core.introspection:list_audit",
            Effect.READ,
            method="GET",
            path="/api/audit",
            tool=True,
            summary="List who did what, the newest first.",
        ),
        Operation(
            "audit.undo",
            "spark_core.changes:undo",
            Effect.WRITE,
            path="/api/audit/{id}/undo",
            tool=True,
            summary="Take back what an audit entry tells, if nothing has changed it since.",
        ),
        Operation(
            "background",
            "spark_core.introspection:list_background",
            Effect.READ,
            method="GET",
            summary="List the background services and which process runs each.",
        ),
    )
