"""The control plane for a small private AI cluster, as a library.

::

    async with spark_core.open() as spark:
        answer = await spark.call("search", {"query": "who knows about bearings?"})

Plugins import what they implement from here; see :mod:`spark_core.hookspecs` for the hooks and
:mod:`spark_core.contracts` for the contracts.
"""

from .declarations import (
    BackgroundService,
    Command,
    Job,
    Panel,
    Provider,
    Relay,
    Resource,
    SettingsSection,
    StateSchema,
)
from .hookspecs import hookimpl
from .operations import Effect, Operation, Progress
from .settings import Env, Section
from .spark import Caller, Spark
from .spark import open_spark as open

__all__ = [
    "BackgroundService",
    "Caller",
    "Command",
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
