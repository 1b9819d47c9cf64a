"""Opens the state, and what is made of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..clock import Clock
from ..plugins import Plugins
from ..settings import DataDirectory, StateSettings
from .audit import AuditLog
from .database import State
from .leases import Leases

__all__ = ["open_audit_log", "open_leases", "open_state"]


@asynccontextmanager
async def open_state(
    settings: StateSettings, data: DataDirectory, plugins: Plugins
) -> AsyncIterator[State]:
    """The database that ``[state] url`` names, else the embedded one."""
    url = settings.url.get_secret_value() if settings.url else data.path / "state.db"
    async with State.open(url, plugins.state_schemas(), plugins.distribution_of) as state:
        for schema, error in state.failures.items():
            plugins.blame(schema, error)
        yield state


@asynccontextmanager
async def open_leases(state: State, clock: Clock) -> AsyncIterator[Leases]:
    """Leases in the state."""
    yield Leases(state, clock)


@asynccontextmanager
async def open_audit_log(state: State, clock: Clock) -> AsyncIterator[AuditLog]:
    """The audit log in the state."""
    yield AuditLog(state, clock)
