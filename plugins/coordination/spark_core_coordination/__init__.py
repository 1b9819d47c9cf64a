"""Sharing one GPU: who has reserved it, who is told what happens, and who plans what when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spark_core import (
    BackgroundService,
    Effect,
    Operation,
    Panel,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)
from spark_core.swaps.guards import SwapGuard

_HERE = "spark_core_coordination"
_TOKEN = {"x-spark-lock-token": "token"}


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.coordination]``"""
    return (SettingsSection("plugins.coordination", f"{_HERE}.settings:CoordinationSettings"),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """Reservations."""
    return (StateSchema("coordination", f"{_HERE}.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """The reservation lock, the registry of plans, and the outbox."""
    return (
        Resource(f"{_HERE}.locks:Locks", f"{_HERE}.lock_operations:open_locks"),
        Resource(f"{_HERE}.plans:Plans", f"{_HERE}.plan_operations:open_plans"),
        Resource(f"{_HERE}.outbox:Outbox", f"{_HERE}.webhook_operations:open_outbox"),
    )


@hookimpl
def spark_register_swap_guards() -> Iterable[SwapGuard]:
    """While it is reserved, models are swapped by whoever shows the token."""
    return (SwapGuard("reservation", f"{_HERE}.locks:guard"),)


@hookimpl
def spark_register_background_services() -> Iterable[BackgroundService]:
    """Lending the GPU, and telling receivers."""
    return (
        BackgroundService("coordination.gpu", f"{_HERE}.loans:lend_gpu"),
        BackgroundService("coordination.webhooks", f"{_HERE}.telling:tell_receivers"),
    )


@hookimpl
def spark_register_panels() -> Iterable[Panel]:
    """The reservation, what is planned, and who is told."""
    return (
        Panel(
            "lock",
            "Reservation",
            "tiles",
            "swap.lock.show",
            ("held", "holder", "reason", "expires_at", "gpu"),
        ),
        Panel(
            "schedule",
            "Planned by other programs",
            "table",
            "schedule.list",
            ("owner", "name", "when", "model", "next_at", "conflicts"),
        ),
        Panel(
            "webhooks",
            "Webhooks",
            "table",
            "webhooks.list",
            ("name", "events", "signed", "pending", "dead"),
        ),
        Panel(
            "webhooks-dead",
            "Events that were given up",
            "table",
            "webhooks.dead.list",
            ("receiver", "kind", "at", "attempts", "error"),
        ),
    )


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Reserving, planning, and being told."""
    return (
        Operation(
            "swap.lock",
            f"{_HERE}.lock_operations:acquire",
            Effect.WRITE,
            status=201,
            render=f"{_HERE}.lock_operations:shown_token",
            summary="Reserve the GPU: nobody else can swap its model until the reservation ends.",
        ),
        Operation(
            "swap.lock.renew",
            f"{_HERE}.lock_operations:renew",
            Effect.WRITE,
            method="PUT",
            path="/api/swap/lock",
            headers=_TOKEN,
            precondition=f"{_HERE}.lock_operations:token_fits",
            render=f"{_HERE}.lock_operations:shown_state",
            summary="Renew the reservation.",
        ),
        Operation(
            "swap.lock.show",
            f"{_HERE}.lock_operations:show",
            Effect.READ,
            method="GET",
            path="/api/swap/lock",
            render=f"{_HERE}.lock_operations:shown_state",
            summary="Show who has reserved the GPU, and until when.",
        ),
        Operation(
            "swap.lock.release",
            f"{_HERE}.lock_operations:release",
            Effect.WRITE,
            method="DELETE",
            path="/api/swap/lock",
            status=204,
            headers=_TOKEN,
            render=f"{_HERE}.lock_operations:shown_state",
            summary="End the reservation.",
        ),
        Operation(
            "schedule.list",
            f"{_HERE}.plan_operations:list_plans",
            Effect.READ,
            method="GET",
            path="/api/schedule",
            render=f"{_HERE}.plan_operations:shown_plans",
            summary="List what programs plan, and where their plans meet each other or the "
            "reservation.",
        ),
        Operation(
            "schedule.put",
            f"{_HERE}.plan_operations:put_plan",
            Effect.WRITE,
            path="/api/schedule",
            summary="Write down what a program plans; it is shown, and never executed.",
        ),
        Operation(
            "schedule.remove",
            f"{_HERE}.plan_operations:remove_plan",
            Effect.WRITE,
            method="DELETE",
            path="/api/schedule",
            status=204,
            summary="Forget a plan.",
        ),
        Operation(
            "webhooks.list",
            f"{_HERE}.webhook_operations:list_receivers",
            Effect.READ,
            method="GET",
            path="/api/webhooks",
            summary="List who is told what happens, and how far behind each is.",
        ),
        Operation(
            "webhooks.dead.list",
            f"{_HERE}.webhook_operations:list_dead",
            Effect.READ,
            method="GET",
            path="/api/webhooks/dead",
            summary="List the events that were given up.",
        ),
        Operation(
            "webhooks.dead.retry",
            f"{_HERE}.webhook_operations:retry",
            Effect.WRITE,
            path="/api/webhooks/dead/{id}/retry",
            status=202,
            summary="Send an event again that was given up, with the same delivery id.",
        ),
        Operation(
            "webhooks.dead.drop",
            f"{_HERE}.webhook_operations:drop",
            Effect.WRITE,
            method="DELETE",
            path="/api/webhooks/dead/{id}",
            status=204,
            summary="Forget an event that was given up.",
        ),
    )
