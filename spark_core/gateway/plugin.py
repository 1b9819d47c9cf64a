"""What the gateway offers, through the hooks that plugins use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..declarations import BackgroundService, Resource, SettingsSection, StateSchema
from ..hookspecs import hookimpl
from ..operations import Effect, Operation


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[gateway]``"""
    return (SettingsSection("gateway", "spark_core.gateway.settings:GatewaySettings"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """The log of outages."""
    return (StateSchema("gateway", "spark_core.gateway.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """The gateway of this process, and the log of outages."""
    return (
        Resource("spark_core.gateway.gateway:Gateway", "spark_core.gateway.opening:open_gateway"),
        Resource(
            "spark_core.gateway.outages:OutageLog", "spark_core.gateway.outages:open_outage_log"
        ),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Looking at the backends."""
    return (
        Operation(
            "endpoints",
            "spark_core.gateway.operations:list_endpoints",
            Effect.READ,
            method="GET",
            render="spark_core.gateway.operations:render_endpoints",
            summary="List the backends that are configured, and how each of them is.",
        ),
        Operation(
            "health",
            "spark_core.gateway.operations:health",
            Effect.READ,
            method="GET",
            summary="Say how each backend is, from what was seen of it; nothing is asked now.",
        ),
        Operation(
            "health.deep",
            "spark_core.gateway.operations:deep_health",
            Effect.OPERATE,
            summary="Let each backend do real work, one after the other: a token, a word, "
            "a vector.",
        ),
        Operation(
            "connectivity",
            "spark_core.gateway.operations:connectivity",
            Effect.READ,
            method="GET",
            summary="List when backends took no connections.",
        ),
        Operation(
            "gateway.models",
            "spark_core.gateway.operations:list_models",
            Effect.READ,
            method="GET",
            path="/v1/models",
            summary="List the models that are served, their other names, and what can be had "
            "on demand.",
        ),
    )


@hookimpl
def spark_register_background_services() -> Iterable[BackgroundService]:
    """Watching the backends."""
    return (
        BackgroundService(
            "gateway.probe", "spark_core.gateway.probing:probe_backends", everywhere=True
        ),
    )
