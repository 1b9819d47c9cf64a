"""The control plane for a small private AI cluster, as a library.

::

    async with spark_core.open() as spark:
        answer = await spark.call("search", {"query": "who knows about bearings?"})

Plugins import what they implement from here; see :mod:`spark_core.hookspecs` for the hooks and
:mod:`spark_core.contracts` for the contracts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .changes import Change
    from .declarations import (
        BackgroundService,
        Command,
        Job,
        Panel,
        Provider,
        Resource,
        SettingsSection,
        StateSchema,
    )
    from .gateway.backends import BackendKind, Relay
    from .gateway.compositions import Composition
    from .hookspecs import hookimpl
    from .opening import open
    from .operations import Effect, Operation, Progress
    from .settings import ConfigPath, DataDirectory, Env, Section
    from .spark import Caller, Spark


__all__ = [
    "BackendKind",
    "BackgroundService",
    "Caller",
    "Change",
    "Command",
    "Composition",
    "ConfigPath",
    "DataDirectory",
    "Effect",
    "Env",
    "Job",
    "Operation",
    "Panel",
    "Progress",
    "Provider",
    "Relay",
    "Resource",
    "Section",
    "SettingsSection",
    "Spark",
    "StateSchema",
    "hookimpl",
    "open",
]

# Names are imported when they are first used: a program that embeds spark_core pays for
# pydantic when it opens it, not when it starts.
_MODULES = {
    "changes": ("Change",),
    "declarations": (
        "BackgroundService",
        "Command",
        "Job",
        "Panel",
        "Provider",
        "Resource",
        "SettingsSection",
        "StateSchema",
    ),
    "gateway.backends": ("BackendKind", "Relay"),
    "gateway.compositions": ("Composition",),
    "hookspecs": ("hookimpl",),
    "opening": ("open",),
    "operations": ("Effect", "Operation", "Progress"),
    "settings": ("ConfigPath", "DataDirectory", "Env", "Section"),
    "spark": ("Caller", "Spark"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOME[name]}", __name__)
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return __all__
