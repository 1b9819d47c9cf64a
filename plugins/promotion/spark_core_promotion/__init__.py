"""Ships a server binary to a live container service, with a way back that works."""

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
from spark_core.swaps.guards import SwapGuard

_HERE = "spark_core_promotion"
_OPERATIONS = f"{_HERE}.operations"
_TOKEN = {"x-spark-lock-token": "token"}


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.promotion]``"""
    return (SettingsSection("plugins.promotion", f"{_HERE}.settings:PromotionSettings"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """Promotions and their receipts."""
    return (StateSchema("promotion", f"{_HERE}.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """The promotions."""
    return (Resource(f"{_HERE}.driving:Promotions", f"{_HERE}.driving:open_promotions"),)


@hookimpl
def spark_register_swap_guards() -> Iterable[SwapGuard]:
    """While a binary is promoted no model is swapped."""
    return (SwapGuard("promotion", f"{_HERE}.history:guard"),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Promoting, taking back, looking."""
    return (
        Operation(
            "promote",
            f"{_OPERATIONS}:promote",
            Effect.OPERATE,
            headers=_TOKEN,
            render=f"{_OPERATIONS}:shown",
            summary="Ship a server binary to its service, as its plan in the settings says.",
        ),
        Operation(
            "promote.rollback",
            f"{_OPERATIONS}:rollback",
            Effect.OPERATE,
            path="/api/promote/{name}/rollback",
            headers=_TOKEN,
            render=f"{_OPERATIONS}:shown",
            summary="Take the last promotion of a plan back: the binary, and the service.",
        ),
        Operation(
            "promote.status",
            f"{_OPERATIONS}:status",
            Effect.READ,
            method="GET",
            path="/api/promote/{name}",
            render=f"{_OPERATIONS}:shown_status",
            summary="Say how far the promotion of a plan is, or show the receipt of the last one.",
        ),
    )


@hookimpl
def spark_register_panels() -> Iterable[Panel]:
    """Promoting, as a form."""
    return (Panel("promote", "Promote", "form", "promote", ("name", "verify", "migrate")),)
