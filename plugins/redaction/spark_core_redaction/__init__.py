"""Redaction: nothing private leaves, everything comes back.

::

    async with spark_core.open() as spark:
        redaction = await spark.resolver.get(Redaction)
        scrubbed = await redaction.scrub(["Ada Example called."])
        restorer = await redaction.restorer(scrubbed.handle)
        restorer.restore(scrubbed.texts[0])
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spark_core import (
    BackendKind,
    BackgroundService,
    Command,
    Composition,
    Effect,
    Operation,
    Provider,
    Resource,
    SettingsSection,
    StateSchema,
    hookimpl,
)

from .exit import routes

if TYPE_CHECKING:
    from spark_core.contracts.detection import TextDetector

    from .restoring import Restorer
    from .scrubbing import Redaction, Scrubbed
    from .withheld import Withheld

__all__ = ["Redaction", "Restorer", "Scrubbed", "Withheld"]

_HERE = "spark_core_redaction"
_HOMES = {
    "Redaction": "scrubbing",
    "Restorer": "restoring",
    "Scrubbed": "scrubbing",
    "Withheld": "withheld",
}


def __getattr__(name: str) -> Any:
    # Imported when it is used: this module is, whenever any host starts.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[plugins.redaction]``, and those within it."""
    return (
        SettingsSection("plugins.redaction", f"{_HERE}.settings:RedactionSettings"),
        SettingsSection(
            "plugins.redaction.detection", f"{_HERE}.detection.settings:DetectionSettings"
        ),
        routes.SECTION,
    )


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """The vault."""
    return (StateSchema("redaction", f"{_HERE}.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[Any]]:
    """The vault, and what scrubs and restores with it."""
    return (
        Resource(
            f"{_HERE}.detection.detecting:Detection", f"{_HERE}.detection.detecting:open_detection"
        ),
        Resource(f"{_HERE}.vault:Vault", f"{_HERE}.vault:open_vault"),
        Resource(f"{_HERE}.scrubbing:Redaction", f"{_HERE}.opening:open_redaction"),
        routes.EXIT,
    )


@hookimpl
def spark_register_backends() -> Iterable[BackendKind]:
    """Models outside."""
    return (routes.KIND,)


@hookimpl
def spark_register_compositions() -> Iterable[Composition]:
    """The guarded exit to them."""
    return routes.COMPOSITIONS


@hookimpl
def spark_register_text_detectors() -> Iterable[Provider[TextDetector]]:
    """The recogniser of unknown names."""
    return (Provider("recogniser", f"{_HERE}.detection.recogniser:open_recogniser"),)


@hookimpl
def spark_register_background_services() -> Iterable[BackgroundService]:
    """Removing what has expired."""
    return (BackgroundService("redaction.expiry", f"{_HERE}.vault:expire"),)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Scrubbing, restoring, and another key for the vault."""
    return (
        Operation(
            "redaction.scrub",
            f"{_HERE}.operations:scrub",
            Effect.WRITE,
            path="/scrub",
            tool="scrub",
            command=False,
            summary="Replace what is private in a text or in messages, so that they may leave.",
        ),
        Operation(
            "redaction.rehydrate",
            f"{_HERE}.operations:rehydrate",
            Effect.READ,
            path="/rehydrate",
            tool="rehydrate",
            command=False,
            summary="Restore what placeholders stand for, exactly as it was written.",
        ),
        Operation(
            "vault.rotate",
            f"{_HERE}.operations:rotate",
            Effect.WRITE,
            summary="Put a new key in the place of the vault's.",
        ),
    )


@hookimpl
def spark_register_commands() -> Iterable[Command]:
    """Scrubbing and restoring files and standard input."""
    return (
        Command("scrub", "Replace what is private in files.", f"{_HERE}.commands:scrub"),
        Command("rehydrate", "Restore what was replaced in files.", f"{_HERE}.commands:rehydrate"),
    )
