"""What swaps offer, through the hooks that plugins use."""

from __future__ import annotations

from collections.abc import Iterable

from ..declarations import BackgroundService, Panel, Resource, SettingsSection, StateSchema
from ..hookspecs import hookimpl
from ..operations import Effect, Operation

_CATALOG = "spark_core.swaps.catalog_operations"

CATALOG_OPERATIONS = (
    Operation(
        "models.list",
        f"{_CATALOG}:list_models",
        Effect.READ,
        method="GET",
        path="/api/models",
        tool=True,
        summary="List the models that can be loaded.",
    ),
    Operation(
        "models.show",
        f"{_CATALOG}:show_model",
        Effect.READ,
        method="GET",
        path="/api/models/{name}",
        summary="Show one entry of the catalog; of its environment only the names.",
    ),
    Operation(
        "models.check",
        f"{_CATALOG}:check_models",
        Effect.READ,
        render=f"{_CATALOG}:render_check",
        summary="Check the catalog's files and, on the machines, whether each model's files are "
        "there.",
    ),
    Operation(
        "models.add",
        f"{_CATALOG}:add_model",
        Effect.WRITE,
        path="/api/models",
        status=201,
        summary="Add a model to the catalog's overrides.",
    ),
    Operation(
        "models.remove",
        f"{_CATALOG}:remove_model",
        Effect.OPERATE,
        method="DELETE",
        path="/api/models/{name}",
        summary="Take a model out of the catalog; on demand delete what was downloaded of it, too.",
    ),
)

_SWAPS = "spark_core.swaps.operations"

SWAP_OPERATIONS = (
    Operation(
        "swap",
        f"{_SWAPS}:swap",
        Effect.OPERATE,
        status=202,
        headers={"x-spark-lock-token": "token"},
        precondition=f"{_SWAPS}:swap_allowed",
        render=f"{_SWAPS}:shown",
        summary="Swap the model that is loaded for another one.",
    ),
    Operation(
        "swap.unload",
        f"{_SWAPS}:unload",
        Effect.OPERATE,
        status=202,
        headers={"x-spark-lock-token": "token"},
        precondition=f"{_SWAPS}:swap_allowed",
        render=f"{_SWAPS}:shown",
        summary="Take the model off the GPU, and leave it empty.",
    ),
    Operation(
        "swap.status",
        f"{_SWAPS}:status",
        Effect.READ,
        method="GET",
        path="/api/swap",
        tool=True,
        summary="Say whether a swap runs, how far it is, and how the last one ended.",
    ),
    Operation(
        "swaps.list",
        f"{_SWAPS}:list_swaps",
        Effect.READ,
        method="GET",
        path="/api/swaps",
        summary="List swaps, the newest first.",
    ),
    Operation(
        "swaps.show",
        f"{_SWAPS}:show",
        Effect.READ,
        method="GET",
        path="/api/swaps/{id}",
        summary="Show a swap: how far it is, or its receipt.",
    ),
    Operation(
        "swaps.events",
        f"{_SWAPS}:events",
        Effect.READ,
        method="GET",
        path="/api/swaps/{id}/events",
        headers={"last-event-id": "after"},
        render=f"{_SWAPS}:shown",
        summary="Follow a swap: its phases, and the launcher's log as it comes.",
    ),
    Operation(
        "swaps.cancel",
        f"{_SWAPS}:call_off",
        Effect.OPERATE,
        method="DELETE",
        path="/api/swaps/{id}",
        headers={"x-spark-lock-token": "token"},
        precondition=f"{_SWAPS}:swap_allowed",
        render=f"{_SWAPS}:shown",
        summary="Call a swap off: nothing is changed any more, or the model before is brought "
        "back.",
    ),
)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[swaps]``"""
    return (SettingsSection("swaps", "spark_core.swaps.settings:SwapSettings"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """Swaps."""
    return (StateSchema("swaps", "spark_core.swaps.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[object]]:
    """The catalog, the swaps, and what takes the model off the GPU for another program."""
    driving = "spark_core.swaps.driving"
    return (
        Resource("spark_core.swaps.catalog:Catalog", "spark_core.swaps.catalog:open_catalog"),
        Resource("spark_core.swaps.history:SwapHistory", f"{driving}:open_history"),
        Resource(f"{driving}:Swaps", f"{driving}:open_swaps"),
        Resource("spark_core.contracts.gpu:GpuRelease", "spark_core.swaps.lending:open_loan"),
        Resource("spark_core.swaps.wishes:WishList", "spark_core.swaps.wishes:open_wish_list"),
        Resource("spark_core.gateway.demand:OnDemand", "spark_core.swaps.wishes:open_demand"),
    )


@hookimpl
def spark_register_background_services() -> Iterable[BackgroundService]:
    """Working on swaps, and choosing which model is there."""
    return (
        BackgroundService("swaps.drive", "spark_core.swaps.driving:drive_swaps", ttl=6.0),
        BackgroundService("swaps.choose", "spark_core.swaps.choosing:choose_models", ttl=6.0),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Swapping models, and the models that can be loaded."""
    return (*SWAP_OPERATIONS, *CATALOG_OPERATIONS)


@hookimpl
def spark_register_panels() -> Iterable[Panel]:
    """What is loaded, what was, and what could be."""
    return (
        Panel("swap", "Model", "tiles", "swap.status", ("host", "model", "running", "last")),
        Panel("swap-to", "Swap", "form", "swap", ("model", "reason", "drain_s", "force")),
        Panel(
            "swaps",
            "Swaps",
            "table",
            "swaps.list",
            ("created_at", "model", "outcome", "took_s", "caller", "reason"),
        ),
        Panel(
            "models",
            "Models",
            "table",
            "models.list",
            ("name", "served_name", "nodes", "memory_gib", "on_demand"),
        ),
    )
