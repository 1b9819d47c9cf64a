"""What swaps offer, through the hooks that plugins use."""

from __future__ import annotations

from collections.abc import Iterable

from ..declarations import Resource, SettingsSection
from ..hookspecs import hookimpl
from ..operations import Effect, Operation
from .settings import SwapSettings

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


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[swaps]``"""
    return (SettingsSection("swaps", SwapSettings),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[object]]:
    """The catalog."""
    return (Resource("spark_core.swaps.catalog:Catalog", "spark_core.swaps.catalog:open_catalog"),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """The models that can be loaded."""
    return CATALOG_OPERATIONS
