"""What the unit tests share: asyncio, and both databases that the state may lie in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from spark_core.state import State
from spark_core.testing.databases import postgresql_server, postgresql_url, state_url

__all__ = ["postgresql_server", "postgresql_url", "state_url"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def state(state_url: str) -> AsyncIterator[State]:
    async with State.open(state_url) as state:
        yield state
