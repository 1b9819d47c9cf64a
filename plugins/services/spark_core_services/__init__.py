"""The services around the models: how they are, and starting, updating and patching them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spark_core import (
    Effect,
    Operation,
    Panel,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)

_HERE = "spark_core_services"


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.services]``"""
    return (SettingsSection("plugins.services", f"{_HERE}.settings:ServicesSettings"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """How each service was last seen."""
    return (StateSchema("services", f"{_HERE}.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """What services there are, who looks at them, and who does something to them."""
    return (
        Resource(f"{_HERE}.catalog:ServiceCatalog", f"{_HERE}.catalog:open_catalog"),
        Resource(f"{_HERE}.observing:Observer", f"{_HERE}.observing:open_observer"),
        Resource(f"{_HERE}.sightings:Sightings", f"{_HERE}.sightings:open_sightings"),
        Resource(f"{_HERE}.steps:Workshop", f"{_HERE}.steps:open_workshop"),
    )


def _control(action: str, handler: str, summary: str) -> Operation:
    path = f"/api/services/{{name}}/{action}"
    return Operation(
        f"services.{action}", f"{_HERE}.{handler}", Effect.OPERATE, path=path, summary=summary
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Looking at services and Sparks, and doing something to a service."""
    return (
        Operation(
            "services.list",
            f"{_HERE}.tiles:list_services",
            Effect.READ,
            method="GET",
            path="/api/services",
            tool=True,
            render=f"{_HERE}.tiles:render_tiles",
            summary="List the services around the models, and how each of them is.",
        ),
        Operation(
            "services.logs",
            f"{_HERE}.logs:service_logs",
            Effect.READ,
            method="GET",
            path="/api/services/{name}/logs",
            render=f"{_HERE}.logs:render_lines",
            summary="Tell the last lines of a service's log, and on demand those that come.",
        ),
        _control("start", "actions:start_service", "Start a service, and wait until it is well."),
        _control("stop", "actions:stop_service", "Stop a service."),
        _control(
            "restart", "actions:restart_service", "Restart a service, and wait until it is well."
        ),
        _control(
            "update",
            "actions:update_service",
            "Run the phases of a service's update one after another, and wait until it is well.",
        ),
        _control(
            "patch",
            "patching:patch_service",
            "Lay a service's patches over the files in its container, restart it, and see that "
            "it is well.",
        ),
        Operation(
            "matrix_bridge.update",
            f"{_HERE}.actions:update_bridge",
            Effect.OPERATE,
            path="/api/matrix-bridge/update",
            summary="Update the Matrix bridge.",
        ),
        Operation(
            "matrix_bridge.logs",
            f"{_HERE}.logs:bridge_logs",
            Effect.READ,
            method="GET",
            path="/api/matrix-bridge/logs",
            render=f"{_HERE}.logs:render_lines",
            summary="Tell the last lines of the Matrix bridge's log, and on demand those that "
            "come.",
        ),
        Operation(
            "sparks",
            f"{_HERE}.cards:list_sparks",
            Effect.READ,
            method="GET",
            render=f"{_HERE}.cards:render_cards",
            summary="List the Sparks: reachability, memory, uptime, VPN, and whether our SSH key "
            "is installed.",
        ),
    )


@hookimpl
def spark_register_panels() -> Iterable[Panel]:
    """Tiles of services, and cards of Sparks."""
    tile = ("title", "state", "detail", "since", "restarts", "restarted_at", "actions")
    card = ("name", "state", "memory_available_gib", "uptime_s", "vpn_address", "key_installed")
    return (
        Panel("services", "Services", "tiles", "services.list", tile),
        Panel("sparks", "Sparks", "tiles", "sparks", card),
        Panel("service-logs", "Logs", "log", "services.logs", ("lines",)),
    )
