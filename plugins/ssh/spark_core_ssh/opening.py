"""Opens the machines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spark_core.contracts.machines import Machines

from .machines import SshMachines
from .settings import SshSettings

__all__ = ["open_machines"]


@asynccontextmanager
async def open_machines(settings: SshSettings) -> AsyncIterator[Machines]:
    """Every machine that is configured; nothing is connected yet.

    :raises NotConfigured: no machine is named, or not as whom commands run there.
    """
    machines = SshMachines(settings)
    try:
        yield machines
    finally:
        await machines.aclose()
