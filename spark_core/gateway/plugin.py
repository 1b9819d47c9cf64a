"""What the gateway offers, through the hooks that plugins use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from ..clock import Clock
from ..declarations import BackgroundService, Resource, SettingsSection, StateSchema
from ..hookspecs import hookimpl
from ..operations import Operation
from ..state import State
from .gateway import Gateway
from .opening import open_gateway
from .operations import OPERATIONS
from .outages import OutageLog
from .probing import probe_backends
from .settings import GatewaySettings


@hookimpl
def spark_register_settings() -> Iterable[SettingsSection]:
    """``[gateway]``"""
    return (SettingsSection("gateway", GatewaySettings),)


@hookimpl
def spark_register_state_schemas() -> Iterable[StateSchema]:
    """The log of outages."""
    return (StateSchema("gateway", "spark_core.gateway.migrations"),)


@hookimpl
def spark_register_resources() -> Iterable[Resource[object]]:
    """The gateway of this process, and the log of outages."""
    return (Resource(Gateway, open_gateway), Resource(OutageLog, open_outage_log))


@asynccontextmanager
async def open_outage_log(state: State, clock: Clock) -> AsyncIterator[OutageLog]:
    """The log of outages in the state."""
    yield OutageLog(state, clock)


@hookimpl
def spark_register_operations() -> Iterable[Operation]:
    """Looking at the backends."""
    return OPERATIONS


@hookimpl
def spark_register_background_services() -> Iterable[BackgroundService]:
    """Watching the backends."""
    return (BackgroundService("gateway.probe", probe_backends, ttl=6.0),)
