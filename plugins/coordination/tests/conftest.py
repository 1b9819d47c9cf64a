"""Reservations in a state that tests can look into, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import spark_core_coordination
import spark_core_http
from falcon.testing import DEFAULT_HOST, ASGIConductor
from spark_core_coordination.locks import Locks
from spark_core_coordination.outbox import Outbox
from spark_core_http import create_app

from spark_core import builtin
from spark_core.declarations import StateSchema
from spark_core.plugins import Plugin, Plugins
from spark_core.settings import Source
from spark_core.spark import compose
from spark_core.state import State
from spark_core.testing.clock import ManualClock
from spark_core.testing.databases import postgresql_server, postgresql_url, state_url

__all__ = ["SCHEMAS", "postgresql_server", "postgresql_url", "state_url"]

SCHEMAS = (
    StateSchema("coordination", "spark_core_coordination.migrations"),
    StateSchema("gateway", "spark_core.gateway.migrations"),
    StateSchema("swaps", "spark_core.swaps.migrations"),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def state(state_url: str) -> AsyncIterator[State]:
    async with State.open(state_url, SCHEMAS) as state:
        yield state


@pytest.fixture
def locks(state: State, spark_clock: ManualClock) -> Locks:
    return Locks(state, spark_clock)


@pytest.fixture
def outbox(state: State, spark_clock: ManualClock) -> Outbox:
    return Outbox(state, spark_clock)


@pytest.fixture
def open_client(
    tmp_path: Path, spark_clock: ManualClock
) -> Callable[..., AbstractAsyncContextManager[ASGIConductor]]:
    """A client of this plugin over HTTP, with settings of its own and other plugins beside it."""

    @asynccontextmanager
    async def client(*plugins: Plugin, **settings: Any) -> AsyncIterator[ASGIConductor]:
        toml = {"http": {"allowed_hosts": [DEFAULT_HOST]}, "plugins": {"coordination": settings}}
        installed = Plugins(
            [
                Plugin("core", "spark-core", "0", module=builtin),
                Plugin("http", "spark-core-http", "0", module=spark_core_http),
                Plugin(
                    "coordination", "spark-core-coordination", "0", module=spark_core_coordination
                ),
                *plugins,
            ]
        )
        source = Source(None, tmp_path, toml, {}, {})
        spark = compose(source, clock=spark_clock, plugins=installed)
        async with ASGIConductor(create_app(spark=spark)) as conductor:
            yield conductor

    return client
